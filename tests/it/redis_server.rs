//! Redis servers as processes, which tests start, kill, freeze and start again: single ones,
//! a cluster, and a primary under sentinels.
//!
//! All of it blocks, for milliseconds; a cluster takes seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The timeout of a command.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits for something in another process, of which no event tells.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "other processes run by the real clock")]
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(30), "it never comes: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

// Commands.

/// A reply of a server, in RESP2.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Option<Vec<u8>>),
    Array(Vec<Reply>),
}

impl Reply {
    /// A simple or a bulk string.
    #[track_caller]
    pub(crate) fn text(self) -> String {
        match self {
            Self::Simple(text) => text,
            Self::Bulk(Some(bytes)) => String::from_utf8(bytes).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn int(self) -> i64 {
        match self {
            Self::Int(int) => int,
            other => panic!("no integer: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn array(self) -> Vec<Self> {
        match self {
            Self::Array(array) => array,
            other => panic!("no array: {other:?}"),
        }
    }

    fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((kind, rest)) =
            line.strip_suffix("\r\n").and_then(|line| line.split_at_checked(1))
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            "+" => Self::Simple(rest.to_owned()),
            "-" => Self::Error(rest.to_owned()),
            ":" => Self::Int(number()?),
            "$" => {
                let Ok(length) = usize::try_from(number()?) else { return Ok(Self::Bulk(None)) };
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Self::Bulk(Some(bytes))
            }
            "*" => Self::Array((0..number()?).map(|_| Self::read(from)).collect::<Result<_, _>>()?),
            _ => return Err(io::Error::other(line)),
        })
    }
}

/// Sends a command to the server at this port, on a connection of its own.
#[track_caller]
pub(crate) fn command_at(port: u16, args: &[impl AsRef<[u8]>]) -> Reply {
    let ask = || connect(port, PATIENCE).and_then(|stream| ask(stream, args));
    // A sentinel that changes the role of a node closes the connections of its clients.
    let is_closed = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
    };
    let reply = ask().or_else(|error| if is_closed(&error) { ask() } else { Err(error) });
    reply.unwrap_or_else(|error| panic!("{port}: {error}"))
}

fn connect(port: u16, within: Duration) -> io::Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    Ok(stream)
}

fn ask<S: Read + Write>(mut stream: S, args: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
    let mut command = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args.iter().map(AsRef::as_ref) {
        command.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        command.extend_from_slice(arg);
        command.extend_from_slice(b"\r\n");
    }
    stream.write_all(&command)?;
    Reply::read(&mut BufReader::new(stream))
}

// Ports.

/// A port of the loopback that no other server here takes, started or not.
///
/// Its UDP port is held as a sign to other processes. It lies below those that the system hands
/// out, as does the port for a cluster's bus: no client takes it while its server is down.
#[derive(Debug)]
struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    fn claim() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        let numbers = (0..10_000).map(|n| 11_000 + (seed.wrapping_add(n) % 10_000) as u16);
        numbers.into_iter().find_map(Self::try_claim).expect("a free port")
    }

    fn try_claim(number: u16) -> Option<Self> {
        let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        for number in [number, number + 10_000] {
            TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        }
        Some(Self { number, _claim: claim })
    }
}

/// Starts something anew, on other ports, where a stranger was faster.
#[track_caller]
fn started<T>(mut start: impl FnMut() -> Result<T, String>) -> T {
    let mut why = String::new();
    for _ in 0..5 {
        match start() {
            Ok(started) => return started,
            Err(log) => why = log,
        }
    }
    panic!("it does not start: {why}");
}

// One server.

