//! CAP agents and the instruction files that they are fed.

use futures::TryStreamExt as _;
use packhorse_domain::{Timestamp, id::PointName};

use super::{StoreError, Tx, count, failed, name, uncount};

#[derive(Debug, Clone)]
pub(crate) struct CapRow {
    pub(crate) name: PointName,
    pub(crate) cursor: u64,
    pub(crate) endpoints: Vec<String>,
    pub(crate) seen_at: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct CapFile {
    pub(crate) name: String,
    pub(crate) sequence: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) deleted: bool,
}

pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<CapRow>, StoreError> {
    let rows: Vec<(String, i64, String, i64)> =
        sqlx::query_as("SELECT name, cursor, endpoints, seen_at FROM cap ORDER BY name")
            .fetch_all(tx.connection())
            .await
            .map_err(failed("list CAPs"))?;
    rows.into_iter()
        .map(|(cap, cursor, endpoints, seen_at)| {
            Ok(CapRow {
                name: name("cap", "name", &cap)?,
                cursor: uncount(cursor),
                endpoints: endpoints.lines().map(str::to_owned).collect(),
                seen_at: Timestamp(seen_at),
            })
        })
        .collect()
}

pub(crate) async fn put(tx: &mut Tx, cap: &CapRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO cap (name, cursor, endpoints, seen_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor, endpoints = excluded.endpoints,
             seen_at = excluded.seen_at",
    )
    .bind(cap.name.as_str())
    .bind(count(cap.cursor))
    .bind(cap.endpoints.join("\n"))
    .bind(cap.seen_at.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write a CAP"))?;
    Ok(())
}

pub(crate) async fn stored(
    tx: &mut Tx,
    cap: &PointName,
    cursor: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE cap SET cursor = $2, seen_at = $3 WHERE name = $1")
        .bind(cap.as_str())
        .bind(count(cursor))
        .bind(now.0)
        .execute(tx.connection())
        .await
        .map_err(failed("record a CAP's cursor"))?;
    Ok(())
}

/// Files that changed after the cursor and are for this CAP, oldest change first: at most so many, and none beyond so
/// many bytes but the first. A deleted file is told to a CAP even if it never had it.
pub(crate) async fn files_after(
    tx: &mut Tx,
    cap: &PointName,
    cursor: u64,
    (files_max, bytes_max): (usize, usize),
) -> Result<Vec<CapFile>, StoreError> {
    let mut rows = sqlx::query_as::<_, (String, i64, Vec<u8>, bool)>(
        "SELECT name, sequence, content, deleted FROM cap_file
         WHERE sequence > $1 AND (audience = '' OR audience = $2) ORDER BY sequence LIMIT $3",
    )
    .bind(count(cursor))
    .bind(cap.as_str())
    .bind(i64::try_from(files_max).unwrap_or(i64::MAX))
    .fetch(tx.connection());
    let (mut files, mut bytes) = (Vec::new(), 0);
    while let Some((name, sequence, content, deleted)) =
        rows.try_next().await.map_err(failed("read instruction files"))?
    {
        bytes += content.len();
        if !files.is_empty() && bytes > bytes_max {
            break;
        }
        files.push(CapFile { name, sequence: uncount(sequence), content, deleted });
    }
    Ok(files)
}

/// The sequence of the newest change of a file; 0 if there never was one.
pub(crate) async fn newest_sequence(tx: &mut Tx) -> Result<u64, StoreError> {
    let newest: Option<i64> = sqlx::query_scalar("SELECT MAX(sequence) FROM cap_file")
        .fetch_one(tx.connection())
        .await
        .map_err(failed("find the newest instruction file"))?;
    Ok(newest.map_or(0, uncount))
}

pub(crate) async fn count_after(tx: &mut Tx, cap: &PointName, cursor: u64) -> Result<u64, StoreError> {
    let (number,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM cap_file WHERE sequence > $1 AND (audience = '' OR audience = $2)",
    )
    .bind(count(cursor))
    .bind(cap.as_str())
    .fetch_one(tx.connection())
    .await
    .map_err(failed("count instruction files"))?;
    Ok(uncount(number))
}

/// Names and contents of the files that are not deleted.
pub(crate) async fn files(tx: &mut Tx) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    sqlx::query_as("SELECT name, content FROM cap_file WHERE NOT deleted ORDER BY name")
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list instruction files"))
}

/// The names of the files that are not deleted.
pub(crate) async fn file_names(tx: &mut Tx) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT name FROM cap_file WHERE NOT deleted ORDER BY name")
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list instruction files"))
}

/// The content of a file that is not deleted.
pub(crate) async fn file(tx: &mut Tx, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT content FROM cap_file WHERE name = $1 AND NOT deleted")
        .bind(name)
        .fetch_optional(tx.connection())
        .await
        .map_err(failed("read an instruction file"))
}

/// Writes a file, or deletes it where there is no content.
pub(crate) async fn put_file(
    tx: &mut Tx,
    file: &str,
    content: Option<&[u8]>,
    audience: &str,
) -> Result<(), StoreError> {
    let sequence = tx.next_number("cap-file").await?;
    sqlx::query(
        "INSERT INTO cap_file (name, sequence, content, deleted, audience) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET sequence = excluded.sequence, content = excluded.content,
             deleted = excluded.deleted, audience = excluded.audience",
    )
    .bind(file)
    .bind(count(sequence))
    .bind(content.unwrap_or_default())
    .bind(content.is_none())
    .bind(audience)
    .execute(tx.connection())
    .await
    .map_err(failed("write an instruction file"))?;
    Ok(())
}
