//! Status messages as they are looked for: a row beside each event object.

use packhorse_domain::{
    Priority, Timestamp,
    id::SiteCode,
    message::rules::{Fate, Forward},
    object::{Object, ObjectKind},
    status::{Event, Severity},
};
use packhorse_proto::{convert, object::v1 as wire};

use super::{StoreError, Tx, count, failed, name, objects, settings, uncount};

/// In a database of before, events have no rows yet.
const INDEXED_AS: &[u8] = b"1";
const ARRIVALS: &str = "event-arrival";

/// Which messages are wanted. Empty or `None`: all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) since: Timestamp,
    pub(crate) component: String,
    pub(crate) site: String,
    pub(crate) subject: String,
    pub(crate) severity: Option<Severity>,
    pub(crate) event_type: String,
    pub(crate) message: u32,
}

fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Error => 2,
    }
}

fn forward_word(forward: Forward) -> &'static str {
    match forward {
        Forward::No => "no",
        Forward::With(priority) => priority.as_str(),
    }
}

/// An event object was written: it arrives anew, also if only its count has grown. What it was decided to become stays.
pub(super) async fn arrive(tx: &mut Tx, object: &Object) -> Result<(), StoreError> {
    if object.kind != ObjectKind::Event {
        return Ok(());
    }
    let before = forget(tx, &object.id).await?;
    if object.deleted {
        return Ok(());
    }
    let Ok(event) = convert::decode::<wire::Event, Event>(&object.body) else { return Ok(()) };
    let arrival = tx.next_number(ARRIVALS).await?;
    let (expires_at, forward) = before.unwrap_or_else(|| (i64::MAX, Priority::Low.as_str().to_owned()));
    sqlx::query(
        "INSERT INTO event (arrival, id, site, at, component, severity, type, subject, message, expires_at, forward)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(count(arrival))
    .bind(&object.id)
    .bind(event.site.as_str())
    .bind(event.at.0)
    .bind(&event.component)
    .bind(rank(event.severity))
    .bind(event.event_type.as_str())
    .bind(&event.subject)
    .bind(i64::from(event.message))
    .bind(expires_at)
    .bind(forward)
    .execute(tx.connection())
    .await
    .map_err(failed("write a message's row"))?;
    Ok(())
}

/// An event object is gone. Its expiry and its way, if it had a row.
pub(super) async fn forget(tx: &mut Tx, id: &str) -> Result<Option<(i64, String)>, StoreError> {
    sqlx::query_as("DELETE FROM event WHERE id = $1 RETURNING expires_at, forward")
        .bind(id)
        .fetch_optional(tx.connection())
        .await
        .map_err(failed("forget a message's row"))
}

/// What is to become of a message that was written.
pub(crate) async fn decide(tx: &mut Tx, id: &str, now: Timestamp, fate: &Fate) -> Result<(), StoreError> {
    sqlx::query("UPDATE event SET expires_at = $2, forward = $3 WHERE id = $1")
        .bind(id)
        .bind(now.plus(fate.keep).0)
        .bind(forward_word(fate.forward))
        .execute(tx.connection())
        .await
        .map_err(failed("decide on a message"))?;
    Ok(())
}

/// Those that go to the parent before others of their kind.
pub(crate) async fn hurried(tx: &mut Tx) -> Result<Vec<(String, Priority)>, StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, forward FROM event WHERE forward IN ('high', 'medium')")
            .fetch_all(tx.connection())
            .await
            .map_err(failed("list messages that hurry"))?;
    Ok(rows
        .into_iter()
        .map(|(id, word)| (id, if word == "high" { Priority::High } else { Priority::Medium }))
        .collect())
}

/// How many warnings and errors of a site came up since a time, by component.
pub(crate) async fn complaints(
    tx: &mut Tx,
    site: &SiteCode,
    since: Timestamp,
) -> Result<Vec<(String, Severity, u64)>, StoreError> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT component, severity, COUNT(*) FROM event WHERE severity > 0 AND at > $1 AND site = $2
         GROUP BY component, severity ORDER BY component, severity",
    )
    .bind(since.0)
    .bind(site.as_str())
    .fetch_all(tx.connection())
    .await
    .map_err(failed("count complaints"))?;
    let severity = |rank| if rank == 1 { Severity::Warning } else { Severity::Error };
    Ok(rows.into_iter().map(|(component, rank, times)| (component, severity(rank), uncount(times))).collect())
}

/// The number of the last one that arrived.
pub(crate) async fn newest(tx: &mut Tx) -> Result<u64, StoreError> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(arrival) FROM event")
        .fetch_one(tx.connection())
        .await
        .map_err(failed("look for news of messages"))?;
    Ok(newest.map(uncount).unwrap_or_default())
}

/// A query over messages: the index that it goes by is in its first condition. A macro, since SQL is checked to be fixed text.
macro_rules! listing {
    ($first:literal, $order:literal) => {
        concat!(
            "SELECT e.arrival, o.body FROM event e CROSS JOIN object o ON o.kind = 'event' AND o.id = e.id
             WHERE ",
            $first,
            " AND e.at > $1 AND ($2 = '' OR e.component = $2) AND ($3 = '' OR e.site = $3)
             AND ($4 = '' OR e.subject = $4) AND e.severity >= $5 AND ($6 = '' OR e.type = $6)
             AND ($7 = 0 OR e.message = $7) AND e.arrival > $8
             ORDER BY ",
            $order,
            " LIMIT $9"
        )
    };
}

