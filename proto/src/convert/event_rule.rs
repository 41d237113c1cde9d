//! Rules for status messages.

use packhorse_domain::{
    Priority,
    message::rules::{Actions, Condition, Forward, Rule},
    status::{EventType, Severity},
};

use super::{ConvertError, invalid, parse, status};
use crate::{object::v1 as object, provider::v1 as wire};

impl From<&Rule> for wire::EventRule {
    fn from(rule: &Rule) -> Self {
        let Rule { name, condition, actions, stop } = rule;
        let forward = match actions.forward {
            None => wire::Forward::Unspecified,
            Some(Forward::No) => wire::Forward::No,
            Some(Forward::With(Priority::Low)) => wire::Forward::Low,
            Some(Forward::With(Priority::Medium)) => wire::Forward::Medium,
            Some(Forward::With(Priority::High)) => wire::Forward::High,
        };
        let severity = condition.severity.map_or(object::Severity::Unspecified, object::Severity::from);
        let event_type = condition.event_type.map_or(object::EventType::Unspecified, object::EventType::from);
        wire::EventRule {
            name: name.clone(),
            first_message: condition.messages.as_ref().map_or(0, |range| *range.start()),
            last_message: condition.messages.as_ref().map_or(0, |range| *range.end()),
            severity: severity.into(),
            component: condition.component.clone().unwrap_or_default(),
            r#type: event_type.into(),
            site: condition.site.as_ref().map(ToString::to_string).unwrap_or_default(),
            subject: condition.subject.clone().unwrap_or_default(),
            keep_days: actions.keep_days.unwrap_or_default(),
            forward: forward.into(),
            run: actions.run.clone(),
            suppress: actions.suppress,
            stop: *stop,
        }
    }
}

impl TryFrom<wire::EventRule> for Rule {
    type Error = ConvertError;

    fn try_from(rule: wire::EventRule) -> Result<Self, ConvertError> {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let forward = match wire::Forward::try_from(rule.forward) {
            Ok(wire::Forward::Unspecified) => None,
            Ok(wire::Forward::No) => Some(Forward::No),
            Ok(wire::Forward::Low) => Some(Forward::With(Priority::Low)),
            Ok(wire::Forward::Medium) => Some(Forward::With(Priority::Medium)),
            Ok(wire::Forward::High) => Some(Forward::With(Priority::High)),
            Err(_) => return Err(ConvertError::Unknown { field: "forward", value: rule.forward }),
        };
        let messages = match (rule.first_message, rule.last_message) {
            (0, 0) => None,
            (first, 0) => Some(first..=first),
            (first, last) => Some(first..=last),
        };
        let condition = Condition {
            messages,
            severity: optional_severity(rule.severity)?,
            component: some(rule.component),
            event_type: optional_type(rule.r#type)?,
            site: if rule.site.is_empty() { None } else { Some(parse("site", &rule.site)?) },
            subject: some(rule.subject),
        };
        let actions = Actions {
            keep_days: (rule.keep_days != 0).then_some(rule.keep_days),
            forward,
            run: rule.run,
            suppress: rule.suppress,
        };
        let rule = Rule { name: rule.name, condition, actions, stop: rule.stop };
        rule.check().map_err(|error| invalid("rule", error))?;
        Ok(rule)
    }
}

/// A severity that need not be given.
pub fn optional_severity(value: i32) -> Result<Option<Severity>, ConvertError> {
    if value == 0 { Ok(None) } else { status::severity(value).map(Some) }
}

/// A type of messages that need not be given.
pub fn optional_type(value: i32) -> Result<Option<EventType>, ConvertError> {
    if value == 0 { Ok(None) } else { status::event_type(value).map(Some) }
}
