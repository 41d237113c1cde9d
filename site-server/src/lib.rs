//! The site server: a site's database, content and components, and its links to the parent and the children.
//!
//! Each component is a module with the name that it has in the field. `app` knows them all; nothing else does.

pub mod app;
pub mod authors;
pub mod config;
pub mod init;

mod care;
mod collection;
mod courier;
mod despooler;
mod diagnosis;
mod directories;
mod distribution;
mod enroll;
mod error;
mod figures;
mod inbox;
mod kills;
mod monitor;
mod offer;
mod provider;
mod record;
mod replication;
mod scheduler;
mod sender;
mod site;
mod status;
mod store;
mod streams;
pub mod support;
#[cfg(test)]
mod testing;
mod trace;
