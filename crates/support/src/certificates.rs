//! The public facts of the certificates in a directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use packhorse_domain::Timestamp;
use packhorse_trust::certificate_facts;
use serde_json::{Value, json};
use walkdir::WalkDir;

const CERTIFICATE_BYTES_MAX: u64 = 64 * 1024;

/// Of the `*.pem` in these places and one level below; named relative to `root`. A file with a key has no certificate in
/// it and is passed over.
pub fn certificates(root: &Path, places: &[PathBuf]) -> Vec<Value> {
    let entries = places.iter().flat_map(|place| WalkDir::new(place).max_depth(2).sort_by_file_name());
    let files = entries.filter_map(Result::ok).filter(|entry| {
        let is_pem = entry.path().extension().is_some_and(|end| end == "pem");
        is_pem && entry.metadata().is_ok_and(|facts| facts.is_file() && facts.len() < CERTIFICATE_BYTES_MAX)
    });
    let mut found = Vec::new();
    for entry in files {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let Some(facts) = certificate_facts(&text) else { continue };
        found.push(json!({
            "file": entry.path().strip_prefix(root).unwrap_or(entry.path()).display().to_string(),
            "subject": facts.subject,
            "issuer": facts.issuer,
            "serial": facts.serial,
            "identity": facts.identity,
            "is_authority": facts.is_authority,
            "not_before": time(facts.not_before),
            "not_after": time(facts.not_after),
        }));
    }
    found
}

fn time(at: Timestamp) -> Option<String> {
    jiff::Timestamp::from_microsecond(at.0).ok().map(|at| at.to_string())
}
