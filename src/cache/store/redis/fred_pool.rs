//! Pools of `fred` that the caller configures.

use std::sync::Arc;

use fred::clients::Pool;

use super::config::RedisConfig;
use super::fred::Server;
use super::store::RedisStore;

impl RedisConfig {
    /// Creates the settings of a store that sends its commands through a pool of the caller, who
    /// configures, connects and closes it. The store opens one more connection with the same
    /// settings, for messages about purges.
    ///
    /// If Redis gives no reply for seconds, the store replaces the connection for messages, and never
    /// the pool. Its `ReconnectPolicy` must be set: without one a pool never reconnects. In a cluster,
    /// set `ConnectionConfig::max_redirections` to 0: the store sends redirected commands again, while
    /// `fred` ends the tasks of its connections, or gives commands the replies of others, when slots
    /// move.
    ///
    /// The type of the pool is that of [`fred`](crate::cache::fred), which this crate re-exports.
    pub fn from_client(pool: Pool) -> Self {
        Self::with_server(Arc::new(Server::from(pool)))
    }
}

impl RedisStore {
    /// Creates a store that sends its commands through a pool of the caller:
    /// [`RedisConfig::from_client`] with the other settings at their defaults.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    #[must_use]
    pub fn from_client(pool: Pool) -> Self {
        Self::connect(RedisConfig::from_client(pool))
    }
}
