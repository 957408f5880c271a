use std::env;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::Recorder;

use super::super::super::clock::Clock;
use super::client::{Address, Connect};
#[cfg(feature = "cache-redis")]
use super::fred::Server as DefaultServer;
#[cfg(not(feature = "cache-redis"))]
use super::redis_rs_server::Server as DefaultServer;
use crate::metrics::Metrics;

/// The settings of a [`RedisStore`](super::RedisStore).
///
/// | setting | default | reason |
/// |---|---|---|
/// | [`prefix`](Self::prefix) | `tower-kit:` | separates the keys from those of other programs |
/// | [`command_timeout`](Self::command_timeout) | 50 ms | longer than Redis needs, shorter than users notice |
/// | [`max_entry_size`](Self::max_entry_size) | 4 MiB | fits each response that a layer stores by default, with its headers |
/// | [`max_ttl`](Self::max_ttl) | 7 days | purges are remembered for that time |
/// | [`offline_ttl`](Self::offline_ttl) | 5 s | bounds the time in which a missed purge has no effect |
/// | [`lease_ttl`](Self::lease_ttl) | no leases | a lease costs each miss a round trip |
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use tower_kit::cache::{InvalidRedisConfig, RedisConfig};
///
/// # fn main() -> Result<(), InvalidRedisConfig> {
/// let config = RedisConfig::new("redis://:secret@10.0.0.5:6379")?
///     .prefix("shop:")
///     .command_timeout(Duration::from_millis(20))
///     .lease_ttl(Duration::from_secs(1));
/// # drop(config);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisConfig {
    pub(super) server: Arc<dyn Connect>,
    /// Unknown where the connections are those of the user.
    #[cfg_attr(
        not(feature = "cache-redis-rs"),
        expect(dead_code, reason = "only a second client is asked to connect to it")
    )]
    pub(super) address: Option<Address>,
    pub(super) prefix: String,
    pub(super) command_timeout: Duration,
    pub(super) max_entry_size: u64,
    pub(super) max_ttl: Duration,
    pub(super) offline_ttl: Duration,
    pub(super) lease_ttl: Option<Duration>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

/// An error for a URL or an environment variable that does not name a Redis server.
#[derive(Clone, PartialEq, Eq)]
pub struct InvalidRedisConfig(pub(super) String);

impl RedisConfig {
    /// Creates the settings of the server with this URL:
    ///
    /// - `redis://[user:password@]host[:port][/database]`, or `rediss` for TLS with the feature
    ///   `cache-redis-tls`;
    /// - `redis+unix://[user:password@host]/path`;
    /// - `redis-cluster://host:port[?node=host:port&node=..]`;
    /// - `redis-sentinel://host:port[/database]?sentinelServiceName=name[&node=host:port..]`, with
    ///   `sentinelUsername` and `sentinelPassword` for sentinels that need them.
    ///
    /// The parameter `protocol=resp3` of the query chooses RESP3, which needs Redis 6; RESP2 is the
    /// default. The store has no use for what RESP3 adds.
    ///
    /// `valkey` and `valkeys` are the same as `redis` and `rediss`. Percent-encode the special
    /// characters of URLs in a user name or a password.
    ///
    /// # Errors
    ///
    /// Returns an error for any other URL.
    pub fn new(url: &str) -> Result<Self, InvalidRedisConfig> {
        Self::at(&Address { url: url.to_owned(), login: None })
    }

    /// Creates the settings from environment variables: `REDIS_URL`, or else `REDIS_HOST` (by default
    /// `127.0.0.1`), `REDIS_PORT` (by default 6379), `REDIS_USERNAME` and `REDIS_PASSWORD`.
    ///
    /// # Errors
    ///
    /// Returns an error if one of them is invalid.
    pub fn from_env() -> Result<Self, InvalidRedisConfig> {
        Self::from_variables(|name| match env::var(name) {
            Err(env::VarError::NotUnicode(_)) => {
                Err(InvalidRedisConfig(format!("{name} is not Unicode")))
            }
            // Deployments set variables to nothing to unset them.
            value => Ok(value.ok().filter(|value| !value.is_empty())),
        })
    }

