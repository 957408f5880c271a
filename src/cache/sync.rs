//! What [`flight`](super::flight) synchronises with, so that a test can put a model checker's in
//! its place.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
