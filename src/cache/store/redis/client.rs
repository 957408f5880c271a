//! The commands, over the client library `fred`. Its defaults wait forever in several places; the
//! settings below bound each wait.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::{Client as Connection, Pool, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, KeysInterface, PubsubInterface};
use fred::types::config::{
    Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, Server as FredServer,
    TcpConfig, UnresponsiveConfig,
};
use fred::types::{ClusterHash, ConnectHandle, CustomCommand, Expiration, SetOptions, Value};
use fred::util::redis_keyslot;
use socket2::TcpKeepalive;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// The address of Redis, or the connections of a user.
#[derive(Clone, Debug)]
pub(super) struct Server {
    config: Config,
    /// The connections of a user, who has configured them.
    pool: Option<Pool>,
}

/// The connections: one for commands, or those of a user's pool, and one for messages. A pool of
/// several connections is no faster than one.
pub(super) struct Client {
    pool: Pool,
    commands: WithOptions<Pool>,
    /// The pool with the longer timeout, for commands that no request waits for.
    background: WithOptions<Pool>,
    messages: Connection,
    /// The pool belongs to the user, who connects and closes it.
    is_borrowed: bool,
}

/// The task of a connection, which ends when this is dropped: `fred` lets it run on when its client
/// is dropped, and `quit` waits for a server that is away.
struct ConnectionTask(ConnectHandle);

/// The events of the connections.
pub(super) struct Events {
    messages: Receiver<fred::types::Message>,
    reconnects: Receiver<FredServer>,
    resubscribes: Receiver<FredServer>,
    errors: Receiver<(Error, Option<FredServer>)>,
}

#[derive(Debug)]
pub(super) enum Event {
    /// A process has written a purge with this stamp to the log.
    Purged(u64),
    /// The connection for commands was made.
    Connected,
    /// The connection for messages was made, and has no subscription yet.
    Unsubscribed,
    /// Some events were lost.
    Lagged,
    /// The connection for commands ended, or cannot be made.
    Failed(CommandError),
}

/// An error of a command, by what it says about Redis.
#[derive(Debug)]
pub(super) enum CommandError {
    Timeout(Error),
    /// There is no connection.
    Unavailable(Error),
    /// Redis responds, and does not perform the command.
    Refused(Error),
}

impl Server {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a URL of Redis, or if it needs TLS and the feature is off.
    pub(super) fn at(url: &str) -> Result<Self, String> {
        let scheme = url.split(':').next().unwrap_or_default();
        let plain = scheme.split(['-', '+']).next().unwrap_or_default();
        match plain {
            "redis" | "valkey" => {}
            "rediss" | "valkeys" if cfg!(feature = "cache-redis-tls") => {}
            "rediss" | "valkeys" => {
                return Err("TLS needs the feature cache-redis-tls of tower-kit".to_owned());
            }
            _ => {
                let known = "redis, rediss, redis+unix, redis-cluster or redis-sentinel";
                return Err(format!("the scheme {scheme:?} of the URL is not {known}"));
            }
        }
        if url.contains('#') {
            return Err("a # in the URL must be written as %23".to_owned());
        }
        let config = Config::from_url(url);
        let config =
            config.map_err(|error| format!("the URL is not valid: {}", error.details()))?;
        Ok(Self { config, pool: None })
    }

    pub(super) fn with_password(
        mut self,
        username: Option<String>,
        password: Option<String>,
    ) -> Self {
        self.config.username = username;
        self.config.password = password;
        self
    }
}

impl From<Pool> for Server {
    fn from(pool: Pool) -> Self {
        Self { config: Config::default(), pool: Some(pool) }
    }
}

impl Client {
    /// Creates the connections, without connecting them. `timeout` is that of a command that a
    /// request waits for.
    #[expect(clippy::expect_used, reason = "a pool of one is not empty")]
    pub(super) fn new(server: Server, timeout: Duration) -> Self {
        let (pool, is_borrowed) = match server.pool {
            Some(pool) => (pool, true),
            None => {
                // With `fail_fast` the first attempt to connect would be the last.
                let config = Config { fail_fast: false, ..server.config };
                // Without a policy `fred` never reconnects.
                let policy = ReconnectPolicy::new_exponential(0, 10, 1000, 2);
                // `max_command_buffer_len` stays 0: with a limit `fred` leaks its counter until all
                // commands time out. The semaphores of the backend bound the commands instead.
                let (speed, connection) = (PerformanceConfig::default(), connection());
                let pool = Pool::new(config, Some(speed), Some(connection), Some(policy), 1);
                (pool.expect("only an empty pool is refused"), false)
            }
        };
        let options = |timeout| Options {
            // The option of `fred`, since it executes a command later that an outer timeout abandons.
            timeout: Some(timeout),
            // A command without a connection fails, and is not queued.
            fail_fast: true,
            // A late reply is of no use to a request.
            max_attempts: Some(1),
            ..Options::default()
        };
        Self {
            commands: pool.with_options(&options(timeout)),
            background: pool.with_options(&options(BACKGROUND_TIMEOUT)),
            messages: pool.next().clone_new(),
            pool,
            is_borrowed,
        }
    }

