//! Status messages, once or as they come.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use packhorse_proto::{
    object::v1::{Event as WireEvent, Severity as WireSeverity},
    provider::v1 as wire,
};

use crate::{
    cli::status::{Events, Severity},
    commands::{now, watch::interrupted},
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

pub(crate) async fn events(session: &Session, events: Events) -> Result<(), ConsoleError> {
    let request = wire::ListEventsRequest {
        since_us: events.since.map_or(0, |since| since.resolve(now()).0),
        component: events.component,
        severity: severity(events.severity).into(),
        subject: events.subject,
        limit: events.limit,
    };
    if events.follow {
        return follow(session, request).await;
    }
    let mut list = list(session, &request).await?;
    list.reverse();
    show(&event::Events::new(list), session.format)
}

async fn list(session: &Session, request: &wire::ListEventsRequest) -> Result<Vec<WireEvent>, ConsoleError> {
    Ok(session.status().list_events(request.clone()).await?.into_inner().events)
}

async fn follow(session: &Session, mut request: wire::ListEventsRequest) -> Result<(), ConsoleError> {
    let mut stop = pin!(interrupted());
    let mut seen = Seen::default();
    let mut first = Some(usize::try_from(request.limit).unwrap_or(usize::MAX));
    // Messages from below come late, so that their times say nothing about what is new: all are asked for.
    request.limit = LIMIT_MAX;
    let mut lost = 0;
    loop {
        let answer = tokio::select! {
            () = &mut stop => return Ok(()),
            answer = list(session, &request) => answer,
        };
        match answer {
            Ok(list) => {
                lost = 0;
                let fresh = seen.fresh(list);
                let skipped = first.take().map_or(0, |shown| fresh.len().saturating_sub(shown));
                for event in fresh.into_iter().skip(skipped) {
                    show_line(&Event::from(event), session.format)?;
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

fn severity(severity: Severity) -> WireSeverity {
    match severity {
        Severity::Info => WireSeverity::Info,
        Severity::Warning => WireSeverity::Warning,
        Severity::Error => WireSeverity::Error,
    }
}

/// The messages of the last answer: what is not among them has come since.
#[derive(Default)]
struct Seen(BTreeSet<(String, u64)>);

impl Seen {
    /// New ones of a list that has the newest first, oldest first.
    fn fresh(&mut self, list: Vec<WireEvent>) -> Vec<WireEvent> {
        let now = list.iter().map(|event| (event.site.clone(), event.sequence)).collect();
        let before = std::mem::replace(&mut self.0, now);
        list.into_iter()
            .rev()
            .filter(|event| !before.contains(&(event.site.clone(), event.sequence)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_first(names: &[(&str, u64)]) -> Vec<WireEvent> {
        names
            .iter()
            .map(|(site, sequence)| WireEvent {
                site: (*site).to_owned(),
                sequence: *sequence,
                ..WireEvent::default()
            })
            .collect()
    }

    #[test]
    fn each_message_is_new_once_even_if_it_comes_late() {
        let mut seen = Seen::default();

        let first = seen.fresh(newest_first(&[("CEN", 2), ("CEN", 1)]));
        let second = seen.fresh(newest_first(&[("CEN", 2), ("PAR", 1), ("CEN", 1)]));
        let third = seen.fresh(newest_first(&[("CEN", 2), ("PAR", 1), ("CEN", 1)]));

        assert_eq!(first.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(second, newest_first(&[("PAR", 1)]));
        assert!(third.is_empty());
    }
}
