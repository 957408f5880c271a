//! An email queue: a POST is answered at once, and a worker sends the email, with apalis 1.0, from
//! memory or from Redis.
//!
//! ```sh
//! cargo run -p example-job-queue
//!
//! curl -i http://127.0.0.1:3000/emails -H 'content-type: application/json' \
//!   -d '{"to": "ada@example.com", "subject": "Hello", "body": "How are you?"}'
//! curl http://127.0.0.1:3000/jobs/job-...     # the `location` of that answer
//! curl http://127.0.0.1:3000/metrics          # job_queue_size, jobs_total, latencies, process_*
//! ```
//!
//! | variable | what it is | default |
//! |---|---|---|
//! | `MAILER_URL` | gets each email by POST, and has sent it if it answers 2xx; `http://127.0.0.1:9` shows failures | emails are printed |
//! | `REDIS_URL` | where jobs wait, such as `redis://127.0.0.1:6379` | memory |
//! | `BACKOFF_MS` | the wait after the first of three attempts; the next one is twice as long | 1000 |
//! | `TAKE_OVER_SECS` | how long a process is silent in Redis until others take over its jobs, at least 2 | 15 |
//! | `KEEP_SECS` | how long Redis keeps jobs that have ended, with their emails | 3600 |
//! | `ADDR`, `RUST_LOG` | where it listens, and what it logs to stderr | `127.0.0.1:3000`, `info` |
//!
//! `mailer.rs` is the job, `worker.rs` its attempts, `queue.rs` where it waits. Ctrl-C or SIGTERM stops
//! it, within ten seconds: what runs is finished, and in memory what waits too.
//!
//! # What to know before you copy it
//!
//! - **Put authentication in front of it**: whoever reaches it sends emails. The same POST again is
//!   another job. A proxy should bound the time for a request's head, or a server as in `axum`.
//! - **An email may be sent twice**, if its worker dies, or is silent for too long, before it says that
//!   it has sent it. The mailer gets the job's id as `idempotency-key`, the same for each attempt. With
//!   a shorter `TAKE_OVER_SECS` that happens sooner; it counts whole seconds, by the clocks of the
//!   hosts, which must agree.
//! - **Jobs in memory die with the process.** A stop that was too short logs how many. In Redis they
//!   wait for the next process, if Redis itself keeps them (`appendonly yes`,
//!   `maxmemory-policy noeviction`). apalis' scripts do not run in a cluster. `rediss://` needs a TLS
//!   feature of the crate `redis`.
//! - **The attempts are a loop**, and begin anew when a job is taken over; a job that kills its process
//!   is taken over for ever. apalis' layer for retries hangs when its worker is stopped during a wait.
//!   The storage in Redis retries by itself, 25 times, what does not fail with `AbortError`.
//! - **`work` parses the job and catches panics.** A job that apalis cannot parse ends its worker, and
//!   when taken over the next one. So does a panic; with `catch_panic` its job is `Running` for ever.
//! - **Waiting jobs are bounded**, and must be: at about 8,000 apalis' script to fetch them fails for
//!   good. Its own `Metrics` fail always, and each push is scheduled for now, so that the length of
//!   the queue is that of two keys.
//! - **`batch_size(1)`**, since a worker with a fetched job and no free slot for it is silent.
//!   **`persist_results` stays on**, since without it no job is acknowledged.
//! - **A worker is stopped when it is idle** (`drained`): apalis' own stop is silent, and hangs where
//!   more than four times the batch size run.
//! - **What has ended is deleted by `sweep`**: apalis' vacuum reads all jobs at once, leaves their ids,
//!   and deletes those that wait for a retry. Each worker leaves one small key,
//!   `emails:workers:metadata:...`.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use apalis::prelude::BoxDynError;
use apalis_redis::{Config, RedisStorage};
use axum::error_handling::HandleErrorLayer;
use axum::extract::{MatchedPath, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{BoxError, Json, Router};
use futures_util::FutureExt;
use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{interval, timeout};
use tower::timeout::TimeoutLayer;
use tower_kit::cache::{KeyBy, MemoryStore};
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::{
    CacheLayer, CompressLayer, KIB, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer,
};
use tracing::{error, warn};

mod mailer;
mod queue;
mod worker;

use mailer::{Email, Mailer};
use queue::{Memory, QUEUE, Queue, Unavailable, random_id, sweep};
use worker::{Job, work_in_memory, work_in_redis};

/// How long a request may take, and a stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the routes and the worker share.
#[derive(Clone)]
struct App {
    queue: Queue,
    mailer: Mailer,
    backoff: Duration,
    prometheus: PrometheusHandle,
    process: Collector,
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let log = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let log = tracing_subscriber::fmt().with_env_filter(log).with_writer(stderr);
    log.with_ansi(stderr().is_terminal()).init();
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(prometheus.clone()));
    let process = Collector::default();
    process.describe();

    let backoff = Duration::from_millis(number("BACKOFF_MS", 1_000)?);
    let mailer = Mailer::new(std::env::var("MAILER_URL").ok().map(|url| url.parse()).transpose()?);
    let app = |queue| App { queue, mailer, backoff, prometheus, process };
    let (stop, stopping) = watch::channel(false);
    let (app, place, worker) = match std::env::var("REDIS_URL") {
        Ok(url) => {
            let heartbeat = Duration::from_secs(number("TAKE_OVER_SECS", 15)?.max(2)) / 5;
            let config = Config::default().queue(QUEUE).batch_size(1).emit_events(false);
            let config = config.heartbeat_interval(heartbeat).missed_heartbeats(5);
            let storage = RedisStorage::new(apalis_redis::connect(url).await?).with_config(config);
            tokio::spawn(sweep(storage.clone(), number("KEEP_SECS", 3_600)?));
            let app = app(Queue::Redis(Box::new(storage.clone())));
            (app.clone(), "Redis", work_in_redis(app, storage, stopping.clone()).boxed())
        }
        Err(_) => {
            let (memory, jobs) = Memory::new();
            let app = app(Queue::Memory(memory.clone()));
            let stopped = stopped(stopping.clone());
            (app.clone(), "memory", work_in_memory(app, memory, jobs, stopped).boxed())
        }
    };

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await.map_err(|error| format!("{addr}: {error}"))?;
    println!("listening on http://{}, with its queue in {place}", listener.local_addr()?);
    let server = axum::serve(listener, router(app.clone()));
    let server = tokio::spawn(server.with_graceful_shutdown(stopped(stopping)).into_future());
    let mut worker = tokio::spawn(worker);
    tokio::select! {
        () = stop_signal()? => {}
        ended = &mut worker => return Err(format!("the worker has ended: {ended:?}").into()),
    }

    println!("stopping");
    stop.send_replace(true);
    if let Ok((served, worked)) = timeout(PATIENCE, async { tokio::join!(server, worker) }).await {
        served??;
        return Ok(worked??);
    }
    match &app.queue {
        Queue::Memory(memory) => error!("stopped too late: {} jobs are lost", memory.open()),
        Queue::Redis(_) => warn!("stopped too late: what still ran will run again"),
    }
    Ok(())
}

