use std::env;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "cache-redis-fred")]
use fred::clients::Pool;
use metrics::Recorder;

use super::client::Server;
use crate::metrics::Metrics;

/// Where Redis is, and how it is used.
///
/// | what | default | why |
/// |---|---|---|
/// | [`prefix`](Self::prefix) | `tower-kit:` | keys of others stay apart |
/// | [`command_timeout`](Self::command_timeout) | 50 ms | longer than Redis ever needs, shorter than anybody notices |
/// | [`max_entry_size`](Self::max_entry_size) | 4 MiB | the largest response of a layer, with a head of any length |
/// | [`max_ttl`](Self::max_ttl) | 7 days | so long purges are remembered |
/// | [`offline_ttl`](Self::offline_ttl) | 5 s | a purge that was missed is not seen for longer |
/// | [`lease_ttl`](Self::lease_ttl) | off | it costs each miss a round trip |
///
/// ```
/// use std::time::Duration;
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
    pub(super) server: Server,
    pub(super) prefix: String,
    pub(super) budget: Duration,
    pub(super) largest: u64,
    pub(super) longest: Duration,
    pub(super) unheard: Duration,
    pub(super) lease: Option<Duration>,
    pub(super) metrics: Metrics,
}

/// A URL, or a variable, that tells of no Redis server.
#[derive(Clone, PartialEq, Eq)]
pub struct InvalidRedisConfig(String);

impl RedisConfig {
    /// Of a URL:
    ///
    /// - `redis://[user:password@]host[:port][/database]`, and `rediss` for TLS, with the feature
    ///   `cache-redis-tls`;
    /// - `redis+unix://[user:password@host]/path`;
    /// - `redis-cluster://host:port[?node=host:port&node=..]`;
    /// - `redis-sentinel://host:port[/database]?sentinelServiceName=name[&node=host:port..]`, with
    ///   `sentinelUsername` and `sentinelPassword` where sentinels want these.
    ///
    /// `valkey` and `valkeys` are the same as `redis` and `rediss`. In a user or a password, what is
    /// special in URLs is percent-encoded.
    ///
    /// # Errors
    ///
    /// If it is no such URL.
    pub fn new(url: &str) -> Result<Self, InvalidRedisConfig> {
        Server::at(url).map(Self::of).map_err(InvalidRedisConfig)
    }

    /// Of the environment: `REDIS_URL`, or else `REDIS_HOST` (`127.0.0.1` if it is not set),
    /// `REDIS_PORT` (6379), `REDIS_USERNAME` and `REDIS_PASSWORD`.
    ///
    /// # Errors
    ///
    /// If one of them is not what it should be.
    pub fn from_env() -> Result<Self, InvalidRedisConfig> {
        Self::of_variables(|name| match env::var(name) {
            Err(env::VarError::NotUnicode(_)) => {
                Err(InvalidRedisConfig(format!("{name} is not Unicode")))
            }
            value => Ok(value.ok().filter(|value| !value.is_empty())),
        })
    }

    /// Sends commands through a pool of the caller's, whose settings and lifetime stay the caller's.
    /// The store opens one more connection with the same settings, to receive purges.
    ///
    /// The pool's type is that of [`fred`](crate::cache::fred) as this crate re-exports it.
    #[cfg(feature = "cache-redis-fred")]
    pub fn from_client(pool: Pool) -> Self {
        Self::of(Server::Through(pool))
    }

    /// What all keys begin with. **Those who have the same one share what they keep: give each
    /// service one of its own.** Braces in it choose the slot of a cluster for all of it.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// How long a request waits for a reply of Redis: once, twice where a URL has variants, and once
    /// more where it needs a [`lease_ttl`](Self::lease_ttl). Less than 1 ms is taken as 1 ms.
    pub fn command_timeout(self, budget: Duration) -> Self {
        Self { budget: budget.max(Duration::from_millis(1)), ..self }
    }

    /// The most bytes that an entry may have, with its head. What is larger is not kept, and not
    /// read. More than 512 MiB is taken as 512 MiB, which is all that Redis has room for under a key.
    /// At most 256 entries are being read at a time, and 32 MiB of them written.
    pub fn max_entry_size(self, bytes: u64) -> Self {
        Self { largest: bytes.min(512 * crate::MIB), ..self }
    }

    /// The longest that an entry is kept, whatever its lifetime.
    pub fn max_ttl(self, time: Duration) -> Self {
        Self { longest: time, ..self }
    }

    /// While this process cannot learn of purges made elsewhere, an entry is used for so long after
    /// contact was lost, or after it was fetched if that is later. Zero: no entry is used. Contact is
    /// lost at once when Redis closes the connection, and after 1.5 s where it only falls silent.
    pub fn offline_ttl(self, time: Duration) -> Self {
        Self { unheard: time, ..self }
    }

    /// On a miss in all processes, one fetches; the others wait for it, for up to half a second, and
    /// then fetch too. Without a lease, one of each process fetches. If the one that fetches dies, its
    /// lease ends after `time`: 1 or 2 s is good. Less than 100 ms is taken as 100 ms.
    pub fn lease_ttl(self, time: Duration) -> Self {
        Self { lease: Some(time.max(Duration::from_millis(100))), ..self }
    }

