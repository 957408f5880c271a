//! The connections of the client library `redis`, which knows clusters and sentinels by no URL, and does
//! not notice a server that hangs.

use std::io::{Error as IoError, ErrorKind as IoErrorKind};
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::RoutingInfo;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult, Value, cmd,
};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client::{Address, BACKGROUND_TIMEOUT, CONNECT_TIMEOUT, KEEPALIVE, USER_TIMEOUT};

/// A server, nodes of a cluster, or sentinels.
#[derive(Clone, Debug)]
pub(super) struct Server {
    nodes: Vec<ConnectionInfo>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Single,
    Cluster,
    /// The service that the sentinels watch, and the login of its nodes.
    Sentinels(String, RedisConnectionInfo),
}

/// A connection, whose tasks end when the last clone is dropped.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) signals: Arc<Signals>,
}

pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

#[derive(Default)]
pub(super) struct Signals {
    pub(super) ended: Notify,
    /// A command got no reply.
    pub(super) missed: Notify,
}

impl Server {
    /// Parses an address.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is not valid, or needs TLS.
    pub(super) fn at(address: &Address) -> Result<Self, String> {
        let invalid = |error: RedisError| format!("the URL is not valid: {error}");
        let (scheme, rest) = address.url.split_once(':').ok_or("the URL has no scheme")?;
        let (scheme, kind) = scheme.split_once(['-', '+']).unwrap_or((scheme, ""));
        if matches!(scheme, "rediss" | "valkeys") {
            return Err("the client redis has no TLS here; the client fred has".to_owned());
        }
        // The library knows clusters and sentinels by no scheme.
        let url = redis::parse_redis_url(&format!("redis:{rest}")).ok_or("the URL is not valid")?;
        let mut login = RedisConnectionInfo::default();
        if kind != "unix" || url.has_host() {
            let mut url = url.clone();
            url.set_query(None);
            if matches!(kind, "unix" | "cluster") {
                url.set_path("");
            }
            login = url.into_connection_info().map_err(invalid)?.redis_settings().clone();
        }
        if let Some((username, password)) = &address.login {
            login = logged_in(RedisConnectionInfo::default(), username.as_ref(), password.as_ref());
        }
        // A connection tells of messages, and of its end, in RESP3 alone.
        let login = login.set_protocol(ProtocolVersion::RESP3);
        let node = |url: &str, login: &RedisConnectionInfo| {
            let info = url.into_connection_info().map_err(invalid)?;
            Ok(info.set_redis_settings(login.clone()).set_tcp_settings(tcp_settings()))
        };
        if kind == "unix" {
            let nodes = vec![node(&format!("redis+unix://{}", url.path()), &login)?];
            return Ok(Self { nodes, kind: Kind::Single });
        }
        let option = |name: &str| {
            let found = url.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        let (kind, login) = match kind {
            "" => (Kind::Single, login),
            "cluster" => (Kind::Cluster, login),
            "sentinel" => {
                let service =
                    option("sentinelServiceName").ok_or("sentinelServiceName is missing")?;
                let (name, password) = (option("sentinelUsername"), option("sentinelPassword"));
                let none = RedisConnectionInfo::default();
                let of_sentinels = logged_in(none, name.as_ref(), password.as_ref());
                (Kind::Sentinels(service, login), of_sentinels)
            }
            _ => return Err(format!("there is no {scheme}+{kind}")),
        };
        let host = url.host_str().ok_or("the URL has no host")?;
        let first = format!("{host}:{}", url.port().unwrap_or(6379));
        let others = url.query_pairs().filter(|(key, _)| key == "node").map(|(_, node)| node);
        let nodes = [first.into()].into_iter().chain(others);
        let nodes = nodes.map(|addr| node(&format!("redis://{addr}"), &login));
        Ok(Self { nodes: nodes.collect::<Result<_, String>>()?, kind })
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster)
    }

