//! Stores, which keep entries under keys.

mod api;
mod boxed;
#[cfg(feature = "test-util")]
pub mod contract;
mod lease;
mod memory;
mod namespaced;
#[cfg(any(feature = "cache-redis", feature = "cache-redis-rs"))]
pub(crate) mod redis;
mod tiered;
mod variants;

pub(crate) use api::DynStore;
pub use api::{Store, Usage};
pub use boxed::BoxStore;
pub use lease::Lease;
pub use memory::MemoryStore;
pub(crate) use namespaced::Namespaced;
pub use tiered::TieredStore;
pub(crate) use variants::add_variant;
