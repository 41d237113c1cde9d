//! What every support bundle is made of: parts without secrets, an archive that explains itself, and what can be said of
//! any machine and any directory.
//!
//! A bundle is for strangers. Whoever makes parts takes only what is public; everything passes a
//! [`Redactor`](packhorse_domain::redact::Redactor) besides.

mod agent;
mod bundle;
mod certificates;
mod config;
mod listing;
mod machine;
mod output;
mod secrets;

pub use agent::{Agent, agent};
pub use bundle::{Archive, Bundle, Title};
pub use certificates::certificates;
pub use config::{ConfigError, config};
pub use listing::listing;
pub use machine::{add_machine, disk};
pub use output::{Output, write_new};
pub use secrets::pieces_of_keys;