    /// Counts on `recorder` instead of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        Self { metrics: Metrics::to(recorder), ..self }
    }

    fn of(server: Server) -> Self {
        Self {
            server,
            prefix: "tower-kit:".to_owned(),
            budget: Duration::from_millis(50),
            largest: 4 * crate::MIB,
            longest: Duration::from_secs(7 * 24 * 60 * 60),
            unheard: Duration::from_secs(5),
            lease: None,
            metrics: Metrics::default(),
        }
    }

    fn of_variables(
        of: impl Fn(&str) -> Result<Option<String>, InvalidRedisConfig>,
    ) -> Result<Self, InvalidRedisConfig> {
        if let Some(url) = of("REDIS_URL")? {
            return Self::new(&url).map_err(|error| error.of("REDIS_URL"));
        }
        let host = of("REDIS_HOST")?.unwrap_or_else(|| "127.0.0.1".to_owned());
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        let port = of("REDIS_PORT")?.unwrap_or_else(|| "6379".to_owned());
        let port: u16 = port
            .parse()
            .map_err(|_| InvalidRedisConfig(format!("REDIS_PORT is no port: {port:?}")))?;
        let server = Server::at(&format!("redis://{host}:{port}"));
        let server = server.map_err(|error| InvalidRedisConfig(error).of("REDIS_HOST"))?;
        Ok(Self::of(server.with_password(of("REDIS_USERNAME")?, of("REDIS_PASSWORD")?)))
    }
}

impl fmt::Debug for RedisConfig {
    /// Without the server, whose password nobody should read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("prefix", &self.prefix)
            .field("budget", &self.budget)
            .field("largest", &self.largest)
            .field("longest", &self.longest)
            .field("unheard", &self.unheard)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl InvalidRedisConfig {
    fn of(self, name: &str) -> Self {
        Self(format!("{name}: {}", self.0))
    }
}

impl fmt::Display for InvalidRedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no Redis server: {}", self.0)
    }
}

impl fmt::Debug for InvalidRedisConfig {
    /// As it is displayed: it is often what `main` ends with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for InvalidRedisConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_tell_where_redis_is() {
        for (url, fits) in [
            ("redis://localhost", true),
            ("redis://user:secret@localhost:6380/3", true),
            ("valkey://localhost", true),
            ("redis+unix:///run/redis.sock", true),
            ("redis-cluster://a:1?node=b:2", true),
            ("redis-sentinel://a:1/0?sentinelServiceName=main", true),
            ("redis-sentinel://a:1/0", false),
            ("rediss://localhost", cfg!(feature = "cache-redis-tls")),
            ("http://localhost", false),
            ("localhost:6379", false),
            ("redis://localhost:x", false),
            ("redis://localhost/x", false),
            ("redis://user:p#ss@localhost", false),
            ("", false),
        ] {
            let config = RedisConfig::new(url);
            assert_eq!(config.is_ok(), fits, "{url}: {config:?}");
        }
    }

    #[test]
    fn the_environment_tells_where_redis_is() {
        let config = |variables: &[(&str, &str)]| {
            RedisConfig::of_variables(|name| {
                let found = variables.iter().find(|(of, _)| *of == name);
                Ok(found.map(|(_, value)| (*value).to_owned()))
            })
        };
        let server =
            |variables: &[(&str, &str)]| format!("{:?}", config(variables).unwrap().server);
        let of_url = |url: &str| format!("{:?}", RedisConfig::new(url).unwrap().server);
        assert_eq!(server(&[]), of_url("redis://127.0.0.1:6379"));
        assert_eq!(
            server(&[("REDIS_HOST", "a"), ("REDIS_PORT", "1"), ("REDIS_PASSWORD", "s@/?")]),
            of_url("redis://:s%40%2F%3F@a:1")
        );
        assert_eq!(server(&[("REDIS_HOST", "::1")]), of_url("redis://[::1]"));
        assert_eq!(server(&[("REDIS_URL", "redis://b"), ("REDIS_HOST", "a")]), of_url("redis://b"));
        for wrong in [
            ("REDIS_PORT", "x"),
            ("REDIS_PORT", "65536"),
            ("REDIS_URL", "x"),
            ("REDIS_HOST", "a b"),
        ] {
            assert!(config(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_the_nearest() {
        let config = || RedisConfig::new("redis://localhost").unwrap();
        let ms = Duration::from_millis;
        for (given, budget, lease) in
            [(ms(0), ms(1), ms(100)), (ms(1), ms(1), ms(100)), (ms(101), ms(101), ms(101))]
        {
            assert_eq!(config().command_timeout(given).budget, budget);
            assert_eq!(config().lease_ttl(given).lease, Some(lease));
        }
        let most = 512 * crate::MIB;
        for (given, taken) in [(0, 0), (most, most), (most + 1, most), (u64::MAX, most)] {
            assert_eq!(config().max_entry_size(given).largest, taken);
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = RedisConfig::new("redis://:secret@localhost").unwrap();
        assert!(!format!("{config:?}").contains("secret"));
    }
}
