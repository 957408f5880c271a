//! Random numbers that a seed repeats.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

/// A SplitMix64 generator.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Creates the generator of this number, each with a sequence of its own.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// Returns a generator for a part of the work. The sequence after the part does not depend on how
    /// many numbers the part draws.
    pub(crate) fn part(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn among(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// Small numbers more often than large ones, as some pages are asked for more than others.
    pub(crate) fn skewed(&mut self, below: u64) -> u64 {
        let most = self.among(1..below + 1);
        self.among(0..most)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.next() % times == 0
    }

    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.among(range))
    }
}

/// A new one each time.
pub(crate) fn seed() -> u64 {
    RandomState::new().hash_one(()) % 1_000_000
}
