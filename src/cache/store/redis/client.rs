//! The seam: what the store asks of a client library. `fred.rs` and `redis_rs.rs` implement it, and are
//! the only files that know their library.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// The place of Redis, as a user names it.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) url: String,
    /// The user name and the password, where they are not those of the URL.
    pub(super) login: Option<(Option<String>, Option<String>)>,
}

/// A server, or the connections of a user, with the library that speaks to it.
pub(super) trait Connect: fmt::Debug + Send + Sync {
    /// Creates the connections, without connecting them. `timeout` is that of a command that a
    /// request waits for.
    fn connect(&self, timeout: Duration) -> Box<dyn Commands>;
}

/// The future of a command. Its box is the only allocation of the seam: the future of a library is
/// large, and a box keeps it out of the future of each request anyway.
pub(super) type CommandFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, CommandError>> + Send + 'a>>;

/// The connections to Redis: one for commands, and one for messages.
///
/// A command without a connection fails at once. Each command, and each attempt to connect, has a
/// timeout. A future that is dropped leaves the commands of others alone.
pub(super) trait Commands: Send + Sync {
    /// Returns up to `max` bytes of the value of a key, or nothing if there is none.
    fn get<'a>(&'a self, key: &'a str, max: usize) -> CommandFuture<'a, Bytes>;

    /// Returns the value of a key for [`Client::compare_and_set`].
    fn get_to_update<'a>(&'a self, key: &'a str, max: usize) -> CommandFuture<'a, Bytes>;

    /// Sets the value of a key for `millis`.
    fn set<'a>(&'a self, key: &'a str, value: Bytes, millis: i64) -> CommandFuture<'a, ()>;

    /// Sets the value of a key for `millis` if it has none. Returns `true` if it had none.
    fn set_if_absent<'a>(
        &'a self,
        key: &'a str,
        value: &'a str,
        millis: i64,
    ) -> CommandFuture<'a, bool>;

    /// Removes a key.
    fn remove<'a>(&'a self, key: &'a str) -> CommandFuture<'a, ()>;

    /// Removes all keys that match a glob pattern and for which `is_old` returns `true`, on all nodes
    /// of a cluster.
    fn remove_matching<'a>(
        &'a self,
        pattern: &'a str,
        is_old: &'a (dyn Fn(&str) -> bool + Sync),
    ) -> CommandFuture<'a, ()>;

    /// Runs a script, whose keys are all in the slot of the first one.
    fn eval<'a>(
        &'a self,
        script: &'static str,
        keys: &'a [&'a str],
        arguments: Vec<Bytes>,
    ) -> CommandFuture<'a, Reply>;

    /// Subscribes to the messages of a channel.
    fn subscribe<'a>(&'a self, channel: &'a str) -> CommandFuture<'a, ()>;

    /// Returns `true` if the connection for commands belongs to the user, and may be there already.
    fn is_borrowed(&self) -> bool {
        false
    }

    /// Keeps both connected until the future is dropped, and nothing after that. Returns if the
    /// library has given up, and the connections have to be replaced.
    fn keep_connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    fn events(&self) -> Events;
}

/// The events of the connections.
pub(super) type Events = Box<dyn NextEvent>;

pub(super) trait NextEvent: Send {
    /// Waits for an event. A future that is dropped has taken none.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Event> + Send + '_>>;
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

/// The connections to Redis, through either library.
pub(super) struct Client(Box<dyn Commands>);

/// The reply of a script.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    Nothing,
    Number(i64),
    Text(String),
    List(Vec<Reply>),
}

/// A type that the reply of a script is converted to.
pub(super) trait FromReply: Sized {
    fn from_reply(reply: Reply) -> Option<Self>;
}

/// An error of a command, by what it says about Redis. The cause is the error of the library.
#[derive(Debug)]
pub(super) enum CommandError {
    Timeout(Cause),
    /// There is no connection.
    Unavailable(Cause),
    /// Redis responds, and does not perform the command.
    Refused(Cause),
    /// Redis responds that another node of the cluster has the key.
    Redirected(Cause),
}

pub(super) type Cause = Box<dyn StdError + Send + Sync>;

impl Client {
    pub(super) fn new(server: &dyn Connect, timeout: Duration) -> Self {
        Self(server.connect(timeout))
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
        let arguments = [old, new, millis.to_string().into()];
        let set: i64 = self.script(COMPARE_AND_SET, &[key], arguments).await?;
        Ok(set == 1)
    }