/// A redis server on a port of its own, with a folder of its own. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    port: Port,
    folder: PathBuf,
    args: Vec<String>,
    process: Option<Child>,
    frozen: bool,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server that saves nothing, with more arguments.
    pub(crate) fn start_with(args: &[&str]) -> Self {
        started(|| {
            let mut server = Self::new(args);
            server.spawn();
            server.come_up().map(|()| server)
        })
    }

    /// Creates a server that has a port, but does not run before [`restart`](Self::restart).
    pub(crate) fn down() -> Self {
        Self::new(&[])
    }

    fn new(args: &[&str]) -> Self {
        let port = Port::claim();
        let name = format!("tower-kit-redis-{}-{}", std::process::id(), port.number);
        let folder = env::temp_dir().join(name);
        // Left by one that was killed and had this id.
        drop(fs::remove_dir_all(&folder));
        fs::create_dir(&folder).unwrap();
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let server = Self { port, folder, args, process: None, frozen: false };
        server.write("redis.conf", "");
        server
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = File::create(self.folder.join("log")).unwrap();
        let process = Command::new(program())
            .arg(self.folder.join("redis.conf"))
            .args(["--bind", "127.0.0.1", "--port", &self.port().to_string()])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(&self.folder)
            .args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("the server's program is in PATH"));
    }

    /// Waits until it answers, or says why it ended.
    #[track_caller]
    fn come_up(&mut self) -> Result<(), String> {
        let mut ended = false;
        let socket = self.socket();
        let process = self.process.as_mut().expect("it is started");
        // Not at the port, where a stranger may answer while this one ends. What asks for a
        // password is up too.
        let answers = || {
            let stream = UnixStream::connect(&socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream, &["PING"])
        };
        until("a redis server answers", || {
            ended = process.try_wait().unwrap().is_some();
            ended || answers().is_ok_and(|reply| !is_loading(&reply))
        });
        if ended {
            self.process = None;
            return Err(fs::read_to_string(self.folder.join("log")).unwrap());
        }
        Ok(())
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        self.frozen = false;
    }

    /// Starts again, at the same port, with what it has saved.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.come_up().unwrap_or_else(|log| panic!("it does not start again: {log}"));
    }

    /// Freezes the server. The system still accepts connections for it.
    pub(crate) fn freeze(&mut self) {
        let pid = self.pid();
        assert!(signal("-STOP", pid));
        self.frozen = true;
        until("a redis server stands still", || {
            // Where there is no such file, the signal has to do.
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_or(true, |stat| stat.contains(") T "))
        });
    }

    pub(crate) fn thaw(&mut self) {
        assert!(signal("-CONT", self.pid()));
        self.frozen = false;
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    pub(crate) fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    #[track_caller]
    pub(crate) fn command(&self, args: &[impl AsRef<[u8]>]) -> Reply {
        command_at(self.port(), args)
    }

    /// Waits until a replica has all that this server was told, by whomever.
    #[track_caller]
    pub(crate) fn wait_for_replica(&self) {
        let stream = connect(self.port(), PATIENCE).unwrap();
        // WAIT means what came before the connection's last command, and a new one has none.
        ask(&stream, &["PING"]).unwrap();
        let replicas = ask(&stream, &["WAIT", "1", "4000"]).unwrap().int();
        assert!(replicas > 0, "no replica follows");
    }

    /// Returns the reply to `PING`, or the reason for which there is none.
    pub(crate) fn ping(&self, within: Duration) -> io::Result<Reply> {
        ask(connect(self.port(), within)?, &["PING"])
    }

    fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Returns `true` unless it was killed: it may be frozen.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    fn is_up(&self) -> bool {
        self.is_running() && !self.frozen
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn is_loading(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(error) if error.starts_with("LOADING"))
}

fn signal(signal: &str, pid: u32) -> bool {
    let mut kill = Command::new("kill");
    kill.args([signal, &pid.to_string()]).stderr(Stdio::null()).status().unwrap().success()
}

/// The program of the server: Redis, or another with its protocol and its arguments.
fn program() -> String {
    env::var("TOWER_KIT_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Starts them side by side.
fn start_all(servers: &mut [RedisServer]) -> Result<(), String> {
    servers.iter_mut().for_each(RedisServer::spawn);
    servers.iter_mut().try_for_each(RedisServer::come_up)
}

fn up(servers: &[RedisServer]) -> impl Iterator<Item = &RedisServer> {
    servers.iter().filter(|server| server.is_up())
}

fn at(servers: &mut [RedisServer], port: u16) -> &mut RedisServer {
    servers.iter_mut().find(|server| server.port() == port).expect("a server at this port")
}

/// The address of the first, with the others as `node`s.
fn addrs(servers: &[RedisServer], path: &str) -> String {
    let nodes: Vec<_> =
        servers[1..].iter().map(|server| format!("node={}", server.addr())).collect();
    format!("{}{path}?{}", servers[0].addr(), nodes.join("&"))
}

fn is_synced(replica: &RedisServer) -> bool {
    replica.command(&["INFO", "replication"]).text().contains("master_link_status:up")
}

fn is_primary(node: &RedisServer) -> bool {
    node.command(&["ROLE"]).array()[0].clone().text() == "master"
}

// A cluster.

/// Three primaries and a replica for each.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The primaries, as they were at first, and then their replicas.
    nodes: Vec<RedisServer>,
}

/// A line of `CLUSTER NODES`.
#[derive(Debug)]
struct Seen {
    port: u16,
    is_well: bool,
    slots: Vec<(i64, i64)>,
}

impl Cluster {
    const SLOTS: [&str; 3] = ["0-5460", "5461-10922", "10923-16383"];

    /// Takes two seconds: so long a primary waits after its start before it serves.
    pub(crate) fn start() -> Self {
        Self::with_node_timeout("1000")
    }

    /// A cluster that does not fail over because the machine is busy.
    pub(crate) fn steady() -> Self {
        Self::with_node_timeout("60000")
    }

    fn with_node_timeout(millis: &str) -> Self {
        let timeout = ["--cluster-node-timeout", millis, "--cluster-replica-validity-factor", "0"];
        let args = [&["--cluster-enabled", "yes"], &timeout[..]].concat();
        let cluster = started(|| {
            let mut nodes: Vec<_> = (0..6).map(|_| RedisServer::new(&args)).collect();
            for at in 0..nodes.len() {
                nodes[at].write("nodes.conf", &Self::known(&nodes, at));
            }
            start_all(&mut nodes).map(|()| Self { nodes })
        });
        cluster.wait_until_whole();
        cluster
    }

    /// The saved state of a node of this cluster, so that the nodes need not meet.
    fn known(nodes: &[RedisServer], myself: usize) -> String {
        let id = |at: usize| format!("{:040x}", nodes[at].port());
        let mut known = String::new();
        for (at, node) in nodes.iter().enumerate() {
            let (port, bus) = (node.port(), node.port() + 10_000);
            let me = if at == myself { "myself," } else { "" };
            let (role, epoch) = match at.checked_sub(3) {
                None => ("master -".to_owned(), at + 1),
                Some(primary) => (format!("slave {}", id(primary)), primary + 1),
            };
            let slots = Self::SLOTS.get(at).unwrap_or(&"");
            let id = id(at);
            known +=
                &format!("{id} 127.0.0.1:{port}@{bus} {me}{role} 0 0 {epoch} connected {slots}");
            known = known.trim_end().to_owned() + "\n";
        }
        known + "vars currentEpoch 3 lastVoteEpoch 0\n"
    }

    pub(crate) fn url(&self) -> String {
        format!("redis-cluster://{}", addrs(&self.nodes[..3], ""))
    }

    pub(crate) fn nodes(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// Moves the slots of all keys of one primary to another, under the eyes of the clients, with a
    /// pause in each state of a slot. Returns the number of slots.
    pub(crate) fn reshard(&self, from: u16, to: u16, pause: Duration) -> usize {
        let [from, to] = [from, to].map(|port| connect(port, PATIENCE).unwrap());
        let text = |node: &TcpStream, args: &[&str]| ask(node, args).unwrap().text();
        let [from_id, to_id] = [&from, &to].map(|node| text(node, &["CLUSTER", "MYID"]));
        let to_port = to.peer_addr().unwrap().port().to_string();
        let mut slots = BTreeSet::new();
        for key in ask(&from, &["KEYS", "*"]).unwrap().array() {
            slots.insert(ask(&from, &["CLUSTER", "KEYSLOT", &key.text()]).unwrap().int());
        }
        for slot in &slots {
            let slot = &slot.to_string();
            text(&to, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &from_id]);
            text(&from, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &to_id]);
            thread::sleep(pause);
            loop {
                let keys = ask(&from, &["CLUSTER", "GETKEYSINSLOT", slot, "100"]).unwrap().array();
                if keys.is_empty() {
                    break;
                }
                let keys: Vec<_> = keys.into_iter().map(Reply::text).collect();
                let migrate = ["MIGRATE", "127.0.0.1", &to_port, "", "0", "5000", "KEYS"];
                text(
                    &from,
                    &[&migrate[..], &keys.iter().map(|key| &**key).collect::<Vec<_>>()].concat(),
                );
            }
            thread::sleep(pause);
            for node in [&to, &from] {
                text(node, &["CLUSTER", "SETSLOT", slot, "NODE", &to_id]);
            }
            for node in up(&self.nodes) {
                // A replica learns of it from its primary.
                drop(node.command(&["CLUSTER", "SETSLOT", slot, "NODE", &to_id]));
            }
        }
        slots.len()
    }

    /// Waits until all nodes are up and see a whole cluster.
    #[track_caller]
    pub(crate) fn wait_until_whole(&self) {
        until("all nodes see a whole cluster", || {
            self.nodes.iter().all(|node| {
                is_ok(node)
                    && seen_by(node).iter().filter(|seen| seen.is_well).count() == self.nodes.len()
                    && (is_primary(node) || is_synced(node))
            })
        });
    }

    /// The node that has the key's slot, as the others see it, be it up or not.
    pub(crate) fn primary_of(&mut self, key: &str) -> &mut RedisServer {
        let node = up(&self.nodes).next().expect("a node that is up");
        let slot = node.command(&["CLUSTER", "KEYSLOT", key]).int();
        let has = |seen: &Seen| seen.slots.iter().any(|(from, to)| (*from..=*to).contains(&slot));
        let port = seen_by(node).into_iter().find(has).expect("a primary of the slot").port;
        at(&mut self.nodes, port)
    }

    /// The port is the killed one's.
    pub(crate) fn kill_primary_of(&mut self, key: &str) -> u16 {
        let primary = self.primary_of(key);
        primary.kill();
        primary.port()
    }

    /// Waits until all nodes that are up see the slots at nodes that are up too.
    #[track_caller]
    pub(crate) fn wait_for_failover(&self) {
        let serves = |seen: &Seen| {
            seen.slots.is_empty() || up(&self.nodes).any(|node| node.port() == seen.port)
        };
        until("a replica takes over", || {
            up(&self.nodes).all(|node| is_ok(node) && seen_by(node).iter().all(serves))
        });
    }
}

fn is_ok(node: &RedisServer) -> bool {
    let info = node.command(&["CLUSTER", "INFO"]).text();
    ["cluster_state:ok\r\n", "cluster_slots_ok:16384\r\n"].iter().all(|line| info.contains(line))
}

fn seen_by(node: &RedisServer) -> Vec<Seen> {
    let nodes = node.command(&["CLUSTER", "NODES"]).text();
    let seen = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        let (_, port) = fields[1].split_once('@').unwrap().0.rsplit_once(':').unwrap();
        let flags = fields[2].trim_start_matches("myself,");
        let slots = fields[8..].iter().filter(|slots| !slots.starts_with('[')).map(|slots| {
            let (from, to) = slots.split_once('-').unwrap_or((slots, slots));
            (from.parse().unwrap(), to.parse().unwrap())
        });
        Seen {
            port: port.parse().unwrap(),
            is_well: ["master", "slave"].contains(&flags) && fields[7] == "connected",
            slots: slots.collect(),
        }
    };
    nodes.lines().map(seen).collect()
}

