//! The kill list as the ledger keeps it: the newest word of each site about each package.

use packhorse_domain::{
    Timestamp,
    id::{PackageId, SiteCode},
    kill::{Kill, KillList, Word},
};
use redb::{ReadTransaction, ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{LedgerError, inconsistent};

/// `SITE/PACKAGE` to a word.
const KILLS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kills");

#[derive(Serialize, Deserialize)]
struct Row {
    version: u64,
    /// `None`: it was lifted.
    kill: Option<KillRow>,
}

#[derive(Serialize, Deserialize)]
struct KillRow {
    release: u64,
    reason: String,
    at_us: i64,
}

pub(super) fn make(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(KILLS)?;
    Ok(())
}

pub(super) fn rows(read: &ReadTransaction) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let mut rows = Vec::new();
    for row in read.open_table(KILLS)?.iter()? {
        let (key, value) = row?;
        rows.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(rows)
}

pub(super) fn list(rows: Vec<(String, Vec<u8>)>) -> Result<KillList, LedgerError> {
    let mut list = KillList::default();
    for (key, row) in rows {
        let (site, package, word) = decode(&key, &row).ok_or_else(|| inconsistent("kills", &key))?;
        list.take(site, package, word);
    }
    Ok(list)
}

/// Writes down what is newer than what was known `before`.
pub(super) fn adopt(
    write: &WriteTransaction,
    before: &KillList,
    adopted: &KillList,
) -> Result<(), redb::Error> {
    let mut table = write.open_table(KILLS)?;
    for (site, package, word) in adopted.words() {
        if before.word(site, package).is_none_or(|known| known.version < word.version) {
            table.insert(Kill::id(site, package).as_str(), encode(word).as_slice())?;
        }
    }
    Ok(())
}

fn encode(word: &Word) -> Vec<u8> {
    let kill = word.kill.as_ref().map(|kill| KillRow {
        release: kill.release,
        reason: kill.reason.clone(),
        at_us: kill.at.0,
    });
    serde_json::to_vec(&Row { version: word.version, kill }).expect("texts and numbers are always JSON")
}

fn decode(key: &str, row: &[u8]) -> Option<(SiteCode, PackageId, Word)> {
    let (site, package) = Kill::parse_id(key)?;
    let row: Row = serde_json::from_slice(row).ok()?;
    let kill = row.kill.map(|kill| Kill {
        package: package.clone(),
        release: kill.release,
        reason: kill.reason,
        at: Timestamp(kill.at_us),
    });
    Some((site, package, Word { version: row.version, kill }))
}
