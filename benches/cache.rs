//! The cost of `cache`, compared with a bare service and other caches.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::{Barrier, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty, Full};
use tokio::runtime::Builder;
use tower::layer::util::Identity;
use tower::{Layer, Service, service_fn};
use tower_kit::cache::{Cache, CacheLayer, MemoryStore};
use tower_kit::{CompressLayer, MIB, ValueCache};

use cached::{CASES, Case, On, Origin, PEERS, PLAIN, PROBES, Requests, exchange, head, probe};
use peer::Package;
use support::{Bench, Costs, bar, call, read, version_in, versioned};

#[path = "support/cached.rs"]
mod cached;
#[path = "support/peer.rs"]
mod peer;
mod support;

fn main() {
    let bench = Bench::from_args();
    let costs: Vec<_> = CASES.iter().map(|case| compare(&bench, *case)).collect();
    let compressed = behind_it_compress(&bench);
    let of_values = of_values(&bench);
    // What is not called for one case goes on to here.
    let right = probes();
    let two_threads = threads();
    let (first, later) = herds();

    for (case, costs) in CASES.iter().zip(&costs) {
        let Some(net) = costs.net(&kit()) else { continue };
        println!("allocations: {}: {:.1}", case.title, net.allocations);
    }
    let hits = &costs[0];
    let of = |name: &str| hits.net(name).map(|net| net.instructions);
    let all: Vec<_> = PEERS.iter().filter_map(|name| of(&with_version(name))).collect();
    let correct = right.iter().filter_map(|name| of(&with_version(name)));
    let least = |of: &[f64]| of.iter().copied().reduce(f64::min);
    let percent = |peers: &[f64]| Some(of(&kit())? / least(peers)? * 100.0);
    bar(
        "instructions of a hit, % of the best correct peer",
        percent(&correct.collect::<Vec<_>>()),
        25.0,
    );
    bar("instructions of a hit, % of the best peer", percent(&all), 100.0);
    bar("instructions of a hit of 1 KiB", of(&kit()), 3_600.0);
    let allocations = hits.net(&kit()).map(|net| net.allocations);
    bar("allocations of a hit of 1 KiB", allocations, 4.0);
    let varying = costs[1].net(&kit()).map(|net| net.instructions);
    bar("instructions of a hit that varies by accept-encoding", varying, 5_000.0);
    let nanoseconds =
        |at: usize| costs[at].0.iter().find(|cost| cost.name == kit()).map(|cost| cost.nanoseconds);
    bar("nanoseconds of a hit", nanoseconds(0), 1_000.0);
    let large = costs[3].net(&kit()).zip(hits.net(&kit()));
    bar(
        "instructions of a hit of 100 KiB, % of one of 1 KiB",
        large.map(|(large, small)| large.instructions / small.instructions * 100.0),
        101.0,
    );
    let both = compressed.net(GZIP).zip(compressed.net(PLAIN_TEXT));
    let differ =
        both.map(|(gzip, plain)| (gzip.instructions / plain.instructions * 100.0 - 100.0).abs());
    bar("instructions of a hit of gzip and of none, % that they differ by", differ, 10.0);
    let links = of_values.net(LINKED).zip(of_values.net(UNLINKED));
    let links = links.map(|(linked, unlinked)| linked.instructions - unlinked.instructions);
    bar("instructions of the link of a miss to a value", links, 1_000.0);
    bar("time of hits on two threads, % of two that share nothing", Some(two_threads), 105.0);
    println!("     the first herd, when nothing is known of the answer: {first:.0} % of no cache");
    bar("time of a herd for what is not kept, % of no cache", Some(later), 110.0);
    bar("microseconds from a leader's first byte to a follower's", Some(first_bytes()), 1_000.0);
}

fn compare(bench: &Bench, case: Case) -> Costs {
    let mut group = bench.group(case.title);
    group.case("bare", || Requests::<_, Full<Bytes>>::new::<_, Full<Bytes>>(case, Identity::new()));
    group.case(kit(), || Requests::<_, Full<Bytes>>::new::<_, Full<Bytes>>(case, layer()));
    if case.title == PLAIN.title {
        group.case(format!("{}, hide_cache_status()", kit()), || {
            let layer = layer().hide_cache_status();
            Requests::<_, Full<Bytes>>::new::<_, Full<Bytes>>(case, layer)
        });
    }
    for name in PEERS.map(with_version) {
        group.case(&name, || PEER.serve(&format!("{}/{name}", case.title)));
    }
    group.run()
}

