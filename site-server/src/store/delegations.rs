//! Signed delegations.

use packhorse_domain::id::SiteCode;

use super::{StoreError, Tx, failed, name};

pub(crate) async fn list(tx: &mut Tx) -> Result<Vec<(SiteCode, Vec<u8>)>, StoreError> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT site, content FROM delegation ORDER BY site")
        .fetch_all(tx.connection())
        .await
        .map_err(failed("list delegations"))?;
    rows.into_iter().map(|(site, content)| Ok((name("delegation", "site", &site)?, content))).collect()
}

pub(crate) async fn put(tx: &mut Tx, site: &SiteCode, content: &[u8]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO delegation (site, content) VALUES ($1, $2) ON CONFLICT (site) DO UPDATE SET content = excluded.content",
    )
    .bind(site.as_str())
    .bind(content)
    .execute(tx.connection())
    .await
    .map_err(failed("write a delegation"))?;
    Ok(())
}
