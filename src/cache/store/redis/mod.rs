//! Entries in Redis or Valkey. `client.rs` is the only file that knows the crate which speaks to
//! it.

mod breaker;
mod client;
mod config;
mod lease;
mod log;
mod status;
mod store;
mod sync;
mod tally;

pub use config::{InvalidRedisConfig, RedisConfig};
pub use status::RedisStatus;
pub use store::RedisStore;
