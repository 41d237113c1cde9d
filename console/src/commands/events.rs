//! Status messages, once or as they come.

use std::{pin::pin, time::Duration};

use packhorse_proto::{
    object::v1::{EventType as WireType, Severity as WireSeverity},
    provider::v1 as wire,
};

use crate::{
    cli::events::{EventType, EventsAction, EventsCommand, Severity},
    commands::{event_rules, now, watch::interrupted},
    connect::Session,
    error::ConsoleError,
    view::{
        event::{self, Event},
        show, show_line,
    },
};

const PERIOD: Duration = Duration::from_secs(1);
/// How often in a row a lost connection is tried again.
const LOST_MAX: u32 = 30;
/// The most that one answer holds.
const LIMIT_MAX: u32 = 1000;

pub(crate) async fn events(session: &Session, asked: EventsCommand) -> Result<(), ConsoleError> {
    if let Some(EventsAction::Rule { command }) = asked.action {
        return event_rules::rules(session, command).await;
    }
    let events = asked.events;
    let request = wire::ListEventsRequest {
        since_us: events.since.map_or(0, |since| since.resolve(now()).0),
        component: events.component,
        severity: severity(events.severity).into(),
        subject: events.subject,
        limit: events.limit,
        site: events.site.map(|site| site.to_string()).unwrap_or_default(),
        r#type: events.r#type.map_or(WireType::Unspecified, event_type).into(),
        message: events.message,
        after: None,
    };
    if events.follow {
        return follow(session, request).await;
    }
    let mut list = list(session, &request).await?.events;
    list.reverse();
    show(&event::Events::new(list), session.format)
}

async fn list(
    session: &Session,
    request: &wire::ListEventsRequest,
) -> Result<wire::ListEventsResponse, ConsoleError> {
    Ok(session.status().list_events(request.clone()).await?.into_inner())
}

/// First the newest, then each as it comes: the site server says where to go on, so that none is left out or shown twice.
async fn follow(session: &Session, mut request: wire::ListEventsRequest) -> Result<(), ConsoleError> {
    let mut stop = pin!(interrupted());
    let mut lost = 0;
    loop {
        let answer = tokio::select! {
            () = &mut stop => return Ok(()),
            answer = list(session, &request) => answer,
        };
        match answer {
            Ok(mut answer) => {
                lost = 0;
                if request.after.is_none() {
                    answer.events.reverse();
                }
                let is_more = request.after.is_some() && answer.events.len() == LIMIT_MAX as usize;
                for event in answer.events {
                    show_line(&Event::from(event), session.format)?;
                }
                request.after = Some(answer.cursor);
                request.limit = LIMIT_MAX;
                if is_more {
                    continue;
                }
            }
            Err(error) if error.is_transient() && lost < LOST_MAX => lost += 1,
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

pub(crate) fn event_type(event_type: EventType) -> WireType {
    match event_type {
        EventType::Milestone => WireType::Milestone,
        EventType::Detail => WireType::Detail,
        EventType::Audit => WireType::Audit,
    }
}

pub(crate) fn severity(severity: Severity) -> WireSeverity {
    match severity {
        Severity::Info => WireSeverity::Info,
        Severity::Warning => WireSeverity::Warning,
        Severity::Error => WireSeverity::Error,
    }
}
