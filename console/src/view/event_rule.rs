//! Rules for status messages.

use packhorse_proto::{
    object::v1::{EventType, Severity},
    provider::v1 as wire,
};
use serde::Serialize;

use crate::view::{Screen, View, or_dash, table, word};

#[derive(Debug, Serialize)]
pub(crate) struct EventRules {
    rules: Vec<EventRule>,
}

#[derive(Debug, Serialize)]
struct EventRule {
    place: usize,
    name: String,
    /// 0: of all numbers.
    first_message: u32,
    last_message: u32,
    /// This or worse; `None`: of all.
    severity: Option<String>,
    component: String,
    kind: Option<String>,
    site: String,
    subject: String,
    /// 0: not decided here.
    keep_days: u32,
    /// `None`: not decided here.
    forward: Option<String>,
    run: Vec<String>,
    suppress: bool,
    stop: bool,
}

impl EventRules {
    pub(crate) fn new(rules: Vec<wire::EventRule>) -> Self {
        EventRules { rules: (1..).zip(rules).map(EventRule::new).collect() }
    }
}

impl EventRule {
    fn new((place, rule): (usize, wire::EventRule)) -> Self {
        let some = |number: i32, word: String| (number != 0).then_some(word);
        EventRule {
            place,
            name: rule.name,
            first_message: rule.first_message,
            last_message: rule.last_message,
            severity: some(
                rule.severity,
                word(Severity::try_from(rule.severity).map(|name| name.as_str_name()), "SEVERITY_"),
            ),
            component: rule.component,
            kind: some(
                rule.r#type,
                word(EventType::try_from(rule.r#type).map(|name| name.as_str_name()), "EVENT_TYPE_"),
            ),
            site: rule.site,
            subject: rule.subject,
            keep_days: rule.keep_days,
            forward: some(
                rule.forward,
                word(wire::Forward::try_from(rule.forward).map(|name| name.as_str_name()), "FORWARD_"),
            ),
            run: rule.run,
            suppress: rule.suppress,
            stop: rule.stop,
        }
    }

    fn about(&self) -> String {
        let mut parts = Vec::new();
        match (self.first_message, self.last_message) {
            (0, 0) => {}
            (first, last) if first == last => parts.push(format!("message {first}")),
            (first, last) => parts.push(format!("messages {first}-{last}")),
        }
        parts.extend(self.severity.iter().map(|severity| format!("{severity} or worse")));
        parts.extend(self.kind.clone());
        for (what, text) in [("of", &self.component), ("at", &self.site), ("about", &self.subject)] {
            if !text.is_empty() {
                parts.push(format!("{what} {text}"));
            }
        }
        if parts.is_empty() { "all".to_owned() } else { parts.join(", ") }
    }

    fn decides(&self) -> String {
        let mut parts = Vec::new();
        if self.suppress {
            parts.push("suppress".to_owned());
        }
        if self.keep_days > 0 {
            parts.push(format!("keep {} days", self.keep_days));
        }
        parts.extend(self.forward.iter().map(|forward| format!("forward {forward}")));
        if !self.run.is_empty() {
            parts.push(format!("run {}", self.run.join(" ")));
        }
        if self.stop {
            parts.push("stop".to_owned());
        }
        parts.join(", ")
    }
}

impl View for EventRules {
    fn text(&self, screen: Screen) -> String {
        let row =
            |rule: &EventRule| [rule.place.to_string(), or_dash(&rule.name), rule.about(), rule.decides()];
        let rows: Vec<_> = self.rules.iter().map(row).collect();
        table(screen, ["PLACE", "NAME", "MESSAGES", "DECIDES"], &rows, "no rules: the defaults hold")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_what_it_is_about_and_what_it_decides() {
        let rule = wire::EventRule {
            first_message: 8200,
            last_message: 8299,
            severity: Severity::Warning.into(),
            r#type: EventType::Milestone.into(),
            site: "LYO".into(),
            keep_days: 7,
            forward: wire::Forward::No.into(),
            run: vec!["page".into(), "anna".into()],
            stop: true,
            ..wire::EventRule::default()
        };
        let rules = EventRules::new(vec![rule, wire::EventRule { suppress: true, ..Default::default() }]);

        let text = rules.text(Screen { terminal: false });
        assert!(text.contains("messages 8200-8299, warning or worse, milestone, at LYO"), "{text}");
        assert!(text.contains("keep 7 days, forward no, run page anna, stop"), "{text}");
        let last: Vec<&str> = text.lines().nth(2).expect("a line").split_whitespace().collect();
        assert_eq!(last, ["2", "-", "all", "suppress"]);
        let json = serde_json::to_value(&rules).expect("json");
        assert_eq!(
            (&json["rules"][0]["forward"], &json["rules"][1]["forward"]),
            (&"no".into(), &serde_json::Value::Null)
        );
    }
}
