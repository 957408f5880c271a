//! The queue, in memory or in Redis.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::time::Duration;

use apalis::prelude::{FetchById, Status, TaskBuilder, TaskId, TaskSink};
use apalis_redis::{Client, Config, ConnectionManager, RedisError, RedisStorage};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use redis::Script;
use redis::aio::ConnectionManagerConfig;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::interval;
use tracing::{error, warn};

pub(crate) const QUEUE: &str = "emails";
/// The maximum number of waiting jobs, of up to 64 KiB each.
const MOST_WAITING: usize = 1_000;
/// The maximum number of finished jobs whose state is kept.
const MOST_ENDED: usize = 10_000;
/// The number of finished jobs that one call of the script examines.
const SAMPLE: u32 = 500;

#[derive(Clone)]
pub(crate) enum Queue {
    Memory(Memory),
    Redis(Box<RedisStorage<Value>>),
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum JobState {
    Queued,
    Running,
    Done,
    Failed { error: String },
}

impl JobState {
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed { .. })
    }
}

impl Queue {
    pub(crate) async fn push(&self, id: &str, job: Value) -> Result<(), Unavailable> {
        let storage = match self {
            Self::Memory(memory) => return memory.push(id, job),
            Self::Redis(storage) => storage,
        };
        // Concurrent pushes may exceed the bound by one job each.
        if self.waiting().await? >= MOST_WAITING {
            return Err(Unavailable::Full);
        }
        let task = TaskBuilder::new(job).task_id(TaskId::from_string(id)).build();
        Ok(storage.clone().push_task(task).await?)
    }

    /// Returns the number of jobs that wait for a worker.
    pub(crate) async fn waiting(&self) -> Result<usize, Unavailable> {
        let (mut storage, config) = match self {
            Self::Memory(Memory { push, .. }) => return Ok(push.max_capacity() - push.capacity()),
            Self::Redis(storage) => (storage.clone(), storage.get_config()),
        };
        let mut lengths = redis::pipe();
        lengths.llen(config.active_jobs_list()).zcard(config.scheduled_jobs_set());
        let (active, scheduled): (usize, usize) =
            lengths.query_async(storage.get_connection()).await?;
        Ok(active + scheduled)
    }

    pub(crate) async fn state(&self, id: &str) -> Result<Option<JobState>, Unavailable> {
        let storage = match self {
            Self::Memory(memory) => return Ok(memory.jobs.borrow().states.get(id).cloned()),
            Self::Redis(storage) => storage,
        };
        let Some(task) = storage.clone().fetch_by_id(&TaskId::from_string(id)).await? else {
            return Ok(None);
        };
        Ok(Some(match task.status() {
            Status::Done => JobState::Done,
            Status::Running => JobState::Running,
            Status::Killed => {
                let result = task.metadata().get("result").unwrap_or_default();
                let error = match serde_json::from_str(result)? {
                    Err::<Value, String>(error) => error,
                    Ok(_) => String::new(),
                };
                JobState::Failed { error }
            }
            _ => JobState::Queued,
        }))
    }

    /// Records the state of a job in memory. In Redis, `worker.rs` does so.
    pub(crate) fn note(&self, id: &str, state: JobState) {
        if let Self::Memory(memory) = self {
            memory.jobs.send_modify(|jobs| jobs.set(id, state));
        }
    }
}

/// A channel to the worker, and the states of jobs. The `MemoryStorage` of apalis has no bound, and
/// belongs to its worker, so that nobody else can push.
#[derive(Clone)]
pub(crate) struct Memory {
    push: mpsc::Sender<Value>,
    jobs: watch::Sender<Jobs>,
}

#[derive(Default)]
struct Jobs {
    states: HashMap<String, JobState>,
    /// The ids of finished jobs, the oldest first.
    ended: VecDeque<String>,
    is_closed: bool,
}

