//! A settings file without its comments and without its secrets.

use std::{fmt, fs, io, path::Path};

use packhorse_domain::redact::{REDACTED, is_secret_name};

/// No settings are near this size.
const BYTES_MAX: u64 = 1024 * 1024;

/// Settings that cannot be shown. The text shows nothing of the file: it was not understood, and may be anything.
#[derive(Debug)]
pub enum ConfigError {
    Read(io::Error),
    TooLong,
    Parse { line: Option<usize>, reason: String },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Read(error) => write!(f, "it cannot be read: {error}"),
            ConfigError::TooLong => write!(f, "it is longer than {BYTES_MAX} bytes"),
            ConfigError::Parse { line: Some(line), reason } => write!(f, "line {line} is no TOML: {reason}"),
            ConfigError::Parse { line: None, reason } => write!(f, "it is no TOML: {reason}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The settings in a TOML file: comments are left out, and so are the values of keys that hold secrets by their name.
pub fn config(path: &Path) -> Result<String, ConfigError> {
    if fs::metadata(path).map_err(ConfigError::Read)?.len() > BYTES_MAX {
        return Err(ConfigError::TooLong);
    }
    shown(&fs::read_to_string(path).map_err(ConfigError::Read)?)
}

fn shown(text: &str) -> Result<String, ConfigError> {
    let parsed = |error: toml::de::Error| ConfigError::Parse {
        line: error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1),
        // Without the excerpt that the whole error has.
        reason: error.message().to_owned(),
    };
    let mut table: toml::Table = toml::from_str(text).map_err(parsed)?;
    for (name, value) in &mut table {
        redact(name, value);
    }
    toml::to_string_pretty(&table)
        .map_err(|error| ConfigError::Parse { line: None, reason: error.to_string() })
}

fn redact(name: &str, value: &mut toml::Value) {
    match value {
        toml::Value::Table(table) => {
            for (inner, value) in table.iter_mut() {
                redact(if is_hidden(name) { name } else { inner }, value);
            }
        }
        toml::Value::Array(values) => values.iter_mut().for_each(|value| redact(name, value)),
        value if is_hidden(name) => *value = toml::Value::String(REDACTED.to_owned()),
        _ => {}
    }
}

/// In settings a bare `key` is one.
fn is_hidden(name: &str) -> bool {
    is_secret_name(name) || name.eq_ignore_ascii_case("key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_secret_values_go_and_the_rest_stays() {
        let text = "# password hunter2\ncode = \"CEN\" # hunter2\nkey = \"hunter2\"\nnumbers = [1, 2]\n\
                    [otlp]\nauth-token = [\"hunter2\", \"hunter2\"]\nendpoint = \"http://otel:4317\"\n\
                    [otlp.credentials]\nuser = \"hunter2\"\npin = 1234567\n";

        let shown = shown(text).unwrap();

        assert!(!shown.contains("hunter2") && !shown.contains("1234567"), "{shown}");
        for line in [
            "code = \"CEN\"",
            "key = \"[redacted]\"",
            "endpoint = \"http://otel:4317\"",
            "[otlp.credentials]",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }

    #[test]
    fn of_a_file_that_is_none_nothing_is_shown() {
        let error = shown("code = \"CEN\"\npassword = hunter2\n").unwrap_err();

        assert!(!error.to_string().contains("hunter2") && error.to_string().contains("line 2"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(config(&directory.path().join("none.toml")), Err(ConfigError::Read(_))));
    }
}
