//! One-time tokens.

use packhorse_domain::{Digest, Timestamp};

use super::{StoreError, Tx, failed};

#[derive(Debug, Clone)]
pub(crate) struct TokenRow {
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) expires_at: Timestamp,
    /// The hash of the key that used it.
    pub(crate) used_by: Option<Vec<u8>>,
}

pub(crate) async fn get(tx: &mut Tx, secret_hash: &Digest) -> Result<Option<TokenRow>, StoreError> {
    let row: Option<(String, String, i64, Option<Vec<u8>>)> =
        sqlx::query_as("SELECT role, name, expires_at, used_by FROM token WHERE secret_hash = $1")
            .bind(secret_hash.as_bytes().as_slice())
            .fetch_optional(tx.connection())
            .await
            .map_err(failed("read a token"))?;
    Ok(row.map(|(role, name, expires_at, used_by)| TokenRow {
        role,
        name,
        expires_at: Timestamp(expires_at),
        used_by,
    }))
}

/// Adds a token; unused ones for the same role and name, and expired ones, are void from then on.
pub(crate) async fn add(
    tx: &mut Tx,
    secret_hash: &Digest,
    token: &TokenRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM token WHERE used_by IS NULL AND (expires_at < $1 OR (role = $2 AND name = $3))")
        .bind(now.0)
        .bind(&token.role)
        .bind(&token.name)
        .execute(tx.connection())
        .await
        .map_err(failed("void old tokens"))?;
    sqlx::query(
        "INSERT INTO token (secret_hash, role, name, expires_at, used_by) VALUES ($1, $2, $3, $4, NULL)",
    )
    .bind(secret_hash.as_bytes().as_slice())
    .bind(&token.role)
    .bind(&token.name)
    .bind(token.expires_at.0)
    .execute(tx.connection())
    .await
    .map_err(failed("add a token"))?;
    Ok(())
}

pub(crate) async fn use_by(tx: &mut Tx, secret_hash: &Digest, key: &Digest) -> Result<(), StoreError> {
    sqlx::query("UPDATE token SET used_by = $2 WHERE secret_hash = $1")
        .bind(secret_hash.as_bytes().as_slice())
        .bind(key.as_bytes().as_slice())
        .execute(tx.connection())
        .await
        .map_err(failed("use a token"))?;
    Ok(())
}

/// Whether a token of this role and name was used: the name is taken for good.
pub(crate) async fn is_used(tx: &mut Tx, role: &str, name: &str) -> Result<bool, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM token WHERE role = $1 AND name = $2 AND used_by IS NOT NULL")
            .bind(role)
            .bind(name)
            .fetch_optional(tx.connection())
            .await
            .map_err(failed("look for a token"))?;
    Ok(found.is_some())
}

/// Sites that were invited and have not joined.
pub(crate) async fn invited_sites(tx: &mut Tx, now: Timestamp) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(
        "SELECT name FROM token WHERE role = 'site' AND used_by IS NULL AND expires_at > $1 ORDER BY name",
    )
    .bind(now.0)
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list invitations"))
}
