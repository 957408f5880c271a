//! The worker: one job with its attempts, and the loops that run many jobs.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apalis::layers::WorkerBuilderExt;
use apalis::layers::limit::GlobalConcurrencyLimitLayer;
use apalis::prelude::{
    BackendExt, Data, Status, TaskId, WorkerBuilder, WorkerContext, WorkerError,
};
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use futures_util::{FutureExt, StreamExt};
use metrics::counter;
use redis::{Script, ScriptInvocation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{error, info, warn};

use crate::App;
use crate::mailer::Email;
use crate::queue::{JobState, Memory, QUEUE, random_id};

const ATTEMPTS: u32 = 3;
/// The maximum number of jobs that a process runs at a time, including their waits between attempts.
const CONCURRENCY: usize = 10;
/// The interval at which an idle worker polls Redis, and the wait before a failed command is repeated.
const POLL: Duration = Duration::from_millis(500);

#[derive(Deserialize, Serialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) email: Email,
}

/// A worker's access to the state of its jobs in Redis.
#[derive(Clone)]
struct RedisJobs {
    app: App,
    connection: ConnectionManager,
    config: Config,
    /// The set of the jobs that the worker has taken and not finished.
    inflight: String,
    /// A sender whose last clone is dropped with the worker and with the last of its jobs.
    _running: mpsc::Sender<()>,
}

/// Runs one job with all of its attempts, and returns its final state. Never panics.
async fn run(app: &App, job: Value, task: &str) -> JobState {
    let Job { id, email } = match serde_json::from_value(job) {
        Ok(job) => job,
        Err(error) => {
            error!(id = %task, %error, "a job of another version is given up");
            return app.end(task, JobState::Failed { error: error.to_string() });
        }
    };
    app.queue.note(&id, JobState::Running);
    let mut wait = app.backoff;
    for attempt in 1.. {
        let error = match AssertUnwindSafe(app.mailer.deliver(&id, &email)).catch_unwind().await {
            Ok(Ok(())) => break,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        if attempt == ATTEMPTS {
            error!(%id, attempt, %error, "the email is given up");
            return app.end(&id, JobState::Failed { error });
        }
        warn!(%id, attempt, %error, "the email is not sent yet");
        sleep(wait).await;
        wait *= 2;
    }
    info!(%id, "the email is sent");
    app.end(&id, JobState::Done)
}

/// Runs a job that waited in memory.
async fn work_here(job: Value, task: TaskId, app: Data<App>) {
    run(&app, job, &task.to_string()).await;
}

/// Runs a job that waited in Redis, in a task that outlives the worker: an email that is under way
/// when the worker ends would be sent again otherwise.
async fn work_in_task(job: Value, task: TaskId, jobs: Data<RedisJobs>) {
    let (id, jobs) = (task.to_string(), RedisJobs::clone(&jobs));
    let job = async move {
        if jobs.begin(&id).await {
            let state = run(&jobs.app, job, &id).await;
            jobs.finish(&id, &state).await;
        }
    };
    drop(tokio::spawn(job).await);
}

impl App {
    fn end(&self, id: &str, state: JobState) -> JobState {
        let outcome = if matches!(state, JobState::Done) { "done" } else { "failed" };
        counter!("jobs_total", "queue" => QUEUE, "outcome" => outcome).increment(1);
        self.queue.note(id, state.clone());
        state
    }
}

impl RedisJobs {
    /// Marks a job as running. Returns `false` if another worker has taken the job over.
    async fn begin(&self, id: &str) -> bool {
        let script = Script::new(BEGIN);
        let mut call = script.key(&self.inflight);
        call.key(format!("{}:{id}", self.config.job_meta_hash()));
        call.arg(id).arg(Status::Running.to_string());
        self.repeat(&call).await
    }

    /// Takes a job from the worker and records how it ended.
    async fn finish(&self, id: &str, state: &JobState) {
        let (set, status, result) = match state {
            JobState::Failed { error } => {
                (self.config.dead_jobs_set(), Status::Killed, Err(error.as_str()))
            }
            _ => (self.config.done_jobs_set(), Status::Done, Ok(())),
        };
        let script = Script::new(FINISH);
        let mut call = script.key(&self.inflight);
        call.key(format!("{}:{id}", self.config.job_meta_hash())).key(set);
        call.arg(id).arg(status.to_string()).arg(serde_json::json!(result).to_string());
        if !self.repeat(&call).await {
            warn!(%id, "another worker has taken the job over: its email may be sent twice");
        }
    }

    /// Calls a script until Redis answers.
    async fn repeat(&self, call: &ScriptInvocation<'_>) -> bool {
        loop {
            match call.invoke_async(&mut self.connection.clone()).await {
                Ok(held) => return held,
                Err(error) => warn!(%error, "a job waits for Redis"),
            }
            sleep(POLL).await;
        }
    }
}

/// Runs jobs from memory until `stopping` completes and no job is left.
pub(crate) async fn work_in_memory(
    app: App,
    memory: Memory,
    jobs: mpsc::Receiver<Value>,
    stopping: impl Future<Output = ()> + Send + 'static,
) -> Result<(), WorkerError> {
    let drained = async move {
        stopping.await;
        memory.drained().await;
        Ok::<_, WorkerError>(())
    };
    let jobs = ReceiverStream::new(jobs).map(Ok::<_, Infallible>).boxed();
    let worker = WorkerBuilder::new(QUEUE).backend(jobs).concurrency(CONCURRENCY).data(app);
    worker.build(work_here).run_until(drained).await
}

/// Runs jobs from Redis until it is told to stop and the running jobs have ended.
///
/// apalis' worker ends when a command fails. Its jobs continue, and its name stays alive in Redis until
/// the last of them has ended; then the next worker starts. The next worker has a name of its own:
/// Redis refuses a name that is alive.
pub(crate) async fn work_in_redis(
    app: App,
    mut storage: RedisStorage<Value>,
    stopping: watch::Receiver<bool>,
) -> Result<(), WorkerError> {
    loop {
        let name = WorkerContext::new(&random_id("worker").map_err(std::io::Error::other)?);
        let (running, mut ended) = mpsc::channel(1);
        let jobs = RedisJobs {
            app: app.clone(),
            connection: storage.get_connection().clone(),
            config: storage.get_config().clone(),
            inflight: storage.get_config().inflight_set_for(&name),
            _running: running,
        };
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        let limit = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&slots));
        let stop = drained(storage.clone(), name.clone(), slots, stopping.clone());
        let backend = storage.clone().poll_with_interval(POLL);
        let worker = WorkerBuilder::new(name.clone()).backend(backend).layer(limit).data(jobs);
        let Err(error) = worker.build(work_in_task).run_until(stop).await else { return Ok(()) };
        error!(%error, "the worker has ended: its jobs go on, then another one starts");
        tokio::select! {
            () = keep_alive(storage.clone(), &name) => {}
            _ = ended.recv() => {}
        }
        // What the worker still has in Redis was fetched by a command whose reply was lost: other
        // workers may take it at once. If this fails, they do so later.
        drop(timeout(POLL, set_last_seen(&mut storage, &name, 0)).await);
        let mut stop = stopping.clone();
        if timeout(Duration::from_secs(1), stop.wait_for(|stop| *stop)).await.is_ok() {
            return Ok(());
        }
    }
}