// Sentinels.

/// A primary and its replica, which three sentinels watch as `mymaster`.
#[derive(Debug)]
pub(crate) struct Sentinels {
    /// The primary, as it was at first, and its replica.
    nodes: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    pub(crate) fn start() -> Self {
        let this = started(|| {
            let mut nodes = vec![RedisServer::new(&[]), RedisServer::new(&[])];
            let primary = nodes[0].port().to_string();
            nodes[1].args = ["--replicaof", "127.0.0.1", &primary].map(str::to_owned).to_vec();
            start_all(&mut nodes)?;
            let mut sentinels: Vec<_> = (0..3).map(|_| RedisServer::new(&["--sentinel"])).collect();
            for sentinel in &sentinels {
                sentinel.write("redis.conf", &Self::known(&nodes, &sentinels, sentinel.port()));
            }
            start_all(&mut sentinels).map(|()| Self { nodes, sentinels })
        });
        for sentinel in &this.sentinels {
            // By default they look at each other every second and at the nodes every ten. What
            // does not know the command is slower, no more. The ping period has to stay: a
            // replica is no good to them when its last word is five of these old.
            let periods = ["info-period", "ask-period", "publish-period"].map(|name| [name, "100"]);
            sentinel.command(&[&["SENTINEL", "DEBUG"][..], &periods.concat()].concat());
        }
        until("all sentinels see all", || this.sentinels.iter().all(sees_all));
        this
    }

