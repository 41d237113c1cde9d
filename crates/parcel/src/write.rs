//! Writing volumes: under a temporary name, synced, read back from the medium, and only then under its own name.

mod feeding;
mod whole;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use packhorse_domain::{Digest, link::ItemId};

use crate::{
    head::{Front, Head},
    id::volume_name,
    list::PackingList,
    medium::{self, Medium, MediumError},
    plan::{Plan, Source, Written},
    readme,
    seal::Sealer,
};

/// What may wait before and behind encryption, in pieces.
const WAITING_MAX: usize = 4;
/// After twice so many bytes the medium must have the first of them: so progress is what it has, and one that is full or
/// broken is found early.
const SYNC_BYTES: u64 = 64 * 1024 * 1024;
/// What README.TXT and directories may take.
const ASIDE_BYTES: u64 = 64 * 1024;

/// How far the writing of a volume is, in bytes. Each byte counts twice: when it is written and when it is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// Is told how far it is, at least for each 4 MiB, and may cancel.
pub type OnProgress<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("there is no volume {number}: the parcel has {count}")]
    NoSuchVolume { number: u16, count: u16 },
    #[error("the medium failed")]
    Medium(#[source] MediumError),
    #[error("what was read back from {} is not what was written: the medium is bad", path.display())]
    Misread { path: PathBuf },
    #[error("item {item} is not what was planned, in the MiB at {offset}: plan the parcel anew")]
    Changed { item: ItemId, offset: u64 },
    #[error("item {item} is shorter than planned: plan the parcel anew")]
    Short { item: ItemId },
    #[error("cannot read item {item}")]
    Source {
        item: ItemId,
        #[source]
        source: io::Error,
    },
    #[error("the volume cannot be encrypted")]
    Encrypt(#[source] age::EncryptError),
    #[error("cancelled")]
    Cancelled,
}

impl Plan {
    /// Writes a volume to a medium, and records it. If it is there already and whole, it is recorded; so what was
    /// interrupted is simply done again. A volume that failed leaves nothing under its name.
    pub fn write(
        &mut self,
        number: u16,
        source: &dyn Source,
        medium: &Medium,
        progress: &mut OnProgress<'_>,
    ) -> Result<Written, WriteError> {
        medium.check().map_err(WriteError::Medium)?;
        let written = self.write_below(number, source, medium.root(), progress);
        // Whatever went wrong, it did because of that; and what seemed to go well lies on another disk.
        if let Err(removed) = medium.check() {
            if written.is_ok() {
                drop(fs::remove_file(medium.root().join(self.list.info().id.volume(number))));
            }
            return Err(WriteError::Medium(removed));
        }
        let written = written?;
        self.record(number, Some(written));
        Ok(written)
    }

    fn write_below(
        &self,
        number: u16,
        source: &dyn Source,
        root: &Path,
        progress: &mut OnProgress<'_>,
    ) -> Result<Written, WriteError> {
        let count = self.list.volumes();
        if !(1..=count).contains(&number) {
            return Err(WriteError::NoSuchVolume { number, count });
        }
        let directory = medium::make_directories(root, &self.list.info().id.directory());
        let directory = directory.map_err(WriteError::Medium)?;
        let path = directory.join(volume_name(number));
        match fs::symlink_metadata(&path) {
            Ok(_) => self.take_over(number, &path, progress),
            Err(_) => self.write_anew(number, source, &path, progress),
        }
    }

    /// The run that wrote it ended before it was recorded, or it was copied there.
    fn take_over(
        &self,
        number: u16,
        path: &Path,
        progress: &mut OnProgress<'_>,
    ) -> Result<Written, WriteError> {
        let in_the_way = || WriteError::Medium(MediumError::InTheWay { path: path.to_owned() });
        let file = medium::open_regular(path).map_err(MediumError::of("open", path));
        let front = file.map_err(WriteError::Medium)?.and_then(|file| Front::read(&file).ok());
        let front = front.ok_or_else(in_the_way)?;
        if front.head != head_of(&self.list, number, front.head.length) {
            return Err(in_the_way());
        }
        let written = whole::digest(path, progress)?.ok_or_else(in_the_way)?;
        write_readme(path, &front.head)?;
        Ok(written)
    }

    fn write_anew(
        &self,
        number: u16,
        source: &dyn Source,
        path: &Path,
        progress: &mut OnProgress<'_>,
    ) -> Result<Written, WriteError> {
        let temporary = path.with_extension("TMP");
        let recipients = self.list.info().destinations.iter().map(|destination| &destination.recipient);
        let mut sealer = Sealer::new(recipients).map_err(WriteError::Encrypt)?;
        let mut front = Front { head: head_of(&self.list, number, 0), seal: sealer.take() };
        let plain = 2 * (8 + self.envelope.len() as u64) + self.list.slice_bytes(number);
        front.head.length = front.volume_bytes(plain);
        // It removes what an interrupted run left, whose room is needed.
        let file = medium::make_temporary(&temporary).map_err(WriteError::Medium)?;
        let feeding = feeding::Feeding { plan: self, number, source, front: &front };
        let written = medium::check_room(path, front.head.length + ASIDE_BYTES)
            .map_err(WriteError::Medium)
            .and_then(|()| fill(&file, &temporary, sealer, &feeding, progress))
            .and_then(|written| whole::read_back(&temporary, &written, progress).map(|()| written))
            .and_then(|written| {
                medium::put_in_place(&temporary, path).map_err(WriteError::Medium)?;
                Ok(written)
            });
        if written.is_err() {
            // The medium may be gone, and the next run removes it too.
            let _ = fs::remove_file(&temporary);
        }
        let written = written?;
        write_readme(path, &front.head)?;
        Ok(written)
    }
}

fn head_of(list: &PackingList, number: u16, length: u64) -> Head {
    let info = list.info();
    let destinations = info.destinations.iter().map(|destination| destination.site.clone()).collect();
    Head {
        parcel: info.id,
        number,
        count: list.volumes(),
        length,
        created: info.created,
        sender: info.sender.clone(),
        destinations,
    }
}

/// Encrypts here, reads in a thread beside, and writes and hashes in another.
fn fill(
    file: &File,
    path: &Path,
    sealer: Sealer,
    feeding: &feeding::Feeding<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<Written, WriteError> {
    let length = feeding.front.head.length;
    let done = AtomicU64::new(0);
    let (fed, sunk) = thread::scope(|scope| {
        let (send, receive) = sync_channel(WAITING_MAX);
        let done = &done;
        let sink = scope.spawn(move || sink(file, receive, done));
        let mut progress = || progress(Progress { done: done.load(Ordering::Relaxed), total: 2 * length });
        let fed = feeding.run(sealer, &send, &mut progress);
        drop(send);
        (fed, sink.join().expect("it does not panic"))
    });
    let failed = |error| WriteError::Medium(MediumError::of_write("write", path, length)(error).midway());
    // If the medium failed, the feeding ended because of it.
    let mut hasher = sunk.map_err(failed)?;
    fed?;
    let checksum = hasher.finalize();
    hasher.update(checksum.as_bytes());
    let mut out = file;
    out.write_all(checksum.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(Written { length, digest: Digest(*hasher.finalize().as_bytes()) })
}

fn sink(file: &File, pieces: Receiver<Vec<u8>>, done: &AtomicU64) -> io::Result<blake3::Hasher> {
    thread::scope(|scope| {
        // Without room: the next sync waits for the last one, and so does what is written after it.
        let (due, syncs) = sync_channel(0);
        let syncer = scope.spawn(move || syncs.into_iter().try_for_each(|()| file.sync_data()));
        let written = write_out(file, pieces, done, &due);
        drop(due);
        syncer.join().expect("it does not panic")?;
        written
    })
}

/// Ends early if a sync failed.
fn write_out(
    mut file: &File,
    pieces: Receiver<Vec<u8>>,
    done: &AtomicU64,
    due: &SyncSender<()>,
) -> io::Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    let mut unsynced = 0;
    for piece in pieces {
        file.write_all(&piece)?;
        hasher.update(&piece);
        unsynced += piece.len() as u64;
        if unsynced >= SYNC_BYTES {
            if due.send(()).is_err() {
                break;
            }
            unsynced = 0;
        }
        done.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    Ok(hasher)
}

/// Says which volumes of the parcel lie here.
pub(crate) fn write_readme(path: &Path, head: &Head) -> Result<(), WriteError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let here: Vec<u16> =
        (1..=head.count).filter(|number| directory.join(volume_name(*number)).exists()).collect();
    let temporary = directory.join("README.TMP");
    let text = readme::text(head, &here);
    match medium::write_over(&temporary, &directory.join(readme::NAME), text.as_bytes()) {
        // It is for whoever finds the medium: a volume that fills it to the last byte is whole without.
        Ok(()) | Err(MediumError::Full { .. }) => Ok(()),
        Err(error) => Err(WriteError::Medium(error.midway())),
    }
}

impl Written {
    /// Reads a finished volume again, from the medium: whether it is still what was written. It takes no keys.
    pub fn verify(&self, path: &Path, progress: &mut OnProgress<'_>) -> Result<(), WriteError> {
        whole::read_back(path, self, progress)
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
