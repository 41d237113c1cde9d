//! A bundle from the directory of a site whose server does not run, or cannot. Nothing there is changed.

use std::path::{Path, PathBuf};

use packhorse_domain::{Timestamp, id::SiteCode, redact::Redactor};
use packhorse_support::{Archive, Bundle, add_machine};
use serde_json::json;

use super::{database, files, know_secrets, title};
use crate::{directories::Directories, store::Store};

const NOT_RUNNING: &str = "only a site server that runs can say it";

/// Why there is no bundle at all.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("{0} is no directory: name the one that `site-server init --dir` made")]
    NoDirectory(PathBuf),
    #[error("cannot pack the bundle")]
    Pack(#[source] std::io::Error),
}

/// Makes a bundle of what can be read.
pub async fn offline(directory: &Path, now: Timestamp) -> Result<Archive, OfflineError> {
    if !directory.is_dir() {
        return Err(OfflineError::NoDirectory(directory.to_owned()));
    }
    let directories = Directories::new(directory);
    let code = code_of(&directories);
    let mut bundle = Bundle::new(Redactor::default());
    let store = Store::open_read_only(&directories.database()).await;
    know_secrets(&mut bundle, &directories, store.as_ref().ok()).await;
    let facts = json!({
        "software": env!("CARGO_PKG_VERSION"),
        "code": code.as_ref().map(ToString::to_string),
        "made": "by `site-server support-bundle`, without the server",
    });
    bundle.json("site.json", "The version of the program that made this.", &facts);
    add_machine(&mut bundle);
    files::add(&mut bundle, &directories);
    match &store {
        Ok(store) => {
            database::add_facts(&mut bundle, store).await;
            database::add_objects(&mut bundle, store, code.as_ref()).await;
            store.close().await;
        }
        Err(error) => {
            let error = packhorse_runtime::error_chain(error);
            bundle.missing("database", "Everything that the database says.", &error);
        }
    }
    bundle.missing("library.json", "What the content library takes.", &NOT_RUNNING);
    bundle.missing("live", "Components, links, queues, streams.", &NOT_RUNNING);
    let elsewhere = "it is with whoever runs the server, as `journalctl -u packhorse-site-server`";
    bundle.missing("log.txt", "The last lines that the site server logged.", &elsewhere);
    let name = code.map_or_else(|| "site".to_owned(), |code| code.to_string());
    bundle.finish(&title(&name, now)).map_err(OfflineError::Pack)
}

/// The site's code, if the settings are so far in order.
fn code_of(directories: &Directories) -> Option<SiteCode> {
    let text = std::fs::read_to_string(directories.config()).ok()?;
    let table: toml::Table = toml::from_str(&text).ok()?;
    table.get("code")?.as_str()?.parse().ok()
}
