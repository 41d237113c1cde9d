//! Has a file system write small files while more of them are made, so that there is less to wait for at the end. Long ones
//! are written anyway ([`begin_writing`](crate::durable::begin_writing)).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use rustix::io::{Errno, Result};

use super::is_unsupported;

/// Whenever so much more was made. With less there is little to write, and each time the file system makes others wait.
const WORTH_BYTES: u64 = 48 * 1024 * 1024;

/// A thread that syncs a file system when it is asked to.
#[derive(Debug)]
pub(super) struct Early(JoinHandle<Result<()>>);

/// For those who make files.
#[derive(Debug, Clone)]
pub(super) struct Made {
    bytes: Arc<AtomicU64>,
    worth: SyncSender<()>,
}

impl Early {
    /// It ends when nobody makes files any more.
    pub(super) fn start(
        mut sync: impl FnMut() -> Result<()> + Send + 'static,
    ) -> std::io::Result<(Self, Made)> {
        let (worth, asked) = sync_channel(1);
        let thread = std::thread::Builder::new().name("early-sync".to_owned()).spawn(move || {
            for () in asked {
                match sync() {
                    Err(error) if is_unsupported(error) => return Ok(()),
                    synced => synced?,
                }
            }
            Ok(())
        })?;
        Ok((Early(thread), Made { bytes: Arc::default(), worth }))
    }

    /// What went wrong. Whoever syncs again is not told of it once more.
    pub(super) fn join(self) -> Result<()> {
        self.0.join().unwrap_or(Err(Errno::IO))
    }
}

impl Made {
    /// A file of which the disk was not told yet to write so many bytes.
    pub(super) fn add(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / WORTH_BYTES < before.saturating_add(bytes) / WORTH_BYTES {
            // While it is at work, and asked once more, that is enough.
            let _ = self.worth.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn it_syncs_whenever_it_is_worth_it() {
        let (synced, heard) = channel();
        let (early, made) = Early::start(move || synced.send(()).map_err(|_| Errno::IO)).unwrap();
        let other = made.clone();

        made.add(WORTH_BYTES - 1);
        other.add(1);
        heard.recv().unwrap();
        made.add(WORTH_BYTES - 1);
        drop(made);
        drop(other);

        early.join().unwrap();
        assert_eq!(heard.try_iter().count(), 0);
    }

    #[test]
    fn what_went_wrong_is_told_and_what_cannot_be_had_is_nothing_wrong() {
        for (errno, expected) in [(Errno::IO, Err(Errno::IO)), (Errno::NOSYS, Ok(()))] {
            let (early, made) = Early::start(move || Err(errno)).unwrap();
            made.add(WORTH_BYTES);
            drop(made);
            assert_eq!(early.join(), expected);
        }
    }
}
