//! The bounds of memory that SECURITY.md states, held against an adversary by an allocator that
//! counts what is asked of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adversary;
mod batch;
mod compress;
mod compress_dictionary;
mod content_key;
mod latency;
mod limit;
mod pressure;
mod recordings;
mod security_headers;
mod store;
mod values;

use std::alloc::System;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Tests of one process run one after the other: the allocator counts what all of them hold.
static ALONE: Mutex<()> = Mutex::new(());

/// The bytes that are allocated now.
fn held() -> u64 {
    let stats = COUNTED.stats();
    (stats.bytes_allocated - stats.bytes_deallocated) as u64
}

/// Returns how many allocations there have been.
fn allocations() -> usize {
    let stats = COUNTED.stats();
    stats.allocations + stats.reallocations
}

/// Runs a test while no other one does, including what prepares it: that allocates too. The clock stands still: it goes on when nothing is to be done.
fn alone<T>(test: impl Future<Output = T>) -> T {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(test)
}