    /// Sets the text that all keys start with. **Stores with the same prefix share their entries:
    /// give each service its own.** Braces in the prefix put all keys into one slot of a cluster.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets the maximum time that a request waits for one reply of Redis. 50 ms by default; at least
    /// 1 ms. A request waits for one reply, for two if the URL has variants, and for one more if it
    /// needs a [lease](Self::lease_ttl).
    #[doc(alias = "timeout")]
    pub fn command_timeout(self, time: Duration) -> Self {
        Self { command_timeout: time.max(Duration::from_millis(1)), ..self }
    }

    /// Sets the maximum size of an entry, with its headers, in bytes. 4 MiB by default, and at most
    /// the 512 MiB that Redis permits. Larger entries are neither stored nor read.
    ///
    /// The store reads at most 256 entries, and writes at most 32 MiB, at the same time.
    pub fn max_entry_size(self, bytes: u64) -> Self {
        Self { max_entry_size: bytes.min(512 * crate::MIB), ..self }
    }

    /// Sets the maximum time that an entry stays in Redis, whatever its lifetime. 7 days by default.
    /// The log of purges keeps its targets for the same time.
    pub fn max_ttl(self, time: Duration) -> Self {
        Self { max_ttl: time, ..self }
    }

    /// Sets the time for which an entry is used while this process cannot learn of purges by others:
    /// after the loss of contact, or after its receipt if that is later. 5 s by default; with zero no
    /// entry is used.
    ///
    /// The store notices the loss of contact at once if Redis closes the connection, and within 1.5 s
    /// if Redis falls silent.
    pub fn offline_ttl(self, time: Duration) -> Self {
        Self { offline_ttl: time, ..self }
    }

    /// Turns leases on: of all processes that miss the same entry, one calls its inner service. The
    /// others wait for the entry for up to half a second, and then call theirs as well. Off by
    /// default: one request of each process calls the inner service.
    ///
    /// The lease of a process that has died expires after `time`, of which 1 or 2 s is a good value;
    /// at least 100 ms.
    pub fn lease_ttl(self, time: Duration) -> Self {
        Self { lease_ttl: Some(time.max(Duration::from_millis(100))), ..self }
    }

