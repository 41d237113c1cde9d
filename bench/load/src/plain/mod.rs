//! What the product's link is compared with: the same bytes from the same file, with nothing around them.

pub(crate) mod grpc;
mod keys;
pub(crate) mod tls;

use std::{fs::File, net::SocketAddr, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use packhorse_trust::{Credentials, Name};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::time::Instant;

use crate::figures::{self, Figures};

/// What is read and written at a time; as much as the product has in a frame.
const PIECE_BYTES: usize = 256 * 1024;

/// A sender's part.
#[derive(Debug)]
pub(crate) struct Sending {
    listen: SocketAddr,
    config: Arc<ServerConfig>,
    file: Source,
    count: usize,
}

/// A sink's part.
#[derive(Debug)]
pub(crate) struct Receiving {
    connect: SocketAddr,
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    count: usize,
}

/// The file that is sent, shared by all that send it.
#[derive(Debug, Clone)]
struct Source {
    file: Arc<File>,
    length: u64,
}

/// When a run began, and what the CPU time was then.
#[derive(Debug, Clone, Copy)]
struct Began(Instant, Duration);

impl TryFrom<crate::Send> for Sending {
    type Error = anyhow::Error;

    fn try_from(send: crate::Send) -> anyhow::Result<Self> {
        let file = File::open(&send.file).with_context(|| format!("cannot open {}", send.file.display()))?;
        let length = file.metadata()?.len();
        let config = keys::server(&Credentials::load(&send.credentials)?)?;
        Ok(Sending {
            listen: send.listen,
            config,
            file: Source { file: Arc::new(file), length },
            count: send.count,
        })
    }
}

impl TryFrom<crate::Sink> for Receiving {
    type Error = anyhow::Error;

    fn try_from(sink: crate::Sink) -> anyhow::Result<Self> {
        let credentials = Credentials::load(&sink.credentials)?;
        let site = credentials.name()?.site;
        let server = ServerName::try_from(Name::of_site(site.clone(), &site).dns_name())?;
        Ok(Receiving {
            connect: sink.connect,
            config: keys::client(&credentials)?,
            server,
            count: sink.count,
        })
    }
}

impl Source {
    /// Reads the next piece into the beginning of `buffer`; it is in the page cache, so that this waits for no disk.
    /// 0: there is no more.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

impl Began {
    fn now() -> anyhow::Result<Self> {
        Ok(Began(Instant::now(), figures::cpu()?))
    }

    fn figures(self, bytes: u64) -> anyhow::Result<Figures> {
        Ok(Figures::new(bytes, self.0.elapsed(), figures::cpu()?.saturating_sub(self.1)))
    }
}
