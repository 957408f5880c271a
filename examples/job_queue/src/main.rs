//! An email queue: a POST returns at once, and a worker sends the email, with apalis 1.0, from memory
//! or from Redis.
//!
//! ```sh
//! cargo run -p example-job-queue
//!
//! curl -i http://127.0.0.1:3000/emails -H 'content-type: application/json' \
//!   -d '{"to": "ada@example.com", "subject": "Hello", "body": "How are you?"}'
//! curl http://127.0.0.1:3000/jobs/job-...     # the `location` of that response
//! curl http://127.0.0.1:3000/metrics          # job_queue_size, jobs_total, latencies, process_*
//! ```
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `MAILER_URL` | receives each email as a POST and has sent it if it answers 2xx; `http://127.0.0.1:9` shows failures | emails are printed |
//! | `REDIS_URL` | the Redis that holds the jobs, such as `redis://127.0.0.1:6379` | jobs are in memory |
//! | `ATTEMPT_SECS` | the maximum duration of an attempt | 5 |
//! | `BACKOFF_MS` | the wait after the first of three attempts; the second wait is twice as long | 1000 |
//! | `TAKE_OVER_SECS` | how long Redis or a process may be silent before other processes take over its jobs, at least 2 | 15 |
//! | `KEEP_SECS` | how long Redis keeps finished jobs, with their emails | 3600 |
//! | `ADDR`, `RUST_LOG` | the address to listen on, and the level of the log on stderr | `127.0.0.1:3000`, `info` |
//!
//! `mailer.rs` contains the job, `worker.rs` its attempts, `queue.rs` the queue. Ctrl-C or SIGTERM stops
//! the program within ten seconds: running jobs finish, and so do jobs that wait in memory.
//!
//! # How often an email is sent
//!
//! An email has up to three attempts. Each has the job's id as its `idempotency-key`. A mailer that
//! honors the key sends the email once; with any other, an attempt that timed out may have sent it.
//!
//! For up to `TAKE_OVER_SECS` Redis may be silent, refuse connections, or restart with its data, and no
//! attempt is repeated: a job runs in a task of its own, which continues when apalis' worker ends with
//! an error, and its process holds the job until Redis has recorded the result. New jobs wait until
//! then. If there is a single process, Redis may be away for any time.
//!
//! A job starts again, with the same key, in these cases:
//!
//! - Its process dies, or stops too late, before Redis has recorded the result.
//! - Its process or Redis is silent for longer than `TAKE_OVER_SECS`, and another process takes the job
//!   over. That is at the latest after twice that time and 5 s. The clocks of the hosts must agree.
//! - Redis loses writes. Use `appendonly yes` and `maxmemory-policy noeviction`.
//!
//! A job that kills its process is taken over again and again. Jobs in memory are lost with their
//! process; a stop that was too short logs how many. A request fails with 503 if Redis does not answer
//! within two seconds. If that happened during its last command, the email may be queued nevertheless.
//!
//! # Before you copy it
//!
//! - **Put authentication in front of it.** Anyone who reaches it can send emails, and the same POST
//!   again is another job. A proxy should bound the time for request headers, or a server as in `axum`.
//! - **A Redis cluster does not work**: apalis' scripts touch keys of several slots. `rediss://` needs a
//!   TLS feature of the crate `redis`.
//! - **The attempts are a loop**, and start over when a job is taken over. apalis' layer for retries
//!   hangs when its worker is stopped during a wait.
//! - **The attempts catch panics and parse the job.** A panic, or a job that apalis cannot parse, would
//!   end the worker, and after the take-over the next one. With `catch_panic` the job would run forever.
//! - **`persist_results` and `lock_tasks` are off**: apalis records results through its worker, and loses
//!   them when the worker ends. `RedisJobs` records them instead.
//! - **`batch_size` is 1**: a worker that has fetched a job and has no free slot sends no heartbeats.
//! - **A worker is stopped when it is idle** (`drained`): apalis' own stop sends no heartbeats.
//! - **The number of waiting jobs is bounded.** At about 8,000 apalis' script to fetch them fails for
//!   good. Its own `Metrics` always fail; each push is scheduled for now, so that the length of the queue
//!   is that of two keys.
//! - **`sweep` deletes finished jobs.** apalis' vacuum reads all jobs at once, leaves their ids, and
//!   deletes jobs that wait for a retry. Each worker leaves one small key, `emails:workers:metadata:...`.

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
use tower_kit::cache::{CacheKey, MemoryStore};
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::{
    CacheLayer, CompressLayer, KIB, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer,
};
use tracing::{error, warn};