    /// The saved state of a sentinel, so that the sentinels need not find each other.
    fn known(nodes: &[RedisServer], sentinels: &[RedisServer], myself: u16) -> String {
        let (primary, replica) = (nodes[0].port(), nodes[1].port());
        let mut known = format!(
            "sentinel myid {myself:040x}\n\
             sentinel monitor mymaster 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 2000\n\
             sentinel known-replica mymaster 127.0.0.1 {replica}\n"
        );
        for port in sentinels.iter().map(RedisServer::port).filter(|port| *port != myself) {
            known += &format!("sentinel known-sentinel mymaster 127.0.0.1 {port} {port:040x}\n");
        }
        known
    }

    pub(crate) fn url(&self) -> String {
        let addrs = addrs(&self.sentinels, "/0");
        format!("redis-sentinel://{addrs}&sentinelServiceName=mymaster")
    }

    /// Returns the address of the primary as a sentinel sees it, up or not.
    pub(crate) fn primary_port(&self) -> u16 {
        primary_seen_by(up(&self.sentinels).next().expect("a sentinel that is up"))
    }

    pub(crate) fn primary(&mut self) -> &mut RedisServer {
        let port = self.primary_port();
        at(&mut self.nodes, port)
    }

    /// The port is the killed one's.
    pub(crate) fn kill_primary(&mut self) -> u16 {
        let primary = self.primary();
        primary.kill();
        primary.port()
    }

