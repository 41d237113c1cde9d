//! One item as it comes together from pieces, of one volume or of many, and of the line.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    thread::{self, JoinHandle},
};

use packhorse_domain::link::{ItemId, Ranges};
use packhorse_parcel::Item;

use super::Claim;
use crate::sender::{Spool, WrittenLog};

/// Twice so much may be lost to a power cut: the medium has it still.
const SYNC_BYTES: u64 = 32 * 1024 * 1024;

/// An item's file, and what is in it.
pub(super) struct Gathering {
    file: File,
    spool: Spool,
    length: u64,
    durable: Ranges,
    here: Ranges,
    /// What was here when the disk was last asked to have it all, and its answer to come: the medium is read meanwhile.
    syncing: Option<(Ranges, JoinHandle<io::Result<()>>)>,
    log: Option<WrittenLog>,
    /// Of a bundle, whose file the line may write to as well.
    _claim: Option<Claim>,
}

impl Gathering {
    /// Of an item that the line would not bring: in a directory of ours.
    pub(super) fn beside(directory: &Path, item: &Item) -> io::Result<Self> {
        Self::open(Spool::at(directory, &item.id), item, None)
    }

    pub(super) fn open(spool: Spool, item: &Item, claim: Option<Claim>) -> io::Result<Self> {
        let opened = spool.open(item.length, &item.digest)?;
        let durable = opened.here;
        // The log is the truth from the first gap on, and media come in any order.
        let log = Some(spool.log(item.length, &durable, &durable)?);
        Ok(Gathering {
            file: opened.file,
            spool,
            length: item.length,
            here: durable.clone(),
            durable,
            syncing: None,
            log,
            _claim: claim,
        })
    }

    pub(super) fn lacks(&self, from: u64, length: u64) -> bool {
        self.here.bytes_within(&(from..from + length)) < length
    }

    pub(super) fn write(&mut self, from: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, from)?;
        let run = from..from + bytes.len() as u64;
        if let Some(log) = &mut self.log {
            log.wrote(&run)?;
        }
        self.here.insert(run);
        let asked = self.syncing.as_ref().map_or(&self.durable, |(asked, _)| asked);
        if self.here.bytes() - asked.bytes() < SYNC_BYTES {
            return Ok(());
        }
        self.settle()?;
        let file = self.file.try_clone()?;
        self.syncing = Some((self.here.clone(), thread::spawn(move || file.sync_data())));
        Ok(())
    }

    /// Waits for what the disk was asked for.
    fn settle(&mut self) -> io::Result<()> {
        let Some((asked, answer)) = self.syncing.take() else { return Ok(()) };
        answer.join().map_err(|_| io::Error::other("the sync ended midway"))??;
        self.durable = asked;
        self.log = Some(self.spool.log(self.length, &self.durable, &self.here)?);
        Ok(())
    }

    /// What was written outlives a power cut.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.settle()?;
        if self.durable.bytes() == self.here.bytes() {
            return Ok(());
        }
        self.file.sync_data()?;
        self.durable = self.here.clone();
        self.log = Some(self.spool.log(self.length, &self.durable, &self.durable)?);
        Ok(())
    }

    /// What is there.
    pub(super) fn here(self) -> Ranges {
        self.here
    }

    pub(super) fn is_whole(&self) -> bool {
        self.here.bytes() == self.length
    }

    /// All of it. For items that are small.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// It is used, or of no use.
    pub(super) fn remove(directory: &Path, item: &ItemId) {
        Spool::at(directory, item).remove();
    }
}
