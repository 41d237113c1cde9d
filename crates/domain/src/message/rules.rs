//! What becomes of a message at a site: rules in an order, and what holds without any.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    Priority,
    id::SiteCode,
    status::{Event, EventType, Severity},
};

pub const RULES_MAX: usize = 64;
pub const KEEP_DAYS_MAX: u32 = 3650;
/// Bytes of a rule's name, component and subject.
pub const TEXT_MAX: usize = 128;
/// Words of a command line, and bytes of each.
pub const WORDS_MAX: usize = 16;
pub const WORD_MAX: usize = 1024;

const DAY: Duration = Duration::from_secs(86_400);
const KEEP: Duration = DAY.saturating_mul(30);
const KEEP_AUDIT: Duration = DAY.saturating_mul(180);

/// One rule: what it is about, and what it decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    pub name: String,
    pub condition: Condition,
    pub actions: Actions,
    /// Rules after it do not count for a message that it is about.
    pub stop: bool,
}

/// Which messages a rule is about; each part that is there must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    pub messages: Option<RangeInclusive<u32>>,
    /// This or worse.
    pub severity: Option<Severity>,
    pub component: Option<String>,
    pub event_type: Option<EventType>,
    /// Of this site.
    pub site: Option<SiteCode>,
    /// A pattern: `*` is any text, `?` one character.
    pub subject: Option<String>,
}

/// What a rule decides; what it does not name, later rules or the defaults decide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actions {
    pub keep_days: Option<u32>,
    pub forward: Option<Forward>,
    /// A program in the site's folder for them, and its arguments. Programs of several rules run all.
    pub run: Vec<String>,
    /// It is not kept at all. What people did always is.
    pub suppress: bool,
}

/// Whether a message goes to the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    No,
    With(Priority),
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    pub keep: Duration,
    pub forward: Forward,
    pub run: Vec<Vec<String>>,
    pub suppressed: bool,
}

impl Default for Fate {
    fn default() -> Self {
        Fate { keep: KEEP, forward: Forward::With(Priority::Low), run: Vec::new(), suppressed: false }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(
        "it decides nothing: say how long to keep, whether to forward, what to run, or to suppress or stop"
    )]
    DecidesNothing,
    #[error("a name, component or subject has at most {TEXT_MAX} bytes without control characters")]
    Text,
    #[error("the first message of a range comes before the last")]
    Range,
    #[error("a message is kept 1 to {KEEP_DAYS_MAX} days; `suppress` keeps it not at all")]
    Keep,
    #[error(
        "a program is the name of a file in the site's folder `event-programs`, without `/`; with its arguments at most \
         {WORDS_MAX} words of {WORD_MAX} bytes"
    )]
    Program,
    #[error("what is suppressed is neither kept, forwarded nor told to a program: say one or the other")]
    Suppressed,
}

impl Rule {
    pub fn check(&self) -> Result<(), RuleError> {
        let Rule { name, condition, actions, stop } = self;
        let decides = actions.keep_days.is_some()
            || actions.forward.is_some()
            || !actions.run.is_empty()
            || actions.suppress
            || *stop;
        let texts = [Some(name), condition.component.as_ref(), condition.subject.as_ref()];
        let is_text = |text: &String| text.len() <= TEXT_MAX && !text.chars().any(char::is_control);
        if !decides {
            return Err(RuleError::DecidesNothing);
        }
        if !texts.into_iter().flatten().all(is_text) {
            return Err(RuleError::Text);
        }
        if condition.messages.as_ref().is_some_and(RangeInclusive::is_empty) {
            return Err(RuleError::Range);
        }
        if actions.keep_days.is_some_and(|days| !(1..=KEEP_DAYS_MAX).contains(&days)) {
            return Err(RuleError::Keep);
        }
        if actions.suppress
            && (actions.keep_days.is_some() || actions.forward.is_some() || !actions.run.is_empty())
        {
            return Err(RuleError::Suppressed);
        }
        let fits = |word: &String| word.len() <= WORD_MAX && !word.contains('\0');
        let is_file = |program: &String| {
            !program.is_empty() && !program.contains('/') && program != "." && program != ".."
        };
        if actions.run.len() > WORDS_MAX
            || !actions.run.iter().all(fits)
            || !actions.run.first().is_none_or(is_file)
        {
            return Err(RuleError::Program);
        }
        Ok(())
    }
}

