//! Purges and fetches of many processes at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tower_kit::cache::StoreError;

use super::rig::{Boxed, Origin, Process, Times, clock, config};
use crate::cache::rig::{Got, reply};
use crate::redis_server::RedisServer;
use crate::support::soon;

const PATHS: usize = 12;
const ROUNDS: usize = 170;

/// What the service has under each path: its version, and since when which one is told to all, with
/// the number of the process that purged.
#[derive(Default)]
struct Item {
    version: AtomicUsize,
    purged: Mutex<Vec<(usize, Instant, usize)>>,
}

/// The observations of a reader.
#[derive(Default)]
struct Seen {
    answers: usize,
    hits: usize,
    /// The times after a purge at which an older response was returned.
    late: Vec<Duration>,
    own: usize,
}

/// A number that differs each time.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_micros(random() % (millis * 1000))).await;
}

fn origin(items: &Arc<Vec<Item>>) -> Origin {
    let items = Arc::clone(items);
    Origin::new(move |head, _| {
        let items = Arc::clone(&items);
        async move {
            let at: usize = head.uri.path()[1..].parse().unwrap();
            // Before the wait: what it gives out may be old then.
            let version = items[at].version.load(Ordering::SeqCst);
            if random() % 2 == 0 {
                pause(10).await;
            }
            let tag = format!("tag-{at}");
            let fields = [("cache-control", "max-age=600"), ("surrogate-key", &*tag)];
            reply(200, &fields, &version.to_string())
        }
    })
}

/// Changes what the service has, and purges it.
fn change(process: &Process, at: usize) -> Boxed<Result<(), StoreError>> {
    let handle = &process.handle;
    match random() % 3 {
        0 => Box::pin(handle.purge_tag(&format!("tag-{at}"))),
        1 => Box::pin(handle.purge_url(&format!("http://x.org/{at}")).unwrap()),
        _ => {
            let asking = process.send("PUT", &format!("/{at}"), &[]);
            Box::pin(async move {
                assert_eq!(asking.await.status, 200);
                Ok(())
            })
        }
    }
}

impl Seen {
    fn judge(&mut self, got: &Got, item: &Item, start: Instant, who: usize) {
        let version: usize = got.body.parse().unwrap();
        self.answers += 1;
        self.hits += usize::from(got.is_hit());
        let purged = item.purged.lock().unwrap();
        let missed = purged.iter().filter(|(newer, told, _)| *newer > version && *told <= start);
        let mut latest = None;
        for (_, told, by) in missed {
            latest = latest.max(Some(start - *told));
            self.own += usize::from(*by == who);
        }
        self.late.extend(latest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_response_is_older_than_a_known_purge() {
    let server = RedisServer::start();
    let items: Arc<Vec<Item>> = Arc::new((0..PATHS).map(|_| Item::default()).collect());
    let origin = origin(&items);
    // Two with a memory, and one without.
    let processes = [
        Process::start(config(&server), &origin).await,
        Process::start(config(&server), &origin).await,
        Process::bare(config(&server), &origin).await,
    ];
    let done = Arc::new(AtomicBool::new(false));
    let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
    for (who, process) in processes.iter().enumerate() {
        for _ in 0..4 {
            let (process, items, done) = (process.clone(), Arc::clone(&items), Arc::clone(&done));
            readers.spawn(async move {
                let mut seen = Seen::default();
                while !done.load(Ordering::Relaxed) {
                    let (at, start) = (random() as usize % PATHS, clock());
                    let got = process.get(&format!("/{at}")).await;
                    seen.judge(&got, &items[at], start, who);
                    tokio::task::yield_now().await;
                }
                seen
            });
        }
        let (process, items) = (process.clone(), Arc::clone(&items));
        writers.spawn(async move {
            let mut told = Times::default();
            for _ in 0..ROUNDS {
                pause(30).await;
                let at = random() as usize % PATHS;
                let version = items[at].version.fetch_add(1, Ordering::SeqCst) + 1;
                let start = clock();
                let done = soon(change(&process, at)).await;
                told.add(start.elapsed());
                if done.is_ok() {
                    items[at].purged.lock().unwrap().push((version, clock(), who));
                }
            }
            told
        });
    }
    while let Some(told) = writers.join_next().await {
        println!("purges: {}", told.unwrap());
    }
    done.store(true, Ordering::Relaxed);
    let mut all = Seen::default();
    while let Some(seen) = readers.join_next().await {
        let seen = seen.unwrap();
        all.answers += seen.answers;
        all.hits += seen.hits;
        all.own += seen.own;
        all.late.extend(seen.late);
    }
    let within = |millis| all.late.iter().filter(|late| late.as_millis() < millis).count();
    println!(
        "{} answers, {} of them hits, of {} calls; old: {}, within 5 ms: {}, within 50 ms: {}, the oldest {:?}",
        all.answers,
        all.hits,
        origin.calls(),
        all.late.len(),
        within(5),
        within(50),
        all.late.iter().max()
    );
    assert_eq!(all.own, 0, "in the process itself it holds at once");
    assert_eq!(all.late.len(), within(1000), "all have heard of it");
    assert!(all.hits > 0);

    // In the end all agree.
    tokio::time::timeout(Duration::from_secs(10), async {
        for (at, item) in items.iter().enumerate() {
            let newest = item.version.load(Ordering::SeqCst).to_string();
            for process in &processes {
                while process.get(&format!("/{at}")).await.body != newest {}
            }
        }
    })
    .await
    .unwrap();
}
