//! The map of `src/latency/grow.rs`, and the gauge of what is in flight, under a model checker,
//! which tries orders of their threads' steps.

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

use self::model::GrowOnly;
use crate::support::{self, Scripted, Step};

#[expect(dead_code, reason = "the hashes are not shared")]
#[path = "../../src/latency/grow.rs"]
mod model;

/// What is behind `src/latency/sync.rs`, but the model checker's.
mod sync {
    use shuttle::sync::atomic::{AtomicBool, Ordering};

    pub(super) use shuttle::sync::atomic::AtomicUsize;

    /// The model checker has none: the system's, and a place before each step where another task
    /// may run.
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

/// Keys, and which thread has made their values.
type Map = GrowOnly<u64, usize>;

const ORDERS: usize = 500;
const THREADS: usize = 3;

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(scenario, ORDERS);
    shuttle::check_pct(scenario, ORDERS, 3);
}

/// Of two hashes in all, so that threads meet in the same chains.
fn get(map: &Map, key: u64, make: impl FnOnce() -> usize) -> Option<usize> {
    let found = map.find_or_insert((key % 2) << 32, |at| *at == key, || (key, make()));
    found.map(|(found, value)| {
        assert_eq!(*found, key);
        *value
    })
}

/// What all threads got that ran `each` against each other.
fn all<T: Send + 'static>(each: impl Fn(usize) -> T + Send + Sync + 'static) -> Vec<T> {
    let each = Arc::new(each);
    let threads = (0..THREADS).map(|at| {
        let each = Arc::clone(&each);
        thread::spawn(move || each(at))
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn a_key_is_made_once_and_found_again() {
    // One thread, and so one order.
    let scenario = || {
        let map = Map::new(8);
        assert_eq!(get(&map, 1, || 10), Some(10));
        assert_eq!(get(&map, 3, || 30), Some(30), "the same hash is not the same key");
        assert_eq!(get(&map, 1, || panic!("it is there")), Some(10));
        assert_eq!(get(&map, 3, || panic!("it is there")), Some(30));
    };
    shuttle::check_random(scenario, 1);
}

#[test]
fn threads_that_insert_the_same_keys_agree_and_fill_the_map_exactly() {
    const KEYS: u64 = 4;
    check(|| {
        let map = Arc::new(Map::new(KEYS as usize));
        let same = Arc::clone(&map);
        let seen = all(move |thread| {
            let keys = (0..KEYS).map(|at| (at + thread as u64) % KEYS);
            keys.map(|key| (key, get(&same, key, || thread))).collect::<BTreeMap<_, _>>()
        });
        assert!(seen[0].values().all(Option::is_some), "{seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
        for (key, thread) in &seen[0] {
            assert_eq!(get(&map, *key, || panic!("it is there")), *thread);
        }
    });
}

#[test]
fn threads_pass_the_bound_by_less_than_one_each_and_a_full_map_takes_nothing_more() {
    const MOST: usize = 2;
    check(|| {
        let map = Arc::new(Map::new(MOST));
        let same = Arc::clone(&map);
        let seen = all(move |thread| {
            let keys = [2 * thread as u64, 2 * thread as u64 + 1];
            keys.map(|key| (key, get(&same, key, || thread)))
        });
        let (taken, refused): (Vec<_>, Vec<_>) =
            seen.into_iter().flatten().partition(|(_, found)| found.is_some());
        assert!((MOST..MOST + THREADS).contains(&taken.len()), "{taken:?}");
        for (key, thread) in taken {
            assert_eq!(get(&map, key, || panic!("it is there")), thread);
        }
        for (key, _) in refused {
            assert_eq!(get(&map, key, || panic!("it is full")), None);
        }
    });
}

/// A gauge, and how often it was set.
#[derive(Default)]
struct Level {
    now: AtomicI64,
    sets: AtomicUsize,
}

struct Levels(Arc<Level>);

impl GaugeFn for Level {
    fn increment(&self, _: f64) {
        panic!("an expired gauge would begin at 0");
    }

    fn decrement(&self, _: f64) {
        panic!("an expired gauge would begin at 0");
    }

    fn set(&self, value: f64) {
        assert!(value >= 0.0);
        // Another thread may come between the layer's look at its count and this.
        self.sets.fetch_add(1, Ordering::SeqCst);
        self.now.store(value as i64, Ordering::SeqCst);
    }
}

impl Recorder for Levels {
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
fn nothing_is_in_flight_when_all_have_ended_however_they_end() {
    check(|| {
        let level = Arc::new(Level::default());
        let recorder = Arc::new(Levels(Arc::clone(&level)));
        let layer = LatencyLayer::new().recorder(recorder);
        let tasks: Vec<_> = (0..THREADS).map(|_| spawn(ask(layer.clone()))).collect();
        block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert!(level.sets.load(Ordering::SeqCst) >= 2 * THREADS);
        assert_eq!(level.now.load(Ordering::SeqCst), 0);
    });
}

/// Asks once, and leaves at any moment: before the answer, within its body, or after its end.
async fn ask(layer: LatencyLayer) {
    let mut service = layer.layer(service_fn(|_: Request<support::BoxBody>| async {
        yield_now().await;
        let steps = [Step::Data(Bytes::from_static(b"x")), Step::Pending];
        Ok::<_, Infallible>(Response::new(Scripted::<Infallible>::new(steps)))
    }));
    let mut call = Box::pin(service.call(Request::new(support::boxed(support::empty()))));
    let mut patience = thread_rng().gen_range(0..6);
    let response = loop {
        if patience == 0 {
            return;
        }
        patience -= 1;
        match support::poll_once(call.as_mut()) {
            Poll::Ready(response) => break response.unwrap(),
            Poll::Pending => yield_now().await,
        }
    };
    let mut body = response.into_body();
    while patience > 0 {
        patience -= 1;
        if let Poll::Ready(None) = support::poll_frame(&mut body) {
            return;
        }
        yield_now().await;
    }
}
