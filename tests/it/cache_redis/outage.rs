//! The cache under load while Redis is away, hangs, is full, or holds garbage. Each case prints lines
//! of a table, one for the store alone and one for the store behind a memory:
//!
//! ```sh
//! cargo test --all-features --test it cache_redis::outage -- --nocapture --test-threads=1 | grep -o '|.*'
//! ```

use std::convert::Infallible;
use std::env;
use std::fs;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::MIB;
use tower_kit::cache::{
    CacheLayer, MemoryStore, RedisConfig, RedisStatus, RedisStore, ResponseBody, Store, TieredStore,
};

use super::rig::config_at;
use crate::redis_server::{Cluster, RedisServer, Sentinels, until};
use crate::support::{Metrics, soon};

// The service.

pub(super) type App =
    BoxCloneSyncService<Request<Empty<Bytes>>, Response<ResponseBody<Full<Bytes>>>, Infallible>;

/// A cache over a service whose pages tell their path.
pub(super) fn app(store: impl Store) -> App {
    let origin = service_fn(|request: Request<Empty<Bytes>>| {
        let page = Full::from(page(request.uri().path()));
        let response = Response::builder().header("cache-control", "max-age=60").body(page);
        ready(Ok(response.unwrap()))
    });
    BoxCloneSyncService::new(CacheLayer::new(store).layer(origin))
}

fn page(path: &str) -> Bytes {
    let times = if path.starts_with("/large/") { 10_000 } else { 100 };
    path.repeat(times).into()
}

/// Returns `true` for a hit, or a description of an unexpected response.
pub(super) async fn ask(app: &App, path: &str) -> Result<bool, String> {
    let request = Request::get(format!("http://x.org{path}")).body(Empty::new()).unwrap();
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.map_err(|error| format!("{path}: {error}"))?.to_bytes();
    let told = head.headers.get("cache-status").and_then(|status| status.to_str().ok());
    match told {
        Some(told) if head.status == 200 && body == page(path) => Ok(told.contains("; hit")),
        _ => Err(format!("{path}: {head:?}, {} bytes", body.len())),
    }
}

/// A store, and the caches over it.
pub(super) struct Rig {
    pub(super) tiers: &'static str,
    pub(super) app: App,
    /// Without a memory before it.
    pub(super) far: App,
    pub(super) store: RedisStore,
    pub(super) metrics: Metrics,
}

impl Rig {
    pub(super) fn new(config: &RedisConfig, tiered: bool) -> Self {
        let metrics = Metrics::new();
        let tiers = if tiered { "tiered" } else { "redis" };
        let config = config.clone().prefix(format!("{tiers}:")).recorder(metrics.recorder());
        let store = RedisStore::connect(config);
        let far = app(store.clone());
        let app = if tiered {
            app(TieredStore::new(MemoryStore::new(8 * MIB), store.clone()))
        } else {
            far.clone()
        };
        Self { tiers, app, far, store, metrics }
    }

    /// Returns `true` if an error of this reason was counted.
    fn counted(&self, reason: &str) -> bool {
        self.metrics.counted("http_cache_redis_errors_total", &[("reason", reason)]) > 0
    }

    fn wait_for_status(&self, what: &str, is: impl Fn(&RedisStatus) -> bool) {
        until(&format!("{what}: {}: {:?}", self.tiers, self.store.status()), || {
            is(&self.store.status())
        });
    }
}

// The load.

pub(super) struct Load {
    tasks: JoinSet<(Vec<Sample>, Vec<String>)>,
    over: Arc<AtomicBool>,
}

pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) took: Duration,
}

impl Load {
    pub(super) const TASKS: usize = 16;
    /// The pause of each task: about 500 requests a second in all.
    const PAUSE: Duration = Duration::from_millis(32);
    /// About 1,000 a second.
    const FLOOD: Duration = Duration::from_millis(16);
    pub(super) const PAGES: usize = 200;

