//! Where entries are kept.

mod api;
mod boxed;
#[cfg(feature = "test-util")]
pub mod contract;
mod lease;
mod memory;
#[cfg(feature = "cache-redis")]
mod redis;
mod tiered;

pub(crate) use api::Erased;
pub use api::{Store, StoreError, Usage};
pub use boxed::BoxStore;
pub use lease::Lease;
pub use memory::MemoryStore;
#[cfg(feature = "cache-redis")]
pub use redis::{InvalidRedisConfig, RedisConfig, RedisStatus, RedisStore};
pub use tiered::TieredStore;
