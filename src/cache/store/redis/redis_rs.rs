//! The commands, over the client library `redis`. Its connections do not reconnect: a loop does.

use std::pin::Pin;
use std::str::from_utf8;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError,
    ServerErrorKind, Value, cmd,
};
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};
use tokio::time::{sleep, timeout};

use super::client::{
    BACKGROUND_TIMEOUT, CONNECT_TIMEOUT, CommandError, CommandFuture, Commands, Connect, Event,
    Events, NextEvent, Reply, SCANNED_KEYS,
};
use super::redis_rs_server::{Connection, Link, Server, Signals};

struct Connections {
    server: Server,
    timeout: Duration,
    commands: ArcSwapOption<Link>,
    messages: ArcSwapOption<Link>,
    news: Sender<News>,
}

/// An event, which several receivers may take.
#[derive(Clone)]
enum News {
    Purged(u64),
    Connected,
    Unsubscribed,
    Failed(RedisError),
}

/// Drops the connections when the store ends.
struct Disconnect<'a>(&'a Connections);

/// A receiver of the events.
struct Listener(Receiver<News>);

impl Connect for Server {
    fn connect(&self, timeout: Duration) -> Box<dyn Commands> {
        Box::new(Connections {
            server: self.clone(),
            timeout,
            commands: ArcSwapOption::empty(),
            messages: ArcSwapOption::empty(),
            news: Sender::new(MAX_NEWS),
        })
    }
}

impl Connections {
    async fn run<T: FromRedisValue>(&self, cmd: &Cmd, limit: Duration) -> Result<T, CommandError> {
        self.run_over(&self.commands, cmd, None, limit).await
    }

    /// Sends a command at once, or not at all.
    async fn run_over<T: FromRedisValue>(
        &self,
        link: &ArcSwapOption<Link>,
        cmd: &Cmd,
        route: Option<RoutingInfo>,
        limit: Duration,
    ) -> Result<T, CommandError> {
        let Some(link) = link.load_full() else {
            return Err(CommandError::Unavailable("there is no connection".into()));
        };
        let error = match timeout(limit, link.send(cmd, route)).await {
            Ok(Ok(value)) => {
                return T::from_redis_value(value)
                    .map_err(|error| CommandError::Refused(error.into()));
            }
            Ok(Err(error)) => {
                // A primary that has become a replica stays connected.
                if error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
                    link.signals.ended.notify_one();
                }
                CommandError::from(error)
            }
            Err(_) => CommandError::Timeout(format!("no reply within {limit:?}").into()),
        };
        if error.is_outage() {
            link.signals.missed.notify_one();
        }
        Err(error)
    }

    /// Keeps one of the connections. `made` is the event of a new one.
    async fn keep(&self, link: &ArcSwapOption<Link>, made: News) {
        let is_for_commands = matches!(made, News::Connected);
        let tell = |news| drop(self.news.send(news));
        let mut delay = MIN_DELAY;
        loop {
            let signals = Arc::<Signals>::default();
            let is_cluster = is_for_commands && self.server.is_cluster();
            let connection = if is_cluster {
                self.server.connect_cluster().await.map(Connection::Cluster)
            } else {
                let config = self.connection_config(&signals);
                self.server.connect_node(&config).await.map(Connection::Node)
            };
            let error = match connection {
                Ok(connection) => {
                    let new = Arc::new(Link { connection, signals });
                    link.store(Some(Arc::clone(&new)));
                    tell(made.clone());
                    delay = MIN_DELAY;
                    let error = new.end().await;
                    link.store(None);
                    error
                }
                Err(error) => error,
            };
            if is_for_commands {
                tell(News::Failed(error));
            }
            sleep(delay).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }

    fn connection_config(&self, signals: &Arc<Signals>) -> AsyncConnectionConfig {
        let (signals, news) = (Arc::clone(signals), self.news.clone());
        let push = move |push: PushInfo| {
            match (push.kind, &*push.data) {
                (PushKind::Disconnection, _) => signals.ended.notify_one(),
                (PushKind::Message, [_, Value::BulkString(stamp)]) => {
                    let stamp = from_utf8(stamp).ok().and_then(|stamp| stamp.parse().ok());
                    // Without a receiver the store ends.
                    drop(stamp.map(|stamp| news.send(News::Purged(stamp))));
                }
                _ => {}
            }
            Ok::<_, RedisError>(())
        };
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            // Each command has its own.
            .set_response_timeout(None)
            .set_push_sender(push)
    }

    /// Returns a route to each primary.
    async fn primaries(&self) -> Result<Vec<Option<RoutingInfo>>, CommandError> {
        if !self.server.is_cluster() {
            return Ok(vec![None]);
        }
        let any = Some(RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random));
        let slots = cmd("CLUSTER").arg("SLOTS").to_owned();
        let slots = self.run_over(&self.commands, &slots, any, BACKGROUND_TIMEOUT).await?;
        // The first slot, the last one, the primary, and the replicas.
        let slots: Vec<(u16, Value)> = Vec::<Vec<Value>>::into_iter(slots)
            .filter_map(|of| {
                let first = u16::from_redis_value_ref(of.first()?).ok()?;
                Some((first, of.into_iter().nth(2)?))
            })
            .collect();
        let is_first = |at: usize| slots[..at].iter().all(|(_, primary)| *primary != slots[at].1);
        let route = |at: usize| {
            let route = Route::new(slots[at].0, SlotAddr::Master);
            Some(RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route)))
        };
        Ok((0..slots.len()).filter(|at| is_first(*at)).map(route).collect())
    }
}