    /// Connects to the server, to the primary that sentinels name, or to any node of a cluster.
    pub(super) async fn connect_node(
        &self,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let primary = match &self.kind {
            Kind::Sentinels(service, login) => {
                let primary = self.primary(service).await?.into_connection_info()?;
                let primary = primary.set_redis_settings(login.clone());
                Some(primary.set_tcp_settings(tcp_settings()))
            }
            _ => None,
        };
        let nodes = primary.as_ref().map_or(&*self.nodes, from_ref);
        let mut failed = IoError::from(IoErrorKind::NotFound).into();
        for node in nodes {
            let client = Client::open(node.clone())?;
            match client.get_multiplexed_async_connection_with_config(config).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Asks the sentinels for the address of the primary.
    async fn primary(&self, service: &str) -> RedisResult<ConnectionAddr> {
        let config = AsyncConnectionConfig::new();
        let config = config.set_connection_timeout(Some(CONNECT_TIMEOUT));
        let config = config.set_response_timeout(Some(CONNECT_TIMEOUT));
        let mut failed = (ErrorKind::MasterNameNotFoundBySentinel, "no sentinel knows it").into();
        for sentinel in &self.nodes {
            let asked: RedisResult<Option<(String, u16)>> = async {
                let client = Client::open(sentinel.clone())?;
                let mut sentinel =
                    client.get_multiplexed_async_connection_with_config(&config).await?;
                let mut ask = cmd("SENTINEL");
                ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service).query_async(&mut sentinel).await
            }
            .await;
            match asked {
                Ok(Some((host, port))) => return Ok(ConnectionAddr::Tcp(host, port)),
                Ok(None) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    pub(super) async fn connect_cluster(&self) -> RedisResult<ClusterConnection> {
        let client = ClusterClientBuilder::new(self.nodes.clone())
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(tcp_settings())
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(BACKGROUND_TIMEOUT)
            // The timeout of each command bounds its attempts.
            .overall_response_timeout(None)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(5)
            .max_retry_wait(20)
            .build()?;
        let connected = timeout(CLUSTER_TIMEOUT, client.get_async_connection()).await;
        connected.map_err(|_| IoError::from(IoErrorKind::TimedOut))?
    }
}

impl Link {
    pub(super) async fn send(&self, cmd: &Cmd, route: Option<RoutingInfo>) -> RedisResult<Value> {
        let value = match (&self.connection, route) {
            (Connection::Node(node), _) => node.clone().send_packed_command(cmd).await?,
            (Connection::Cluster(cluster), None) => cluster.clone().req_packed_command(cmd).await?,
            (Connection::Cluster(cluster), Some(route)) => {
                // Rare: the box keeps this future, which is large, out of that of each command.
                Box::pin(cluster.clone().route_command(cmd.clone(), route)).await?
            }
        };
        value.extract_error()
    }

    /// Waits until the connection has ended, or is of no more use.
    pub(super) async fn end(&self) -> RedisError {
        loop {
            tokio::select! {
                () = self.signals.ended.notified() => {
                    return IoError::from(IoErrorKind::ConnectionReset).into();
                }
                () = self.signals.missed.notified() => {}
            }
            // A server that hangs closes no connection. A cluster connects to its nodes by itself, and the
            // store replaces one that got no reply for seconds.
            let responds = match &self.connection {
                Connection::Node(_) => {
                    let ping = cmd("PING");
                    let pong = timeout(CONNECT_TIMEOUT, self.send(&ping, None)).await;
                    pong.is_ok_and(|pong| pong.is_ok())
                }
                Connection::Cluster(_) => true,
            };
            if !responds {
                return IoError::from(IoErrorKind::TimedOut).into();
            }
        }
    }
}

fn logged_in(
    none: RedisConnectionInfo,
    username: Option<&String>,
    password: Option<&String>,
) -> RedisConnectionInfo {
    let named = username.into_iter().fold(none, RedisConnectionInfo::set_username);
    password.into_iter().fold(named, RedisConnectionInfo::set_password)
}

fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    // A network that is cut closes no connection.
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    settings
}

/// The timeout of a connection to a cluster: to the known nodes, for the slots, and to the others.
pub(super) const CLUSTER_TIMEOUT: Duration = Duration::from_secs(2);

/// A cluster whose slots move redirects a command more than once.
const CLUSTER_RETRIES: u32 = 3;

#[cfg(test)]
mod tests;
