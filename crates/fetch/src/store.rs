//! The writing half of a pull: blocks from the network become durable on a thread of their own.
//!
//! What has arrived is made durable every so often, so that an end at any instant loses little of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use packhorse_content::{Block, Library, LibraryError, PackWriter};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::pull::Progress;

/// Blocks that wait for the disk.
const WAITING: usize = 4;
const FLUSH_BYTES: u64 = 32 * 1024 * 1024;
const FLUSH_AFTER: Duration = Duration::from_secs(5);

/// Takes blocks, checks them and stores them.
#[derive(Debug)]
pub(crate) struct Store {
    blocks: mpsc::Sender<Block>,
    thread: JoinHandle<Result<(), LibraryError>>,
}

impl Store {
    pub(crate) fn open(library: &Arc<Library>, progress: &watch::Sender<Progress>) -> Self {
        let (blocks, arriving) = mpsc::channel(WAITING);
        let (library, progress, handle) = (library.clone(), progress.clone(), Handle::current());
        let thread = tokio::task::spawn_blocking(move || write(&library, arriving, &progress, &handle));
        Store { blocks, thread }
    }

    /// Whether it goes on taking blocks; if not, `close` tells why.
    pub(crate) async fn put(&self, block: Block) -> bool {
        self.blocks.send(block).await.is_ok()
    }

    /// Whether an error ended it.
    pub(crate) fn has_ended(&self) -> bool {
        self.blocks.is_closed()
    }

    /// Makes durable what was put. An error is the first of any block.
    pub(crate) async fn close(self) -> Result<(), LibraryError> {
        drop(self.blocks);
        match self.thread.await {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down: nobody will see this.
                Err(_) => Err(LibraryError::WriterFailed),
            },
        }
    }
}

fn write(
    library: &Library,
    mut arriving: mpsc::Receiver<Block>,
    progress: &watch::Sender<Progress>,
    handle: &Handle,
) -> Result<(), LibraryError> {
    let mut writer = Flushing { writer: library.writer()?, unflushed: 0, since: Instant::now() };
    loop {
        let wait = writer.due_in();
        match handle.block_on(async { tokio::time::timeout(wait, arriving.recv()).await }) {
            Ok(Some(block)) => {
                let length = block.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
                match writer.add(block, length) {
                    Ok(()) => progress.send_modify(|progress| {
                        progress.done += length;
                        progress.fetched += length;
                    }),
                    Err(error) => {
                        // What came before is good, and the reason for ending matters more than how this ends.
                        let _ = writer.writer.seal();
                        return Err(error);
                    }
                }
            }
            Ok(None) => return writer.writer.seal(),
            Err(_) => writer.flush()?,
        }
    }
}

struct Flushing {
    writer: PackWriter,
    unflushed: u64,
    since: Instant,
}

impl Flushing {
    fn due_in(&self) -> Duration {
        if self.unflushed == 0 { FLUSH_AFTER } else { FLUSH_AFTER.saturating_sub(self.since.elapsed()) }
    }

    fn add(&mut self, block: Block, length: u64) -> Result<(), LibraryError> {
        if self.unflushed == 0 {
            self.since = Instant::now();
        }
        self.writer.add_block(block)?;
        self.unflushed += length;
        if self.unflushed >= FLUSH_BYTES || self.since.elapsed() >= FLUSH_AFTER {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), LibraryError> {
        if self.unflushed > 0 {
            self.writer.flush_durable()?;
            self.unflushed = 0;
        }
        Ok(())
    }
}
