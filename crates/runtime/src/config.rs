//! Settings: one TOML file per program, checked whole before anything starts.
//!
//! What does not parse is shown where it stands; what does not make sense is collected, so that one run tells all
//! that is wrong. Types to load carry `#[serde(deny_unknown_fields)]`: a misspelt setting must not be silent.

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::error::error_chain;

/// No configuration is near this size; a device or a log given by mistake is.
const LENGTH_MAX: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read configuration {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("configuration {} is longer than {LENGTH_MAX} bytes", path.display())]
    TooLong { path: PathBuf },
    /// The source's text has the line, the column and the line itself.
    #[error("cannot understand configuration {}", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("configuration {} is not right:\n{problems}", path.display())]
    Invalid { path: PathBuf, problems: Problems },
}

/// What is wrong with settings that parsed. Each is named by its place in the file, as `link.window_kib`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<(String, String)>);

pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = read(path)?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
}

impl Problems {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self, setting: impl Into<String>, text: impl Into<String>) {
        self.0.push((setting.into(), text.into()));
    }

    /// The value, or `None` and one more problem.
    pub fn check<T, E: Error>(&mut self, setting: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(setting, error_chain(&error))).ok()
    }

    /// One more problem unless `holds`; `text` says what is expected.
    pub fn require(&mut self, setting: &str, holds: bool, text: &str) {
        if !holds {
            self.add(setting, text);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error that shows all of them, if there are any.
    pub fn into_result(self, path: &Path) -> Result<(), ConfigError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid { path: path.to_owned(), problems: self })
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (setting, text)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "  {setting}: {text}")?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(LENGTH_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LENGTH_MAX {
        return Err(ConfigError::TooLong { path: path.to_owned() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{fs, net::SocketAddr};

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        listen: String,
        window_kib: u32,
    }

    fn load_text(text: &str) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.toml");
        fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn a_misspelt_setting_is_shown_where_it_stands() {
        let error = load_text("listen = \"x\"\nwindow_kb = 5\nwindow_kib = 5\n").unwrap_err();

        let text = error_chain(&error);
        assert!(text.contains("site.toml"), "{text}");
        assert!(text.contains("line 2, column 1"), "{text}");
        assert!(text.contains("2 | window_kb = 5"), "{text}");
        assert!(text.contains("^^^^^^^^^"), "{text}");
        assert!(text.contains("unknown field `window_kb`"), "{text}");
    }

    #[test]
    fn one_run_shows_every_problem() {
        let settings = load_text("listen = \"nowhere\"\nwindow_kib = 0\n").unwrap();

        let mut problems = Problems::new();
        let listen = problems.check("listen", settings.listen.parse::<SocketAddr>());
        problems.require("window_kib", settings.window_kib > 0, "at least 1 is expected");
        let error = problems.into_result(Path::new("/etc/site.toml")).unwrap_err();

        assert_eq!(listen, None);
        assert_eq!(
            error.to_string(),
            "configuration /etc/site.toml is not right:\n  listen: invalid socket address syntax\n  \
             window_kib: at least 1 is expected"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load::<Settings>(Path::new("/nowhere/site.toml")).unwrap_err();

        assert_eq!(error.to_string(), "cannot read configuration /nowhere/site.toml");
    }

    #[test]
    fn a_file_of_no_sensible_length_is_refused() {
        let error = load_text(&"#\n".repeat(600_000)).unwrap_err();

        assert!(matches!(error, ConfigError::TooLong { .. }), "{error}");
    }
}