mod mailer;
mod queue;
mod worker;

use mailer::{Email, Mailer};
use queue::{Memory, QUEUE, Queue, Unavailable, connect, random_id, sweep};
use worker::{Job, work_in_memory, work_in_redis};

/// The maximum duration of a request, and of a stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximum time that a request waits for a command of Redis.
const ANSWER: Duration = Duration::from_secs(2);

/// The state shared by the routes and the worker.
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
    let mailer = std::env::var("MAILER_URL").ok().map(|url| url.parse()).transpose()?;
    let mailer = Mailer::new(mailer, Duration::from_secs(number("ATTEMPT_SECS", 5)?));
    let app = |queue| App { queue, mailer, backoff, prometheus, process };
    let (stop, stopping) = watch::channel(false);
    let (app, place, worker) = match std::env::var("REDIS_URL") {
        Ok(url) => {
            let take_over = Duration::from_secs(number("TAKE_OVER_SECS", 15)?.max(2));
            let config = queue_config(take_over);
            // Requests fail soon. A worker waits, because new jobs wait if it ends.
            let requests = RedisStorage::new(connect(&url, ANSWER).await?);
            let requests = requests.with_config(config.clone());
            let jobs = RedisStorage::new(connect(&url, take_over).await?).with_config(config);
            tokio::spawn(sweep(requests.clone(), number("KEEP_SECS", 3_600)?));
            let app = app(Queue::Redis(Box::new(requests)));
            (app.clone(), "Redis", work_in_redis(app, jobs, stopping.clone()).boxed())
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
    // From here on a signal stops the program as it should, also while it starts.
    let stop_signal = stop_signal()?;
    println!("listening on http://{}, with its queue in {place}", listener.local_addr()?);
    let server = axum::serve(listener, router(app.clone()));
    let server = tokio::spawn(server.with_graceful_shutdown(stopped(stopping)).into_future());
    let mut worker = tokio::spawn(worker);
    tokio::select! {
        () = stop_signal => {}
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

/// Returns the settings of the queue in Redis.
///
/// A worker counts as dead only when it has been silent for longer than `take_over`: when a silence
/// begins, its last heartbeat is up to one interval old; afterwards it may have to reconnect; and apalis
/// counts in whole seconds.
fn queue_config(take_over: Duration) -> Config {
    let heartbeat = take_over / 5;
    let silence = take_over + heartbeat + Duration::from_secs(3);
    let missed = silence.as_millis().div_ceil(heartbeat.as_millis()) as usize;
    Config::default()
        .queue(QUEUE)
        .batch_size(1)
        .emit_events(false)
        .persist_results(false)
        .lock_tasks(false)
        .heartbeat_interval(heartbeat)
        .missed_heartbeats(missed)
}

/// Returns the routes under the layers, which are listed from the outside in.
fn router(app: App) -> Router {
    let layers = (
        LatencyLayer::new()
            .route(|request| request.extensions.get().map(MatchedPath::as_str))
            .skip_if(|request| matches!(request.uri.path(), "/healthz" | "/metrics")),
        SecurityHeadersLayer::api(),
        LimitLayer::new().json(64 * KIB),
        // The states of finished jobs do not change: polling clients do not reach Redis.
        CacheLayer::new(MemoryStore::new(4 * MIB)).key(CacheKey::new().any_host()),
        CompressLayer::new(),
        // A body that arrives too slowly, or a Redis that is down.
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

/// Reads a number from the environment.
fn number(name: &str, default: u64) -> Result<u64, String> {
    let Ok(value) = std::env::var(name) else { return Ok(default) };
    value.parse().map_err(|_| format!("{name} must be a number"))
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

/// Completes at Ctrl-C or SIGTERM.
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

/// Drains the exporter, which keeps every sample until then.
async fn upkeep(prometheus: PrometheusHandle) {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        prometheus.run_upkeep();
    }
}