    pub(super) fn start(app: &App, flood: bool) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for task in 0..Self::TASKS {
            tasks.spawn(Self::run(task, app.clone(), flood, Arc::clone(&over)));
        }
        Self { tasks, over }
    }

    async fn run(
        task: usize,
        app: App,
        flood: bool,
        over: Arc<AtomicBool>,
    ) -> (Vec<Sample>, Vec<String>) {
        let (mut samples, mut failures) = (Vec::new(), Vec::new());
        let pause = if flood { Self::FLOOD } else { Self::PAUSE };
        let mut ticks = tokio::time::interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::time::sleep(pause * task as u32 / Self::TASKS as u32).await;
        for number in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            ticks.tick().await;
            // Most are there already; the others have to be written.
            let path = match number % 20 {
                at if flood || at == 7 => format!("/large/{task}/{number}"),
                9 | 19 => format!("/new/{task}/{number}"),
                _ => format!("/page/{}", (task * 31 + number * 7) % Self::PAGES),
            };
            let at = now();
            failures.extend(ask(&app, &path).await.err());
            samples.push(Sample { at, took: at.elapsed() });
        }
        (samples, failures)
    }

    pub(super) async fn end(self) -> (Vec<Sample>, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        let (samples, failures): (Vec<_>, Vec<_>) =
            soon(self.tasks.join_all()).await.into_iter().unzip();
        (samples.into_iter().flatten().collect(), failures.into_iter().flatten().collect())
    }
}

#[expect(clippy::disallowed_methods, reason = "other processes run by the real clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Returns a quantile of the samples in a time, in milliseconds.
pub(super) fn quantile(
    samples: &[Sample],
    from: Instant,
    to: Instant,
    quantile: f64,
) -> Option<f64> {
    let within = samples.iter().filter(|sample| (from..to).contains(&sample.at));
    let mut took: Vec<_> = within.map(|sample| sample.took).collect();
    took.sort();
    let at = (took.len() as f64 * quantile) as usize;
    took.get(at.min(took.len().saturating_sub(1))).map(|took| took.as_secs_f64() * 1e3)
}

/// A line of `/proc/self/status`, in MiB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// Resets `VmHWM`, the maximum of the memory.
fn forget_most_memory() {
    // Where it cannot be forgotten, more is said to grow than does.
    drop(fs::write("/proc/self/clear_refs", "5"));
}

/// One line of the table.
fn print(
    names: [&str; 2],
    [requests, failed]: [usize; 2],
    millis: [Option<f64>; 5],
    memory: [u64; 3],
) {
    static HEAD: Once = Once::new();
    HEAD.call_once(|| {
        println!(
            "\n| case | store | requests | failed | p99 before | p99 first second | p99 then | max | \
             recovered after | RSS before -> most -> after |\n|{}",
            "---|".repeat(10)
        );
    });
    let millis = millis.map(|it| it.map_or("-".to_owned(), |it| format!("{it:.1} ms"))).join(" | ");
    let memory = memory.map(|mib| mib.to_string()).join(" -> ");
    println!("| {} | {requests} | {failed} | {millis} | {memory} MiB |", names.join(" | "));
}

// The cases.

pub(super) const BUDGET: Duration = Duration::from_millis(50);
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// The settings for a URL, with the protocol that was chosen for the run.
pub(super) fn config(url: &str) -> RedisConfig {
    let separator = if url.contains('?') { '&' } else { '?' };
    let resp3 = env::var_os("TOWER_KIT_RESP3").map(|_| format!("{separator}protocol=resp3"));
    let url = format!("{url}{}", resp3.unwrap_or_default());
    config_at(&url).command_timeout(BUDGET)
}

struct Case<'a> {
    name: &'a str,
    config: RedisConfig,
    /// The fault exists before the store connects.
    from_start: bool,
    lasts: Duration,
    /// The breaker is open during the fault.
    opens: bool,
    /// The error of the status during the fault.
    error: Option<&'a str>,
    /// The reason of the errors that have to be counted, if any.
    reason: &'a str,
    /// All requests are misses of large responses.
    flood: bool,
    /// Without and with a memory before it.
    tiers: &'a [bool],
}

