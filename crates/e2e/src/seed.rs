//! Chance that can be repeated: the seed is printed, and `PACKHORSE_SEED` sets it.

use std::{
    env,
    hash::{BuildHasher as _, RandomState},
    io::{self, Write as _},
    process,
};

/// A splitmix64 sequence.
#[derive(Debug, Clone)]
pub struct Seed {
    first: u64,
    state: u64,
}

impl Seed {
    /// From `PACKHORSE_SEED`, or a new one, which is printed so that a failed run can be repeated.
    pub fn from_environment() -> Self {
        let given = env::var("PACKHORSE_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.map_or_else(Seed::fresh, Seed::new);
        let _ = writeln!(io::stderr(), "PACKHORSE_SEED={}", seed.first);
        seed
    }

    pub fn new(first: u64) -> Self {
        Seed { first, state: first }
    }

    fn fresh() -> Self {
        // Keyed anew by the operating system in each process.
        Seed::new(RandomState::new().hash_one(process::id()) >> 16)
    }

    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit
    }
}
