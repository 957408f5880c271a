//! All that is said to Redis, through `fred`. ARCHITECTURE.md says what its settings are and why.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::{Client as Connection, Pool, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, KeysInterface, PubsubInterface};
use fred::types::config::{
    Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, TcpConfig,
    UnresponsiveConfig,
};
use fred::types::{ClusterHash, ConnectHandle, CustomCommand, Expiration, SetOptions, Value};
use fred::util::redis_keyslot;
use socket2::TcpKeepalive;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Where Redis is.
#[derive(Clone, Debug)]
pub(super) enum Server {
    At(Config),
    #[cfg(feature = "cache-redis-fred")]
    Through(Pool),
}

/// Connections: one for commands, or those of a user's pool, and one for messages.
pub(super) struct Client {
    pool: Pool,
    commands: WithOptions<Pool>,
    /// For what no request waits for.
    background: WithOptions<Pool>,
    messages: Connection,
    /// Whether the pool's connections are the user's, who began them and ends them.
    lent: bool,
}

/// The task of a connection, which ends when this is dropped.
struct Running(ConnectHandle);

/// What tells that there is something to read.
pub(super) struct News {
    messages: Receiver<fred::types::Message>,
    reconnects: Receiver<fred::types::config::Server>,
    resubscribes: Receiver<fred::types::config::Server>,
    troubles: Receiver<(Error, Option<fred::types::config::Server>)>,
}

/// What came.
#[derive(Debug)]
pub(super) enum Novelty {
    /// The stamp that somebody has written.
    Message(u64),
    /// The connection for commands is there.
    Connected,
    /// That for messages is there, and hears nothing before it is told to.
    Deaf,
    /// Some were lost.
    Gap,
    /// Why the connection for commands ended, or cannot be made.
    Trouble(Failure),
}

/// Why a command has no reply that is of use.
#[derive(Debug)]
pub(super) enum Failure {
    /// It took too long.
    Timeout(Error),
    /// There is no connection.
    Down(Error),
    /// Redis does not do it.
    Refused(Error),
}

impl Server {
    /// # Errors
    ///
    /// If it is no URL of a Redis, or one that needs TLS, which is not there.
    pub(super) fn at(url: &str) -> Result<Self, String> {
        let scheme = url.split(':').next().unwrap_or_default();
        let plain = scheme.split(['-', '+']).next().unwrap_or_default();
        match plain {
            "redis" | "valkey" => {}
            "rediss" | "valkeys" if cfg!(feature = "cache-redis-tls") => {}
            "rediss" | "valkeys" => return Err("TLS needs the feature cache-redis-tls".to_owned()),
            _ => {
                let known = "redis, rediss, redis+unix, redis-cluster or redis-sentinel";
                return Err(format!("the URL's scheme is not {known}"));
            }
        }
        if url.contains('#') {
            return Err("a # in the URL has to be written as %23".to_owned());
        }
        let config = Config::from_url(url).map(Self::At);
        config.map_err(|error| format!("the URL is not valid: {}", error.details()))
    }

    pub(super) fn with_password(
        mut self,
        username: Option<String>,
        password: Option<String>,
    ) -> Self {
        match &mut self {
            Self::At(config) => {
                config.username = username;
                config.password = password;
            }
            #[cfg(feature = "cache-redis-fred")]
            Self::Through(_) => {}
        }
        self
    }
}

impl Client {
    /// `budget` is for a command that a request waits for.
    #[expect(clippy::expect_used, reason = "a pool of one is not empty")]
    pub(super) fn new(server: Server, budget: Duration) -> Self {
        let (pool, lent) = match server {
            #[cfg(feature = "cache-redis-fred")]
            Server::Through(pool) => (pool, true),
            Server::At(config) => {
                // Otherwise the first attempt to connect is the last.
                let config = Config { fail_fast: false, ..config };
                let policy = ReconnectPolicy::new_exponential(0, 10, 1000, 2);
                let (speed, connection) = (PerformanceConfig::default(), connection());
                let pool = Pool::new(config, Some(speed), Some(connection), Some(policy), 1);
                (pool.expect("only an empty pool is refused"), false)
            }
        };
        let options = |timeout| Options {
            timeout: Some(timeout),
            fail_fast: true,
            max_attempts: Some(1),
            ..Options::default()
        };
        Self {
            commands: pool.with_options(&options(budget)),
            background: pool.with_options(&options(BACKGROUND)),
            messages: pool.next().clone_new(),
            pool,
            lent,
        }
    }

    /// Up to `most` bytes of what is under a key; empty if there is nothing.
    pub(super) async fn get(&self, key: &str, most: usize) -> Result<Bytes, Failure> {
        // Unlike GET, it cannot be made to send more. fred's future is of nearly 7 KiB, which is not
        // to be moved about with each that waits for it.
        Ok(Box::pin(self.commands.getrange(key, 0, most.saturating_sub(1))).await?)
    }

