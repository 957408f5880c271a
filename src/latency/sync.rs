//! What [`grow`](super::grow) synchronises with, so that a test can put a model checker's in its
//! place.

pub(super) use std::sync::OnceLock;
pub(super) use std::sync::atomic::AtomicUsize;
