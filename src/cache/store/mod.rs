//! Where entries are kept.

mod api;
#[cfg(feature = "test-util")]
pub mod contract;
mod memory;

pub(super) use api::Erased;
pub use api::{Store, StoreError, Usage};
pub use memory::MemoryStore;
