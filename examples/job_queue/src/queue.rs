//! Where jobs wait: in memory, or in Redis.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::time::Duration;

use apalis::prelude::{FetchById, Status, TaskBuilder, TaskId, TaskSink};
use apalis_redis::{Config, RedisStorage};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use redis::Script;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::interval;
use tracing::{error, warn};

pub(crate) const QUEUE: &str = "emails";
/// Jobs that may wait, of up to 64 KiB each.
const MOST_WAITING: usize = 1_000;
/// Jobs that have ended and are remembered.
const MOST_ENDED: usize = 10_000;
/// Jobs that are looked at together, to be deleted from Redis.
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
        // Processes that ask at the same time may exceed it by as many jobs.
        if self.waiting().await? >= MOST_WAITING {
            return Err(Unavailable::Full);
        }
        let task = TaskBuilder::new(job).task_id(TaskId::from_string(id)).build();
        Ok(storage.clone().push_task(task).await?)
    }

    /// How many jobs wait for a worker.
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
                JobState::Failed { error: error.trim_start_matches("AbortError: ").to_owned() }
            }
            _ => JobState::Queued,
        }))
    }

    /// What a worker says of a job; Redis knows it already.
    pub(crate) fn note(&self, id: &str, state: JobState) {
        if let Self::Memory(memory) = self {
            memory.jobs.send_modify(|jobs| jobs.set(id, state));
        }
    }
}

/// A channel to the worker, and the states of jobs: the `MemoryStorage` of apalis belongs to its
/// worker, where nobody else can push, and has no bound.
#[derive(Clone)]
pub(crate) struct Memory {
    push: mpsc::Sender<Value>,
    jobs: watch::Sender<Jobs>,
}

#[derive(Default)]
struct Jobs {
    states: HashMap<String, JobState>,
    /// Those of them that have ended, the oldest first.
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

    /// Takes no more jobs, and waits for the end of those that it has.
    pub(crate) async fn drained(&self) {
        self.jobs.send_modify(|jobs| jobs.is_closed = true);
        let mut jobs = self.jobs.subscribe();
        drop(jobs.wait_for(|jobs| jobs.states.len() == jobs.ended.len()).await);
    }

    /// How many jobs have not ended.
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

/// Deletes jobs from Redis that ended more than so many seconds ago, or are too many.
///
/// It looks at samples: where a quarter of one was old there is more, as Redis does with old keys.
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

/// Why a request must come again later.
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
                // Not for clients: it may tell where Redis is.
                error!("{self}");
                "the queue is out of reach\n".to_owned()
            }
            _ => format!("{self}\n"),
        };
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], text).into_response()
    }
}

/// 128 random bits behind a word: of what looks like a number or a UUID, apalis makes another text.
pub(crate) fn random_id(word: &str) -> Result<String, getrandom::Error> {
    Ok(format!("{word}-{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?))
}