    /// Removes all keys that match a glob pattern and for which `is_old` returns `true`.
    pub(super) async fn remove_matching(
        &self,
        pattern: &str,
        is_old: impl Fn(&str) -> bool + Sync,
    ) -> Result<(), CommandError> {
        self.0.remove_matching(pattern, &is_old).await
    }

    /// Runs a script, whose keys are all in the slot of the first one.
    pub(super) async fn script<R: FromReply>(
        &self,
        script: &'static str,
        keys: &[&str],
        arguments: impl IntoIterator<Item = impl Into<Bytes>>,
    ) -> Result<R, CommandError> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        let reply = self.0.eval(script, keys, arguments).await?;
        R::from_reply(reply).ok_or_else(|| CommandError::Refused("an unexpected reply".into()))
    }
}

impl Deref for Client {
    type Target = dyn Commands;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl FromReply for i64 {
    fn from_reply(reply: Reply) -> Option<Self> {
        match reply {
            Reply::Number(number) => Some(number),
            Reply::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// Numbers of scripts are those of Lua, which does not know all of 64 bits: these come as text.
impl FromReply for u64 {
    fn from_reply(reply: Reply) -> Option<Self> {
        match reply {
            Reply::Number(number) => number.try_into().ok(),
            Reply::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl FromReply for String {
    fn from_reply(reply: Reply) -> Option<Self> {
        match reply {
            Reply::Number(number) => Some(number.to_string()),
            Reply::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<T: FromReply> FromReply for Vec<T> {
    fn from_reply(reply: Reply) -> Option<Self> {
        let Reply::List(list) = reply else { return None };
        list.into_iter().map(T::from_reply).collect()
    }
}

impl<A: FromReply, B: FromReply, C: FromReply> FromReply for (A, B, C) {
    fn from_reply(reply: Reply) -> Option<Self> {
        let Reply::List(list) = reply else { return None };
        let [a, b, c] = <[Reply; 3]>::try_from(list).ok()?;
        Some((A::from_reply(a)?, B::from_reply(b)?, C::from_reply(c)?))
    }
}

impl CommandError {
    /// Returns `true` if the error is about the connection rather than the command.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Unavailable(_))
    }

    /// Returns `true` if a new client might do better: the error is about the connection, or the map
    /// of the cluster is out of date.
    pub(super) fn is_of_client(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Unavailable(_) => "connection",
            Self::Refused(_) | Self::Redirected(_) => "refused",
        }
    }

    fn cause(&self) -> &Cause {
        match self {
            Self::Timeout(cause)
            | Self::Unavailable(cause)
            | Self::Refused(cause)
            | Self::Redirected(cause) => cause,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis: {}", self.cause())
    }
}

impl StdError for CommandError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self.cause())
    }
}

/// Sets a value that is still the expected one.
const COMPARE_AND_SET: &str = "\
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// The timeout of a connection that is made, or that does not respond.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The timeout of a command that no request waits for.
pub(super) const BACKGROUND_TIMEOUT: Duration = Duration::from_millis(500);

/// The time after which the system probes a connection over which nothing is sent.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(10);

/// The time after which the system ends a connection whose peer confirms nothing.
pub(super) const USER_TIMEOUT: Duration = Duration::from_secs(1);

/// The number of keys that Redis looks at for one SCAN.
pub(super) const SCANNED_KEYS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_converted() {
        let text = |text: &str| Reply::Text(text.to_owned());
        assert_eq!(i64::from_reply(Reply::Number(-1)), Some(-1));
        assert_eq!(u64::from_reply(text(&u64::MAX.to_string())), Some(u64::MAX));
        assert_eq!(u64::from_reply(Reply::Number(-1)), None);
        assert_eq!(u64::from_reply(Reply::Nothing), None);
        let list = Reply::List(vec![text("a"), Reply::Number(1)]);
        assert_eq!(Vec::<String>::from_reply(list), Some(vec!["a".to_owned(), "1".to_owned()]));
        assert_eq!(Vec::<u64>::from_reply(Reply::List(vec![text("a")])), None);
        assert_eq!(Vec::<u64>::from_reply(text("1")), None);
        type Three = (u64, u64, Vec<String>);
        let numbers = |count| (0..count).map(Reply::Number).chain([Reply::List(Vec::new())]);
        let three = Three::from_reply(Reply::List(numbers(2).collect()));
        assert_eq!(three, Some((0, 1, Vec::new())));
        assert_eq!(Three::from_reply(Reply::List(numbers(1).collect())), None);
    }
}
