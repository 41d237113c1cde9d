//! What a site server is doing.

mod links;
mod queues;
mod workers;

use packhorse_proto::{convert::time as known, provider::v1 as wire};
use serde::Serialize;

use crate::view::{Screen, View, amount, clean, section, table, time, word};

/// What was looked at; the rest is left out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Inspection {
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<Vec<workers::Worker>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Vec<links::Link>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queues: Option<Vec<queues::Queue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<Vec<OpenStream>>,
    #[serde(skip)]
    at_us: i64,
}

#[derive(Debug, Serialize)]
struct OpenStream {
    kind: String,
    peer: String,
    since: Option<String>,
    sent_bytes: u64,
    received_bytes: u64,
    #[serde(skip)]
    since_us: i64,
}

impl Inspection {
    pub(crate) fn take_workers(&mut self, answer: wire::ListWorkersResponse) {
        self.looked_at(answer.at);
        self.started_at = time(micros(answer.started_at));
        self.workers = Some(answer.workers.into_iter().map(Into::into).collect());
    }

    pub(crate) fn take_links(&mut self, answer: wire::ListLinksResponse) {
        self.looked_at(answer.at);
        self.links = Some(answer.links.into_iter().map(Into::into).collect());
    }

    pub(crate) fn take_queues(&mut self, answer: wire::ListQueuesResponse) {
        self.looked_at(answer.at);
        self.queues = Some(answer.queues.into_iter().map(Into::into).collect());
    }

    pub(crate) fn take_streams(&mut self, answer: wire::ListStreamsResponse) {
        self.looked_at(answer.at);
        self.streams = Some(answer.streams.into_iter().map(Into::into).collect());
    }

    /// The last look counts.
    fn looked_at(&mut self, at: Option<prost_types::Timestamp>) {
        self.at_us = micros(at);
        self.at = time(self.at_us);
    }

    fn streams(&self, streams: &[OpenStream], screen: Screen) -> String {
        let rows: Vec<_> = streams
            .iter()
            .map(|stream| {
                [
                    stream.kind.clone(),
                    stream.peer.clone(),
                    ago(self.at_us, stream.since_us),
                    amount(stream.sent_bytes),
                    amount(stream.received_bytes),
                ]
            })
            .collect();
        table(screen, ["STREAM", "PEER", "OPEN FOR", "SENT", "RECEIVED"], &rows, "no streams are open")
    }
}

impl From<wire::LiveStream> for OpenStream {
    fn from(stream: wire::LiveStream) -> Self {
        let kind = wire::StreamKind::try_from(stream.kind).map(|kind| kind.as_str_name());
        let since_us = micros(stream.since);
        OpenStream {
            kind: word(kind, "STREAM_KIND_").replace('_', "-"),
            peer: stream.peer,
            since: time(since_us),
            sent_bytes: stream.sent_bytes,
            received_bytes: stream.received_bytes,
            since_us,
        }
    }
}

impl View for Inspection {
    fn text(&self, screen: Screen) -> String {
        let mut parts = Vec::new();
        if let Some(workers) = &self.workers {
            parts.push(("Components", workers::text(workers, self.at_us, screen)));
        }
        if let Some(links) = &self.links {
            parts.push(("Links", links::text(links, self.at_us, screen)));
            parts.push(("On the line", links::lines(links, screen)));
            parts.push(("Moving", links::moving(links, screen)));
        }
        if let Some(queues) = &self.queues {
            parts.push(("Queues", queues::text(queues, screen)));
            parts.push(("Waiting", queues::items(queues, screen)));
        }
        if let Some(streams) = &self.streams {
            parts.push(("Streams", self.streams(streams, screen)));
        }
        let at = clean(self.at.as_deref().unwrap_or("unknown"));
        parts.into_iter().fold(format!("at {at}"), |text, (title, body)| text + &section(title, &body))
    }
}

/// A time on the wire; 0: none.
fn micros(at: Option<prost_types::Timestamp>) -> i64 {
    at.and_then(|at| known::point(&at)).map_or(0, |at| at.0)
}

fn span_us(length: Option<prost_types::Duration>) -> Option<u64> {
    let length = known::length(&length?)?;
    u64::try_from(length.as_micros()).ok()
}

/// How long before `at_us` something was.
fn ago(at_us: i64, then_us: i64) -> String {
    match then_us {
        0 => "-".to_owned(),
        then => span(u64::try_from(at_us.saturating_sub(then)).unwrap_or(0)),
    }
}

/// A length of time for people.
fn span(us: u64) -> String {
    const SECOND: u64 = 1_000_000;
    match us {
        ..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..SECOND => format!("{} ms", us / 1_000),
        SECOND..=99_999_999 => format!("{:.1} s", us as f64 / 1e6),
        100_000_000..=7_199_999_999 => format!("{} min", us / (60 * SECOND)),
        7_200_000_000..=172_799_999_999 => format!("{} h", us / (3_600 * SECOND)),
        _ => format!("{} d", us / (86_400 * SECOND)),
    }
}

fn span_or_dash(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), span)
}

#[cfg(test)]
mod tests {
    use packhorse_domain::Timestamp;
    use packhorse_proto::convert::time::timestamp;

    use super::*;

    const PIPE: Screen = Screen { terminal: false };
    pub(super) const NOW: i64 = 1_800_000_000_000_000;

    pub(super) fn at(before_s: i64) -> Option<prost_types::Timestamp> {
        Some(timestamp(Timestamp(NOW - before_s * 1_000_000)))
    }

    #[test]
    fn lengths_of_time_read_well() {
        for (us, expected) in [
            (0, "0.0 ms"),
            (4_300, "4.3 ms"),
            (250_000, "250 ms"),
            (4_200_000, "4.2 s"),
            (600_000_000, "10 min"),
            (18_000_000_000, "5 h"),
            (864_000_000_000, "10 d"),
        ] {
            assert_eq!(span(us), expected);
        }
    }

    #[test]
    fn only_what_was_looked_at_is_shown() {
        let mut seen = Inspection::default();
        let stream = wire::LiveStream {
            kind: wire::StreamKind::CapFeed.into(),
            peer: "cap cap1".to_owned(),
            since: at(90),
            sent_bytes: 2048,
            ..wire::LiveStream::default()
        };
        seen.take_streams(wire::ListStreamsResponse { at: at(0), streams: vec![stream] });

        let text = seen.text(PIPE);
        let document = serde_json::to_value(&seen).expect("json");

        assert!(text.starts_with("at 2027-01-15T08:00:00Z\n\nStreams\nSTREAM"), "{text}");
        assert!(text.contains("cap-feed") && text.contains("90.0 s") && text.contains("2.00 KiB"), "{text}");
        assert!(document.get("workers").is_none() && document.get("links").is_none());
        assert_eq!(document["streams"][0]["since"], "2027-01-15T07:58:30Z");
    }
}
