//! A deterministic simulation of the whole stack: one seed is one story.
//!
//! A world has one or two processes, each with `latency`, `pressure`, `security_headers`, `limit`,
//! `cache` and `compress` around a scripted service, and a store that they share. All of it runs on
//! one thread under a paused clock. The seed chooses the resources and their `cache-control`, the
//! requests, the order in which their futures are polled, the await at which a client leaves, the
//! frame at which a body fails, the faults of the store, purges, and steps of the wall clock.
//!
//! | file | contents |
//! |---|---|
//! | `world.rs` | the processes, and what happens to them |
//! | `driver.rs` | the scheduler of the clients' futures |
//! | `origin.rs`, `resource.rs`, `text.rs` | the service; each body tells what it is |
//! | `store.rs` | the store outside of the processes, and its faults |
//! | `client.rs`, `stack.rs`, `recorder.rs`, `time.rs` | the clients, the layers, their metrics, the clocks |
//! | `model.rs` | what was asked, answered and purged, and which responses that permits |
//!
//! The service numbers its responses in `x-serial`, so that the model knows of each response that a
//! client gets which call of the service made it, and when. After a world has ended, nothing may be
//! left: no task, permit, lease, flight or body, and each process stores and serves as if it were new.
//!
//! ```sh
//! scripts/sim 10                                       # ten minutes of fresh seeds
//! TOWER_KIT_SEED=123 cargo test --all-features --test sim   # one seed, with its story
//! ```

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "../soak/chance.rs"]
mod chance;
mod client;
mod driver;
mod model;
mod origin;
mod recorder;
mod resource;
mod stack;
mod store;
mod text;
mod time;
mod world;

use std::env;
use std::error::Error;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

type BoxError = Box<dyn Error + Send + Sync>;
type BoxBody = UnsyncBoxBody<Bytes, BoxError>;

#[test]
fn fixed_seeds_keep_the_rules() {
    let mut hits = 0;
    for seed in 0..FIXED {
        hits += check(seed);
    }
    assert!(hits > FIXED, "the stories are about hits: {hits}");
}

#[test]
fn seeds_that_failed_keep_the_rules() {
    for seed in FAILED {
        check(seed);
    }
}

#[test]
fn one_seed_is_one_story() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| world::run(seed));
        let differs = first.trace.iter().zip(&second.trace).position(|(one, other)| one != other);
        if let Some(at) = differs {
            let from = at.saturating_sub(3);
            let [first, second] =
                [&first, &second].map(|story| &story.trace[from..story.trace.len().min(at + 5)]);
            panic!("seed {seed} is two stories:\n{first:#?}\n{second:#?}");
        }
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}

/// One seed that the environment names, with its whole story.
#[test]
fn chosen_seed_keeps_the_rules() {
    if let Some(seed) = number("TOWER_KIT_SEED") {
        check(seed);
    }
}

/// Fresh seeds, for as many minutes as the environment names.
#[test]
#[ignore = "scripts/sim runs it for some minutes"]
fn fresh_seeds_keep_the_rules() {
    let minutes = number("TOWER_KIT_SIM_MINUTES").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let first = number("TOWER_KIT_SIM_FIRST").unwrap_or_else(chance::seed) * 1_000_000;
    let next = AtomicU64::new(first);
    let run = || {
        while Instant::now() < end {
            // A thread that fails lets the others end.
            let seed = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seed| {
                (seed < LAST).then(|| seed + 1)
            });
            let Ok(seed) = seed else { return };
            let last = OnPanic(|| next.store(LAST, Ordering::Relaxed));
            check(seed);
            drop(last);
        }
    };
    let is_right = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        // All threads are joined, also where an early one fails.
        threads.into_iter().filter_map(|thread| thread.join().err()).count() == 0
    });
    assert!(is_right, "a seed fails: see above");
    println!("{} seeds from {first} on", next.into_inner() - first);
}

/// Calls a function if it is dropped by a panic.
struct OnPanic<F: Fn()>(F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0)();
        }
    }
}

/// Runs a seed. Returns the number of hits.
fn check(seed: u64) -> u64 {
    let outcome = catch_unwind(AssertUnwindSafe(|| world::run(seed)));
    let command =
        format!("TOWER_KIT_SEED={seed} cargo test --locked --all-features --test sim chosen");
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(_) => panic!("seed {seed} panics; to repeat it:\n  {command}"),
    };
    let is_chosen = number("TOWER_KIT_SEED") == Some(seed);
    if outcome.faults.is_empty() && !is_chosen {
        return outcome.hits;
    }
    println!("seed {seed}: {}", outcome.story);
    let shown = if is_chosen { outcome.trace.len() } else { 30 };
    for event in &outcome.trace[outcome.trace.len().saturating_sub(shown)..] {
        println!("{event:?}");
    }
    assert!(
        outcome.faults.is_empty(),
        "seed {seed} breaks a rule:\n{}\nto repeat it:\n  {command}",
        outcome.faults.join("\n")
    );
    outcome.hits
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|value| value.parse().ok())
}

/// The seeds that each run of the tests has.
const FIXED: u64 = 200;

/// The seeds that have found a fault.
///
/// - 52: a client that asked for a new response got one that had come before, whose body was being read.
/// - 970609000144: a body that took its time replaced a newer response in the store.
const FAILED: [u64; 4] = [52, 970_609_000_144, 154_912_012_274, 764_929_019_312];

/// Greater than any fresh seed.
const LAST: u64 = u64::MAX;
