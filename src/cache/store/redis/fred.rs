//! The commands, over the client library `fred`. Its defaults wait forever in several places; the
//! settings below bound each wait.

use std::pin::Pin;
use std::str::from_utf8;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::{Client as Connection, Pool, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, KeysInterface, PubsubInterface};
use fred::types::config::{
    Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, Server as FredServer,
    TcpConfig, UnresponsiveConfig,
};
use fred::types::{
    ClusterHash, ConnectHandle, CustomCommand, Expiration, RespVersion, SetOptions, Value,
};
use fred::util::redis_keyslot;
use socket2::TcpKeepalive;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::client::{
    Address, BACKGROUND_TIMEOUT, CONNECT_TIMEOUT, CommandError, CommandFuture, Commands, Connect,
    Event, Events, KEEPALIVE, NextEvent, Reply, SCANNED_KEYS, USER_TIMEOUT,
};

/// A server, or the connections of a user.
#[derive(Clone, Debug)]
pub(super) struct Server {
    config: Config,
    /// The connections of a user, who has configured them.
    pool: Option<Pool>,
}

/// The connections: one for commands, or those of a user's pool, and one for messages. A pool of
/// several connections is no faster than one.
struct Client {
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

/// The channels of the events.
struct Channels {
    messages: Receiver<fred::types::Message>,
    reconnects: Receiver<FredServer>,
    resubscribes: Receiver<FredServer>,
    errors: Receiver<(Error, Option<FredServer>)>,
}

impl Server {
    /// Parses an address.
    ///
    /// # Errors
    ///
    /// Returns an error if `fred` does not understand the URL.
    pub(super) fn at(address: &Address) -> Result<Self, String> {
        let config = Config::from_url(&address.url);
        let mut config =
            config.map_err(|error| format!("the URL is not valid: {}", error.details()))?;
        let query = address.url.split_once('?').map_or("", |(_, query)| query);
        if query.split('&').any(|setting| ["protocol=resp3", "protocol=3"].contains(&setting)) {
            config.version = RespVersion::RESP3;
        }
        if let Some((username, password)) = address.login.clone() {
            config.username = username;
            config.password = password;
        }
        Ok(Self { config, pool: None })
    }
}

impl From<Pool> for Server {
    fn from(pool: Pool) -> Self {
        Self { config: Config::default(), pool: Some(pool) }
    }
}

impl Connect for Server {
    #[expect(clippy::expect_used, reason = "a pool of one is not empty")]
    fn connect(&self, timeout: Duration) -> Box<dyn Commands> {
        let (pool, is_borrowed) = match &self.pool {
            Some(pool) => (pool.clone(), true),
            None => {
                // With `fail_fast` the first attempt to connect would be the last.
                let config = Config { fail_fast: false, ..self.config.clone() };
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
            // A late reply is of no use to a request. A pool of a user may follow redirections, each of
            // which counts as an attempt, and its task ends when `ASK` exhausts them.
            max_attempts: Some(if is_borrowed { BORROWED_ATTEMPTS } else { 1 }),
            ..Options::default()
        };
        Box::new(Client {
            commands: pool.with_options(&options(timeout)),
            background: pool.with_options(&options(BACKGROUND_TIMEOUT)),
            messages: pool.next().clone_new(),
            pool,
            is_borrowed,
        })
    }
}

impl Commands for Client {
    fn get<'a>(&'a self, key: &'a str, max: usize) -> CommandFuture<'a, Bytes> {
        // GETRANGE, since a value under GET could be of any size.
        let last = max.saturating_sub(1);
        Box::pin(async move { redirected(|| self.commands.getrange(key, 0, last)).await })
    }

    fn get_to_update<'a>(&'a self, key: &'a str, max: usize) -> CommandFuture<'a, Bytes> {
        let last = max.saturating_sub(1);
        Box::pin(async move { redirected(|| self.background.getrange(key, 0, last)).await })
    }

    fn set<'a>(&'a self, key: &'a str, value: Bytes, millis: i64) -> CommandFuture<'a, ()> {
        let (value, expiration) = (Value::Bytes(value), Some(Expiration::PX(millis)));
        let set = move || self.background.set(key, value.clone(), expiration.clone(), None, false);
        Box::pin(async move { redirected(set).await })
    }

