//! The worker: one job with its attempts, and what runs many of them.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::layers::limit::GlobalConcurrencyLimitLayer;
use apalis::prelude::{
    AbortError, BackendExt, Data, TaskId, WorkerBuilder, WorkerContext, WorkerError,
};
use apalis_redis::RedisStorage;
use futures_util::{FutureExt, StreamExt};
use metrics::counter;
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
/// Jobs that a process runs at a time, their waits between attempts included.
const CONCURRENCY: usize = 10;
/// How often an idle worker looks into Redis.
const POLL: Duration = Duration::from_millis(500);

#[derive(Deserialize, Serialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) email: Email,
}

/// One job, with all of its attempts. It gives errors back as `AbortError` alone, and never panics.
async fn work(job: Value, task: TaskId, app: Data<App>) -> Result<(), AbortError> {
    let Job { id, email } = match serde_json::from_value(job) {
        Ok(job) => job,
        Err(error) => {
            error!(id = %task, %error, "a job of another version is given up");
            app.end(&task.to_string(), JobState::Failed { error: error.to_string() });
            return Err(AbortError::new(error));
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
            app.end(&id, JobState::Failed { error: error.clone() });
            return Err(AbortError::new(error));
        }
        warn!(%id, attempt, %error, "the email is not sent yet");
        sleep(wait).await;
        wait *= 2;
    }
    info!(%id, "the email is sent");
    app.end(&id, JobState::Done);
    Ok(())
}

impl App {
    fn end(&self, id: &str, state: JobState) {
        let outcome = if matches!(state, JobState::Done) { "done" } else { "failed" };
        counter!("jobs_total", "queue" => QUEUE, "outcome" => outcome).increment(1);
        self.queue.note(id, state);
    }
}

/// Works until it is told to stop and nothing is left to do.
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
    worker.build(work).run_until(drained).await
}

/// Works until it is told to stop and what runs has ended.
///
/// apalis' worker ends where Redis fails it. What it ran is taken over, perhaps by the next one here.
/// That has another name, since Redis knows the last one as alive and would refuse it.
pub(crate) async fn work_in_redis(
    app: App,
    storage: RedisStorage<Value>,
    stopping: watch::Receiver<bool>,
) -> Result<(), WorkerError> {
    loop {
        let name = WorkerContext::new(&random_id("worker").map_err(std::io::Error::other)?);
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        let limit = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&slots));
        let stop = drained(storage.clone(), name.clone(), slots, stopping.clone());
        let jobs = storage.clone().poll_with_interval(POLL);
        let worker = WorkerBuilder::new(name).backend(jobs).layer(limit).data(app.clone());
        let Err(error) = worker.build(work).run_until(stop).await else { return Ok(()) };
        error!(%error, "the worker has ended, and another one starts");
        let mut stop = stopping.clone();
        if timeout(Duration::from_secs(1), stop.wait_for(|stop| *stop)).await.is_ok() {
            return Ok(());
        }
    }
}

/// Ready when the worker may be stopped: no job is begun any more, and each is acknowledged.
///
/// apalis' own stop waits for all that runs before it acknowledges anything, is not heard of
/// meanwhile, and hangs where more than four times the batch size run.
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
    let acknowledged = async {
        let mut running = redis::cmd("SCARD");
        running.arg(storage.get_config().inflight_set_for(&worker));
        while let Ok(1..) = running.query_async::<u32>(storage.get_connection()).await {
            sleep(POLL / 5).await;
        }
    };
    tokio::select! {
        biased;
        () = take_all_slots => {}
        () = acknowledged => {}
    }
    Ok(())
}
