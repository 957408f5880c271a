//! The synchronization types of [`append_only_map`](super::append_only_map), in a file of their own
//! so that `tests/peers` can compile the map with those of a model checker.

pub(super) use std::sync::OnceLock;
pub(super) use std::sync::atomic::AtomicUsize;
