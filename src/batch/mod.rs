//! Batching of single items for a service of many.
//!
//! A database inserts a hundred rows in one statement almost as fast as one row, but each handler has
//! only one. [`BatchLayer`] collects the items of concurrent callers, calls a service of `Vec<T>` with
//! all of them, and returns to each caller its own result.
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_kit::batch::{Batch, BatchError, BatchLayer};
//! # #[derive(Clone)] struct Db;
//! # impl Db {
//! #     async fn query(&self, _: &str, rows: &[Row]) -> Result<Vec<u64>, std::io::Error> {
//! #         Ok((1..).take(rows.len()).collect())
//! #     }
//! # }
//!
//! struct Row {
//!     name: String,
//! }
//!
//! /// Returns one id for each row, in order. `RETURNING` may reorder the ids, but they are assigned in
//! /// the order of `ORDER BY`.
//! async fn insert(db: Db, rows: Vec<Row>) -> Result<Vec<u64>, std::io::Error> {
//!     let insert = "INSERT INTO people (name) SELECT name FROM unnest($1) WITH ORDINALITY \
//!                   AS added (name, place) ORDER BY place RETURNING id";
//!     let mut ids = db.query(insert, &rows).await?;
//!     ids.sort_unstable();
//!     Ok(ids)
//! }
//!
//! # async fn handlers(db: Db) -> Result<(), BatchError> {
//! let people: Batch<Row, u64> = ServiceBuilder::new()
//!     .layer(BatchLayer::new())
//!     .service(service_fn(move |rows| insert(db.clone(), rows)));
//!
//! // In each handler, with a clone:
//! let id = people.clone().oneshot(Row { name: "Ada".into() }).await?;
//!
//! // At shutdown:
//! people.drain().await;
//! # drop(id);
//! # Ok(())
//! # }
//! # fn main() -> Result<(), BatchError> {
//! #     tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
//! #         .unwrap().block_on(handlers(Db))
//! # }
//! ```
//!
//! The response of the service is a `Vec` with one result for each item, in order. If items can fail
//! one by one, the results are `Result`s, as in `Batch<Row, Result<u64, Duplicate>>`.
//!
//! A log needs short delays, large batches of at most a megabyte, and the items of callers that have
//! left:
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_kit::batch::BatchLayer;
//!
//! let layer = BatchLayer::new()
//!     .max_size(1_000)
//!     .max_weight(1_000_000, String::len)
//!     .max_delay(Duration::from_millis(20))
//!     .max_queued(10_000)
//!     .max_concurrency(4)
//!     .keep_abandoned();
//! # drop(layer);
//! ```
//!
//! A data loader sends a lone request at once, and loads each key once per batch:
//!
//! ```
//! use tower::{ServiceBuilder, service_fn};
//! use tower_kit::batch::{Batch, BatchLayer};
//!
//! # async fn load(ids: Vec<u64>) -> Result<Vec<String>, std::io::Error> { Ok(vec![]) }
//! let users: Batch<u64, String> = ServiceBuilder::new()
//!     .layer(BatchLayer::new().send_when_idle().dedupe_by(|id: &u64| *id))
//!     .service(service_fn(load));
//! # drop(users);
//! ```
//!
//! # Behavior
//!
//! ## Sending
//!
//! A batch is sent when
//!
//! - it is full, by [`max_size`](BatchLayer::max_size) or [`max_weight`](BatchLayer::max_weight);
//! - its first item has waited for [`max_delay`](BatchLayer::max_delay);
//! - [`flush`](Batch::flush) is called;
//! - the queue is closed, by [`drain`](Batch::drain) or because the last [`Batch`] was dropped;
//! - no other batch is in flight, with [`send_when_idle`](BatchLayer::send_when_idle);
//! - the queue is full of callers that share items.
//!
//! A batch that is due still waits while [`max_concurrency`](BatchLayer::max_concurrency) batches are
//! in flight, and for the service to be ready. Meanwhile it takes further items, up to its maximum.
//!
//! ## Backpressure
//!
//! While [`max_queued`](BatchLayer::max_queued) callers are queued, `poll_ready` is pending. `tower`'s
//! `load_shed` outside of the batch turns this into an error.
//!
//! ## Calls
//!
//! | | returns | result of the item |
//! |---|---|---|
//! | [`call`](tower::Service::call), `oneshot` | a future that waits for the batch and the service | the output of the future |
//! | [`submit`](Batch::submit) | at once, with an error if the queue is full | discarded |
//!
//! If clients wait for a call, set a [`max_delay`](BatchLayer::max_delay) of a few milliseconds. A loop
//! that awaits one call after the other waits for the delay each time.
//!
//! ## Failures
//!
//! A batch that fails, panics, or returns the wrong number of results fails its own items and no
//! others. Each gets a [`BatchError`], and the next batch is sent as usual.
//!
//! ## Cancellation
//!
//! Dropping the future of a call discards the result. An item whose callers have all left before it
//! was sent is removed from the queue, so a queue of requests that have timed out causes no work.
//! [`keep_abandoned`](BatchLayer::keep_abandoned) sends such items anyway.
//!
//! ## Shutdown
//!
//! [`drain`](Batch::drain) rejects new items and waits until all queued items have their results.
//! Dropping the last [`Batch`] also sends the queued items, but they are lost if the runtime ends
//! before.
//!
//! # Metrics
//!
//! The layer records none. The service sees each batch and can count them.
//!
//! # Defaults
//!
//! | setting | default | reason |
//! |---|---|---|
//! | [`max_size`](BatchLayer::max_size) | 100 items | shares most of the cost of a round trip, and keeps statements short |
//! | [`max_weight`](BatchLayer::max_weight) | none | only the service knows the cost of an item |
//! | [`max_delay`](BatchLayer::max_delay) | 5 s | for work that no client waits for |
//! | [`max_queued`](BatchLayer::max_queued) | 1,000 callers | ten batches; further callers would wait too long |
//! | [`max_concurrency`](BatchLayer::max_concurrency) | 1 batch | batches complete in order |
//! | [`send_when_idle`](BatchLayer::send_when_idle) | off | with one batch at a time, the first items would be sent alone |
//! | [`keep_abandoned`](BatchLayer::keep_abandoned) | off | as in `tower`'s `buffer`, a call that is dropped before it starts has no effect |
//! | [`dedupe_by`](BatchLayer::dedupe_by) | off | two equal rows are two rows |
//!
//! # Placement
//!
//! Around the service that handlers call, such as a database client, not around the HTTP service. A
//! concurrency limit, timeout or retry inside of the batch applies to batches, outside of it to items.
//!
//! The first call spawns a task on the current Tokio runtime, which needs a timer. The task ends with
//! the last [`Batch`]. Calls from other runtimes work until the runtime of the task ends.
//!
//! A service that calls its own [`Batch`] deadlocks once all batches in flight wait for it, and always
//! if it awaits its own [`drain`](Batch::drain). A service that holds a clone keeps the task alive
//! until the batch is drained.
//!
//! # Streams
//!
//! A stream needs no layer: `chunks` of the `futures` crate collects a fixed number of items, and
//! `chunks_timeout` of `tokio-stream` sends fewer after a timeout:
//!
//! ```
//! use std::time::Duration;
//!
//! use tokio_stream::{Stream, StreamExt};
//! # async fn insert(_: Vec<String>) -> Result<(), std::io::Error> { Ok(()) }
//!
//! /// Inserts all lines, a thousand at a time.
//! async fn import(lines: impl Stream<Item = String>) -> Result<(), std::io::Error> {
//!     let mut batches = std::pin::pin!(lines.chunks_timeout(1_000, Duration::from_secs(5)));
//!     while let Some(batch) = batches.next().await {
//!         insert(batch).await?;
//!     }
//!     Ok(())
//! }
//! # drop(import(tokio_stream::empty()));
//! ```
//!
//! # What it does not do
//!
//! The layer does not reorder, retry or persist items, and merges them only with
//! [`dedupe_by`](BatchLayer::dedupe_by). It never holds more than the queue and the batches in flight.

mod error;
mod future;
mod key;
mod layer;
mod policy;
mod queue;
mod service;
mod submit;
mod worker;

pub use error::BatchError;
pub use future::ResponseFuture;
pub use layer::{BatchLayer, Dedupe, NoDedupe};
pub use service::Batch;