/// Hits on what `compress` has made, in the order that is documented.
fn behind_it_compress(bench: &Bench) -> Costs {
    let mut group = bench.group("hit, 1 KiB of JSON, cache outside of compress");
    let stack = |case: Case| {
        let service =
            layer().layer(CompressLayer::new().layer(On::<Full<Bytes>>::new(Origin::new(&case))));
        Requests::<_, Full<Bytes>>::to(case, service)
    };
    group
        .case("bare", || Requests::<_, Full<Bytes>>::new::<_, Full<Bytes>>(PLAIN, Identity::new()));
    group.case(PLAIN_TEXT, || {
        stack(Case {
            request: &[
                ("host", "shop.example"),
                ("user-agent", "curl/8.5.0"),
                ("accept", "*/*"),
                ("accept-encoding", "identity"),
            ],
            ..PLAIN
        })
    });
    group.case(GZIP, || stack(PLAIN));
    group.run()
}

/// Misses whose handler reads a value, with links to it and without.
fn of_values(bench: &Bench) -> Costs {
    let mut group = bench.group("miss, kept, whose handler reads a value");
    let miss = CASES.into_iter().find(|case| case.new).unwrap_or(PLAIN);
    let handler = move |values: ValueCache| {
        let origin = On::<Full<Bytes>>::new(Origin::new(&miss));
        service_fn(move |request: Request<Full<Bytes>>| {
            let (values, mut origin) = (values.clone(), origin.clone());
            async move {
                // A miss is linked as a hit is, and costs the least beside it.
                black_box(values.get::<u64>("rate").await);
                origin.call(request).await
            }
        })
    };
    let over = move |choose: fn(CacheLayer) -> CacheLayer| {
        let store = MemoryStore::new(64 * MIB);
        let values = ValueCache::new(store.clone());
        Requests::<_, Full<Bytes>>::to(miss, choose(CacheLayer::new(store)).layer(handler(values)))
    };
    group.case("bare", move || {
        Requests::<_, Full<Bytes>>::to(miss, handler(ValueCache::new(MemoryStore::new(64 * MIB))))
    });
    group.case(UNLINKED, move || over(CacheLayer::unlinked));
    group.case(LINKED, move || over(|layer| layer));
    group.run()
}

/// Prints what each cache gets right. Gives the peers that get all of it.
fn probes() -> Vec<&'static str> {
    println!(
        "{:<62}{}",
        "kept from others",
        PROBES.map(|(name, ..)| format!(" {name:>13}")).concat()
    );
    let print = |name: &str, found: &[bool]| {
        let words = found.iter().map(|right| format!(" {:>13}", if *right { "yes" } else { "NO" }));
        println!("  {name:<60}{}", words.collect::<String>());
    };
    print(&kit(), &probe::<_, _, Full<Bytes>, _, Full<Bytes>>(layer));
    let lines = PEER.print("--probe");
    let mut right = Vec::new();
    for (name, found) in PEERS.iter().zip(lines.lines()) {
        let found: Vec<_> = found.chars().take(PROBES.len()).map(|digit| digit == '1').collect();
        print(&with_version(name), &found);
        if found.iter().all(|right| *right) {
            right.push(*name);
        }
    }
    println!();
    right
}

