//! An event log that acknowledges an event once it is on disk, with one write and one `fsync` for all
//! events within a few milliseconds.
//!
//! ```sh
//! cargo run --example batch --features batch
//! curl -i -d 'first' http://127.0.0.1:3000/events
//! seq 200 | xargs -P 50 -I{} curl -s -d 'event {}' http://127.0.0.1:3000/events
//! curl http://127.0.0.1:3000/batches
//! ```
//!
//! The response is the offset of the event in the file: `events.log`, or the value of the environment
//! variable `LOG`. An event with a line break is rejected, without effect on the others in its batch.
//! On Ctrl-C or SIGTERM the server writes all accepted events before it stops.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tower::load_shed::LoadShedLayer;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchError, BatchLayer};

/// The offset of an event in the file, or the reason for its rejection.
type Appended = Result<u64, &'static str>;

#[derive(Clone)]
struct App {
    events: Batch<String, Appended>,
    batches: Arc<AtomicU64>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::var("LOG").unwrap_or_else(|_| "events.log".to_owned());
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = Arc::new(Mutex::new(file.map_err(|error| format!("{path}: {error}"))?));

    let batches = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&batches);
    let events = ServiceBuilder::new()
        // Clients wait, but no longer for the batch than for the fsync itself.
        .layer(BatchLayer::new().max_delay(Duration::from_millis(5)).max_queued(10_000))
        .service(service_fn(move |events: Vec<String>| {
            count.fetch_add(1, Ordering::Relaxed);
            let file = Arc::clone(&file);
            async move { spawn_blocking(move || append(&file, &events)).await? }
        }));

    let app = App { events: events.clone(), batches };
    let app = Router::new()
        .route("/events", post(event))
        .route(
            "/batches",
            get(async |State(app): State<App>| {
                format!("{}\n", app.batches.load(Ordering::Relaxed))
            }),
        )
        .with_state(app);

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    // Clients that disconnected may have left events in the queue.
    events.drain().await;
    Ok(())
}

async fn event(State(app): State<App>, event: String) -> Result<String, (StatusCode, String)> {
    // Reports a full queue at once instead of waiting.
    let events = ServiceBuilder::new().layer(LoadShedLayer::new()).service(app.events);
    match events.oneshot(event).await {
        Ok(Ok(offset)) => Ok(format!("{offset}\n")),
        Ok(Err(reason)) => Err((StatusCode::BAD_REQUEST, format!("{reason}\n"))),
        Err(error) => {
            eprintln!("an event was not written: {}", with_cause(&error));
            Err((StatusCode::SERVICE_UNAVAILABLE, "the event was not written\n".to_owned()))
        }
    }
}

/// Appends all events, one per line, and syncs the file.
fn append(file: &Mutex<File>, events: &[String]) -> Result<Vec<Appended>, BoxError> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let start = file.seek(SeekFrom::End(0))?;
    let mut lines = Vec::new();
    let appended = events.iter().map(|event| {
        if event.contains('\n') {
            return Err("an event is one line");
        }
        let offset = start + lines.len() as u64;
        lines.extend_from_slice(event.as_bytes());
        lines.push(b'\n');
        Ok(offset)
    });
    let appended = appended.collect();
    let written = file.write_all(&lines).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // Removes a partly written batch: its items all get an error.
        return Err(match file.set_len(start) {
            Ok(()) => error.into(),
            Err(left) => {
                format!("{error}; the partly written batch cannot be removed: {left}").into()
            }
        });
    }
    Ok(appended)
}

/// Returns the message of an error, with the error of the service if the batch failed.
fn with_cause(error: &BoxError) -> String {
    let cause = error.downcast_ref::<BatchError>().and_then(Error::source);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
