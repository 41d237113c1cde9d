//! The CAP agent: what a site is to its clients. As client access point it hands out signed instruction files and takes
//! reports; as distribution point it holds content. It decides nothing and signs nothing, and it goes on serving while
//! its site is away.

mod access;
mod app;
mod backoff;
mod blocking;
mod client_report;
mod config;
mod enroll;
mod enroll_service;
mod feed;
mod figures;
mod point;
mod presence;
mod reports;
mod site;
mod store;

pub use app::{StartError, check, start};
pub use config::{Settings, Telemetry};
pub use enroll::{EnrollError, EnrollOptions, Enrolled, enroll};
