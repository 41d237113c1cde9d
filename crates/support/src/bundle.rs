//! An archive of texts, with a file in it that says what each of them is.

use std::{fmt::Display, io};

use packhorse_domain::{Timestamp, redact::Redactor};
use serde::Serialize;
use serde_json::Value;

/// More of one part is cut off, of all parts together left out.
const PART_BYTES_MAX: usize = 8 * 1024 * 1024;
const BYTES_MAX: usize = 48 * 1024 * 1024;
const LEVEL: i32 = 9;
const README: &str = "README.txt";

/// What a bundle is of.
#[derive(Debug, Clone)]
pub struct Title {
    /// As `site server CEN`.
    pub of: String,
    /// Letters, digits and dashes, as `CEN`: the archive's directory is named after it.
    pub name: String,
    pub made_at: Timestamp,
}

/// Parts that are being collected. Nothing fails: what cannot be had is named in its place.
#[derive(Debug, Default)]
pub struct Bundle {
    redactor: Redactor,
    parts: Vec<Part>,
    bytes: usize,
}

/// A whole archive: tar within zstd.
#[derive(Debug, Clone)]
pub struct Archive {
    pub bytes: Vec<u8>,
    pub files: u32,
}

#[derive(Debug)]
struct Part {
    name: String,
    about: String,
    /// Empty: all of it is there.
    lacks: String,
    text: Option<String>,
}

impl Bundle {
    pub fn new(redactor: Redactor) -> Self {
        Bundle { redactor, parts: Vec::new(), bytes: 0 }
    }

    /// From now on this is taken out as well.
    pub fn redact(&mut self, change: impl FnOnce(Redactor) -> Redactor) {
        self.redactor = change(std::mem::take(&mut self.redactor));
    }

    /// A part as it is read by people.
    pub fn text(&mut self, name: &str, about: &str, text: &str) {
        let text = self.redactor.text(text);
        self.push(name, about, text);
    }

    /// A part that programs read too. It stays one document: only the strings in it are looked through.
    pub fn json(&mut self, name: &str, about: &str, value: &impl Serialize) {
        let document = serde_json::to_value(value)
            .map(|value| self.without_secrets(value))
            .and_then(|value| serde_json::to_string_pretty(&value));
        match document {
            Ok(text) => self.push(name, about, text + "\n"),
            Err(error) => self.missing(name, about, &error),
        }
    }

    /// A part that could not be had.
    pub fn missing(&mut self, name: &str, about: &str, error: &dyn Display) {
        let lacks = self.redactor.text(&format!("missing: {error}"));
        self.parts.push(Part { name: name.to_owned(), about: about.to_owned(), lacks, text: None });
    }

    /// What came of reading a part, as people read it.
    pub fn text_of<E: Display>(&mut self, name: &str, about: &str, read: Result<String, E>) {
        match read {
            Ok(text) => self.text(name, about, &text),
            Err(error) => self.missing(name, about, &error),
        }
    }

    /// The same for programs.
    pub fn json_of<T: Serialize, E: Display>(&mut self, name: &str, about: &str, read: Result<T, E>) {
        match read {
            Ok(value) => self.json(name, about, &value),
            Err(error) => self.missing(name, about, &error),
        }
    }

