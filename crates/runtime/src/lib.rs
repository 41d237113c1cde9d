//! What every Packhorse process is built on: its tasks, settings, logs, and how it calls and is called.
//!
//! Nothing here knows what the services are.

mod authorize;
mod channel;
mod clock;
pub mod config;
pub mod durable;
mod error;
mod lifecycle;
pub mod local;
pub mod metrics;
mod quic;
pub mod recent;
mod serve;
pub mod telemetry;
mod tls;
mod wire;
mod worker;

pub use authorize::{Peer, Rules, peer};
pub use channel::{ChannelOptions, ConnectError, Refusal, connect};
pub use clock::{Clock, ManualClock, SystemClock};

pub use error::error_chain;
pub use lifecycle::{End, Lifecycle, TaskOutput};
pub use quic::{
    Arriving, QuicConnectError, QuicConnection, QuicDial, QuicError, QuicLimits, QuicOptions, QuicServer,
    quic_connect,
};
pub use serve::{ConnectionInfo, ServeError, ServerOptions, Services, serve};
pub use tls::{Caller, ServerTls, TlsError};
pub use wire::{CongestionControl, Dialled, Wire};
pub use worker::{Next, NextWake, WakeReason, Waker, Worker, WorkerStatus};
