//! New content as differences from old content, which both ends hold.
//!
//! The old content is one run of bytes; so is the new. The new is told as a row of steps: so many bytes as they are
//! (*literals*), then so many as they are in the old content at another place (a *copy*), except for differences. A copy
//! need not be exact: in machine code that was built anew addresses differ everywhere and little else does. A difference is
//! a number of four bytes to be added, and most of them are one of those that came lately.
//!
//! What is told is kept apart by its kind, in [`Stream`]s, each of which is compressed for itself: numbers of one kind
//! resemble each other more than their neighbours. Numbers are in groups of seven bits, the lowest first, the highest bit
//! set in all but the last.
//!
//! | stream | of each step |
//! |---|---|
//! | literal lengths | how many literals |
//! | literals | they themselves |
//! | copy lengths | how many bytes after them are copied, at most 65,536 |
//! | shifts | if some are: how much further on their place in the old content is, against that in the new, than in the last copy; its sign is its lowest bit |
//! | gaps | before each difference in the copy: one more than the equal bytes since the last; at the end 0 |
//! | recent | of each difference: 0, or one more than its place among the last 64 different ones, newest first |
//! | low, middle, high | of each whose `recent` is 0: the number, its sign as its lowest bit, in 1, 1 and 2 bytes |
//! | frames | not of steps: if the literals are not one zstd frame but some, then of each of these its length, and that of what it holds, 1 to 1,048,576 |
//!
//! A difference takes four bytes of the copy, or what is left of it, the lowest first.

mod ahead;
mod copies;
mod decode;
mod differences;
mod encode;
mod index;
mod near;
mod old;
mod streams;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;
pub(crate) use index::Index;
pub(crate) use old::OldContent;
pub(crate) use streams::{STREAMS, Spools, Stream, Streams};

/// Bytes of one copy, at most.
const COPY_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;
