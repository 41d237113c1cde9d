//! Status Manager: status messages.
//!
//! State that people count on is not here: it is written as objects by whoever knows it.

mod health;
#[cfg(test)]
mod health_tests;
mod manager;
mod programs;
pub(crate) mod rules;
#[cfg(test)]
mod scale;
pub(crate) mod surroundings;
#[cfg(test)]
mod tests;

use std::{
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

use packhorse_domain::{
    Timestamp,
    id::SiteCode,
    message::{
        self, Message,
        rules::decide,
        storm::{Repeated, Storm, Verdict},
    },
    object::{Object, ObjectKind},
    status::{Event, EventType, Severity, cut},
};
use packhorse_proto::{convert, object::v1 as wire};

pub(crate) use health::HealthReporter;
pub(crate) use manager::StatusManager;
pub(crate) use rules::RulesInMind;

use crate::{
    error::Error,
    record::{self, Body},
    site::Site,
    store::{StoreError, Tx, events, objects},
};

/// Messages that are kept of each site; the oldest go first.
const EVENTS_MAX: usize = 5_000;
const TRIM_EVERY: u64 = 16;
/// Messages whose time is over that are forgotten in one step.
const EXPIRED_AT_ONCE: usize = 500;
const SUBJECT_MAX: usize = 128;

/// What was said lately.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<Storm>);

impl Said {
    fn with<T>(&self, ask: impl FnOnce(&mut Storm) -> T) -> T {
        ask(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes a status message, in the transaction of what it tells of. One that was said within the hour is counted, and one of
/// a component that says too much is left out, but for what people did.
pub(crate) async fn report(site: &Site, tx: &mut Tx, subject: &str, message: &Message) -> Result<(), Error> {
    let (template, subject) = (message.template(), cut(subject, SUBJECT_MAX));
    let (component, text) = (template.component, message.text());
    match template.severity {
        Severity::Info => tracing::info!(target: "status-manager", component, subject, "{text}"),
        Severity::Warning => tracing::warn!(target: "status-manager", component, subject, "{text}"),
        Severity::Error => tracing::error!(target: "status-manager", component, subject, "{text}"),
    }
    if template.event_type == EventType::Audit {
        write(site, tx, subject, message).await?;
        return Ok(());
    }
    let source = (component, template.severity);
    if !say(site, tx, subject, message, Some(source)).await? {
        let left_out = message::messages_left_out(&component);
        say(site, tx, component, &left_out, None).await?;
    }
    Ok(())
}

/// Whether it was written or counted; otherwise it is left out.
async fn say(
    site: &Site,
    tx: &mut Tx,
    subject: &str,
    message: &Message,
    source: Option<(&'static str, Severity)>,
) -> Result<bool, Error> {
    let key = message.key(subject);
    match site.said.with(|said| said.judge(&key, source, site.now())) {
        Verdict::Counted => return Ok(true),
        Verdict::LeftOut => return Ok(false),
        Verdict::Again(repeated) if count(site, tx, &repeated).await? => return Ok(true),
        // What was written first was taken back with its transaction.
        Verdict::Again(_) | Verdict::New => {}
    }
    let sequence = write(site, tx, subject, message).await?;
    for repeated in site.said.with(|said| said.remember(&key, sequence, site.now())) {
        count(site, tx, &repeated).await?;
    }
    Ok(true)
}

/// Writes it, and decides what becomes of it. Returns its number; 0: it is suppressed, and nothing was written.
async fn write(site: &Site, tx: &mut Tx, subject: &str, message: &Message) -> Result<u64, Error> {
    let template = message.template();
    let mut event = Event {
        site: site.code().clone(),
        sequence: 0,
        at: site.now(),
        component: template.component.to_owned(),
        severity: template.severity,
        event_type: template.event_type,
        subject: subject.to_owned(),
        text: message.text(),
        message: template.number,
        fields: message.fields().clone(),
        count: 1,
        last_at: site.now(),
    };
    let fate = decide(&site.event_rules.get(tx).await?, &event);
    if fate.suppressed {
        return Ok(0);
    }
    event.sequence = tx.next_number("event").await?;
    let id = event_id(site.code(), event.sequence);
    record::write(site, tx, ObjectKind::Event, &id, Body::of::<wire::Event, _>(&event)).await?;
    events::decide(tx, &id, site.now(), &fate).await?;
    trim(tx, site.code()).await?;
    Ok(event.sequence)
}

/// Writes how often a message was said by now. Says whether it is there.
async fn count(site: &Site, tx: &mut Tx, repeated: &Repeated) -> Result<bool, Error> {
    let id = event_id(site.code(), repeated.sequence);
    let Some((_, mut event)) = record::find::<wire::Event, Event>(tx, ObjectKind::Event, &id).await? else {
        return Ok(false);
    };
    let template = message::template(event.message);
    let key = template.map(|template| message::key_of(template, &event.fields, &event.subject));
    if key.as_deref() != Some(repeated.key.as_str()) || event.count >= repeated.count {
        return Ok(false);
    }
    (event.count, event.last_at) = (repeated.count, repeated.last_at);
    record::write(site, tx, ObjectKind::Event, &id, Body::of::<wire::Event, _>(&event)).await?;
    Ok(true)
}

/// Writes the counts that have grown and were not written for a while.
pub(crate) async fn settle_counts(site: &Site, now: Timestamp) -> Result<(), Error> {
    let due = site.said.with(|said| said.due(now));
    if due.is_empty() {
        return Ok(());
    }
    let mut tx = site.store.begin().await?;
    for repeated in &due {
        count(site, &mut tx, repeated).await?;
    }
    Ok(tx.commit().await?)
}

fn event_id(site: &SiteCode, sequence: u64) -> String {
    format!("{site}/{sequence:012}")
}

/// A message came from below: what becomes of it here the rules of this site say. That it is not wanted its site is not told:
/// it would say it again.
pub(crate) async fn took(site: &Site, tx: &mut Tx, object: &Object) -> Result<(), StoreError> {
    if object.deleted {
        return Ok(());
    }
    let Ok(event) = convert::decode::<wire::Event, Event>(&object.body) else { return Ok(()) };
    let fate = decide(&site.event_rules.get(tx).await?, &event);
    if fate.suppressed {
        return objects::remove(tx, ObjectKind::Event, &object.id).await;
    }
    events::decide(tx, &object.id, site.now(), &fate).await?;
    trim(tx, &object.owner).await
}

/// Forgets the oldest messages of a site now and then, here as there: they are not taken back one by one. How often goes by
/// what arrives here, whatever numbers a site gives.
async fn trim(tx: &mut Tx, owner: &SiteCode) -> Result<(), StoreError> {
    if events::is_time_to_trim(tx, TRIM_EVERY).await? {
        objects::trim(tx, ObjectKind::Event, owner, EVENTS_MAX).await?;
    }
    Ok(())
}

/// Forgets messages whose time is over, and those of sites that have too many. Says whether there may be more.
pub(crate) async fn clean_up(site: &Site) -> Result<bool, Error> {
    // Counting takes a moment where there are many, and nobody has to wait for it.
    let crowded = events::crowded(&mut site.store.read().await?, EVENTS_MAX).await?;
    let mut tx = site.store.begin().await?;
    let expired = events::expire(&mut tx, site.now(), EXPIRED_AT_ONCE).await?;
    for owner in crowded {
        objects::trim(&mut tx, ObjectKind::Event, &owner, EVENTS_MAX).await?;
    }
    tx.commit().await?;
    Ok(expired == EXPIRED_AT_ONCE)
}

/// A neighbour holds another message under a number of this site: it was given before the database was restored.
/// Numbers go on beyond all that the neighbour can hold, and what is said from now on is not lost.
pub(crate) async fn skip_used(site: &Site, tx: &mut Tx, refused: &str) -> Result<(), StoreError> {
    let sequence = refused.split_once('/').and_then(|(owner, sequence)| {
        let sequence = sequence.parse::<u64>().ok()?;
        (owner == site.code().as_str()).then_some(sequence)
    });
    match sequence {
        Some(sequence) => tx.skip_numbers("event", sequence.saturating_add(2 * EVENTS_MAX as u64)).await,
        None => Ok(()),
    }
}

/// The kind of a fault: the name of its variant. What a peer chooses, such as offsets, is in the fields and makes no
/// new kind.
pub(crate) fn kind_of(fault: &impl Debug) -> String {
    let text = format!("{fault:?}");
    text.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
