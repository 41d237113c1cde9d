//! Programs that are run for messages, as the rules say: from a folder that only this machine's operator fills.
//!
//! They are run after the message is in the database, in the order in which messages come. After a crash some may be run
//! again.

use std::{path::Path, process::Stdio, time::Duration};

use futures::{StreamExt as _, stream};
use packhorse_domain::{
    message::{self, rules},
    status::Event,
};
use packhorse_proto::{convert, object::v1 as wire};
use tokio::{process::Command, time::timeout};

use crate::{
    error::Error,
    site::Site,
    status::report,
    store::{
        events::{self, Wanted},
        settings,
    },
};

const AT_ONCE: usize = 4;
const TIME: Duration = Duration::from_secs(60);
/// Messages that are looked at in one step.
const STEP: usize = 64;
/// What lies further back is not run any more.
const BEHIND_MAX: u64 = 1_000;

/// Runs what is to be run for messages that came since; says whether there may be more.
pub(super) async fn run_due(site: &Site, seen: &mut Option<u64>) -> Result<bool, Error> {
    let mut tx = site.store.read().await?;
    let newest = events::newest(&mut tx).await?;
    let rules = site.event_rules.get(&mut tx).await?;
    if rules.iter().all(|rule| rule.actions.run.is_empty()) {
        *seen = Some(newest);
        return Ok(false);
    }
    let kept = settings::get(&mut tx, settings::EVENT_PROGRAMS).await?;
    let kept = kept.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    // After a restore numbers go back.
    let from = seen.or(kept).unwrap_or(newest).min(newest).max(newest.saturating_sub(BEHIND_MAX));
    let found = events::list_after(&mut tx, &Wanted::default(), (from, STEP)).await?;
    drop(tx);
    let is_more = found.len() == STEP;
    let upto = if is_more { found.last().map_or(newest, |(arrival, _)| *arrival) } else { newest };
    let mut calls = Vec::new();
    for (_, body) in &found {
        let Ok(event) = convert::decode::<wire::Event, Event>(body) else { continue };
        // One that is counted anew was told already, and a program that fails is not told of its failure.
        if event.count > 1 || event.message == message::program_failed(&"", &"").number() {
            continue;
        }
        calls.extend(rules::decide(&rules, &event).run.into_iter().map(|words| (event.clone(), words)));
    }
    let folder = site.directories.event_programs();
    let folder = folder.as_path();
    let runs = calls.into_iter().map(|(event, words)| async move { run(folder, &event, &words).await });
    let ended: Vec<_> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    let failures: Vec<_> = ended.into_iter().flatten().collect();
    let mut tx = site.store.begin().await?;
    for (program, why) in &failures {
        report(site, &mut tx, site.code().as_str(), &message::program_failed(program, why)).await?;
    }
    if kept != Some(upto) {
        settings::set(&mut tx, settings::EVENT_PROGRAMS, &upto.to_le_bytes()).await?;
    }
    tx.commit().await?;
    *seen = Some(upto);
    Ok(is_more)
}

/// Runs one; what went wrong, if anything did.
async fn run(folder: &Path, event: &Event, words: &[String]) -> Option<(String, String)> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(folder.join(program));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(environment(event))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let why = match timeout(TIME, async { command.spawn()?.wait().await }).await {
        Ok(Ok(status)) if status.success() => return None,
        Ok(Ok(status)) => format!("it ended with {status}"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it was ended after {} s", TIME.as_secs()),
    };
    Some((program.clone(), why))
}

/// A message as a program gets it. No value can end a variable or begin another.
fn environment(event: &Event) -> Vec<(String, String)> {
    let clean = |text: &str| text.replace('\0', " ");
    let mut variables: Vec<_> = [
        ("SITE", event.site.to_string()),
        ("SEQUENCE", event.sequence.to_string()),
        ("AT_US", event.at.0.to_string()),
        ("COMPONENT", clean(&event.component)),
        ("SEVERITY", event.severity.as_str().to_owned()),
        ("TYPE", event.event_type.as_str().to_owned()),
        ("SUBJECT", clean(&event.subject)),
        ("NUMBER", event.message.to_string()),
        ("TEXT", clean(&event.shown())),
    ]
    .into_iter()
    .map(|(name, value)| (format!("PACKHORSE_{name}"), value))
    .collect();
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let fields = event.fields.iter().filter(|(name, _)| is_name(name));
    variables.extend(
        fields.map(|(name, value)| (format!("PACKHORSE_FIELD_{}", name.to_ascii_uppercase()), clean(value))),
    );
    variables
}
