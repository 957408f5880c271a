//! The state that all clients share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::tally::Tally;
use crate::text::ITEMS;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) servers: [String; 2],
    /// The version of an item that each server must not fall behind.
    floors: [Vec<AtomicU64>; 2],
    pub(crate) tally: Tally,
    pub(crate) over: AtomicBool,
}

impl World {
    pub(crate) fn new(servers: [String; 2]) -> Self {
        let floors = [(); 2].map(|()| (0..ITEMS).map(|_| AtomicU64::new(0)).collect());
        Self { servers, floors, tally: Tally::default(), over: AtomicBool::new(false) }
    }

    pub(crate) fn floor(&self, server: usize, item: u64) -> u64 {
        self.floors[server][item as usize].load(Ordering::SeqCst)
    }

    pub(crate) fn raise(&self, server: usize, item: u64, version: u64) {
        self.floors[server][item as usize].fetch_max(version, Ordering::SeqCst);
    }
}
