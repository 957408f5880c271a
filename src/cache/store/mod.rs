//! Where entries are kept.

mod api;
#[cfg(feature = "test-util")]
pub mod contract;
mod lease;
mod memory;
mod tiered;

pub(super) use api::Erased;
pub use api::{Store, StoreError, Usage};
pub use lease::Lease;
pub use memory::MemoryStore;
pub use tiered::TieredStore;
