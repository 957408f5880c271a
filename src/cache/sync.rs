//! The locks of [`coalesce`](super::coalesce), and its hasher. The test of the coalescer compiles it with
//! those of a model checker, which tries orders of the steps of threads.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) use quick_cache::DefaultHashBuilder;