    fn set_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: &'a str,
        millis: i64,
    ) -> CommandFuture<'a, bool> {
        let (expiration, absent) = (Some(Expiration::PX(millis)), Some(SetOptions::NX));
        Box::pin(async move {
            let set = || self.commands.set(key, value, expiration.clone(), absent.clone(), false);
            redirected(set).await.map(|set: Option<String>| set.is_some())
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> CommandFuture<'a, ()> {
        Box::pin(async move { redirected(|| self.commands.unlink(key)).await })
    }

    fn remove_matching<'a>(
        &'a self,
        pattern: &'a str,
        is_old: &'a (dyn Fn(&str) -> bool + Sync),
    ) -> CommandFuture<'a, ()> {
        Box::pin(async move {
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
                    let (next, keys): (String, Vec<Bytes>) = page.await?;
                    let is_old = |key: &Bytes| from_utf8(key).is_ok_and(is_old);
                    let keys: Vec<_> = keys.into_iter().filter(is_old).collect();
                    // The keys of a command must be in one slot of a cluster.
                    let at_once = if is_cluster { 1 } else { keys.len().max(1) };
                    for keys in keys.chunks(at_once) {
                        let () = self.background.unlink(keys.to_vec()).await?;
                    }
                    if next == "0" {
                        break;
                    }
                    cursor = next;
                }
            }
            Ok(())
        })
    }

    fn eval<'a>(
        &'a self,
        script: &'static str,
        keys: &'a [&'a str],
        arguments: Vec<Bytes>,
    ) -> CommandFuture<'a, Reply> {
        // `eval` ignores the options, and `custom` ignores every form of the slot but a number.
        let slot = redis_keyslot(keys.first().unwrap_or(&"").as_bytes());
        let eval = CustomCommand::new_static("EVAL", ClusterHash::Custom(slot), false);
        let send = move || {
            let mut words: Vec<Value> = vec![script.into(), keys.len().to_string().into()];
            words.extend(keys.iter().map(|key| Value::from(*key)));
            words.extend(arguments.iter().cloned().map(Value::Bytes));
            self.background.custom::<Value, _>(eval.clone(), words)
        };
        Box::pin(async move { redirected(send).await.map(Reply::from) })
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> CommandFuture<'a, ()> {
        let options = Options { timeout: Some(BACKGROUND_TIMEOUT), ..Options::default() };
        let messages = self.messages.with_options(&options);
        Box::pin(async move { Ok(messages.subscribe(channel).await?) })
    }

    fn is_borrowed(&self) -> bool {
        self.is_borrowed
    }

    fn keep_connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // The task may end for good. Started again, it would flush no command: the commands that it had
        // not received are dropped, and count as queued for ever (`drain_command_rx`).
        let keep = async |client: &Connection| {
            let mut task = ConnectionTask(client.connect());
            drop((&mut task.0).await);
        };
        Box::pin(async move {
            if self.is_borrowed {
                keep(&self.messages).await;
            } else {
                tokio::select! {
                    () = keep(self.pool.next()) => {}
                    () = keep(&self.messages) => {}
                }
            }
        })
    }

    fn events(&self) -> Events {
        Box::new(Channels {
            messages: self.messages.message_rx(),
            reconnects: self.pool.next().reconnect_rx(),
            resubscribes: self.messages.reconnect_rx(),
            errors: self.pool.next().error_rx(),
        })
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl NextEvent for Channels {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Event> + Send + '_>> {
        Box::pin(async {
            let event = tokio::select! {
                message = receive(&mut self.messages) => message.and_then(|message| {
                    message.value.as_str()?.parse().ok().map(Event::Purged)
                }),
                server = receive(&mut self.reconnects) => server.map(|_| Event::Connected),
                server = receive(&mut self.resubscribes) => server.map(|_| Event::Unsubscribed),
                error = receive(&mut self.errors) => {
                    error.map(|(error, _)| Event::Failed(error.into()))
                }
            };
            event.unwrap_or(Event::Lagged)
        })
    }
}

/// Sends a command again while a node says that another one has the key. `fred` reads the map of the
/// cluster anew after each `MOVED`, and not after `ASK`: the other node may have the key only once its
/// slot has moved.
async fn redirected<T, F>(mut send: impl FnMut() -> F) -> Result<T, CommandError>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 1..MAX_SENDS {
        match send().await {
            Err(error) if *error.kind() == ErrorKind::Routing => {}
            result => return Ok(result?),
        }
    }
    Ok(send().await?)
}

/// Returns `true` if the text is an error of Redis, which begins with a code such as `ERR`, and not one
/// of `fred`, which has the same kind.
fn is_reply(details: &str) -> bool {
    let code = details.split(' ').next().unwrap_or_default();
    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Returns the next event, or `None` if some were lost.
async fn receive<T: Clone>(receiver: &mut Receiver<T>) -> Option<T> {
    match receiver.recv().await {
        Ok(event) => Some(event),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(number) => Self::Number(number),
            Value::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            value => value.into_string().map_or(Self::Nothing, Self::Text),
        }
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout(error.into()),
            ErrorKind::IO
            | ErrorKind::Auth
            | ErrorKind::Canceled
            | ErrorKind::Backpressure
            | ErrorKind::Sentinel
            | ErrorKind::Cluster => Self::Unavailable(error.into()),
            ErrorKind::Unknown if !is_reply(error.details()) => Self::Unavailable(error.into()),
            ErrorKind::Routing => Self::Redirected(error.into()),
            _ => Self::Refused(error.into()),
        }
    }
}

fn connection() -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: CONNECT_TIMEOUT,
        internal_command_timeout: CONNECT_TIMEOUT,
        max_command_attempts: 1,
        // The commands are sent again here. `fred` sends a command after `ASK` to the node that has just
        // redirected it, until its attempts are used up, and then ends the task of the connection. It
        // also takes the next reply for that to `ASKING`, so that the commands in flight get each other's.
        max_redirections: 0,
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
            user_timeout: Some(USER_TIMEOUT),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    }
}

/// The maximum number of times that a command is sent, because of redirections.
const MAX_SENDS: usize = 3;

/// The attempts of a command over a pool of a user: more than the 5 redirections that are the default of
/// `fred`, and the first attempt.
const BORROWED_ATTEMPTS: u32 = 7;

#[cfg(test)]
mod tests;