/// Prints how many more hits two threads serve than one: of one entry, whose counts of references
/// both of them write, of one each, and of one each in caches that share nothing. Returns the time
/// that one each takes, as a percentage of that of caches that share nothing.
#[expect(clippy::disallowed_methods, reason = "a bench is about time")]
fn threads() -> f64 {
    let service = || layer().layer(On::<Full<Bytes>>::new(Origin::new(&PLAIN)));
    let hits = |service: &Cache<On<Full<Bytes>>>, uri: &'static str| {
        let mut service = service.clone();
        for _ in 0..HITS {
            let mut request = head(&PLAIN).map(|()| Full::<Bytes>::default());
            *request.uri_mut() = Uri::from_static(uri);
            black_box(read(call(&mut service, request).into_body(), None));
        }
    };
    let (shared, other) = (service(), service());
    let [first, second] = OF_THREADS;
    let cases: [&[_]; 4] = [
        &[(&shared, first)],
        &[(&shared, first), (&shared, first)],
        &[(&shared, first), (&shared, second)],
        &[(&shared, first), (&other, second)],
    ];
    cases.iter().copied().flatten().for_each(|(service, uri)| hits(service, uri));
    let rate = |threads: &[(&Cache<On<Full<Bytes>>>, &'static str)]| {
        let barrier = Barrier::new(threads.len());
        let taken: Vec<Duration> = thread::scope(|scope| {
            let threads: Vec<_> = threads
                .iter()
                .map(|(service, uri)| {
                    let (barrier, hits) = (&barrier, &hits);
                    scope.spawn(move || {
                        barrier.wait();
                        let start = Instant::now();
                        hits(service, uri);
                        start.elapsed()
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let longest = taken.into_iter().max().unwrap_or_default();
        (threads.len() * HITS) as f64 / longest.as_secs_f64()
    };
    // In turn, so that what disturbs the machine disturbs all.
    let rounds: Vec<_> = (0..11).map(|_| cases.map(rate)).collect();
    let median = |of: &dyn Fn(&[f64; 4]) -> f64| {
        let mut all: Vec<_> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!("hits a second: {:.0} on one thread", median(&|rates| rates[0]));
    for (at, who) in [
        (1, "two that ask for the same"),
        (2, "two that do not"),
        (3, "two whose caches share nothing"),
    ] {
        let (rate, more) = (median(&|rates| rates[at]), median(&|rates| rates[at] / rates[0]));
        println!("  {rate:.0} on {who}: {more:.2} times as many");
    }
    println!();
    median(&|rates| rates[3] / rates[2] * 100.0)
}

/// Measures 20 requests at once for a response that is not stored, in percent of the time without a
/// cache: the first time, and after it.
fn herds() -> (f64, f64) {
    let slow = service_fn(|_: Request<Empty<Bytes>>| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
        Ok::<_, Infallible>(response)
    });
    let runtime = Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { panic!("there is no runtime") };
    let cached = layer().layer(slow);
    let first = runtime.block_on(herd(&cached));
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let bare = median((0..21).map(|_| runtime.block_on(herd(&slow))).collect());
    let later = median((0..21).map(|_| runtime.block_on(herd(&cached))).collect());
    (first / bare * 100.0, later / bare * 100.0)
}

/// The time from the first byte of the client that fetches a body to that of the last of 100 clients
/// that follow it, in microseconds.
#[expect(clippy::disallowed_methods, reason = "a bench is about time")]
fn first_bytes() -> f64 {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let Ok(runtime) = runtime else { panic!("there is no runtime") };
    let once = || async {
        let streams = service_fn(|_: Request<Empty<Bytes>>| async {
            let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
            tokio::spawn(async move {
                for _ in 0..10 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    drop(sender.send_data(Bytes::from_static(&[b'x'; 1_000])).await);
                }
            });
            let mut response = Response::new(body);
            response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=60"));
            Ok::<_, Infallible>(response)
        });
        let cache = layer().layer(streams);
        let clients: Vec<_> = (0..101)
            .map(|_| {
                let mut cache = cache.clone();
                tokio::spawn(async move {
                    let response = cache.call(head(&PLAIN).map(|()| Empty::new())).await;
                    let Ok(mut response) = response;
                    assert!(response.body_mut().frame().await.is_some());
                    Instant::now()
                })
            })
            .collect();
        let mut times = Vec::new();
        for client in clients {
            times.extend(client.await);
        }
        times.sort();
        (times[100] - times[0]).as_secs_f64() * 1e6
    };
    let mut times: Vec<_> = (0..21).map(|_| runtime.block_on(once())).collect();
    times.sort_by(f64::total_cmp);
    times[10]
}

#[expect(clippy::disallowed_methods, reason = "a bench is about time")]
async fn herd<S, R>(service: &S) -> f64
where
    S: Service<Request<Empty<Bytes>>, Response = Response<R>, Future: Send>
        + Clone
        + Send
        + 'static,
    R: hyper::body::Body + Send + 'static,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let mut service = service.clone();
            tokio::spawn(async move {
                exchange(&mut service, head(&PLAIN).map(|()| Empty::new())).await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.is_ok());
    }
    start.elapsed().as_secs_f64()
}

fn layer() -> CacheLayer {
    CacheLayer::new(MemoryStore::new(64 * MIB))
}

fn kit() -> String {
    versioned("tower-kit")
}

fn with_version(peer: &str) -> String {
    version_in(include_str!("peer-caches/Cargo.lock"), peer)
}

static PEER: LazyLock<Package> = LazyLock::new(|| Package::build("peer-caches"));

const HITS: usize = 100_000;
const GZIP: &str = "gzip";
const LINKED: &str = "linked";
const UNLINKED: &str = "unlinked";
const PLAIN_TEXT: &str = "identity";

const OF_THREADS: [&str; 2] = ["http://x.org/first", "http://x.org/second"];
