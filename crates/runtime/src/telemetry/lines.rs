//! Log lines on standard error, each of a length that a disk and a reader can bear.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use packhorse_domain::status::cut;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;

/// A line, or a message to the journal, is not longer.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;
/// Of a line that is too long, each field.
const FIELD_BYTES_MAX: usize = 2 * 1024;

/// Writes whole lines to standard error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines(pub(super) LogFormat);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        *self
    }
}

impl Write for Lines {
    /// The formatter hands over one line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&bounded(line, self.0))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The line with what is too long of it left out, and that said.
fn bounded(line: &[u8], format: LogFormat) -> Cow<'_, [u8]> {
    if line.len() <= LINE_BYTES_MAX {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(line);
    let shorter = match format {
        LogFormat::Text => shorter(text.trim_end(), LINE_BYTES_MAX),
        LogFormat::Json => shorter_json(&text),
    };
    Cow::Owned(format!("{shorter}\n").into_bytes())
}

fn shorter_json(text: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
        // The formatter writes nothing else.
        return serde_json::json!({ "message": shorter(text, FIELD_BYTES_MAX) }).to_string();
    };
    fields.values_mut().for_each(shorten);
    let whole = Value::Object(fields.clone()).to_string();
    if whole.len() < LINE_BYTES_MAX {
        return whole;
    }
    // Many long fields: what makes it a line of a log stays.
    fields.retain(|name, _| matches!(name.as_str(), "timestamp" | "level" | "target" | "message"));
    fields.insert("cut_bytes".to_owned(), text.len().into());
    Value::Object(fields).to_string()
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > FIELD_BYTES_MAX => *text = shorter(text, FIELD_BYTES_MAX),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

/// At most so many bytes, with a note of how many are missing.
pub(super) fn shorter(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let kept = cut(text, longest.saturating_sub(40));
    format!("{kept} ...({} bytes more)", text.len() - kept.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let line = format!("INFO sender: {}\n", "é".repeat(LINE_BYTES_MAX));

        let cut = bounded(line.as_bytes(), LogFormat::Text);

        let cut = std::str::from_utf8(&cut).expect("UTF-8");
        assert!(cut.len() <= LINE_BYTES_MAX && cut.starts_with("INFO sender: é"), "{}", cut.len());
        assert!(cut.ends_with("bytes more)\n"), "{}", &cut[cut.len() - 40..]);
        assert_eq!(*bounded(b"short\n", LogFormat::Text), *b"short\n");
    }

    #[test]
    fn json_stays_json() {
        let line =
            serde_json::json!({ "level": "INFO", "message": "m", "error": "e".repeat(50_000), "n": 7 });

        let cut = bounded(line.to_string().as_bytes(), LogFormat::Json).into_owned();

        let read: Value = serde_json::from_slice(&cut).expect("JSON");
        assert!(cut.len() <= LINE_BYTES_MAX && cut.ends_with(b"}\n"));
        assert_eq!((&read["message"], &read["n"]), (&"m".into(), &7.into()));
        assert!(read["error"].as_str().expect("a text").ends_with("bytes more)"));
    }

    #[test]
    fn json_of_many_long_fields_keeps_what_makes_it_a_line() {
        let mut line = serde_json::json!({ "level": "INFO", "message": "m" });
        for number in 0..20 {
            line[format!("field{number}")] = "x".repeat(3_000).into();
        }

        let cut = bounded(line.to_string().as_bytes(), LogFormat::Json).into_owned();

        let read: Value = serde_json::from_slice(&cut).expect("JSON");
        assert!(cut.len() <= LINE_BYTES_MAX);
        assert_eq!(read["message"], "m");
        assert!(read["cut_bytes"].as_u64() > Some(60_000));
    }
}
