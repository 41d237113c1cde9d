//! A thread that writes an item's file while the next pieces are read and decrypted.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread::{self, JoinHandle},
};

use packhorse_domain::link::Ranges;

use crate::{
    despooler::Filling,
    sender::{Spool, WrittenLog},
};

/// Pieces of at most 1 MiB that wait to be written: as many as come while the disk syncs.
const WAITING_MAX: usize = 32;

enum Task {
    Write(u64, Vec<u8>),
    Sync,
}

/// What is told of the file, and when the disk has it.
struct Writer {
    file: File,
    spool: Spool,
    length: u64,
    written: Ranges,
    log: WrittenLog,
    /// Of whoever takes it in meanwhile.
    filling: Option<Filling>,
    /// All of it comes from here, each piece checked by the packing list.
    is_alone: bool,
}

/// The way to the thread.
pub(super) struct Behind {
    tasks: Option<SyncSender<Task>>,
    /// For each sync that was asked for, how it went.
    synced: Receiver<io::Result<()>>,
    asked: usize,
    /// Buffers that were written.
    free: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
}

impl Behind {
    pub(super) fn begin(
        file: File,
        spool: &Spool,
        (length, here): (u64, &Ranges),
        filling: Option<Filling>,
    ) -> io::Result<Behind> {
        let log = spool.log(length, here, here)?;
        let is_alone = here.bytes() == 0;
        let (spool, written) = (spool.clone(), here.clone());
        let writer = Writer { file, spool, length, written, log, filling, is_alone };
        let (tasks, taken) = sync_channel(WAITING_MAX);
        let (told, synced) = channel();
        let (spare, free) = channel();
        let thread = thread::spawn(move || writer.run(&taken, &told, &spare));
        Ok(Behind { tasks: Some(tasks), synced, asked: 0, free, thread: Some(thread) })
    }

    pub(super) fn write(&mut self, from: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let next = self.free.try_recv().unwrap_or_else(|_| Vec::with_capacity(bytes.len()));
        self.send(Task::Write(from, std::mem::replace(bytes, next)))
    }

    /// Asks for all of it to be durable, and looks how the last time went.
    pub(super) fn ask(&mut self) -> io::Result<()> {
        self.settle()?;
        self.asked += 1;
        self.send(Task::Sync)
    }

    /// Waits for what was asked for.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        while self.asked > 0 {
            self.asked -= 1;
            self.synced.recv().unwrap_or_else(|_| Err(ended()))?;
        }
        Ok(())
    }

    /// Waits until everything is written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.tasks.take();
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| ended())?;
        }
        // Whatever failed was told.
        self.synced.iter().collect()
    }

    fn send(&self, task: Task) -> io::Result<()> {
        let sent = self.tasks.as_ref().map(|tasks| tasks.send(task));
        match sent {
            Some(Ok(())) => Ok(()),
            // It ends by itself only when something failed, and has told it.
            _ => self.synced.try_recv().unwrap_or_else(|_| Err(ended())).and(Err(ended())),
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the writing ended midway")
}

impl Drop for Behind {
    /// Whoever opens the file next finds all that was written.
    fn drop(&mut self) {
        self.tasks.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Writer {
    fn run(mut self, tasks: &Receiver<Task>, told: &Sender<io::Result<()>>, spare: &Sender<Vec<u8>>) {
        for task in tasks {
            let (done, is_sync) = match task {
                Task::Write(from, bytes) => (self.write(from, bytes, spare), false),
                Task::Sync => (self.sync(), true),
            };
            // Whoever reads the medium may be gone.
            let has_failed = done.is_err();
            if is_sync || has_failed {
                drop(told.send(done));
            }
            if has_failed {
                return;
            }
        }
    }

    fn write(&mut self, from: u64, bytes: Vec<u8>, spare: &Sender<Vec<u8>>) -> io::Result<()> {
        self.file.write_all_at(&bytes, from)?;
        let run = from..from + bytes.len() as u64;
        self.log.wrote(&run)?;
        self.written.insert(run);
        if let Some(filling) = &self.filling {
            filling.reach(self.written.end_from(0));
            if self.is_alone && self.written.bytes() == self.length {
                filling.prove();
            }
        }
        drop(spare.send(bytes));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.log = self.spool.log(self.length, &self.written, &self.written)?;
        Ok(())
    }
}