    /// Returns up to `max` bytes of the value of a key, or nothing if there is none.
    pub(super) async fn get(&self, key: &str, max: usize) -> Result<Bytes, CommandError> {
        // GETRANGE, since a value under GET could be of any size. The future of `fred` has nearly
        // 7 KiB, which the box keeps out of the future of each request.
        Ok(Box::pin(self.commands.getrange(key, 0, max.saturating_sub(1))).await?)
    }

    /// Returns the value of a key for [`compare_and_set`](Self::compare_and_set).
    pub(super) async fn get_to_update(&self, key: &str, max: usize) -> Result<Bytes, CommandError> {
        Ok(self.background.getrange(key, 0, max.saturating_sub(1)).await?)
    }

    /// Sets the value of a key for `millis`.
    pub(super) async fn set(
        &self,
        key: &str,
        value: Bytes,
        millis: i64,
    ) -> Result<(), CommandError> {
        let expiration = Some(Expiration::PX(millis));
        Ok(self.background.set(key, Value::Bytes(value), expiration, None, false).await?)
    }

    /// Sets the value of a key for `millis` if the key still has the value `old`, of which an empty
    /// one is none. Returns `true` if it did.
    pub(super) async fn compare_and_set(
        &self,
        key: &str,
        old: Bytes,
        new: Bytes,
        millis: i64,
    ) -> Result<bool, CommandError> {
        let arguments = [Value::Bytes(old), Value::Bytes(new), Value::Integer(millis)];
        let set: i64 = self.script(COMPARE_AND_SET, &[key], arguments).await?;
        Ok(set == 1)
    }

    /// Sets the value of a key for `millis` if it has none. Returns `true` if it had none.
    pub(super) async fn set_if_absent(
        &self,
        key: &str,
        value: &str,
        millis: i64,
    ) -> Result<bool, CommandError> {
        let (expiration, absent) = (Some(Expiration::PX(millis)), Some(SetOptions::NX));
        let set: Option<String> = self.commands.set(key, value, expiration, absent, false).await?;
        Ok(set.is_some())
    }

    /// Removes a key.
    pub(super) async fn remove(&self, key: &str) -> Result<(), CommandError> {
        Ok(self.commands.unlink(key).await?)
    }

