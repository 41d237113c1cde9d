//! One item as it comes together from pieces, of one volume or of many, and of the line.

mod behind;

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use packhorse_domain::link::{ItemId, Ranges};
use packhorse_parcel::Item;

use self::behind::Behind;
use super::Claim;
use crate::sender::Spool;

/// Twice so much may be lost to a power cut: the medium has it still. Whoever keeps the item makes it durable; most sites
/// keep no bundle, and then most of it never has to reach the disk.
const SYNC_BYTES: u64 = 1024 * 1024 * 1024;

/// An item's file, and what is in it.
pub(super) struct Gathering {
    file: File,
    spool: Spool,
    length: u64,
    /// What the disk was asked to have, and what is here or on its way to the file.
    durable: Ranges,
    here: Ranges,
    /// Writes while the medium is read.
    behind: Option<Behind>,
    /// Of a bundle, whose file the line may write to as well: given up when nothing is written any more.
    _claim: Option<Claim>,
}

impl Gathering {
    /// Of an item that the line would not bring: in a directory of ours.
    pub(super) fn beside(directory: &Path, item: &Item) -> io::Result<Self> {
        Self::open(Spool::at(directory, &item.id), item, None)
    }

    pub(super) fn open(spool: Spool, item: &Item, claim: Option<Claim>) -> io::Result<Self> {
        let opened = spool.open(item.length, &item.digest)?;
        Ok(Gathering {
            file: opened.file,
            spool,
            length: item.length,
            here: opened.here.clone(),
            durable: opened.here,
            behind: None,
            _claim: claim,
        })
    }

    pub(super) fn lacks(&self, from: u64, length: u64) -> bool {
        self.here.bytes_within(&(from..from + length)) < length
    }

    /// Takes the bytes out of the buffer, and puts another one of their size in their place.
    pub(super) fn write(&mut self, from: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let behind = match &mut self.behind {
            Some(behind) => behind,
            // The log is the truth from the first gap on, and media come in any order.
            none => {
                none.insert(Behind::begin(self.file.try_clone()?, &self.spool, self.length, &self.durable)?)
            }
        };
        self.here.insert(from..from + bytes.len() as u64);
        behind.write(from, bytes)?;
        if self.here.bytes() - self.durable.bytes() >= SYNC_BYTES {
            behind.ask()?;
            self.durable = self.here.clone();
        }
        Ok(())
    }

    /// Waits until all of it is in the file.
    pub(super) fn put_down(mut self) -> io::Result<()> {
        self.behind.take().map_or(Ok(()), Behind::finish)
    }

    /// What is there.
    pub(super) fn here(self) -> Ranges {
        self.here.clone()
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
