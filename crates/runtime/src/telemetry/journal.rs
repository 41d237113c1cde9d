//! Logs in the systemd journal, with their fields as fields: `journalctl PACKHORSE_PEER=PAR`.
//!
//! Its native protocol is a datagram of fields. What we send is bounded and always fits one, so nothing else of the
//! protocol is needed.

use std::{
    env, fmt, io,
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    COMPONENT,
    lines::{LINE_BYTES_MAX, shorter},
};

const SOCKET: &str = "/run/systemd/journal/socket";
const FIELD_BYTES_MAX: usize = 4 * 1024;
const NAME_BYTES_MAX: usize = 64;

/// Sends each event to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    identifier: String,
}

/// A span's fields as they are sent with each of its events.
struct SpanFields(Fields);

/// An entry, or a part of one.
#[derive(Debug, Default, Clone)]
struct Fields(Vec<u8>);

impl Journal {
    /// If this process's standard error goes to the journal, and the journal can be reached directly.
    pub(super) fn of_process(service: &str) -> Option<Journal> {
        let named = env::var("JOURNAL_STREAM").ok()?;
        is_stream(&named, io::stderr()).then(|| Journal::open(Path::new(SOCKET), service).ok()).flatten()
    }

    fn open(path: &Path, service: &str) -> io::Result<Journal> {
        let journal = Journal {
            socket: UnixDatagram::unbound()?,
            path: path.to_owned(),
            identifier: service.to_owned(),
        };
        // The journal takes an empty datagram for nothing; one that is not there refuses it.
        journal.socket.send_to(&[], path)?;
        Ok(journal)
    }
}

/// Whether `DEVICE:INODE` is this file, as systemd says it of what it has connected to the journal. A program that was
/// started with its output elsewhere has the variable as well.
fn is_stream(named: &str, file: impl AsFd) -> bool {
    let Some((device, inode)) = named.split_once(':') else { return false };
    let (Ok(device), Ok(inode)) = (device.parse::<u64>(), inode.parse::<u64>()) else { return false };
    rustix::fs::fstat(file).is_ok_and(|file| (file.st_dev, file.st_ino) == (device, inode))
}

impl<S> Layer<S> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        // What makes it an entry comes first, so that long fields never crowd it out.
        let mut entry = Fields::default();
        entry.put("PRIORITY", priority(metadata.level()));
        entry.put("SYSLOG_IDENTIFIER", &self.identifier);
        entry.put("TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        let mut spans = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if span.metadata().target() != COMPONENT {
                spans.push(span.name());
            }
            if let Some(SpanFields(fields)) = span.extensions().get()
                && entry.0.len() + fields.0.len() <= LINE_BYTES_MAX
            {
                entry.0.extend_from_slice(&fields.0);
            }
        }
        if !spans.is_empty() {
            entry.put("PACKHORSE_SPANS", &spans.join(" "));
        }
        // A journal that takes nothing now is the machine's trouble, and there is nowhere to tell of it.
        let _ = self.socket.send_to(&entry.0, &self.path);
    }
}

/// As syslog numbers them.
fn priority(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

impl Fields {
    fn put(&mut self, name: &str, value: &str) {
        let value = shorter(value, FIELD_BYTES_MAX);
        if self.0.len() + name.len() + value.len() + 16 > LINE_BYTES_MAX {
            return;
        }
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

/// The journal takes capitals, digits and underscores.
fn field_name(field: &Field) -> String {
    if field.name() == "message" {
        return "MESSAGE".to_owned();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut name = format!("PACKHORSE_{}", field.name().chars().map(plain).collect::<String>());
    name.truncate(NAME_BYTES_MAX);
    name
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(&field_name(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(&field_name(field), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs::File, os::unix::fs::MetadataExt as _};

    use tracing_subscriber::{Registry, layer::SubscriberExt as _};

    use super::*;

    /// Reads an entry as the journal does.
    fn parse(mut entry: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|b| matches!(b, b'=' | b'\n')).expect("a name");
            let name = String::from_utf8(entry[..end].to_vec()).expect("a name");
            let is_long = entry[end] == b'\n';
            entry = &entry[end + 1..];
            let length = if is_long {
                let length = u64::from_le_bytes(entry[..8].try_into().expect("a length"));
                entry = &entry[8..];
                usize::try_from(length).expect("a length")
            } else {
                entry.iter().position(|b| *b == b'\n').expect("the end of a value")
            };
            fields.insert(name, String::from_utf8(entry[..length].to_vec()).expect("a value"));
            assert_eq!(entry[length], b'\n');
            entry = &entry[length + 1..];
        }
        fields
    }

    fn sent(log: impl FnOnce()) -> BTreeMap<String, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let receiver = UnixDatagram::bind(&path).expect("a socket");
        let journal = Journal::open(&path, "packhorse-test").expect("the journal");
        let mut buffer = vec![0; 256 * 1024];
        assert_eq!(receiver.recv(&mut buffer).expect("the first"), 0);
        tracing::subscriber::with_default(Registry::default().with(journal), log);
        let length = receiver.recv(&mut buffer).expect("an entry");
        assert!(length <= LINE_BYTES_MAX + 1024, "{length}");
        parse(&buffer[..length])
    }

    #[test]
    fn fields_of_events_and_spans_arrive_as_fields() {
        let fields = sent(|| {
            let span = tracing::info_span!("step", component = "sender", peer.name = "PAR");
            span.in_scope(|| tracing::warn!(target: "sender", bytes = 7, "two\nlines"));
        });

        for (name, value) in [
            ("MESSAGE", "two\nlines"),
            ("PRIORITY", "4"),
            ("TARGET", "sender"),
            ("SYSLOG_IDENTIFIER", "packhorse-test"),
            ("PACKHORSE_BYTES", "7"),
            ("PACKHORSE_COMPONENT", "sender"),
            ("PACKHORSE_PEER_NAME", "PAR"),
            ("PACKHORSE_SPANS", "step"),
        ] {
            assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name} in {fields:?}");
        }
    }

    #[test]
    fn an_entry_is_bounded() {
        let long = "x".repeat(100_000);

        let fields = sent(|| tracing::info!(a = long, b = long, c = long, d = long, e = long, "said"));

        assert_eq!(fields["MESSAGE"], "said");
        assert!(fields["PACKHORSE_A"].ends_with("bytes more)"));
        assert!(fields.contains_key("PRIORITY"), "what makes it an entry is always there");
    }

    #[test]
    fn a_stream_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().expect("a file");
        let stat = file.metadata().expect("metadata");
        let named = format!("{}:{}", stat.dev(), stat.ino());

        assert!(is_stream(&named, &file));
        assert!(!is_stream(&named, File::open("/dev/null").expect("a file")));
        assert!(!is_stream("", &file) && !is_stream("7", &file) && !is_stream("a:b", &file));
    }
}
