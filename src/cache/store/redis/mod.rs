//! A store in Redis or Valkey. `client.rs` says what it asks of a client library; `fred.rs` is the only
//! file that knows `fred`.

mod backend;
mod breaker;
mod client;
mod config;
mod fills;
mod fred;
#[cfg(feature = "cache-redis-fred")]
mod fred_pool;
mod lease;
mod metrics;
mod purge_log;
mod purge_queue;
mod status;
mod store;
mod sync_task;

pub use config::{InvalidRedisConfig, RedisConfig};
pub use status::RedisStatus;
pub use store::RedisStore;

use self::fred::Server as DefaultServer;
