//! The primitives that [`pool`](super::pool) synchronizes with, so that a test can put those of a
//! model checker in their place.

pub(super) use std::thread_local;
