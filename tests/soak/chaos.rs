//! Redis, which dies, stands still and forgets, when chance says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::chance::Chance;
use crate::redis_server::RedisServer;

#[derive(Debug)]
pub(crate) struct Chaos {
    url: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(RedisServer, Outages)>,
}

/// The number of each of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outages {
    pub(crate) killed: u64,
    pub(crate) frozen: u64,
    pub(crate) emptied: u64,
}

impl Chaos {
    pub(crate) fn start(mut chance: Chance) -> Self {
        let mut redis = RedisServer::start();
        let (url, stop) = (redis.url(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut outages = Outages::default();
            while !stopped.load(Ordering::Relaxed) {
                nap(&stopped, chance.millis(500..8_000));
                match chance.among(0..10) {
                    0..6 => {
                        redis.kill();
                        nap(&stopped, chance.millis(100..6_000));
                        redis.restart();
                        outages.killed += 1;
                    }
                    6..9 => {
                        redis.freeze();
                        nap(&stopped, chance.millis(50..4_000));
                        redis.thaw();
                        outages.frozen += 1;
                    }
                    _ => {
                        redis.command(&["FLUSHALL"]);
                        outages.emptied += 1;
                    }
                }
            }
            (redis, outages)
        });
        Self { url, stop, thread }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Leaves Redis running.
    pub(crate) fn stop(self) -> (RedisServer, Outages) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn nap(stopped: &AtomicBool, mut time: Duration) {
    while !stopped.load(Ordering::Relaxed) && !time.is_zero() {
        let step = time.min(Duration::from_millis(50));
        thread::sleep(step);
        time -= step;
    }
}