    /// Writes all of it into one archive.
    pub fn finish(mut self, title: &Title) -> io::Result<Archive> {
        let readme = self.redactor.text(&self.readme(title));
        let readme =
            Part { name: README.to_owned(), about: String::new(), lacks: String::new(), text: Some(readme) };
        self.parts.insert(0, readme);
        let directory = format!("packhorse-support-{}", title.name);
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), LEVEL)?);
        let mut files = 0;
        for part in &self.parts {
            let Some(text) = &part.text else { continue };
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(u64::try_from(title.made_at.0 / 1_000_000).unwrap_or_default());
            tar.append_data(&mut header, format!("{directory}/{}", part.name), text.as_bytes())?;
            files += 1;
        }
        Ok(Archive { bytes: tar.into_inner()?.finish()?, files })
    }

    fn push(&mut self, name: &str, about: &str, mut text: String) {
        let mut lacks = String::new();
        if text.len() > PART_BYTES_MAX {
            lacks = format!("cut: the first {PART_BYTES_MAX} of {} bytes", text.len());
            text.truncate(text.floor_char_boundary(PART_BYTES_MAX));
        }
        if self.bytes + text.len() > BYTES_MAX {
            return self.missing(name, about, &"the bundle is full");
        }
        self.bytes += text.len();
        self.parts.push(Part { name: name.to_owned(), about: about.to_owned(), lacks, text: Some(text) });
    }

    fn without_secrets(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redactor.text(&text)),
            Value::Array(values) => {
                Value::Array(values.into_iter().map(|value| self.without_secrets(value)).collect())
            }
            Value::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (self.redactor.text(&name), self.without_secrets(value)))
                    .collect(),
            ),
            other => other,
        }
    }

    fn readme(&self, title: &Title) -> String {
        let made_at = jiff::Timestamp::from_microsecond(title.made_at.0).unwrap_or_default();
        let width = self.parts.iter().map(|part| part.name.len()).max().unwrap_or_default();
        let mut text = format!(
            "Support bundle of Packhorse {}, made at {}.\n\n\
             It has what is needed to see what is wrong, and no keys, tokens or passwords: they are not collected, and \
             what looks like one is replaced by [redacted]. Names of machines, sites and packages are in it. Look through \
             it before you give it away.\n\n",
            title.of,
            made_at.strftime("%Y-%m-%d %H:%M:%SZ"),
        );
        for part in &self.parts {
            let lacks = if part.lacks.is_empty() { String::new() } else { format!(" ({})", part.lacks) };
            text.push_str(&format!("{:<width$}  {}{lacks}\n", part.name, part.about));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use serde_json::json;

    use super::*;

    fn unpacked(archive: &Archive) -> BTreeMap<String, String> {
        let mut tar = tar::Archive::new(zstd::Decoder::new(archive.bytes.as_slice()).unwrap());
        let entries = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mode().unwrap(), 0o600);
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        });
        entries.collect()
    }

    fn title() -> Title {
        let made_at = Timestamp(1_795_780_248_000_000);
        Title { of: "site server CEN".to_owned(), name: "CEN".to_owned(), made_at }
    }

    #[test]
    fn the_archive_explains_itself_and_names_what_it_lacks() {
        let mut bundle = Bundle::new(Redactor::default());
        bundle.text("log.txt", "The last lines of the log.", "one\ntwo\n");
        bundle.json("disk.json", "Room on the disk.", &json!({ "free_bytes": 7 }));
        bundle.missing("database.json", "The database.", &"it is locked");
        bundle.text("large.txt", "Too much.", &"x".repeat(PART_BYTES_MAX + 1));

        let archive = bundle.finish(&title()).unwrap();
        let files = unpacked(&archive);

        assert_eq!(archive.files as usize, files.len());
        assert_eq!(files["packhorse-support-CEN/log.txt"], "one\ntwo\n");
        assert_eq!(files["packhorse-support-CEN/large.txt"].len(), PART_BYTES_MAX);
        assert!(!files.contains_key("packhorse-support-CEN/database.json"));
        let readme = &files["packhorse-support-CEN/README.txt"];
        for line in [
            "log.txt        The last lines of the log.",
            "database.json  The database. (missing: it is locked)",
            "large.txt      Too much. (cut: the first 8388608 of 8388609 bytes)",
            "site server CEN, made at 2026-11-27 11:50:48Z",
        ] {
            assert!(readme.contains(line), "{line} is not in\n{readme}");
        }
    }

    #[test]
    fn nothing_secret_gets_in_by_whatever_way_and_documents_stay_documents() {
        let mut bundle = Bundle::new(Redactor::default());
        let url = "http://anna:pa55word@otel:4317";
        bundle.text("a.txt", "", &format!("{url}\npassword=pa55word"));
        bundle.json("b.json", "", &json!({ "url": url, "said": "password = \"pa55word\"", url: [url] }));
        bundle.missing("c.txt", "", &format!("cannot read {url}"));

        let files = unpacked(&bundle.finish(&title()).unwrap());

        assert!(files.values().all(|text| !text.contains("pa55word")), "{files:?}");
        let document: Value = serde_json::from_str(&files["packhorse-support-CEN/b.json"]).unwrap();
        assert_eq!(document["said"], "password = \"[redacted]\"");
    }

    #[test]
    fn a_bundle_that_is_full_takes_no_more() {
        let mut bundle = Bundle::new(Redactor::default());
        for number in 0..7 {
            bundle.push(&format!("{number}.txt"), "Much.", "x".repeat(PART_BYTES_MAX));
        }

        let files = unpacked(&bundle.finish(&title()).unwrap());

        assert_eq!(files.len(), 7, "six and the file that explains them");
        assert!(
            files["packhorse-support-CEN/README.txt"].contains("6.txt  Much. (missing: the bundle is full)")
        );
    }
}