impl Condition {
    pub fn holds(&self, event: &Event) -> bool {
        self.messages.as_ref().is_none_or(|range| range.contains(&event.message))
            && self.severity.is_none_or(|least| event.severity >= least)
            && self.component.as_ref().is_none_or(|component| *component == event.component)
            && self.event_type.is_none_or(|event_type| event_type == event.event_type)
            && self.site.as_ref().is_none_or(|site| *site == event.site)
            && self.subject.as_ref().is_none_or(|pattern| matches(pattern, &event.subject))
    }
}

/// What becomes of a message. Of several rules that decide the same thing the first counts.
pub fn decide(rules: &[Rule], event: &Event) -> Fate {
    let (mut keep, mut forward) = (None, None);
    let (mut run, mut suppressed) = (Vec::new(), false);
    for rule in rules.iter().filter(|rule| rule.condition.holds(event)) {
        let actions = &rule.actions;
        keep = keep.or(actions.keep_days);
        forward = forward.or(actions.forward);
        suppressed |= actions.suppress && event.event_type != EventType::Audit;
        if !actions.run.is_empty() {
            run.push(actions.run.clone());
        }
        if rule.stop {
            break;
        }
    }
    let stays = event.event_type == EventType::Detail && event.severity == Severity::Info;
    let keep_default = if event.event_type == EventType::Audit { KEEP_AUDIT } else { KEEP };
    Fate {
        keep: keep.map_or(keep_default, |days| DAY.saturating_mul(days)),
        forward: forward.unwrap_or(if stays { Forward::No } else { Forward::With(Priority::Low) }),
        run: if suppressed { Vec::new() } else { run },
        suppressed,
    }
}