impl Memory {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Value>) {
        let (push, pull) = mpsc::channel(MOST_WAITING);
        (Self { push, jobs: watch::Sender::default() }, pull)
    }

    fn push(&self, id: &str, job: Value) -> Result<(), Unavailable> {
        let place = self.push.try_reserve().map_err(|_| Unavailable::Full)?;
        let is_open = self.jobs.send_if_modified(|jobs| {
            if !jobs.is_closed {
                jobs.set(id, JobState::Queued);
            }
            !jobs.is_closed
        });
        if is_open {
            place.send(job);
            Ok(())
        } else {
            Err(Unavailable::Stopping)
        }
    }

    /// Rejects new jobs and waits for the end of the others.
    pub(crate) async fn drained(&self) {
        self.jobs.send_modify(|jobs| jobs.is_closed = true);
        let mut jobs = self.jobs.subscribe();
        drop(jobs.wait_for(|jobs| jobs.states.len() == jobs.ended.len()).await);
    }

    /// Returns the number of jobs that have not ended.
    pub(crate) fn open(&self) -> usize {
        let jobs = self.jobs.borrow();
        jobs.states.len() - jobs.ended.len()
    }
}

impl Jobs {
    fn set(&mut self, id: &str, state: JobState) {
        if state.is_final() {
            self.ended.push_back(id.to_owned());
        }
        self.states.insert(id.to_owned(), state);
        if self.ended.len() > MOST_ENDED {
            self.ended.pop_front().map(|oldest| self.states.remove(&oldest));
        }
    }
}

/// Connects to Redis. A command fails if Redis does not answer within `wait`.
pub(crate) async fn connect(url: &str, wait: Duration) -> Result<ConnectionManager, RedisError> {
    // A command tries twice to connect. By default it tries on for seconds, and what it fails with
    // comes as late as the connection does.
    let config = ConnectionManagerConfig::new().set_number_of_retries(1);
    let config = config.set_response_timeout(Some(wait));
    Client::open(url)?.get_connection_manager_with_config(config).await
}

/// Deletes finished jobs from Redis that ended more than `keep` seconds ago or exceed the bound.
///
/// The sweep examines samples, and the next sample at once if a quarter of the jobs was deleted, as
/// Redis does with expired keys.
pub(crate) async fn sweep(mut storage: RedisStorage<Value>, keep: u64) {
    let config: Config = storage.get_config().clone();
    let script = Script::new(SWEEP);
    let mut every = interval(Duration::from_secs(keep.clamp(1, 10)));
    loop {
        every.tick().await;
        for ended in [config.done_jobs_set(), config.dead_jobs_set()] {
            let mut call = script.key(ended);
            call.key(config.job_data_hash()).key(config.job_meta_hash());
            call.arg(keep).arg(MOST_ENDED).arg(SAMPLE);
            let mut swept = Ok(SAMPLE);
            while swept.as_ref().is_ok_and(|swept| swept * 4 >= SAMPLE) {
                swept = call.invoke_async::<u32>(storage.get_connection()).await;
            }
            if let Err(error) = swept {
                warn!(%error, "jobs that have ended stay");
            }
        }
    }
}

const SWEEP: &str = "
local swept = 0
local surplus = redis.call('SCARD', KEYS[1]) - ARGV[2]
for _, id in ipairs(redis.call('SRANDMEMBER', KEYS[1], ARGV[3])) do
    local meta = KEYS[3] .. ':' .. id
    local done_at = redis.call('HGET', meta, 'done_at') or 0
    if swept < surplus or done_at + ARGV[1] < redis.call('TIME')[1] + 0 then
        redis.call('DEL', meta)
        redis.call('HDEL', KEYS[2], id)
        redis.call('SREM', KEYS[1], id)
        swept = swept + 1
    end
end
return swept";

/// The reason for a 503.
#[derive(Debug)]
pub(crate) enum Unavailable {
    Full,
    Stopping,
    Broken(String),
}

impl<E: Error> From<E> for Unavailable {
    fn from(error: E) -> Self {
        Self::Broken(error.to_string())
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many jobs wait"),
            Self::Stopping => f.write_str("the server is stopping"),
            Self::Broken(error) => write!(f, "the queue is out of reach: {error}"),
        }
    }
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        let text = match self {
            Self::Broken(_) => {
                // The error may contain the address of Redis, which is not for clients.
                error!("{self}");
                "the queue is out of reach\n".to_owned()
            }
            _ => format!("{self}\n"),
        };
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], text).into_response()
    }
}

/// Returns a word followed by 128 random bits. apalis would rewrite a plain number or UUID.
pub(crate) fn random_id(word: &str) -> Result<String, getrandom::Error> {
    Ok(format!("{word}-{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?))
}
