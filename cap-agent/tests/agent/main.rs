//! The agent as a whole, over real TLS between its site and its clients.

mod access;
mod enrolment;
mod point;
mod reports;
mod setting;
mod site;
