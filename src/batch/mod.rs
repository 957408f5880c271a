//! Turns a service that takes many items at once into one that takes an item.
//!
//! A database inserts a hundred rows in one statement in hardly more time than one. Handlers have a
//! row each. [`BatchLayer`] gathers their rows, gives them to the service together, and gives each
//! handler its own result:
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
//! /// One id for each row, in their order: in which `ORDER BY` counts them, and `RETURNING` need not
//! /// give them back.
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
//! // When the server stops:
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
//! The service's response is a `Vec` with a result for each item, in their order. Where items can
//! fail one by one, those are `Result`s: of a `Batch<Row, Result<u64, Duplicate>>`. An event log
//! that wants less delay, more at once, no batch above a megabyte, and all events, even of callers
//! that have left:
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_kit::batch::BatchLayer;
//!
//! let layer = BatchLayer::new()
//!     .size(1_000)
//!     .weight(1_000_000, String::len)
//!     .delay(Duration::from_millis(20))
//!     .keep_abandoned()
//!     .queue(10_000)
//!     .concurrency(4);
//! # drop(layer);
//! ```
//!
//! A loader that answers a lone request at once, and asks for each key once a batch:
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
//! # Defaults
//!
//! | what | default | why |
//! |---|---|---|
//! | [`size`](BatchLayer::size) | 100 items | most of what a round trip costs is shared by then; a statement is still short |
//! | [`weight`](BatchLayer::weight) | no bound | only the service knows what is heavy |
//! | [`delay`](BatchLayer::delay) | 5 s after the first item | for work that nobody waits for; where a client waits, make it a few milliseconds |
//! | [`queue`](BatchLayer::queue) | 1,000 items | ten batches: more would wait longer than clients do |
//! | [`concurrency`](BatchLayer::concurrency) | 1 batch | batches end in the order in which they began |
//! | [`send_when_idle`](BatchLayer::send_when_idle) | off | with one batch at a time the delay would never hold, and first items would go alone |
//! | [`keep_abandoned`](BatchLayer::keep_abandoned) | off | as in `tower`'s `buffer`: a call that is dropped before it begins does nothing |
//! | [`dedupe_by`](BatchLayer::dedupe_by) | off | two equal rows are two rows |
//!
//! # When a batch goes
//!
//! When it is full, by [`size`](BatchLayer::size) or [`weight`](BatchLayer::weight), when its first
//! item has waited for the delay, at [`flush`](Batch::flush), or when no more can come: after
//! [`drain`](Batch::drain), or when the last [`Batch`] is dropped; with
//! [`send_when_idle`](BatchLayer::send_when_idle) also when none is under way. A queue that is full of
//! callers who share items sends these too. A batch waits for one of the batches that are under way if these are as many as there may be, and for the
//! service to be ready; meanwhile it takes further items, up to the size.
//!
//! While the queue is full, `poll_ready` is pending. `tower`'s `load_shed` outside of it makes an
//! error of that.
//!
//! # Who waits
//!
//! | | returns | the result |
//! |---|---|---|
//! | [`call`](tower::Service::call), `oneshot` | a future, which waits for the item's batch: for the delay, 5 s by default, if no batch is full before, and for the service | is the future's |
//! | [`submit`](Batch::submit) | at once; an error if the queue is full | is dropped |
//! | [`flush`](Batch::flush) | at once | |
//! | [`drain`](Batch::drain) | a future, which waits until all items are answered, also those that were submitted | |
//!
//! A handler whose client waits either has a short [`delay`](BatchLayer::delay), or submits its item.
//! Awaiting a call one by one in a loop waits for the delay each time.
//!
//! # What goes wrong
//!
//! A batch that fails, panics, or has another number of results than items fails its own items, and
//! no others: each gets a [`BatchError`], and the next batch is tried.
//!
//! A caller that leaves loses its result. An item that was not sent by then, and that no other caller
//! shares, is dropped, and its place in the queue is free: a queue of requests that have timed out
//! does no work for nobody. [`keep_abandoned`](BatchLayer::keep_abandoned) sends it all the same. An
//! item whose caller waits is never lost.
//!
//! # Shutting down
//!
//! [`drain`](Batch::drain) refuses new items and waits until all that were queued are answered.
//! Dropping the last [`Batch`] sends what is queued too, but nobody waits for it: a program that
//! then ends its runtime loses it.
//!
//! # Where it goes
//!
//! Not around the HTTP service but behind it, around what handlers call. A concurrency limit, a
//! time-out or a retry inside of it is of batches, outside of it of items. It needs a Tokio runtime
//! with its timer: the first call starts a task there, which ends with the last [`Batch`]. Calls from
//! other runtimes are served for as long as that one runs.
//!
//! A service that calls its own [`Batch`] waits for itself where as many batches are under way as may
//! be, and one that waits for its [`drain`](Batch::drain) always does. One that holds a clone keeps it
//! alive until somebody else drains it.
//!
//! # Streams
//!
//! A stream needs no layer: `chunks` of the crate `futures` gathers a fixed number of items, and
//! `chunks_timeout` of `tokio-stream` sends fewer after a while:
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
//! # What it never does
//!
//! It merges items only by [`dedupe_by`](BatchLayer::dedupe_by), never reorders them, never retries, and never holds more than the queue and the
//! batches that are under way. It counts nothing: the service sees each batch, and can.

mod answer;
mod error;
mod key;
mod layer;
mod policy;
mod queue;
mod service;
mod submit;
mod worker;

pub use answer::Answer;
pub use error::BatchError;
pub use layer::{BatchLayer, Deduped, Each};
pub use service::Batch;