impl<'a> Case<'a> {
    fn new(name: &'a str, url: &str, reason: &'a str) -> Self {
        Self {
            name,
            config: config(url),
            from_start: false,
            lasts: Duration::from_millis(2500),
            opens: false,
            error: None,
            reason,
            flood: false,
            tiers: &[false, true],
        }
    }

    /// While it lasts, no request waits for Redis, and the status says why.
    fn opens(self, error: &'a str) -> Self {
        Self { opens: true, error: Some(error), ..self }
    }

    /// Breaks a server under load, and mends it.
    async fn run<S>(
        &self,
        server: &mut S,
        break_it: impl FnOnce(&mut S),
        mend_it: impl FnOnce(&mut S),
    ) {
        let rigs: Vec<_> =
            self.tiers.iter().map(|tiered| Rig::new(&self.config, *tiered)).collect();
        if !self.from_start {
            for rig in &rigs {
                soon(rig.store.ready()).await;
                for number in 0..Load::PAGES {
                    ask(&rig.app, &format!("/page/{number}")).await.unwrap();
                }
            }
        }
        let began = now();
        let loads: Vec<_> = rigs.iter().map(|rig| Load::start(&rig.app, self.flood)).collect();
        if !self.from_start {
            tokio::time::sleep(SECOND).await;
        }
        forget_most_memory();
        let before = memory("VmRSS");

        let broken = now();
        break_it(server);
        for rig in &rigs {
            rig.wait_for_status("it is said what is the matter", |status| {
                let said = |error| status.error.iter().any(|said| said.contains(error));
                status.breaker_open >= self.opens && self.error.is_none_or(said)
            });
        }
        tokio::time::sleep(self.lasts.saturating_sub(broken.elapsed())).await;

        mend_it(server);
        let mended = now();
        let mut recoveries = JoinSet::new();
        for (at, rig) in rigs.iter().enumerate() {
            let far = rig.far.clone();
            recoveries.spawn(async move {
                until_hit(&far, "/probe").await;
                (at, mended.elapsed())
            });
        }
        let mut recoveries = soon(recoveries.join_all()).await;
        recoveries.sort();
        for rig in &rigs {
            rig.wait_for_status("it is well again", |status| {
                status.synced && !status.breaker_open && status.error.is_none()
            });
            for number in (0..Load::PAGES).step_by(20) {
                soon(until_hit(&rig.far, &format!("/page/{number}"))).await;
            }
        }
        tokio::time::sleep(SECOND / 2).await;

        let memory = [before, memory("VmHWM"), memory("VmRSS")];
        for ((rig, load), (_, recovery)) in rigs.iter().zip(loads).zip(recoveries) {
            let (samples, failures) = load.end().await;
            let of = |from, to, part| quantile(&samples, from, to, part);
            let second = broken + SECOND;
            let millis = [
                of(began, broken, 0.99).filter(|_| !self.from_start),
                of(broken, second, 0.99),
                of(second, mended, 0.99),
                of(broken, mended, 1.0),
                Some(recovery.as_secs_f64() * 1e3),
            ];
            print([self.name, rig.tiers], [samples.len(), failures.len()], millis, memory);
            assert_eq!(failures, [""; 0]);
            assert!(self.reason.is_empty() || rig.counted(self.reason), "{}", self.reason);
            if self.opens {
                let median = of(broken, mended, 0.5).unwrap();
                assert!(median < BUDGET.as_secs_f64() * 1e3, "{median} ms");
            }
        }
        // The writes that may wait, in all forms that they take on their way.
        assert!(memory[1] < memory[0] + 256, "{memory:?}");
    }
}

