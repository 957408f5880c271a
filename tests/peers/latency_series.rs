//! The append-only map and the gauge of requests in flight, under a model checker that runs the
//! steps of their threads in many orders.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use shuttle::thread;
use tower::{Layer, Service, service_fn};
use tower_kit::LatencyLayer;

use self::model::AppendOnlyMap;
use crate::support::{self, Scripted, Step};

#[expect(dead_code, reason = "the hashes are not shared")]
#[path = "../../src/latency/append_only_map.rs"]
mod model;

/// The types of `src/latency/sync.rs`, with those of the model checker in place of the standard ones.
mod sync {
    use shuttle::sync::atomic::{AtomicBool, Ordering};

    pub(super) use shuttle::sync::atomic::AtomicUsize;

    /// The standard cell, with a point before each step where the model checker may switch threads.
    // shuttle has no `OnceLock` of its own.
    #[derive(Debug)]
    pub(super) struct OnceLock<T> {
        inner: std::sync::OnceLock<T>,
        step: AtomicBool,
    }

    impl<T> OnceLock<T> {
        pub(super) fn new() -> Self {
            Self { inner: std::sync::OnceLock::new(), step: AtomicBool::new(false) }
        }

        pub(super) fn get(&self) -> Option<&T> {
            self.step.load(Ordering::SeqCst);
            self.inner.get()
        }

        pub(super) fn set(&self, value: T) -> Result<(), T> {
            self.step.load(Ordering::SeqCst);
            self.inner.set(value)
        }
    }
}

/// A map from keys to the thread that has inserted them.
type Map = AppendOnlyMap<u64, usize>;

const ORDERS: usize = 500;
const THREADS: usize = 3;

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(scenario, ORDERS);
    shuttle::check_pct(scenario, ORDERS, 3);
}

/// Gets or inserts `key`, with one of two hashes, so that threads meet in the same lists.
fn get(map: &Map, key: u64, make: impl FnOnce() -> usize) -> Option<usize> {
    let found = map.get_or_insert_with((key % 2) << 32, |at| *at == key, || (key, make()));
    found.map(|(found, value)| {
        assert_eq!(*found, key);
        *value
    })
}

/// Runs `each` on all threads at once. Returns their results.
fn run_threads<T: Send + 'static>(each: impl Fn(usize) -> T + Send + Sync + 'static) -> Vec<T> {
    let each = Arc::new(each);
    let threads = (0..THREADS).map(|at| {
        let each = Arc::clone(&each);
        thread::spawn(move || each(at))
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn key_is_inserted_once() {
    // There is one order for one thread.
    let scenario = || {
        let map = Map::new(8);
        assert_eq!(get(&map, 1, || 10), Some(10));
        assert_eq!(get(&map, 3, || 30), Some(30), "another key with the same hash");
        assert_eq!(get(&map, 1, || panic!("the key exists")), Some(10));
        assert_eq!(get(&map, 3, || panic!("the key exists")), Some(30));
    };
    shuttle::check_random(scenario, 1);
}

#[test]
fn threads_with_the_same_keys_agree() {
    const KEYS: u64 = 4;
    check(|| {
        let map = Arc::new(Map::new(KEYS as usize));
        let same = Arc::clone(&map);
        let seen = run_threads(move |thread| {
            let keys = (0..KEYS).map(|at| (at + thread as u64) % KEYS);
            keys.map(|key| (key, get(&same, key, || thread))).collect::<BTreeMap<_, _>>()
        });
        assert!(seen[0].values().all(Option::is_some), "{seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
        for (key, thread) in &seen[0] {
            assert_eq!(get(&map, *key, || panic!("the key exists")), *thread);
        }
    });
}

#[test]
fn maximum_is_exceeded_by_one_entry_a_thread() {
    const MAX: usize = 2;
    check(|| {
        let map = Arc::new(Map::new(MAX));
        let same = Arc::clone(&map);
        let seen = run_threads(move |thread| {
            let keys = [2 * thread as u64, 2 * thread as u64 + 1];
            keys.map(|key| (key, get(&same, key, || thread)))
        });
        let (inserted, rejected): (Vec<_>, Vec<_>) =
            seen.into_iter().flatten().partition(|(_, found)| found.is_some());
        assert!((MAX..MAX + THREADS).contains(&inserted.len()), "{inserted:?}");
        for (key, thread) in inserted {
            assert_eq!(get(&map, key, || panic!("the key exists")), thread);
        }
        for (key, _) in rejected {
            assert_eq!(get(&map, key, || panic!("the map is full")), None);
        }
    });
}

/// A gauge that counts how often it is set.
#[derive(Default)]
struct CountedGauge {
    value: AtomicI64,
    sets: AtomicUsize,
}

struct GaugeRecorder(Arc<CountedGauge>);

impl GaugeFn for CountedGauge {
    fn increment(&self, _: f64) {
        panic!("an expired gauge would start at 0");
    }

    fn decrement(&self, _: f64) {
        panic!("an expired gauge would start at 0");
    }

    fn set(&self, value: f64) {
        assert!(value >= 0.0);
        // A point where the model checker may switch to another thread.
        self.sets.fetch_add(1, Ordering::SeqCst);
        self.value.store(value as i64, Ordering::SeqCst);
    }
}

impl Recorder for GaugeRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match key.name() {
            "http_requests_in_flight" => Gauge::from_arc(Arc::clone(&self.0)),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn gauge_is_zero_once_all_requests_ended() {
    check(|| {
        let gauge = Arc::new(CountedGauge::default());
        let recorder = Arc::new(GaugeRecorder(Arc::clone(&gauge)));
        let layer = LatencyLayer::new().recorder(recorder);
        let tasks: Vec<_> = (0..THREADS).map(|_| spawn(send(layer.clone()))).collect();
        block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert!(gauge.sets.load(Ordering::SeqCst) >= 2 * THREADS);
        assert_eq!(gauge.value.load(Ordering::SeqCst), 0);
    });
}

/// Sends one request, and drops it at a random point: before the response, in its body or after.
async fn send(layer: LatencyLayer) {
    let mut service = layer.layer(service_fn(|_: Request<support::BoxBody>| async {
        yield_now().await;
        let steps = [Step::Data(Bytes::from_static(b"x")), Step::Pending];
        Ok::<_, Infallible>(Response::new(Scripted::<Infallible>::new(steps)))
    }));
    let mut call = Box::pin(service.call(Request::new(support::boxed(support::empty()))));
    let mut polls = thread_rng().gen_range(0..6);
    let response = loop {
        if polls == 0 {
            return;
        }
        polls -= 1;
        match support::poll_once(call.as_mut()) {
            Poll::Ready(response) => break response.unwrap(),
            Poll::Pending => yield_now().await,
        }
    };
    let mut body = response.into_body();
    while polls > 0 {
        polls -= 1;
        if let Poll::Ready(None) = support::poll_frame(&mut body) {
            return;
        }
        yield_now().await;
    }
}
