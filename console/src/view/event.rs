//! Status messages.

use packhorse_proto::object::v1::{Event as WireEvent, EventType, Severity};
use std::collections::BTreeMap;

use packhorse_domain::message;
use serde::Serialize;

use crate::view::{Screen, View, clock, or_dash, table, time, word};

#[derive(Debug, Serialize)]
pub(crate) struct Events {
    events: Vec<Event>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Event {
    at: Option<String>,
    site: String,
    sequence: u64,
    component: String,
    severity: String,
    kind: String,
    subject: String,
    text: String,
    /// Its number in the catalogue; 0: it has none.
    message: u32,
    fields: BTreeMap<String, String>,
    /// How often it was said.
    count: u64,
    last_at: Option<String>,
}

impl Events {
    /// From messages in the order in which they are to be shown.
    pub(crate) fn new(events: Vec<WireEvent>) -> Self {
        Events { events: events.into_iter().map(Event::from).collect() }
    }
}

impl From<WireEvent> for Event {
    fn from(event: WireEvent) -> Self {
        let fields: BTreeMap<_, _> = event.fields.into_iter().collect();
        Event {
            at: time(event.at_us),
            site: event.site,
            sequence: event.sequence,
            component: event.component,
            severity: word(Severity::try_from(event.severity).map(|name| name.as_str_name()), "SEVERITY_"),
            kind: word(EventType::try_from(event.r#type).map(|name| name.as_str_name()), "EVENT_TYPE_"),
            subject: event.subject,
            text: message::text_of(event.message, &fields, &event.text),
            message: event.message,
            fields,
            count: event.count.max(1),
            last_at: time(if event.count > 1 { event.last_at_us } else { event.at_us }),
        }
    }
}

impl Event {
    /// Its text, and how often it was said.
    fn said(&self) -> String {
        match self.count {
            1 => self.text.clone(),
            count => format!("{} ({count} times until {})", self.text, clock(self.last_at.as_deref())),
        }
    }
}

impl View for Events {
    fn text(&self, screen: Screen) -> String {
        let row = |event: &Event| {
            [
                clock(event.at.as_deref()),
                event.site.clone(),
                event.component.clone(),
                event.severity.clone(),
                if event.message == 0 { "-".to_owned() } else { event.message.to_string() },
                or_dash(&event.subject),
                event.said(),
            ]
        };
        let rows: Vec<_> = self.events.iter().map(row).collect();
        table(
            screen,
            ["TIME", "SITE", "COMPONENT", "SEVERITY", "MESSAGE", "ABOUT", "TEXT"],
            &rows,
            "no messages",
        )
    }
}

impl View for Event {
    /// One line, for a list that goes on: columns cannot be measured before they come.
    fn text(&self, _screen: Screen) -> String {
        super::clean(&format!(
            "{} {} {:<20} {:<7} {:>5} {:<8} {}",
            clock(self.at.as_deref()),
            self.site,
            self.component,
            self.severity,
            self.message,
            or_dash(&self.subject),
            self.said()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let event = Event::from(WireEvent {
            site: "PAR".into(),
            sequence: 9,
            at_us: 1_000_000,
            component: "despooler".into(),
            severity: Severity::Warning as i32,
            r#type: EventType::Milestone as i32,
            subject: "CEN00001".into(),
            text: "two\nlines".into(),
            count: 3,
            last_at_us: 61_000_000,
            ..WireEvent::default()
        });

        let line = event.text(Screen { terminal: false });
        assert!(line.starts_with("1970-01-01 00:00:01Z PAR despooler"), "{line}");
        assert!(line.ends_with("two lines (3 times until 1970-01-01 00:01:01Z)"), "{line}");
        assert!(!line.contains('\n'), "{line}");
        let json = serde_json::to_value(&event).expect("json");
        assert_eq!((&json["severity"], &json["kind"]), (&"warning".into(), &"milestone".into()));
        assert_eq!(json["text"], "two\nlines");
    }
}
