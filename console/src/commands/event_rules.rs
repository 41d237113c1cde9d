//! Rules for status messages.

use packhorse_proto::{
    object::v1::{EventType as WireType, Severity as WireSeverity},
    provider::v1 as wire,
};

use crate::{
    cli::events::{Forward, NewRule, RuleCommand},
    commands::events::{event_type, severity},
    connect::Session,
    error::ConsoleError,
    view::{event_rule::EventRules, show},
};

pub(crate) async fn rules(session: &Session, command: RuleCommand) -> Result<(), ConsoleError> {
    let mut service = session.event_rules();
    let rules = match command {
        RuleCommand::List => {
            service.list_event_rules(wire::ListEventRulesRequest {}).await?.into_inner().rules
        }
        RuleCommand::Add(new) => {
            let request = wire::AddEventRuleRequest { place: new.place, rule: Some(rule(*new)) };
            service.add_event_rule(request).await?.into_inner().rules
        }
        RuleCommand::Remove { place } => {
            service.remove_event_rule(wire::RemoveEventRuleRequest { place }).await?.into_inner().rules
        }
        RuleCommand::Move { place, to } => {
            service.move_event_rule(wire::MoveEventRuleRequest { place, to }).await?.into_inner().rules
        }
    };
    show(&EventRules::new(rules), session.format)
}

fn rule(new: NewRule) -> wire::EventRule {
    let forward = match new.forward {
        None => wire::Forward::Unspecified,
        Some(Forward::No) => wire::Forward::No,
        Some(Forward::Low) => wire::Forward::Low,
        Some(Forward::Medium) => wire::Forward::Medium,
        Some(Forward::High) => wire::Forward::High,
    };
    wire::EventRule {
        name: new.name,
        first_message: new.message.as_ref().map_or(0, |range| *range.start()),
        last_message: new.message.as_ref().map_or(0, |range| *range.end()),
        severity: new.severity.map_or(WireSeverity::Unspecified, severity).into(),
        component: new.component,
        r#type: new.r#type.map_or(WireType::Unspecified, event_type).into(),
        site: new.site.map(|site| site.to_string()).unwrap_or_default(),
        subject: new.subject,
        keep_days: new.keep.unwrap_or_default(),
        forward: forward.into(),
        run: new.run,
        suppress: new.suppress,
        stop: new.stop,
    }
}
