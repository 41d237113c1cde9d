//! Ports that stay ours over a restart: below the range that the system gives to outgoing connections, and shared out
//! between the test processes of one machine by file locks.

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use anyhow::{Context as _, Result, bail};

const FIRST: u16 = 20_000;
const SLOTS: u16 = 100;
const SLOT_PORTS: u16 = 100;

/// The lock file of this process's slot, held until it ends.
static SLOT: Mutex<Option<(File, u16)>> = Mutex::new(None);
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of this process's own slot that nobody listens on.
pub fn free_port() -> Result<u16> {
    let first = slot()?;
    for _ in 0..SLOT_PORTS {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % SLOT_PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("none of the ports {first} to {} is free", first + SLOT_PORTS - 1)
}

fn slot() -> Result<u16> {
    let mut held = SLOT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, first)) = &*held {
        return Ok(*first);
    }
    let directory = env::temp_dir().join("packhorse-e2e-ports");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for number in 0..SLOTS {
        let path = directory.join(number.to_string());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_ok() {
            let first = FIRST + number * SLOT_PORTS;
            *held = Some((file, first));
            return Ok(first);
        }
    }
    bail!("all {SLOTS} slots of ports are taken by other test processes")
}