/// The newest of those that are wanted, newest first, by the time that they tell.
pub(crate) async fn list(
    tx: &mut Tx,
    wanted: &Wanted,
    limit: usize,
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let statement = if !wanted.subject.is_empty() {
        listing!("e.subject = $4", "e.at DESC, e.arrival DESC")
    } else if wanted.message != 0 {
        listing!("e.message = $7", "e.at DESC, e.arrival DESC")
    } else if wanted.severity.is_some_and(|severity| severity > Severity::Info) {
        listing!("e.severity > 0", "e.at DESC, e.arrival DESC")
    } else if !wanted.site.is_empty() {
        listing!("e.site = $3", "e.at DESC, e.arrival DESC")
    } else if !wanted.component.is_empty() {
        listing!("e.component = $2", "e.at DESC, e.arrival DESC")
    } else {
        listing!("TRUE", "e.at DESC, e.arrival DESC")
    };
    select(tx, statement, wanted, (0, limit)).await
}

/// The first of those that are wanted and arrived after this one, in the order in which they came.
pub(crate) async fn list_after(
    tx: &mut Tx,
    wanted: &Wanted,
    (after, limit): (u64, usize),
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    select(tx, listing!("e.arrival > $8", "e.arrival"), wanted, (after, limit)).await
}

async fn select(
    tx: &mut Tx,
    statement: &'static str,
    wanted: &Wanted,
    (after, limit): (u64, usize),
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(statement)
        .bind(wanted.since.0)
        .bind(&wanted.component)
        .bind(&wanted.site)
        .bind(&wanted.subject)
        .bind(wanted.severity.map_or(0, rank))
        .bind(&wanted.event_type)
        .bind(i64::from(wanted.message))
        .bind(count(after))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list messages"))?;
    Ok(rows.into_iter().map(|(arrival, body)| (uncount(arrival), body)).collect())
}

/// Whether so many have arrived that it is worth looking for old ones again.
pub(crate) async fn is_time_to_trim(tx: &mut Tx, every: u64) -> Result<bool, StoreError> {
    Ok(newest(tx).await?.is_multiple_of(every))
}

/// The sites of which more are kept than this.
pub(crate) async fn crowded(tx: &mut Tx, keep: usize) -> Result<Vec<SiteCode>, StoreError> {
    let sites: Vec<String> = sqlx::query_scalar("SELECT site FROM event GROUP BY site HAVING COUNT(*) > $1")
        .bind(i64::try_from(keep).unwrap_or(i64::MAX))
        .fetch_all(tx.connection())
        .await
        .map_err(failed("count messages"))?;
    sites.iter().map(|site| name("event", "site", site)).collect()
}

/// Forgets some whose time is over; how many.
pub(crate) async fn expire(tx: &mut Tx, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
    let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM event WHERE expires_at <= $1 LIMIT $2")
        .bind(now.0)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(tx.connection())
        .await
        .map_err(failed("find messages whose time is over"))?;
    for id in &ids {
        objects::remove(tx, ObjectKind::Event, id).await?;
    }
    Ok(ids.len())
}

/// Gives the events of a database of before their rows.
pub(super) async fn fill(tx: &mut Tx) -> Result<(), StoreError> {
    if settings::get(tx, settings::EVENTS).await?.as_deref() == Some(INDEXED_AS) {
        return Ok(());
    }
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM object WHERE kind = 'event' AND NOT deleted ORDER BY changed_at, id",
    )
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list messages"))?;
    for id in ids {
        let Some(held) = objects::get(tx, ObjectKind::Event, &id).await? else { continue };
        let object = Object {
            kind: held.kind,
            id: held.id,
            owner: held.owner,
            version: held.version,
            deleted: held.deleted,
            body: held.body,
            traceparent: String::new(),
        };
        arrive(tx, &object).await?;
        let kept_from = held.changed_at;
        decide(tx, &object.id, kept_from, &Fate::default()).await?;
    }
    settings::set(tx, settings::EVENTS, INDEXED_AS).await
}

/// The rules of this site, encoded, in their order.
pub(crate) async fn rules(tx: &mut Tx) -> Result<Vec<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT content FROM event_rule ORDER BY position")
        .fetch_all(tx.connection())
        .await
        .map_err(failed("read the rules for messages"))
}

pub(crate) async fn set_rules(tx: &mut Tx, rules: &[Vec<u8>]) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM event_rule")
        .execute(tx.connection())
        .await
        .map_err(failed("write the rules for messages"))?;
    for (position, content) in (1_i64..).zip(rules) {
        sqlx::query("INSERT INTO event_rule (position, content) VALUES ($1, $2)")
            .bind(position)
            .bind(content)
            .execute(tx.connection())
            .await
            .map_err(failed("write the rules for messages"))?;
    }
    Ok(())
}