    /// Starts those again that were killed, and waits until they follow.
    #[track_caller]
    pub(crate) fn mend(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| !node.is_running()) {
            node.restart();
        }
        // Not that the sentinels see all: those of Valkey take a busy server for one that is down, again
        // and again.
        until("the other node follows", || {
            self.nodes.iter().filter(|node| is_primary(node)).count() == 1
                && self.nodes.iter().any(is_synced)
        });
    }

    /// Waits until all sentinels that are up see the same primary, which is up and knows it.
    #[track_caller]
    pub(crate) fn wait_for_failover(&self) {
        until("the replica takes over", || {
            let port = self.primary_port();
            up(&self.sentinels).all(|sentinel| primary_seen_by(sentinel) == port)
                && up(&self.nodes).any(|node| node.port() == port && is_primary(node))
        });
    }
}

fn primary_seen_by(sentinel: &RedisServer) -> u16 {
    let addr = sentinel.command(&["SENTINEL", "get-master-addr-by-name", "mymaster"]).array();
    addr[1].clone().text().parse().unwrap()
}

fn sees_all(sentinel: &RedisServer) -> bool {
    let all = |what: &str| -> Vec<BTreeMap<String, String>> {
        let all = sentinel.command(&["SENTINEL", what, "mymaster"]).array();
        all.into_iter().map(fields).collect()
    };
    let primary = fields(sentinel.command(&["SENTINEL", "MASTER", "mymaster"]));
    let (replicas, others) = (all("REPLICAS"), all("SENTINELS"));
    primary["flags"] == "master"
        && replicas.len() == 1
        && replicas.iter().all(|it| it["flags"] == "slave" && it["master-link-status"] == "ok")
        && others.len() == 2
        && others.iter().all(|it| it["flags"] == "sentinel")
}

/// Names and values, by turns.
fn fields(reply: Reply) -> BTreeMap<String, String> {
    let texts: Vec<_> = reply.array().into_iter().map(Reply::text).collect();
    texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

// Tests of all this.

fn ok() -> Reply {
    Reply::Simple("OK".to_owned())
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(Some(text.as_bytes().to_vec()))
}

#[test]
fn value_is_read_at_the_port_and_the_socket() {
    let server = RedisServer::start();
    assert_eq!(server.command(&[&b"SET"[..], b"key", b"\r\n\xff\0"]), ok());
    let value = Reply::Bulk(Some(b"\r\n\xff\0".to_vec()));
    assert_eq!(server.command(&["GET", "key"]), value);
    assert_eq!(server.command(&["GET", "none"]), Reply::Bulk(None));
    assert_eq!(server.command(&["STRLEN", "key"]).int(), 4);
    let both = server.command(&["MGET", "key", "none"]);
    assert_eq!(both, Reply::Array(vec![value.clone(), Reply::Bulk(None)]));
    assert!(matches!(server.command(&["LPUSH", "key", "x"]), Reply::Error(_)));

    let url = server.unix_url();
    let stream = UnixStream::connect(url.strip_prefix("redis+unix://").unwrap()).unwrap();
    assert_eq!(ask(stream, &["GET", "key"]).unwrap(), value);
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}", server.port()));
    assert_eq!(command_at(server.port(), &["GET", "key"]), value);
}

#[test]
fn killed_server_responds_after_a_restart() {
    let mut server = RedisServer::start();
    let port = server.port();
    assert_eq!(server.command(&["SET", "key", "value"]), ok());
    server.kill();
    assert_eq!(server.ping(PATIENCE).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    server.restart();
    assert_eq!(server.port(), port);
    assert_eq!(server.command(&["GET", "key"]), Reply::Bulk(None));
}

#[test]
fn what_a_server_saves_is_there_after_its_end() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    assert_eq!(server.command(&["SET", "key", "value"]), ok());
    server.restart();
    assert_eq!(server.command(&["GET", "key"]), bulk("value"));
}