/// Whether a text is as a pattern says. Takes time in proportion to both at most.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut in_text) = (0, 0);
    // Where to go on after the last star took one character more.
    let mut star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, in_text));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    at = after;
                    in_text = from + 1;
                    star = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Timestamp;

    fn event(event_type: EventType, severity: Severity) -> Event {
        Event {
            site: "PAR".parse().expect("a code"),
            sequence: 1,
            at: Timestamp(0),
            component: "sender".to_owned(),
            severity,
            event_type,
            subject: "CEN00001".to_owned(),
            text: String::new(),
            message: 8210,
            fields: BTreeMap::new(),
            count: 1,
            last_at: Timestamp(0),
        }
    }

    fn days(keep: Duration) -> u64 {
        keep.as_secs() / DAY.as_secs()
    }

    #[test]
    fn without_rules_details_stay_and_everything_has_its_time() {
        use {EventType as T, Severity as S};
        for (event_type, severity, expected) in [
            (T::Milestone, S::Info, (30, Forward::With(Priority::Low))),
            (T::Detail, S::Info, (30, Forward::No)),
            (T::Detail, S::Warning, (30, Forward::With(Priority::Low))),
            (T::Detail, S::Error, (30, Forward::With(Priority::Low))),
            (T::Audit, S::Info, (180, Forward::With(Priority::Low))),
        ] {
            let fate = decide(&[], &event(event_type, severity));
            assert_eq!((days(fate.keep), fate.forward), expected, "{event_type:?} {severity:?}");
        }
    }

    #[test]
    fn a_rule_is_about_what_all_of_its_parts_hold_for() {
        let event = event(EventType::Milestone, Severity::Warning);
        let some = |text: &str| Some(text.to_owned());
        for (condition, holds) in [
            (Condition::default(), true),
            (Condition { messages: Some(8200..=8210), ..Condition::default() }, true),
            (Condition { messages: Some(8211..=9000), ..Condition::default() }, false),
            (Condition { severity: Some(Severity::Info), ..Condition::default() }, true),
            (Condition { severity: Some(Severity::Error), ..Condition::default() }, false),
            (Condition { component: some("sender"), ..Condition::default() }, true),
            (Condition { component: some("send"), ..Condition::default() }, false),
            (Condition { event_type: Some(EventType::Audit), ..Condition::default() }, false),
            (Condition { site: "PAR".parse().ok(), ..Condition::default() }, true),
            (Condition { site: "LYO".parse().ok(), ..Condition::default() }, false),
            (Condition { subject: some("CEN*"), ..Condition::default() }, true),
            (Condition { subject: some("CEN*2"), ..Condition::default() }, false),
            (
                Condition { subject: some("CEN*"), severity: Some(Severity::Error), ..Condition::default() },
                false,
            ),
        ] {
            assert_eq!(condition.holds(&event), holds, "{condition:?}");
        }
    }

    #[test]
    fn the_first_rule_that_decides_a_thing_decides_it() {
        let rule = |actions: Actions, stop: bool| Rule { actions, stop, ..Rule::default() };
        let keep = |days| rule(Actions { keep_days: Some(days), ..Actions::default() }, false);
        let run =
            |program: &str| rule(Actions { run: vec![program.to_owned()], ..Actions::default() }, false);
        let stays = rule(Actions { forward: Some(Forward::No), ..Actions::default() }, false);
        let stop = rule(Actions::default(), true);
        let suppress = rule(Actions { suppress: true, ..Actions::default() }, false);
        let milestone = event(EventType::Milestone, Severity::Error);

        let fate = decide(&[keep(7), stays.clone(), keep(9), run("page"), run("mail")], &milestone);
        assert_eq!((days(fate.keep), fate.forward), (7, Forward::No));
        assert_eq!(fate.run, [["page"], ["mail"]]);
        let fate = decide(&[keep(7), stop, stays], &milestone);
        assert_eq!(
            (days(fate.keep), fate.forward),
            (7, Forward::With(Priority::Low)),
            "after it nothing counts"
        );
        let fate = decide(&[run("page"), suppress.clone()], &milestone);
        assert!(fate.suppressed && fate.run.is_empty());
        assert!(
            !decide(&[suppress], &event(EventType::Audit, Severity::Info)).suppressed,
            "what people did is kept"
        );
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*", "aabaa", true),
            ("*ab", "aaab", true),
            ("a**", "a", true),
            ("ü?", "üö", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
        // One that would take for ever if it were tried in every way.
        assert!(!matches(&"*a".repeat(60), &format!("{}b", "a".repeat(128))));
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        let good = Actions { keep_days: Some(7), ..Actions::default() };
        let backwards = RangeInclusive::new(9, 8);
        let with = |actions: Actions| Rule { actions, ..Rule::default() };
        let run = |words: &[&str]| {
            with(Actions { run: words.iter().map(|w| (*w).to_owned()).collect(), ..Actions::default() })
        };
        for (rule, expected) in [
            (with(good.clone()), Ok(())),
            (Rule { stop: true, ..Rule::default() }, Ok(())),
            (Rule::default(), Err(RuleError::DecidesNothing)),
            (with(Actions { keep_days: Some(0), ..Actions::default() }), Err(RuleError::Keep)),
            (with(Actions { suppress: true, ..good.clone() }), Err(RuleError::Suppressed)),
            (run(&["page", "--loud"]), Ok(())),
            (run(&["/bin/sh"]), Err(RuleError::Program)),
            (run(&[".."]), Err(RuleError::Program)),
            (run(&["page", "a\0b"]), Err(RuleError::Program)),
            (Rule { name: "x".repeat(129), ..with(good.clone()) }, Err(RuleError::Text)),
            (
                Rule {
                    condition: Condition { messages: Some(backwards), ..Condition::default() },
                    ..with(good)
                },
                Err(RuleError::Range),
            ),
        ] {
            assert_eq!(rule.check(), expected, "{rule:?}");
        }
    }
}
