//! `PressureLayer` over a memory source that tests control, over real sockets, and in a real control
//! group.

mod control_group;
mod drain;
#[cfg(feature = "full")]
mod example;
mod exempt;
mod groups;
mod levels;
mod metrics;
mod priority;
mod readings;
mod responses;

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::pressure::{Level, MemoryUsage, PressureLayer, ResponseBody};

use crate::support::{empty, now, poll_once};

type ServiceResponse = Response<ResponseBody<Full<Bytes>>>;

const RATIO: &str = "process_memory_usage_ratio";
const REJECTED: &str = "http_requests_rejected_total";
const ERRORS: &str = "process_memory_errors_total";

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A memory source with a usage that the test sets, in thousandths of the limit.
#[derive(Clone, Debug)]
struct Memory {
    per_mille: Arc<AtomicU64>,
    reads: Arc<AtomicUsize>,
}

/// A usage whose reading fails.
const BROKEN: u64 = u64::MAX;

impl Memory {
    fn new(per_mille: u64) -> Self {
        Self { per_mille: Arc::new(AtomicU64::new(per_mille)), reads: Arc::default() }
    }

    fn layer(&self) -> PressureLayer {
        let memory = self.clone();
        PressureLayer::new().memory_source(move || {
            memory.reads.fetch_add(1, Ordering::SeqCst);
            match memory.per_mille.load(Ordering::SeqCst) {
                BROKEN => Err(io::Error::other("broken")),
                per_mille => Ok(MemoryUsage::new(per_mille, 1_000)),
            }
        })
    }

    fn set(&self, per_mille: u64) {
        self.per_mille.store(per_mille, Ordering::SeqCst);
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

async fn hello<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

async fn send<B>(layer: &PressureLayer, request: Request<B>) -> ServiceResponse
where
    B: Body + Send + 'static,
{
    layer.layer(service_fn(hello::<B>)).oneshot(request).await.unwrap()
}

/// Returns the status of a GET request.
async fn get(layer: &PressureLayer, path: &str) -> u16 {
    send(layer, Request::get(path).body(empty()).unwrap()).await.status().as_u16()
}

/// Adds a callback that records the levels before and after each event, and the memory in use. The
/// function takes the recorded events.
fn recording(layer: PressureLayer) -> (PressureLayer, impl Fn() -> Vec<(Level, Level, u64)>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let write = Arc::clone(&events);
    let layer = layer.on_pressure(move |event| {
        write.lock().unwrap().push((event.previous(), event.level(), event.memory_usage().used()));
    });
    (layer, move || std::mem::take(&mut *events.lock().unwrap()))
}

/// Sends requests in the middle of a reading or a callback, while `time` passes.
fn while_called(layer: Option<&PressureLayer>, time: Duration, expected: u16) {
    let Some(layer) = layer else { return };
    for _ in 0..3 {
        assert_eq!(now(get(layer, "/")), expected);
        // Time passes at the first poll.
        assert!(poll_once(pin!(advance(time / 3))).is_pending());
    }
}

#[expect(clippy::explicit_write, reason = "the harness hides the output of tests that pass")]
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").unwrap();
}
