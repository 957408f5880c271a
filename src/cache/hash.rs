//! Hashes that are the same in every process and version of Rust, since processes exchange them.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13Of128};

pub(crate) fn hash128(text: &str) -> u128 {
    let mut hasher = SipHasher13Of128::new();
    hasher.write(text.as_bytes());
    hasher.finish128().as_u128()
}

/// A hash of a sequence of parts. The length of each part is hashed too, so that two sequences with the
/// same bytes and other boundaries differ.
#[derive(Debug, Default)]
pub(crate) struct Hash64(SipHasher13);

impl Hash64 {
    pub(crate) fn part(&mut self, part: &[u8]) {
        self.0.write(&(part.len() as u64).to_le_bytes());
        self.0.write(part);
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_first_version() {
        assert_eq!(hash128(""), HASH_OF_NOTHING);
        let mut hasher = Hash64::default();
        hasher.part(b"ab");
        hasher.part(b"");
        assert_eq!(hasher.finish(), HASH_OF_TWO);
    }

    #[test]
    fn parts_are_told_apart() {
        let of = |parts: &[&str]| {
            let mut hasher = Hash64::default();
            parts.iter().for_each(|part| hasher.part(part.as_bytes()));
            hasher.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
    }

    const HASH_OF_NOTHING: u128 = 246_054_486_573_677_404_645_197_968_742_568_014_861;
    const HASH_OF_TWO: u64 = 8_811_816_065_109_076_315;
}
