//! A store in Redis or Valkey. `client.rs` says what it asks of a client library: `fred.rs` alone knows
//! `fred`, and `redis_rs.rs` with its addresses `redis`.

mod backend;
mod breaker;
mod client;
mod config;
mod fills;
#[cfg(feature = "cache-redis")]
mod fred;
#[cfg(feature = "cache-redis-fred")]
mod fred_pool;
mod join;
mod lease;
mod metrics;
mod purge_log;
mod purge_queue;
#[cfg(feature = "cache-redis-rs")]
mod redis_rs;
#[cfg(feature = "cache-redis-rs")]
mod redis_rs_server;
mod renewal;
mod status;
mod store;
mod sync_task;

pub use config::{InvalidRedisConfig, RedisConfig};
pub use status::RedisStatus;
pub use store::RedisStore;
