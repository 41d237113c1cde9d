//! What Offer Manager decided: advertisements held back, and the instruction of each client.

use packhorse_domain::{
    Digest, Timestamp,
    id::{AdvertisementId, ClientId},
};

use super::{StoreError, Tx, count, digest_of, failed, name, uncount};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstructionRow {
    pub(crate) serial: u64,
    /// Of the list of files, and of the windows if there are any.
    pub(crate) files: Digest,
    pub(crate) not_after: Timestamp,
}

pub(crate) async fn held_back(tx: &mut Tx) -> Result<Vec<(AdvertisementId, String)>, StoreError> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT advertisement, reason FROM held_back ORDER BY advertisement")
            .fetch_all(tx.connection())
            .await
            .map_err(failed("list what is held back"))?;
    rows.into_iter()
        .map(|(advertisement, reason)| Ok((name("held_back", "advertisement", &advertisement)?, reason)))
        .collect()
}

pub(crate) async fn set_held_back(
    tx: &mut Tx,
    advertisement: &AdvertisementId,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    let query = match reason {
        None => sqlx::query("DELETE FROM held_back WHERE advertisement = $1").bind(advertisement.as_str()),
        Some(reason) => sqlx::query(
            "INSERT INTO held_back (advertisement, reason) VALUES ($1, $2)
             ON CONFLICT (advertisement) DO UPDATE SET reason = excluded.reason",
        )
        .bind(advertisement.as_str())
        .bind(reason),
    };
    query.execute(tx.connection()).await.map_err(failed("record what is held back"))?;
    Ok(())
}

pub(crate) async fn instruction(
    tx: &mut Tx,
    client: &ClientId,
) -> Result<Option<InstructionRow>, StoreError> {
    let row: Option<(i64, Vec<u8>, i64)> =
        sqlx::query_as("SELECT serial, files, not_after FROM instruction WHERE client = $1")
            .bind(client.as_str())
            .fetch_optional(tx.connection())
            .await
            .map_err(failed("read an instruction"))?;
    row.map(|(serial, files, not_after)| {
        Ok(InstructionRow {
            serial: uncount(serial),
            files: digest_of("instruction", "files", &files)?,
            not_after: Timestamp(not_after),
        })
    })
    .transpose()
}

pub(crate) async fn put_instruction(
    tx: &mut Tx,
    client: &ClientId,
    instruction: &InstructionRow,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO instruction (client, serial, files, not_after) VALUES ($1, $2, $3, $4)
         ON CONFLICT (client) DO UPDATE SET serial = excluded.serial, files = excluded.files,
             not_after = excluded.not_after",
    )
    .bind(client.as_str())
    .bind(count(instruction.serial))
    .bind(instruction.files.as_bytes().as_slice())
    .bind(instruction.not_after.0)
    .execute(tx.connection())
    .await
    .map_err(failed("write an instruction"))?;
    Ok(())
}
