//! Random numbers that clients cannot predict.

use std::hash::{BuildHasher, RandomState};

/// Returns random bits, from the keys of the standard library's hash maps, which are new each time.
///
/// The state of a fast generator, such as that of `fastrand`, could be computed from the numbers that
/// a client has seen, and with it the padding that hides a length.
pub(crate) fn bits() -> u64 {
    RandomState::new().hash_one(0_u8)
}