/// The routes under the layers, which stand from the outside in.
fn router(app: App) -> Router {
    let layers = (
        LatencyLayer::new()
            .route(|request| request.extensions.get().map(MatchedPath::as_str))
            .skip(|request| matches!(request.uri.path(), "/healthz" | "/metrics")),
        SecurityHeadersLayer::api(),
        LimitLayer::new().json(64 * KIB),
        // Of jobs that have ended, which stay as they are: who asks on does not reach Redis.
        CacheLayer::new(MemoryStore::new(4 * MIB)).key(KeyBy::new().any_host()),
        CompressLayer::new(),
        // A body that trickles in, or a Redis that is away.
        HandleErrorLayer::new(|_: BoxError| async { StatusCode::SERVICE_UNAVAILABLE }),
        TimeoutLayer::new(PATIENCE),
    );
    Router::new()
        .route("/emails", post(enqueue))
        .route("/jobs/{id}", get(job))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .layer(layers)
        .with_state(app)
}

async fn enqueue(
    State(app): State<App>,
    Json(email): Json<Email>,
) -> Result<Response, Unavailable> {
    if let Some(fault) = email.fault() {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, format!("{fault}\n")).into_response());
    }
    let id = random_id("job")?;
    let job = Job { id: id.clone(), email };
    app.queue.push(&id, serde_json::to_value(job)?).await?;
    let location = [(LOCATION, format!("/jobs/{id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(json!({ "id": id }))).into_response())
}

async fn job(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Unavailable> {
    let Some(state) = app.queue.state(&id).await? else {
        return Ok((StatusCode::NOT_FOUND, "no such job\n").into_response());
    };
    let keep = if state.is_final() { "max-age=60" } else { "no-store" };
    Ok(([(CACHE_CONTROL, keep)], Json(state)).into_response())
}

async fn metrics(State(app): State<App>) -> String {
    let size = match app.queue.waiting().await {
        Ok(waiting) => waiting as f64,
        Err(error) => {
            error!("{error}");
            f64::NAN
        }
    };
    gauge!("job_queue_size", "queue" => QUEUE).set(size);
    app.process.collect();
    app.prometheus.render()
}

/// A number in the environment.
fn number(name: &str, default: u64) -> Result<u64, String> {
    let Ok(value) = std::env::var(name) else { return Ok(default) };
    value.parse().map_err(|_| format!("{name} must be a number"))
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

/// Ready at Ctrl-C or SIGTERM.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// The exporter keeps every sample until it is drained.
async fn upkeep(prometheus: PrometheusHandle) {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        prometheus.run_upkeep();
    }
}