    /// Removes all keys that match a glob pattern and for which `is_old` returns `true`, on all nodes
    /// of a cluster.
    pub(super) async fn remove_matching(
        &self,
        pattern: &str,
        is_old: impl Fn(&str) -> bool,
    ) -> Result<(), CommandError> {
        let is_cluster = self.pool.is_clustered();
        let nodes: Vec<_> = match is_cluster {
            true => self.pool.next().active_connections().into_iter().map(Some).collect(),
            false => vec![None],
        };
        for node in nodes {
            let options = Options {
                timeout: Some(BACKGROUND_TIMEOUT),
                cluster_node: node,
                ..Options::default()
            };
            let node = self.pool.with_options(&options);
            let mut cursor = "0".to_owned();
            loop {
                let page = node.scan_page(&*cursor, pattern, Some(SCANNED_KEYS), None);
                let (next, keys): (String, Vec<Bytes>) = Box::pin(page).await?;
                let is_old = |key: &Bytes| std::str::from_utf8(key).is_ok_and(&is_old);
                let keys: Vec<_> = keys.into_iter().filter(is_old).collect();
                // The keys of a command must be in one slot of a cluster.
                let at_once = if is_cluster { 1 } else { keys.len().max(1) };
                for keys in keys.chunks(at_once) {
                    let () = Box::pin(self.background.unlink(keys.to_vec())).await?;
                }
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    /// Runs a script, whose keys are all in the slot of the first one.
    pub(super) async fn script<R: fred::types::FromValue>(
        &self,
        script: &'static str,
        keys: &[&str],
        arguments: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Result<R, CommandError> {
        // `eval` ignores the options, and `custom` ignores every form of the slot but a number.
        let slot = redis_keyslot(keys.first().unwrap_or(&"").as_bytes());
        let eval = CustomCommand::new_static("EVAL", ClusterHash::Custom(slot), false);
        let mut words: Vec<Value> = vec![script.into(), keys.len().to_string().into()];
        words.extend(keys.iter().map(|key| Value::from(*key)));
        words.extend(arguments.into_iter().map(Into::into));
        Ok(self.background.custom(eval, words).await?)
    }

    /// Keeps both connected until the future is dropped.
    pub(super) async fn keep_connected(&self) {
        let keep = async |client: &Connection| loop {
            // The task may end for good, and is then started again.
            let mut task = ConnectionTask(client.connect());
            drop((&mut task.0).await);
            tokio::time::sleep(RESTART_DELAY).await;
        };
        if self.is_borrowed {
            keep(&self.messages).await;
        } else {
            tokio::join!(keep(self.pool.next()), keep(&self.messages));
        }
    }

    /// Subscribes to the messages of a channel.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), CommandError> {
        let options = Options { timeout: Some(BACKGROUND_TIMEOUT), ..Options::default() };
        Ok(self.messages.with_options(&options).subscribe(channel).await?)
    }

    pub(super) fn events(&self) -> Events {
        Events {
            messages: self.messages.message_rx(),
            reconnects: self.pool.next().reconnect_rx(),
            resubscribes: self.messages.reconnect_rx(),
            errors: self.pool.next().error_rx(),
        }
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Events {
    pub(super) async fn next(&mut self) -> Event {
        let event = tokio::select! {
            message = receive(&mut self.messages) => message.and_then(|message| {
                message.value.as_str()?.parse().ok().map(Event::Purged)
            }),
            server = receive(&mut self.reconnects) => server.map(|_| Event::Connected),
            server = receive(&mut self.resubscribes) => server.map(|_| Event::Unsubscribed),
            error = receive(&mut self.errors) => error.map(|(error, _)| Event::Failed(error.into())),
        };
        event.unwrap_or(Event::Lagged)
    }
}

/// Returns the next event, or `None` if some were lost.
async fn receive<T: Clone>(receiver: &mut Receiver<T>) -> Option<T> {
    match receiver.recv().await {
        Ok(event) => Some(event),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

impl CommandError {
    /// Returns `true` if the error is about the connection rather than the command.
    pub(super) fn is_outage(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Unavailable(_) => "connection",
            Self::Refused(_) => "refused",
        }
    }

    fn error(&self) -> &Error {
        match self {
            Self::Timeout(error) | Self::Unavailable(error) | Self::Refused(error) => error,
        }
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout(error),
            ErrorKind::IO
            | ErrorKind::Auth
            | ErrorKind::Canceled
            | ErrorKind::Routing
            | ErrorKind::Backpressure
            | ErrorKind::Sentinel
            | ErrorKind::Cluster => Self::Unavailable(error),
            _ => Self::Refused(error),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis: {}", self.error().details())
    }
}

impl StdError for CommandError {}

fn connection() -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: CONNECT_TIMEOUT,
        internal_command_timeout: CONNECT_TIMEOUT,
        max_command_attempts: 1,
        // A server that hangs closes no connection. `fred` notices that only while no command is
        // sent, so that the breaker stops commands for a second.
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(CONNECT_TIMEOUT),
            interval: CONNECT_TIMEOUT / 4,
        },
        reconnect_on_auth_error: true,
        tcp: TcpConfig {
            nodelay: Some(true),
            // Nothing is sent over the connection for messages, which would not notice its end.
            keepalive: Some(TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE)),
            // A network that is cut closes no connection either.
            #[cfg(target_os = "linux")]
            user_timeout: Some(Duration::from_secs(1)),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    }
}

/// Sets a value that is still the expected one.
const COMPARE_AND_SET: &str = "\
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// The timeout of a connection that is made, or that does not respond.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The timeout of a command that no request waits for.
const BACKGROUND_TIMEOUT: Duration = Duration::from_millis(500);

const KEEPALIVE: Duration = Duration::from_secs(10);

/// The number of keys that Redis looks at for one SCAN.
const SCANNED_KEYS: u32 = 1000;

/// The delay until a connection whose task has ended is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);
