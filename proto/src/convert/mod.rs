//! Conversions between the wire and the domain.
//!
//! Checking happens here, where a message comes in: the wire's types allow more than the domain's, and a receiver
//! expects all sorts of junk from a sender. Sending never fails.

mod address;
mod advertisement;
mod collection;
pub mod courier;
mod diagnosis;
pub mod event_rule;
mod fact;
mod health;
mod instruction;
mod kill;
mod link;
mod log;
mod object;
mod package;
mod queue;
mod receipt;
mod reconcile;
mod status;
pub mod time;

use std::{error::Error, str::FromStr};

use packhorse_domain::{Digest, Priority, Timestamp};
use prost::Message;

use crate::object::v1 as wire;

/// A message that does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error("the message does not decode")]
    Decode(#[source] prost::DecodeError),
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    #[error("field `{field}` is not valid")]
    Invalid { field: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("field `{field}` is larger than the limit of {limit}")]
    TooLarge { field: &'static str, limit: usize },
    #[error("field `{field}` has the value {value}, which this version does not know")]
    Unknown { field: &'static str, value: i32 },
}

impl ConvertError {
    /// The error with its causes, on one line, for a gRPC status.
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

/// Decodes a message from bytes and converts it, in one step.
pub fn decode<M, T>(bytes: &[u8]) -> Result<T, ConvertError>
where
    M: Message + Default,
    T: TryFrom<M, Error = ConvertError>,
{
    M::decode(bytes).map_err(ConvertError::Decode)?.try_into()
}

/// The encoded wire form of a domain value.
pub fn encode<'a, M, T>(value: &'a T) -> Vec<u8>
where
    M: Message + From<&'a T>,
{
    M::from(value).encode_to_vec()
}

fn parse<T>(field: &'static str, text: &str) -> Result<T, ConvertError>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    text.parse().map_err(|source| invalid(field, source))
}

fn invalid(field: &'static str, source: impl Error + Send + Sync + 'static) -> ConvertError {
    ConvertError::Invalid { field, source: Box::new(source) }
}

fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, ConvertError> {
    Digest::try_from(bytes).map_err(|source| invalid(field, source))
}

fn digest_bytes(digest: &Digest) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(digest.as_bytes())
}

fn limited<T>(field: &'static str, items: &[T], limit: usize) -> Result<(), ConvertError> {
    if items.len() > limit { Err(ConvertError::TooLarge { field, limit }) } else { Ok(()) }
}

fn time_or_none(us: i64) -> Option<Timestamp> {
    (us != 0).then_some(Timestamp(us))
}

impl From<Priority> for wire::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => wire::Priority::High,
            Priority::Medium => wire::Priority::Medium,
            Priority::Low => wire::Priority::Low,
        }
    }
}

/// A priority field; one that was not given is medium, as in the original.
pub fn priority(field: &'static str, value: i32) -> Result<Priority, ConvertError> {
    match wire::Priority::try_from(value) {
        Ok(wire::Priority::High) => Ok(Priority::High),
        Ok(wire::Priority::Medium | wire::Priority::Unspecified) => Ok(Priority::Medium),
        Ok(wire::Priority::Low) => Ok(Priority::Low),
        Err(_) => Err(ConvertError::Unknown { field, value }),
    }
}
