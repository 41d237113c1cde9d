//! Load for the benches: many child sites in one process, and the plain senders that the product is compared with.
//!
//! Each mode ends with one line of JSON on standard output: bytes, seconds, and what the process itself took of the CPU.

mod child;
mod enrol;
mod figures;
mod fleet;
mod plain;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand};
use packhorse_domain::id::PointName;

use crate::{
    figures::Figures,
    plain::{Receiving, Sending, grpc, tls},
};

/// Load for the benches of Packhorse.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Play child sites of a site server: they join, take everything that is offered, and throw it away
    ///
    /// `ready` is printed when the parent knows all of them; it ends when each has its bundles.
    Children {
        /// The `admin` directory of the parent site
        #[arg(long, value_name = "DIR")]
        admin: PathBuf,
        /// How many; their codes are A00, A01, and so on
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// How many codes to leave out, as those of children that joined before
        #[arg(long, default_value_t = 0)]
        skip: usize,
        /// The name of the distribution point that each has
        #[arg(long, default_value = "hall")]
        point: PointName,
        /// After how many bundles a child is done
        #[arg(long, default_value_t = 1)]
        bundles: usize,
    },
    /// Send a file over plain TLS to everybody who connects
    TlsSend(Send),
    /// Take what a plain TLS sender sends
    TlsSink(Sink),
    /// Send a file as messages of one gRPC stream to everybody who connects
    GrpcSend(Send),
    /// Take what a gRPC sender sends
    GrpcSink(Sink),
}

#[derive(Debug, Args)]
struct Send {
    /// The credentials of a site
    #[arg(long, value_name = "DIR")]
    credentials: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    file: PathBuf,
    /// To how many; then it ends
    #[arg(long, default_value_t = 1)]
    count: usize,
}

#[derive(Debug, Args)]
struct Sink {
    /// The credentials of one who may call that site
    #[arg(long, value_name = "DIR")]
    credentials: PathBuf,
    #[arg(long)]
    connect: SocketAddr,
    /// Over how many connections at once
    #[arg(long, default_value_t = 1)]
    count: usize,
}

fn main() -> anyhow::Result<()> {
    let mode = Arguments::parse().mode;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(run(mode))?;
    // Whoever is still connected is of no interest any more.
    runtime.shutdown_background();
    say(&serde_json::to_string(&figures)?)
}

async fn run(mode: Mode) -> anyhow::Result<Figures> {
    match mode {
        Mode::Children { admin, count, skip, point, bundles } => {
            let children = enrol::children(&admin, skip..skip + count).await?;
            fleet::play(children, &point, bundles, || say("ready")).await
        }
        Mode::TlsSend(send) => tls::send(Sending::try_from(send)?).await,
        Mode::TlsSink(sink) => tls::receive(Receiving::try_from(sink)?).await,
        Mode::GrpcSend(send) => grpc::send(Sending::try_from(send)?).await,
        Mode::GrpcSink(sink) => grpc::receive(Receiving::try_from(sink)?).await,
    }
}

/// A line that the script waits for.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
