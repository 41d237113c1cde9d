//! Clients as they describe themselves.

use std::collections::BTreeMap;

use crate::id::{ClientId, SiteCode};

/// Discovery facts of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFact {
    pub id: ClientId,
    pub site: SiteCode,
    pub hostname: String,
    pub os: String,
    pub arch: String,
    pub labels: BTreeMap<String, String>,
    pub software: String,
}

/// Facts that are too large or malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    #[error("{0} has at most {TEXT_LENGTH_MAX} bytes and no control characters")]
    Text(&'static str),
    #[error("a client has at most {LABELS_MAX} labels")]
    TooManyLabels,
}

pub const TEXT_LENGTH_MAX: usize = 255;
pub const LABELS_MAX: usize = 64;

impl ClientFact {
    /// The value of a fact by its name in rules: `site`, `hostname`, `os`, `arch`, `id`, `label.NAME`.
    pub fn fact(&self, name: &str) -> Option<&str> {
        match name {
            "site" => Some(self.site.as_str()),
            "hostname" => Some(&self.hostname),
            "os" => Some(&self.os),
            "arch" => Some(&self.arch),
            "id" => Some(self.id.as_str()),
            _ => self.labels.get(name.strip_prefix("label.")?).map(String::as_str),
        }
    }

    pub fn check(&self) -> Result<(), FactError> {
        let fits = |text: &str| text.len() <= TEXT_LENGTH_MAX && !text.chars().any(char::is_control);
        for (name, text) in [
            ("hostname", &self.hostname),
            ("os", &self.os),
            ("arch", &self.arch),
            ("software version", &self.software),
        ] {
            if !fits(text) {
                return Err(FactError::Text(name));
            }
        }
        if self.labels.len() > LABELS_MAX {
            return Err(FactError::TooManyLabels);
        }
        if !self.labels.iter().all(|(name, value)| fits(name) && fits(value)) {
            return Err(FactError::Text("a label"));
        }
        Ok(())
    }
}