impl Commands for Connections {
    fn get<'a>(&'a self, key: &'a str, max: usize) -> CommandFuture<'a, Bytes> {
        Box::pin(async move { self.run(&get_range(key, max), self.timeout).await })
    }

    fn get_to_update<'a>(&'a self, key: &'a str, max: usize) -> CommandFuture<'a, Bytes> {
        Box::pin(async move { self.run(&get_range(key, max), BACKGROUND_TIMEOUT).await })
    }

    fn set<'a>(&'a self, key: &'a str, value: Bytes, millis: i64) -> CommandFuture<'a, ()> {
        Box::pin(async move {
            let mut set = Cmd::with_capacity(5, key.len() + value.len() + 32);
            set.arg("SET").arg(key).arg(&*value).arg("PX").arg(millis);
            self.run(&set, BACKGROUND_TIMEOUT).await
        })
    }

    fn set_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: &'a str,
        millis: i64,
    ) -> CommandFuture<'a, bool> {
        Box::pin(async move {
            let mut set = cmd("SET");
            set.arg(key).arg(value).arg("PX").arg(millis).arg("NX");
            Ok(self.run::<Value>(&set, self.timeout).await? != Value::Nil)
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> CommandFuture<'a, ()> {
        Box::pin(async move { self.run(cmd("UNLINK").arg(key), self.timeout).await })
    }

    fn remove_matching<'a>(
        &'a self,
        pattern: &'a str,
        is_old: &'a (dyn Fn(&str) -> bool + Sync),
    ) -> CommandFuture<'a, ()> {
        Box::pin(async move {
            for node in self.primaries().await? {
                let mut cursor = 0;
                loop {
                    let mut scan = cmd("SCAN");
                    scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCANNED_KEYS);
                    let page =
                        self.run_over(&self.commands, &scan, node.clone(), BACKGROUND_TIMEOUT);
                    let (next, keys): (u64, Vec<Vec<u8>>) = page.await?;
                    let is_old = |key: &Vec<u8>| from_utf8(key).is_ok_and(is_old);
                    let keys: Vec<_> = keys.into_iter().filter(is_old).collect();
                    if !keys.is_empty() {
                        // The library splits the keys by their slots.
                        let unlink = cmd("UNLINK").arg(keys).to_owned();
                        self.run::<()>(&unlink, BACKGROUND_TIMEOUT).await?;
                    }
                    if next == 0 {
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
        Box::pin(async move {
            let mut eval = cmd("EVAL");
            eval.arg(script).arg(keys.len()).arg(keys);
            for argument in &arguments {
                eval.arg(&**argument);
            }
            Ok(self.run::<Value>(&eval, BACKGROUND_TIMEOUT).await?.into())
        })
    }

    fn subscribe<'a>(&'a self, channel: &'a str) -> CommandFuture<'a, ()> {
        Box::pin(async move {
            let subscribe = cmd("SUBSCRIBE").arg(channel).to_owned();
            self.run_over(&self.messages, &subscribe, None, BACKGROUND_TIMEOUT)
                .await
                .map(|_: Value| ())
        })
    }

    fn keep_connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let _disconnect = Disconnect(self);
            let commands = self.keep(&self.commands, News::Connected);
            tokio::join!(commands, self.keep(&self.messages, News::Unsubscribed));
        })
    }

    fn events(&self) -> Events {
        Box::new(Listener(self.news.subscribe()))
    }
}

impl Drop for Disconnect<'_> {
    fn drop(&mut self) {
        self.0.commands.store(None);
        self.0.messages.store(None);
    }
}

impl NextEvent for Listener {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Event> + Send + '_>> {
        Box::pin(async {
            match self.0.recv().await {
                Ok(News::Purged(stamp)) => Event::Purged(stamp),
                Ok(News::Connected) => Event::Connected,
                Ok(News::Unsubscribed) => Event::Unsubscribed,
                Ok(News::Failed(error)) => Event::Failed(error.into()),
                Err(RecvError::Lagged(_)) => Event::Lagged,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        })
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Int(number) => Self::Number(number),
            Value::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            value => String::from_redis_value(value).map_or(Self::Nothing, Self::Text),
        }
    }
}

impl From<RedisError> for CommandError {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            _ if error.is_timeout() => Self::Timeout(error.into()),
            ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::AuthenticationFailed
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::Server(
                ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly,
            ) => Self::Unavailable(error.into()),
            ErrorKind::Server(
                ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain,
            ) => Self::Redirected(error.into()),
            _ => Self::Refused(error.into()),
        }
    }
}

/// GETRANGE, since a value under GET could be of any size.
fn get_range(key: &str, max: usize) -> Cmd {
    let mut get = cmd("GETRANGE");
    get.arg(key).arg(0).arg(max.saturating_sub(1));
    get
}

/// The events that wait for the task of the store. Where there are more, it reads the log.
const MAX_NEWS: usize = 128;

/// The delays between two attempts to connect.
const MIN_DELAY: Duration = Duration::from_millis(10);
const MAX_DELAY: Duration = Duration::from_secs(1);
