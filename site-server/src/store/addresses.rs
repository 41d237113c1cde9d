//! Addresses of the neighbours, and how much went over them on which day.

use packhorse_domain::{
    address::{Address, Spent},
    id::{AddressName, SiteCode},
};
use packhorse_proto::{convert, provider::v1 as wire};

use super::{StoreError, Tx, count, failed, uncount};

/// Of all neighbours, or of one, in the order in which they are dialled.
pub(crate) async fn list(tx: &mut Tx, peer: Option<&SiteCode>) -> Result<Vec<Address>, StoreError> {
    let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "SELECT peer, name, content FROM address WHERE $1 = '' OR peer = $1 ORDER BY peer, name",
    )
    .bind(peer.map_or("", SiteCode::as_str))
    .fetch_all(tx.connection())
    .await
    .map_err(failed("list addresses"))?;
    let mut addresses = rows
        .into_iter()
        .map(|(peer, name, content)| {
            convert::decode::<wire::Address, Address>(&content).map_err(|_| StoreError::Inconsistent {
                table: "address",
                column: "content",
                row: format!("{peer}/{name}"),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    addresses.sort_by(|one, other| {
        (&one.peer, one.order, &one.name).cmp(&(&other.peer, other.order, &other.name))
    });
    Ok(addresses)
}

pub(crate) async fn put(tx: &mut Tx, address: &Address) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO address (peer, name, content) VALUES ($1, $2, $3)
         ON CONFLICT (peer, name) DO UPDATE SET content = excluded.content",
    )
    .bind(address.peer.as_str())
    .bind(address.name.as_str())
    .bind(convert::encode::<wire::Address, _>(address))
    .execute(tx.connection())
    .await
    .map_err(failed("write an address"))?;
    Ok(())
}

/// Says whether there was one.
pub(crate) async fn remove(tx: &mut Tx, peer: &SiteCode, name: &AddressName) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM address WHERE peer = $1 AND name = $2")
        .bind(peer.as_str())
        .bind(name.as_str())
        .execute(tx.connection())
        .await
        .map_err(failed("remove an address"))?;
    Ok(done.rows_affected() > 0)
}

/// Days as `YYYY-MM-DD` by the clock of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Days {
    pub(crate) today: String,
    pub(crate) first_of_month: String,
    /// What is older than this day no budget asks for.
    pub(crate) oldest: String,
}

/// What went over an address today and this month.
pub(crate) async fn spent(
    tx: &mut Tx,
    peer: &SiteCode,
    name: &AddressName,
    days: &Days,
) -> Result<Spent, StoreError> {
    let (day, month): (i64, i64) = sqlx::query_as(
        "SELECT CAST(COALESCE(SUM(CASE WHEN day = $3 THEN bytes ELSE 0 END), 0) AS BIGINT),
                CAST(COALESCE(SUM(bytes), 0) AS BIGINT)
         FROM line_use WHERE peer = $1 AND name = $2 AND day >= $4 AND day <= $3",
    )
    .bind(peer.as_str())
    .bind(name.as_str())
    .bind(&days.today)
    .bind(&days.first_of_month)
    .fetch_one(tx.connection())
    .await
    .map_err(failed("read what went over a line"))?;
    Ok(Spent { day_bytes: uncount(day), month_bytes: uncount(month) })
}

/// Counts bytes for today.
pub(crate) async fn add_use(
    tx: &mut Tx,
    peer: &SiteCode,
    name: &AddressName,
    days: &Days,
    bytes: u64,
) -> Result<(), StoreError> {
    let failed = failed("count what went over a line");
    let counted =
        sqlx::query("UPDATE line_use SET bytes = bytes + $4 WHERE peer = $1 AND name = $2 AND day = $3")
            .bind(peer.as_str())
            .bind(name.as_str())
            .bind(&days.today)
            .bind(count(bytes))
            .execute(tx.connection())
            .await
            .map_err(failed)?;
    if counted.rows_affected() > 0 {
        return Ok(());
    }
    begin_day(tx, (peer, name), days, bytes).await
}

/// The first bytes of a day; it is also the time to forget old days, of addresses that are gone too.
async fn begin_day(
    tx: &mut Tx,
    (peer, name): (&SiteCode, &AddressName),
    days: &Days,
    bytes: u64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO line_use (peer, name, day, bytes) VALUES ($1, $2, $3, $4)")
        .bind(peer.as_str())
        .bind(name.as_str())
        .bind(&days.today)
        .bind(count(bytes))
        .execute(tx.connection())
        .await
        .map_err(failed("count what went over a line"))?;
    sqlx::query("DELETE FROM line_use WHERE day < $1")
        .bind(&days.oldest)
        .execute(tx.connection())
        .await
        .map_err(failed("forget what went over a line"))?;
    Ok(())
}
