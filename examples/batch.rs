//! Events that are on the disk when they are acknowledged: one write and one `fsync` for all that
//! come within a few milliseconds.
//!
//! ```sh
//! cargo run --example batch --features batch
//! curl -i -d 'first' http://127.0.0.1:3000/events
//! seq 200 | xargs -P 50 -I{} curl -s -d 'event {}' http://127.0.0.1:3000/events
//! curl http://127.0.0.1:3000/batches
//! ```
//!
//! The answer is where the event begins in the file, which is `events.log`, or what the environment
//! variable `LOG` names. An event with a line break in it is refused by itself, and those beside it
//! are kept. Ctrl-C or SIGTERM stops it: what was accepted is written first.

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

/// The offset of an event in the file, or the error of writing it.
type Kept = Result<u64, &'static str>;

#[derive(Clone)]
struct App {
    events: Batch<String, Kept>,
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
        // A client waits: a few milliseconds are what an fsync takes by itself.
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
    // Of clients that left there may be events still.
    events.drain().await;
    Ok(())
}

async fn event(State(app): State<App>, event: String) -> Result<String, (StatusCode, String)> {
    // A queue that is full is told at once, and not waited for.
    let events = ServiceBuilder::new().layer(LoadShedLayer::new()).service(app.events);
    match events.oneshot(event).await {
        Ok(Ok(at)) => Ok(format!("{at}\n")),
        Ok(Err(why)) => Err((StatusCode::BAD_REQUEST, format!("{why}\n"))),
        Err(error) => {
            eprintln!("an event was not kept: {}", reason(&error));
            Err((StatusCode::SERVICE_UNAVAILABLE, "the event was not kept\n".to_owned()))
        }
    }
}

/// Appends all events, a line each, and waits for the disk.
fn append(file: &Mutex<File>, events: &[String]) -> Result<Vec<Kept>, BoxError> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let start = file.seek(SeekFrom::End(0))?;
    let mut lines = Vec::new();
    let kept = events.iter().map(|event| {
        if event.contains('\n') {
            return Err("an event is one line");
        }
        let at = start + lines.len() as u64;
        lines.extend_from_slice(event.as_bytes());
        lines.push(b'\n');
        Ok(at)
    });
    let kept = kept.collect();
    let written = file.write_all(&lines).and_then(|()| file.sync_data());
    if let Err(error) = written {
        // Half of a batch would be taken for all of it.
        return Err(match file.set_len(start) {
            Ok(()) => error.into(),
            Err(left) => format!("{error}; what was written of it stays: {left}").into(),
        });
    }
    Ok(kept)
}

/// An error with what caused it: of a batch, that is what the service failed with.
fn reason(error: &BoxError) -> String {
    let cause = error.downcast_ref::<BatchError>().and_then(Error::source);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