    /// `millis` is how long it is kept.
    pub(super) async fn set(&self, key: &str, value: Bytes, millis: i64) -> Result<(), Failure> {
        let expiration = Some(Expiration::PX(millis));
        Ok(self.background.set(key, Value::Bytes(value), expiration, None, false).await?)
    }

    /// Whether the key was free, and is this value's now.
    pub(super) async fn set_if_free(
        &self,
        key: &str,
        value: &str,
        millis: i64,
    ) -> Result<bool, Failure> {
        let (expiration, free) = (Some(Expiration::PX(millis)), Some(SetOptions::NX));
        let set: Option<String> = self.commands.set(key, value, expiration, free, false).await?;
        Ok(set.is_some())
    }

    pub(super) async fn remove(&self, key: &str) -> Result<(), Failure> {
        Ok(self.commands.unlink(key).await?)
    }

    /// Runs a script; all its keys are in the first one's slot.
    pub(super) async fn script<R: fred::types::FromValue>(
        &self,
        script: &'static str,
        keys: &[&str],
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<R, Failure> {
        // `eval` does not heed the options; and of what tells the slot, `custom` heeds only this.
        let slot = redis_keyslot(keys.first().unwrap_or(&"").as_bytes());
        let eval = CustomCommand::new_static("EVAL", ClusterHash::Custom(slot), false);
        let mut words = vec![script.to_owned(), keys.len().to_string()];
        words.extend(keys.iter().map(|key| (*key).to_owned()));
        words.extend(arguments);
        Ok(self.background.custom(eval, words).await?)
    }

    /// Keeps both connected until it is dropped, whatever ends them.
    pub(super) async fn keep_connected(&self) {
        let keep = async |client: &Connection| loop {
            // It would run on; and it may end for good before.
            let mut running = Running(client.connect());
            drop((&mut running.0).await);
            tokio::time::sleep(AGAIN).await;
        };
        if self.lent {
            keep(&self.messages).await;
        } else {
            tokio::join!(keep(self.pool.next()), keep(&self.messages));
        }
    }

    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), Failure> {
        let options = Options { timeout: Some(BACKGROUND), ..Options::default() };
        Ok(self.messages.with_options(&options).subscribe(channel).await?)
    }

    pub(super) fn news(&self) -> News {
        News {
            messages: self.messages.message_rx(),
            reconnects: self.pool.next().reconnect_rx(),
            resubscribes: self.messages.reconnect_rx(),
            troubles: self.pool.next().error_rx(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl News {
    pub(super) async fn next(&mut self) -> Novelty {
        tokio::select! {
            message = heard(&mut self.messages) => message.map_or(Novelty::Gap, |message| {
                let stamp = message.value.as_str().and_then(|stamp| stamp.parse().ok());
                stamp.map_or(Novelty::Gap, Novelty::Message)
            }),
            server = heard(&mut self.reconnects) => server.map_or(Novelty::Gap, |_| Novelty::Connected),
            server = heard(&mut self.resubscribes) => server.map_or(Novelty::Gap, |_| Novelty::Deaf),
            trouble = heard(&mut self.troubles) => trouble
                .map_or(Novelty::Gap, |(error, _)| Novelty::Trouble(error.into())),
        }
    }
}

async fn heard<T: Clone>(receiver: &mut Receiver<T>) -> Option<T> {
    match receiver.recv().await {
        Ok(heard) => Some(heard),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

impl Failure {
    /// Whether it says something of the connection, and not of the command.
    pub(super) fn is_outage(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Down(_) => "connection",
            Self::Refused(_) => "refused",
        }
    }

    fn error(&self) -> &Error {
        match self {
            Self::Timeout(error) | Self::Down(error) | Self::Refused(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout(error),
            ErrorKind::IO
            | ErrorKind::Auth
            | ErrorKind::Canceled
            | ErrorKind::Routing
            | ErrorKind::Backpressure
            | ErrorKind::Sentinel
            | ErrorKind::Cluster => Self::Down(error),
            _ => Self::Refused(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis: {}", self.error().details())
    }
}

impl StdError for Failure {}

fn connection() -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: CONNECT,
        internal_command_timeout: CONNECT,
        max_command_attempts: 1,
        unresponsive: UnresponsiveConfig { max_timeout: Some(CONNECT), interval: CONNECT / 4 },
        reconnect_on_auth_error: true,
        tcp: TcpConfig {
            nodelay: Some(true),
            // Nothing is sent over the connection for messages.
            keepalive: Some(TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE)),
            #[cfg(target_os = "linux")]
            user_timeout: Some(Duration::from_secs(1)),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    }
}

/// For a connection to be made, and for one that does not answer.
const CONNECT: Duration = Duration::from_millis(500);

/// For a command that no request waits for.
const BACKGROUND: Duration = Duration::from_millis(500);

const KEEPALIVE: Duration = Duration::from_secs(10);

/// Until it is connected again, where that has ended for good.
const AGAIN: Duration = Duration::from_secs(1);
