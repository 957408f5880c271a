//! The cost of batching, next to one call for each item and to peers.
//!
//! An iteration is a hundred items of a hundred callers, on a runtime with one thread. The service
//! does nothing, so the cost is that of the layer.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, join_all};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::BatchLayer;

use support::{Bench, bar, versioned};

#[expect(dead_code, reason = "an item is not a request")]
mod support;

fn main() {
    let bench = Bench::from_args();
    let mut group = bench.group("100 items at once");
    group.case("one call each", || {
        hundreds(|| service_fn(|_: Item| ready(Ok::<_, Infallible>(()))))
    });
    let kit = versioned("tower-kit");
    group.case(kit.clone(), || hundreds(|| BatchLayer::new().layer(service_fn(results))));
    let names = [versioned("tower-batch"), versioned("tower-batch-control")];
    let [batch, control] = names.clone();
    group.case(batch, || hundreds(|| tower_batch::BatchLayer::new(SIZE, DELAY).layer(Nothing)));
    group.case(control, || {
        hundreds(|| {
            tower_batch_control::BatchLayer::new(SIZE, None, DELAY).layer(Notified::default())
        })
    });
    let costs = group.run();
    for peer in &names {
        let share = costs.net(&kit).zip(costs.net(peer));
        let share = share.map(|(kit, peer)| kit.instructions / peer.instructions * 100.0);
        bar(&format!("instructions, % of those of {peer}"), share, 100.0);
    }
    for name in [kit, names[0].clone(), names[1].clone()] {
        if let Some(cost) = costs.0.iter().find(|cost| cost.name == name) {
            println!("     an item by {name}: {:.3} us", cost.nanoseconds / SIZE as f64 / 1_000.0);
        }
    }
}

fn results(items: Vec<Item>) -> Ready<Result<Vec<()>, Infallible>> {
    ready(Ok(vec![(); black_box(items).len()]))
}

/// Runs a hundred callers, each with a clone of the service.
fn hundreds<S, F>(set_up: F) -> impl FnMut() + use<S, F>
where
    F: FnOnce() -> S,
    S: Service<Item> + Clone + 'static,
{
    let runtime: Runtime = match Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("cannot start a runtime: {error}"),
    };
    let service = runtime.block_on(async { set_up() });
    move || {
        let callers = (0..SIZE as u64).map(|item| service.clone().oneshot(Item(item)));
        let results = runtime.block_on(join_all(callers));
        assert!(results.iter().all(Result::is_ok), "an item fails");
    }
}

struct Item(#[expect(dead_code, reason = "the services ignore the item")] u64);

impl tower_batch_control::RequestWeight for Item {}

/// A service for `tower-batch`, which passes items one by one, and then a flush that completes them.
#[derive(Clone)]
struct Nothing;

impl Service<tower_batch::BatchControl<Item>> for Nothing {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tower_batch::BatchControl<Item>) -> Self::Future {
        black_box(request);
        ready(Ok(()))
    }
}

/// A service for `tower-batch-control`, whose items wait for the flush themselves.
#[derive(Default)]
struct Notified(Arc<Notify>);

impl Service<tower_batch_control::BatchControl<Item>> for Notified {
    type Response = ();
    type Error = Infallible;
    type Future = Either<
        Ready<Result<(), Infallible>>,
        Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send>>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tower_batch_control::BatchControl<Item>) -> Self::Future {
        match request {
            tower_batch_control::BatchControl::Item(item) => {
                black_box(item);
                let flushed = Arc::clone(&self.0).notified_owned();
                Either::Right(Box::pin(async move {
                    flushed.await;
                    Ok(())
                }))
            }
            tower_batch_control::BatchControl::Flush => {
                self.0.notify_waiters();
                Either::Left(ready(Ok(())))
            }
        }
    }
}

const SIZE: usize = 100;
const DELAY: Duration = Duration::from_secs(5);
