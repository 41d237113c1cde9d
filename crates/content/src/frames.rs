//! Blocks that come compressed as they lie in another library, and are stored as they came.
//!
//! Whoever reads them and whoever stores what they hold are far apart: between them content is cut into chunks, checked and
//! laid out. What is stored as it came is therefore compared with what it is stored for, byte by byte.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use crate::{durable::lock, limits::BLOCK_PLAIN_LENGTH};

/// Content that was read and is not stored yet: what is read ahead, and a block.
const KEPT_PLAIN_BYTES: usize = 8 * BLOCK_PLAIN_LENGTH;
/// A frame costs memory whatever it holds.
const KEPT_FRAMES: usize = 32;
/// To begin a block for what is shorter saves nothing.
const WORTH_BYTES: usize = BLOCK_PLAIN_LENGTH / 4;

/// Frames that were read lately. To clone it is cheap, and gives the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frames(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    frames: VecDeque<Frame>,
    plain_bytes: usize,
    /// Where in all of the content the next one begins.
    end: u64,
}

#[derive(Debug)]
struct Frame {
    begin: u64,
    plain: Arc<Vec<u8>>,
    data: Vec<u8>,
}

impl Frames {
    /// One more was read: zstd frame `data`, which holds `plain`.
    pub(crate) fn put(&self, data: Vec<u8>, plain: Arc<Vec<u8>>) {
        let mut kept = lock(&self.0);
        let begin = kept.end;
        kept.end += plain.len() as u64;
        kept.plain_bytes += plain.len();
        kept.frames.push_back(Frame { begin, plain, data });
        while kept.plain_bytes > KEPT_PLAIN_BYTES || kept.frames.len() > KEPT_FRAMES {
            kept.forget_first();
        }
    }

    /// Whether one that is worth a block of its own begins where so many bytes of content have gone before.
    pub(crate) fn begins_at(&self, place: u64) -> bool {
        let kept = lock(&self.0);
        kept.frames.iter().any(|frame| frame.begin == place && frame.plain.len() >= WORTH_BYTES)
    }

    /// The frame that holds just this, if there is one. It and those before it are gone then.
    pub(crate) fn holding(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut kept = lock(&self.0);
        let nth = kept.frames.iter().position(|frame| *frame.plain == plain)?;
        for _ in 0..nth {
            kept.forget_first();
        }
        kept.forget_first()
    }
}

impl Kept {
    fn forget_first(&mut self) -> Option<Vec<u8>> {
        let first = self.frames.pop_front()?;
        self.plain_bytes -= first.plain.len();
        Some(first.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(lengths: &[usize]) -> Frames {
        let frames = Frames::default();
        for (nth, length) in lengths.iter().enumerate() {
            frames.put(vec![nth as u8], Arc::new(vec![nth as u8; *length]));
        }
        frames
    }

    #[test]
    fn only_what_holds_just_that_is_given_and_what_came_before_it_is_gone() {
        let frames = frames(&[100, 200, 300]);

        assert_eq!(frames.holding(&[1; 199]), None);
        assert_eq!(frames.holding(&[7; 200]), None);
        assert_eq!(frames.holding(&[1; 200]), Some(vec![1]));
        assert_eq!(frames.holding(&[0; 100]), None);
        assert_eq!(frames.holding(&[2; 300]), Some(vec![2]));
    }

    #[test]
    fn a_block_begins_where_a_long_one_does() {
        let frames = frames(&[100, WORTH_BYTES, 10]);

        let found: Vec<u64> = (0..200_000).filter(|place| frames.begins_at(*place)).collect();

        assert_eq!(found, [100]);
    }

    #[test]
    fn of_many_the_last_are_kept() {
        let frames = frames(&[BLOCK_PLAIN_LENGTH; 20]);

        let kept = |nth| frames.begins_at(nth * BLOCK_PLAIN_LENGTH as u64);
        assert_eq!((0..20).filter(|nth| kept(*nth)).collect::<Vec<u64>>(), (12..20).collect::<Vec<u64>>());
        let frames = self::frames(&[1; 200]);
        assert_eq!(frames.holding(&[167]), None);
        assert_eq!(frames.holding(&[168]), Some(vec![168]));
    }
}