#[test]
fn a_server_with_a_password_comes_up() {
    let server = RedisServer::start_with(&["--requirepass", "secret"]);
    let answer = server.command(&["GET", "key"]);
    assert!(matches!(&answer, Reply::Error(error) if error.starts_with("NOAUTH")), "{answer:?}");
}

#[test]
fn server_that_starts_late_uses_its_address() {
    let mut server = RedisServer::down();
    let url = server.url();
    assert_eq!(server.ping(PATIENCE).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    server.restart();
    assert_eq!(server.ping(PATIENCE).unwrap().text(), "PONG");
    assert_eq!(server.url(), url);
}

#[test]
#[should_panic(expected = "it does not start")]
fn a_server_that_cannot_start_says_why() {
    RedisServer::start_with(&["--no-such-thing", "yes"]);
}

#[test]
fn frozen_server_responds_once_thawed() {
    let mut server = RedisServer::start();
    server.freeze();
    let error = server.ping(Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
    server.thaw();
    assert_eq!(server.ping(PATIENCE).unwrap().text(), "PONG");
}

#[test]
fn two_servers_do_not_meet() {
    let (one, other) = (RedisServer::start(), RedisServer::start());
    assert_ne!((one.port(), one.unix_url()), (other.port(), other.unix_url()));
    assert_eq!(one.command(&["SET", "key", "value"]), ok());
    assert_eq!(other.command(&["GET", "key"]), Reply::Bulk(None));
}

#[test]
fn dropped_server_leaves_nothing() {
    for frozen in [false, true] {
        let mut server = RedisServer::start();
        let (pid, folder, port) = (server.pid(), server.folder.clone(), server.port());
        assert!(signal("-0", pid) && folder.exists());
        if frozen {
            server.freeze();
        }
        drop(server);
        assert!(!signal("-0", pid), "the process is there");
        assert!(!folder.exists());
        assert!(connect(port, PATIENCE).is_err());
    }
}

#[test]
fn a_cluster_fails_over() {
    let mut cluster = Cluster::start();
    let ports: Vec<_> = cluster.nodes.iter().map(RedisServer::port).collect();
    let [one, two, three] = [ports[0], ports[1], ports[2]].map(|port| format!("127.0.0.1:{port}"));
    assert_eq!(cluster.url(), format!("redis-cluster://{one}?node={two}&node={three}"));
    // In the slot 12182, thus of the third.
    assert_eq!(cluster.primary_of("foo").port(), ports[2]);
    assert_eq!(cluster.primary_of("foo").command(&["SET", "foo", "value"]), ok());
    cluster.primary_of("foo").wait_for_replica();

    assert_eq!(cluster.kill_primary_of("foo"), ports[2]);
    cluster.wait_for_failover();
    assert_eq!(cluster.primary_of("foo").port(), ports[5]);
    assert_eq!(cluster.primary_of("foo").command(&["GET", "foo"]), bulk("value"));
    assert_eq!(cluster.primary_of("foo").command(&["SET", "foo", "other"]), ok());
}

#[test]
fn sentinels_fail_over() {
    let mut sentinels = Sentinels::start();
    let ports: Vec<_> = sentinels.nodes.iter().map(RedisServer::port).collect();
    let at = |sentinel: &RedisServer| format!("127.0.0.1:{}", sentinel.port());
    let [one, two, three] = [0, 1, 2].map(|n: usize| at(&sentinels.sentinels[n]));
    let nodes = format!("node={two}&node={three}");
    let url = format!("redis-sentinel://{one}/0?{nodes}&sentinelServiceName=mymaster");
    assert_eq!(sentinels.url(), url);
    assert_eq!(sentinels.primary_port(), ports[0]);
    assert_eq!(sentinels.primary().command(&["SET", "key", "value"]), ok());
    sentinels.primary().wait_for_replica();

    assert_eq!(sentinels.kill_primary(), ports[0]);
    sentinels.wait_for_failover();
    assert_eq!(sentinels.primary_port(), ports[1]);
    assert_eq!(sentinels.primary().command(&["GET", "key"]), bulk("value"));
    assert_eq!(sentinels.primary().command(&["SET", "key", "other"]), ok());
}
