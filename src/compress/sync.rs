//! What [`pool`](super::pool) synchronises with, so that a test can put a model checker's in its
//! place.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::AtomicUsize;
pub(super) use std::thread_local;
