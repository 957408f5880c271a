//! `BatchLayer` over a service that the tests control.

mod abandoned;
mod dedupe;
mod example;
mod failures;
mod hostile;
mod model;
mod queue;
mod sending;
mod service;
mod shutdown;
mod sockets;
mod submit;
mod weight;

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tower::util::BoxService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchLayer, ResponseFuture};

use crate::support::{clock, now, soon};

const SECOND: Duration = Duration::from_secs(1);

/// A batch at the service, which waits for the test to respond.
struct Arrived {
    items: Vec<u32>,
    respond: oneshot::Sender<Result<Vec<String>, io::Error>>,
}

impl Arrived {
    /// Responds to each item with its number, and returns the items.
    fn succeed(self) -> Vec<u32> {
        let results = self.items.iter().map(u32::to_string).collect();
        self.respond.send(Ok(results)).unwrap();
        self.items
    }

    fn fail(self, error: &str) {
        self.respond.send(Err(io::Error::other(error))).unwrap();
    }
}

type Arrivals = mpsc::UnboundedReceiver<Arrived>;

/// Creates a batch whose service hands each batch to the test.
fn scripted<L>(layer: &L) -> (Batch<u32, String>, Arrivals)
where
    L: Layer<BoxService<Vec<u32>, Vec<String>, io::Error>, Service = Batch<u32, String>>,
{
    let (sender, arrived) = mpsc::unbounded_channel();
    let service = service_fn(move |items| {
        let (respond, response) = oneshot::channel();
        sender.send(Arrived { items, respond }).unwrap();
        async move { response.await.unwrap() }
    });
    (layer.layer(BoxService::new(service)), arrived)
}

type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

/// Creates a batch whose service returns the items at once, and records the batches.
fn echo(layer: &BatchLayer<u32>) -> (Batch<u32, u32>, Batches) {
    let batches = Batches::default();
    let seen = Arc::clone(&batches);
    let service = service_fn(move |items: Vec<u32>| {
        seen.lock().unwrap().push(items.clone());
        ready(Ok::<_, Infallible>(items))
    });
    (layer.layer(service), batches)
}

/// Queues an item. The queue must not be full.
fn call<R>(batch: &mut Batch<u32, R>, item: u32) -> ResponseFuture<R> {
    now(batch.ready()).unwrap().call(item)
}

async fn next_batch(arrived: &mut Arrivals) -> Arrived {
    soon(arrived.recv()).await.unwrap()
}

/// Lets all tasks run until they wait.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}