    /// Sets the recorder of the metrics, in place of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        Self { metrics: Metrics::to(recorder), ..self }
    }

    /// Sets the clock that is compared with that of Redis, for tests. It has to be that of the layers
    /// and values over the store.
    pub fn clock<F>(self, clock: F) -> Self
    where
        F: Fn() -> SystemTime + Send + Sync + 'static,
    {
        Self { clock: Clock::of(clock), ..self }
    }

    /// Chooses the client library `redis` in place of `fred`, with the feature `cache-redis-rs`. It
    /// is the only one, and needs no choice, without the feature `cache-redis`.
    ///
    /// The page of [`RedisStore`](super::RedisStore#clients) compares the two.
    ///
    /// # Errors
    ///
    /// Returns an error for a URL of TLS, which this client is built without, and for connections of
    /// the user, which are `fred`'s.
    ///
    /// ```
    /// use tower_kit::cache::{InvalidRedisConfig, RedisConfig};
    ///
    /// # fn main() -> Result<(), InvalidRedisConfig> {
    /// let config = RedisConfig::new("redis://10.0.0.5:6379")?.use_redis_rs()?.prefix("shop:");
    /// # drop(config);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "cache-redis-rs")]
    #[doc(alias = "client")]
    pub fn use_redis_rs(self) -> Result<Self, InvalidRedisConfig> {
        let address = self.address.as_ref();
        let address = address.ok_or_else(|| "the connections are fred's".to_owned());
        let server =
            address.and_then(super::redis_rs_server::Server::at).map_err(InvalidRedisConfig)?;
        Ok(Self { server: Arc::new(server), ..self })
    }

    fn at(address: &Address) -> Result<Self, InvalidRedisConfig> {
        check_scheme(&address.url)?;
        let server = DefaultServer::at(address).map_err(InvalidRedisConfig)?;
        Ok(Self { address: Some(address.clone()), ..Self::with_server(Arc::new(server)) })
    }

    pub(super) fn with_server(server: Arc<dyn Connect>) -> Self {
        // The table above gives the reasons.
        Self {
            server,
            address: None,
            prefix: "tower-kit:".to_owned(),
            command_timeout: Duration::from_millis(50),
            max_entry_size: 4 * crate::MIB,
            max_ttl: Duration::from_secs(7 * 24 * 60 * 60),
            offline_ttl: Duration::from_secs(5),
            lease_ttl: None,
            metrics: Metrics::default(),
            clock: Clock::default(),
        }
    }

    fn from_variables(
        variable: impl Fn(&str) -> Result<Option<String>, InvalidRedisConfig>,
    ) -> Result<Self, InvalidRedisConfig> {
        if let Some(url) = variable("REDIS_URL")? {
            return Self::new(&url).map_err(|error| error.in_variable("REDIS_URL"));
        }
        let host = variable("REDIS_HOST")?.unwrap_or_else(|| "127.0.0.1".to_owned());
        // An address of IPv6 stands in brackets in a URL.
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        let port = variable("REDIS_PORT")?.unwrap_or_else(|| "6379".to_owned());
        let port: u16 = port
            .parse()
            .map_err(|_| InvalidRedisConfig(format!("REDIS_PORT is not a port: {port:?}")))?;
        let login = Some((variable("REDIS_USERNAME")?, variable("REDIS_PASSWORD")?));
        let address = Address { url: format!("redis://{host}:{port}"), login };
        Self::at(&address).map_err(|error| error.in_variable("REDIS_HOST"))
    }
}

/// Checks that a URL is one of Redis, and needs no feature that is off.
fn check_scheme(url: &str) -> Result<(), InvalidRedisConfig> {
    let scheme = url.split(':').next().unwrap_or_default();
    let wrong = match scheme.split(['-', '+']).next().unwrap_or_default() {
        "rediss" | "valkeys" if !cfg!(feature = "cache-redis-tls") => {
            "TLS needs the feature cache-redis-tls of tower-kit".to_owned()
        }
        "redis" | "valkey" | "rediss" | "valkeys" if url.contains('#') => {
            "a # in the URL must be written as %23".to_owned()
        }
        "redis" | "valkey" | "rediss" | "valkeys" => return Ok(()),
        _ => {
            let known = "redis, rediss, redis+unix, redis-cluster or redis-sentinel";
            format!("the scheme {scheme:?} of the URL is not {known}")
        }
    };
    Err(InvalidRedisConfig(wrong))
}

impl fmt::Debug for RedisConfig {
    /// Omits the server, whose URL may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("prefix", &self.prefix)
            .field("command_timeout", &self.command_timeout)
            .field("max_entry_size", &self.max_entry_size)
            .field("max_ttl", &self.max_ttl)
            .field("offline_ttl", &self.offline_ttl)
            .field("lease_ttl", &self.lease_ttl)
            .finish_non_exhaustive()
    }
}

impl InvalidRedisConfig {
    fn in_variable(self, name: &str) -> Self {
        Self(format!("{name}: {}", self.0))
    }
}

impl fmt::Display for InvalidRedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration of Redis: {}", self.0)
    }
}

impl fmt::Debug for InvalidRedisConfig {
    /// Formats the error as it is displayed, since a program often returns it from `main`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for InvalidRedisConfig {}

#[cfg(test)]
mod tests;
