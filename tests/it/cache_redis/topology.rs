//! The cache under 16 readers while the servers change: slots move, primaries die and are replaced,
//! nodes start again. Each case prints a line of a table over its rounds:
//!
//! ```sh
//! TOWER_KIT_ROUNDS=30 cargo test --all-features --test it cache_redis::topology -- \
//!     --nocapture --test-threads=1 | grep -o '|.*'
//! ```
//!
//! `TOWER_KIT_REDIS_SERVER=valkey-server` runs another server, and `TOWER_KIT_RESP3=1` speaks RESP3.

use std::env;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use tower_kit::cache::RedisStore;

use super::outage::{App, Load, Rig, SECOND, Sample, ask, config, now, quantile};
use crate::redis_server::{Cluster, RedisServer, Sentinels};
use crate::support::soon;

/// The sum of the rounds of a case.
#[derive(Default)]
struct Table {
    requests: usize,
    failures: Vec<String>,
    /// The quantiles of each round: during the change, and after it.
    p99: [f64; 2],
    longest: f64,
    /// The times from the end of a change to a round of nothing but hits.
    recoveries: Vec<Duration>,
    wedged: usize,
    /// The clients that the stores have replaced.
    replaced: u64,
}

/// The number of rounds of each case, which is small by default: a case takes seconds.
fn rounds() -> usize {
    env::var("TOWER_KIT_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Changes the servers under load, in rounds, each with a new store.
async fn run<S>(
    name: &str,
    servers: &mut S,
    url: &str,
    mut change: impl FnMut(&mut S, usize),
    mut mend: impl FnMut(&mut S),
) {
    let mut table = Table::default();
    for round in 0..rounds() {
        let rig = Rig::new(&config(url), false);
        soon(rig.store.ready()).await;
        for number in 0..Load::PAGES {
            ask(&rig.far, &format!("/page/{number}")).await.unwrap();
        }
        let load = Load::start(&rig.far, false);
        tokio::time::sleep(SECOND / 2).await;

        let began = now();
        change(servers, round);
        let changed = now();
        let recovery = recover(&rig.far, &rig.store, changed).await;
        let ended = now();
        tokio::time::sleep(SECOND / 2).await;
        let (samples, failures) = load.end().await;
        table.add(&samples, failures, [began, changed, ended]);
        table.replaced += rig.metrics.counted("http_cache_redis_replaced_clients_total", &[]);
        // A client that flushes its buffer only when commands follow works under load alone.
        tokio::time::sleep(SECOND / 5).await;
        let idle = match recovery {
            Some(_) => recover(&rig.far, &rig.store, now()).await,
            None => None,
        };
        match recovery.zip(idle) {
            Some((busy, idle)) => table.recoveries.push(busy.max(idle)),
            None => {
                table.wedged += 1;
                println!("{name}, round {round}: {:?}", rig.store.status());
            }
        }
        mend(servers);
    }
    table.print(name);
    assert_eq!(table.failures, [""; 0], "{name}");
    assert_eq!(table.wedged, 0, "{name}");
}

/// Returns the time until everything is a hit again, if it is within the deadline.
async fn recover(app: &App, store: &RedisStore, since: Instant) -> Option<Duration> {
    while since.elapsed() < DEADLINE {
        let mut hits = 0;
        for number in 0..PROBES {
            hits += usize::from(ask(app, &format!("/page/{number}")).await.unwrap());
        }
        let status = store.status();
        if hits == PROBES && status.synced && !status.breaker_open {
            return Some(since.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

impl Table {
    fn add(&mut self, samples: &[Sample], failures: Vec<String>, times: [Instant; 3]) {
        let [began, changed, ended] = times;
        self.requests += samples.len();
        self.failures.extend(failures);
        let of = |from, to, part| quantile(samples, from, to, part).unwrap_or_default();
        self.p99[0] = self.p99[0].max(of(began, changed, 0.99));
        self.p99[1] = self.p99[1].max(of(changed, ended, 0.99));
        self.longest = self.longest.max(of(began, ended, 1.0));
    }

    fn print(&mut self, name: &str) {
        static HEAD: Once = Once::new();
        HEAD.call_once(|| {
            println!(
                "\n| case | rounds | requests | failed | worst p99 during | worst p99 after | \
                 longest | recovered: median | most | wedged | clients replaced |\n|{}",
                "---|".repeat(11)
            );
        });
        self.recoveries.sort();
        let at = |part: usize| {
            let all = &self.recoveries;
            all.get((all.len() * part / 2).min(all.len().saturating_sub(1)))
                .map_or("-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
        };
        println!(
            "| {name} | {} | {} | {} | {:.0} ms | {:.0} ms | {:.0} ms | {} | {} | {} | {} |",
            self.recoveries.len() + self.wedged,
            self.requests,
            self.failures.len(),
            self.p99[0],
            self.p99[1],
            self.longest,
            at(1),
            at(2),
            self.wedged,
            self.replaced
        );
    }
}

/// Moves slots away from the primary of the log of purges, whose slot moves as well, with a pause in each
/// state of a slot.
async fn reshard(name: &str, pause: Duration) {
    let mut cluster = Cluster::steady();
    let url = cluster.url();
    let reshard = |cluster: &mut Cluster, _: usize| {
        let from = cluster.primary_of("{purges}").port();
        let ports = cluster.nodes().iter().map(RedisServer::port).take(3);
        let to = ports.filter(|port| *port != from).min().unwrap();
        assert!(cluster.reshard(from, to, pause) > 0);
    };
    run(name, &mut cluster, &url, reshard, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_may_move() {
    reshard("reshard", Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_may_move_slowly() {
    reshard("reshard, 5 ms in each state", Duration::from_millis(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_may_take_over() {
    for (name, freezes) in [("failover, SIGKILL", false), ("failover, SIGSTOP", true)] {
        let mut cluster = Cluster::start();
        let url = cluster.url();
        let lose = |cluster: &mut Cluster, _: usize| {
            let primary = cluster.primary_of("{purges}");
            if freezes {
                primary.freeze();
            } else {
                primary.kill();
            }
            cluster.wait_for_failover();
        };
        let mend = |cluster: &mut Cluster| {
            for node in cluster.nodes() {
                if !node.is_running() {
                    node.restart();
                } else if freezes {
                    node.thaw();
                }
            }
            cluster.wait_until_whole();
        };
        run(name, &mut cluster, &url, lose, mend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_may_restart() {
    let mut cluster = Cluster::start();
    let url = cluster.url();
    let restart = |cluster: &mut Cluster, _: usize| {
        cluster.primary_of("{purges}").restart();
        cluster.wait_until_whole();
    };
    run("restart of a node", &mut cluster, &url, restart, |_| {}).await;
    let restart = |cluster: &mut Cluster, _: usize| {
        for node in cluster.nodes() {
            node.kill();
        }
        thread::sleep(SECOND);
        for node in cluster.nodes() {
            node.restart();
        }
        cluster.wait_until_whole();
    };
    run("restart of all nodes", &mut cluster, &url, restart, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_may_restart_in_turn() {
    let mut cluster = Cluster::start();
    let url = cluster.url();
    let restart = |cluster: &mut Cluster, _: usize| {
        for at in 0..cluster.nodes().len() {
            cluster.nodes()[at].restart();
            cluster.wait_until_whole();
        }
    };
    run("rolling restart", &mut cluster, &url, restart, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_may_choose_anew() {
    let mut sentinels = Sentinels::start();
    let url = sentinels.url();

    let lose = |sentinels: &mut Sentinels, _: usize| {
        sentinels.kill_primary();
        sentinels.wait_for_failover();
    };
    run("failover by sentinels", &mut sentinels, &url, lose, Sentinels::mend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_may_restart() {
    let mut server = RedisServer::start();
    let url = server.url();
    let restart = |server: &mut RedisServer, _: usize| {
        server.kill();
        thread::sleep(SECOND);
        server.restart();
    };
    run("restart of a single server", &mut server, &url, restart, |_| {}).await;
}

/// The number of pages that have to be hits.
const PROBES: usize = 50;

/// The time after which a store counts as wedged.
const DEADLINE: Duration = Duration::from_secs(30);