/// Asks until what was put is there.
pub(super) async fn until_hit(app: &App, path: &str) {
    while !ask(app, path).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Does something again and again, for a time.
fn repeatedly(lasts: Duration, pause: Duration, mut act: impl FnMut()) {
    let start = now();
    while start.elapsed() < lasts {
        act();
        thread::sleep(pause);
    }
}

/// Lets it stand still for most of the time.
fn stagger(server: &mut RedisServer, still: Duration) {
    repeatedly(2 * SECOND, Duration::from_millis(10), || {
        server.freeze();
        thread::sleep(still);
        server.thaw();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_come_up_later() {
    let mut server = RedisServer::down();
    let case = Case::new("refused at start", &server.url(), "connection").opens("refused");
    let case = Case { from_start: true, ..case };
    case.run(&mut server, |_| {}, RedisServer::restart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_be_killed_and_come_back() {
    let mut server = RedisServer::start();
    let case = Case::new("SIGKILL and restart", &server.url(), "connection").opens("refused");
    case.run(&mut server, RedisServer::kill, RedisServer::restart).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_stand_still() {
    let mut server = RedisServer::start();
    let case = Case::new("SIGSTOP for 5 s", &server.url(), "timeout").opens("");
    let case = Case { lasts: 5 * SECOND, ..case };
    case.run(&mut server, RedisServer::freeze, RedisServer::thaw).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_be_slow() {
    let mut server = RedisServer::start();
    let case = Case::new("SIGSTOP for 80 of 90 ms", &server.url(), "timeout");
    case.run(&mut server, |server| stagger(server, Duration::from_millis(80)), |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_do_not_pile_up() {
    let mut server = RedisServer::start();
    // Long, but not so long that it is not asked any more.
    let case = Case::new("SIGSTOP for 30 of 40 ms, large writes", &server.url(), "");
    let case = Case { flood: true, tiers: &[false], ..case };
    case.run(&mut server, |server| stagger(server, Duration::from_millis(30)), |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_refuse_the_password() {
    let mut server = RedisServer::start();
    let user = |server: &mut RedisServer, password| {
        server.command(&["ACL", "SETUSER", "app", "on", password, "~*", "&*", "+@all"]);
    };
    user(&mut server, ">right");
    let url = server.url().replace("redis://", "redis://app:wrong@");
    let case = Case::new("wrong password", &url, "connection").opens("WRONGPASS");
    let case = Case { from_start: true, ..case };
    case.run(&mut server, |_| {}, |server| user(server, ">wrong")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_be_full() {
    let mut server = RedisServer::start();
    let limit = |server: &mut RedisServer, most| {
        server.command(&["CONFIG", "SET", "maxmemory", most]);
    };
    let case = Case::new("maxmemory, noeviction", &server.url(), "refused");
    let case = Case { error: Some("OOM"), ..case };
    case.run(&mut server, |server| limit(server, "1"), |server| limit(server, "0")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_end_connections() {
    let mut server = RedisServer::start();
    let case = Case::new("CLIENT KILL every 20 ms", &server.url(), "connection");
    let kill = |server: &mut RedisServer| {
        repeatedly(2 * SECOND, Duration::from_millis(20), || {
            for kind in ["normal", "pubsub"] {
                server.command(&["CLIENT", "KILL", "TYPE", kind]);
            }
        });
    };
    case.run(&mut server, kill, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_may_fail_over() {
    let mut cluster = Cluster::start();
    let case = Case::new("failover in a cluster", &cluster.url(), "connection").opens("");
    // The primary of the log of purges: without it, nobody is in step.
    let kill = |cluster: &mut Cluster| {
        cluster.kill_primary_of("{purges}");
    };
    let case = Case { lasts: Duration::ZERO, ..case };
    case.run(&mut cluster, kill, |cluster| cluster.wait_for_failover()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_may_fail_over() {
    let mut sentinels = Sentinels::start();
    let case = Case::new("failover by sentinels", &sentinels.url(), "connection").opens("");
    let kill = |sentinels: &mut Sentinels| {
        sentinels.kill_primary();
    };
    let case = Case { lasts: Duration::ZERO, ..case };
    case.run(&mut sentinels, kill, |sentinels| sentinels.wait_for_failover()).await;
}

/// Makes what `was` under each key something else, again and again.
async fn nonsense(what: &str, change: &str, reason: &str) {
    let mut server = RedisServer::start();
    let name = format!("all entries: {what}");
    let case = Case::new(&name, &server.url(), reason);
    let config = case.config.clone().max_entry_size(256 << 10);
    let case = Case { config, lasts: SECOND, tiers: &[false], ..case };
    let script = format!(
        "for _, key in ipairs(redis.call('KEYS', '*/page/*')) do
           if redis.call('TYPE', key).ok == 'string' then
             local was = redis.call('GET', key)
             {change}
           end
         end"
    );
    let change = |server: &mut RedisServer| {
        repeatedly(SECOND, Duration::from_millis(200), || {
            server.command(&["EVAL", &script, "0"]);
        });
    };
    case.run(&mut server, change, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_may_be_damaged() {
    let garbage = "redis.call('SET', key, string.rep('garbage', 300))";
    nonsense("garbage", garbage, "damaged").await;
    nonsense("truncated", "redis.call('SET', key, string.sub(was, 1, -2))", "damaged").await;
    nonsense("a list", "redis.call('DEL', key) redis.call('RPUSH', key, was)", "refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_may_be_those_of_others() {
    let version = "redis.call('SETRANGE', key, 4, '\\255')";
    nonsense("of a future version", version, "version").await;
    let large = "redis.call('SETRANGE', key, 300000, 'x')";
    nonsense("larger than the limit", large, "too-large").await;
}

/// Asks for all of these at once, until one of them is a hit.
async fn herd(
    name: &str,
    rig: &Rig,
    before: u64,
    paths: impl Iterator<Item = String>,
    mend_it: impl FnOnce(),
) {
    let began = now();
    let mut herd = JoinSet::new();
    for path in paths {
        let app = rig.app.clone();
        herd.spawn(async move {
            let at = now();
            (ask(&app, &path).await, Sample { at, took: at.elapsed() })
        });
    }
    let (answers, samples): (Vec<_>, Vec<_>) = soon(herd.join_all()).await.into_iter().unzip();
    mend_it();
    let answered = now();
    soon(until_hit(&rig.app, "/page")).await;
    let recovery = answered.elapsed().as_secs_f64() * 1e3;
    let memory = [before, memory("VmHWM"), memory("VmRSS")];
    let failures: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    let of = |part| quantile(&samples, began, answered, part);
    let millis = [None, of(0.99), None, of(1.0), Some(recovery)];
    print([name, rig.tiers], [samples.len(), failures.len()], millis, memory);
    assert_eq!(failures, [""; 0]);
}

#[tokio::test]
async fn a_miss_waits_for_redis_once() {
    for tiered in [false, true] {
        let server = RedisServer::start();
        let rig = Rig::new(&config_at(&server.url()), tiered);
        soon(rig.store.ready()).await;
        assert_eq!(ask(&rig.app, "/page").await, Ok(false));
        let statistics = server.command(&["INFO", "commandstats"]).text();
        assert!(statistics.contains("cmdstat_getrange:calls=1,"), "{}: {statistics}", rig.tiers);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_waits_for_redis_once() {
    let mut server = RedisServer::start();
    let rig = Rig::new(&config_at(&server.url()), false);
    soon(rig.store.ready()).await;
    server.freeze();
    forget_most_memory();
    let paths = (0..1000).map(|number| format!("/page/{number}"));
    herd("SIGSTOP, 1,000 at once", &rig, memory("VmRSS"), paths, || server.thaw()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_600_mib_is_not_read() {
    let server = RedisServer::start_with(&["--proto-max-bulk-len", "1gb"]);
    let rig = Rig::new(&config_at(&server.url()), false);
    soon(rig.store.ready()).await;
    for clients in [1, 32] {
        soon(until_hit(&rig.app, "/page")).await;
        let key = server.command(&["KEYS", "*/page"]).array().remove(0).text();
        server.command(&["SETRANGE", &key, &(600 * MIB).to_string(), "x"]);
        // That took longer than the budget.
        rig.wait_for_status("it is well", |status| status.synced && !status.breaker_open);
        forget_most_memory();
        let before = memory("VmRSS");

        let name = format!("an entry of 600 MiB, asked for by {clients}");
        herd(&name, &rig, before, (0..clients).map(|_| "/page".to_owned()), || {}).await;
        assert!(memory("VmHWM") < before + 64, "{before} MiB before");
    }
    // A busy machine may not read the 4 MiB in time.
    assert!(rig.counted("too-large") || rig.counted("timeout"));
}