/// Keeps other processes from taking over the jobs of a worker that has ended.
async fn keep_alive(mut storage: RedisStorage<Value>, worker: &WorkerContext) {
    loop {
        // By the clock of this host, as apalis' heartbeats.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // The next call repeats one that fails.
        drop(set_last_seen(&mut storage, worker, now).await);
        sleep(POLL).await;
    }
}

/// Sets the second at which a worker was last seen alive, unless Redis has given it up.
async fn set_last_seen(
    storage: &mut RedisStorage<Value>,
    worker: &WorkerContext,
    second: u64,
) -> redis::RedisResult<()> {
    let mut command = redis::cmd("ZADD");
    command.arg(storage.get_config().workers_set()).arg("XX").arg(second).arg(worker.name());
    command.exec_async(storage.get_connection()).await
}

/// Completes when the worker may be stopped: no job starts any more, and each has ended in Redis.
///
/// apalis' own stop sends no heartbeats while it waits for running jobs.
async fn drained(
    mut storage: RedisStorage<Value>,
    worker: WorkerContext,
    slots: Arc<Semaphore>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), WorkerError> {
    drop(stopping.wait_for(|stop| *stop).await);
    let take_all_slots = async {
        let _slots = slots.acquire_many(CONCURRENCY as u32).await;
        std::future::pending::<()>().await;
    };
    let finished = async {
        let mut running = redis::cmd("SCARD");
        running.arg(storage.get_config().inflight_set_for(&worker));
        while let Ok(1..) = running.query_async::<u32>(storage.get_connection()).await {
            sleep(POLL / 5).await;
        }
    };
    tokio::select! {
        biased;
        () = take_all_slots => {}
        () = finished => {}
    }
    Ok(())
}

const BEGIN: &str = "
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then
    return 0
end
redis.call('HSET', KEYS[2], 'status', ARGV[2])
return 1";

const FINISH: &str = "
if redis.call('SREM', KEYS[1], ARGV[1]) == 0 then
    return 0
end
redis.call('SADD', KEYS[3], ARGV[1])
local now = redis.call('TIME')[1]
redis.call('HSET', KEYS[2], 'status', ARGV[2], 'result', ARGV[3], 'done_at', now)
return 1";
