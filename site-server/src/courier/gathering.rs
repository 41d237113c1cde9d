//! One item as it comes together from pieces, of one volume or of many, and of the line.

mod behind;

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

use packhorse_domain::link::{ItemId, Ranges};
use packhorse_parcel::Item;

use self::behind::Behind;
use super::Claim;
use crate::{despooler::Filling, error::Error, sender::Spool};

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
    filling: Option<Filling>,
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
            filling: None,
            _claim: claim,
        })
    }

    pub(super) fn lacks(&self, from: u64, length: u64) -> bool {
        self.here.bytes_within(&(from..from + length)) < length
    }

    /// Has it taken in while it comes, by whoever is given its file and how much of it is there.
    pub(super) fn unpack(
        &mut self,
        begin: impl FnOnce(File, u64) -> Result<Option<Filling>, Error>,
    ) -> Result<(), Error> {
        let failed =
            |source| Error::File { what: "open what came with a parcel once more".to_owned(), source };
        let file = self.file.try_clone().map_err(failed)?;
        self.filling = begin(file, self.here.end_from(0))?;
        Ok(())
    }

    /// Takes the bytes out of the buffer, and puts another one of their size in their place.
    pub(super) fn write(&mut self, from: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let behind = match &mut self.behind {
            Some(behind) => behind,
            // The log is the truth from the first gap on, and media come in any order.
            none => {
                let (file, filling) = (self.file.try_clone()?, self.filling.take());
                none.insert(Behind::begin(file, &self.spool, (self.length, &self.durable), filling)?)
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

    pub(super) fn lacking(&self) -> u64 {
        self.length - self.here.bytes()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use packhorse_content::{Coming, Outliner, Patience, Source};

    use super::*;
    use crate::testing::noise;

    const PATIENCE: Patience = Patience { next: Duration::from_secs(60), all: Duration::from_secs(600) };

    fn item(bytes: &[u8]) -> Item {
        let mut outliner = Outliner::new();
        outliner.update(bytes);
        let (digest, outline) = outliner.finish();
        let (id, length) = (ItemId::of(&digest), bytes.len() as u64);
        Item { id, length, digest, outline, head: Vec::new(), to: [0].into() }
    }

    #[test]
    fn whoever_takes_it_in_meanwhile_reads_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = noise(3_000_000, 1);
        let item = item(&bytes);
        let mut gathering = Gathering::beside(directory.path(), &item).unwrap();
        let mut reader = None;
        let begin = |file: File, upto| {
            assert_eq!(upto, 0);
            let coming = Coming::new(upto, PATIENCE, true);
            let source = Source::coming(file, item.length, coming.clone());
            reader = Some(std::thread::spawn(move || {
                let mut read = vec![0; 3_000_000];
                source.read_exact_at(&mut read, 0).map(|()| read)
            }));
            Ok(Some(Filling::of(coming)))
        };
        gathering.unpack(begin).unwrap();

        // Media come in any order.
        for nth in [1, 0, 2] {
            let from = nth * 1_000_000;
            gathering.write(from as u64, &mut bytes[from..from + 1_000_000].to_vec()).unwrap();
        }
        gathering.put_down().unwrap();

        assert_eq!(reader.unwrap().join().unwrap().unwrap(), bytes);
    }

    #[test]
    fn whoever_takes_it_in_meanwhile_hears_that_the_rest_lies_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let item = item(&noise(2_000_000, 1));
        let mut gathering = Gathering::beside(directory.path(), &item).unwrap();
        let coming = Coming::new(0, PATIENCE, true);
        let source = Source::coming(tempfile::tempfile().unwrap(), item.length, coming.clone());
        gathering.unpack(|_, _| Ok(Some(Filling::of(coming)))).unwrap();
        gathering.write(0, &mut vec![7; 1000]).unwrap();
        gathering.put_down().unwrap();

        source.read_exact_at(&mut [0; 1], 1_000_000).unwrap_err();
    }
}
