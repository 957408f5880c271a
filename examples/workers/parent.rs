//! The process that starts the others, and does nothing else.

use std::error::Error;
use std::future::pending;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Line;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::WORKER;

/// The state of the parent.
struct Pool {
    listener: std::net::TcpListener,
    wanted: NonZeroUsize,
    /// Grows with each restart.
    version: u64,
    /// The oldest first.
    workers: Vec<Worker>,
    /// The number of workers in a row that ended soon.
    failures: u32,
    /// None is started before.
    not_before: Instant,
    events: Events,
    targets: Option<PathBuf>,
    /// The text that was written last.
    listed: String,
}

struct Worker {
    id: u32,
    version: u64,
    since: Instant,
    /// The address of its metrics, once the worker is ready.
    numbers: Option<String>,
    /// Stops the worker: a value that is sent says that others go on, a drop that none does.
    stop: Option<oneshot::Sender<()>>,
}

enum Event {
    Ready(String),
    Ended(io::Result<ExitStatus>),
}

type Events = mpsc::UnboundedSender<(u32, Event)>;

pub(crate) async fn supervise() -> Result<(), Box<dyn Error>> {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let (addr, wanted) = (variable("ADDR", "127.0.0.1:3000"), variable("WORKERS", "2"));
    let wanted = wanted.parse().map_err(|error| format!("WORKERS={wanted}: {error}"))?;
    let listener = TcpListener::bind(&addr).await.map_err(|error| format!("{addr}: {error}"))?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let id = std::process::id();
    println!("listening on http://{}, {wanted} workers of {id}", listener.local_addr()?);

    let (events, mut coming) = mpsc::unbounded_channel();
    let mut pool = Pool::new(listener.into_std()?, wanted, events);
    loop {
        while pool.step() {}
        pool.list_targets();
        tokio::select! {
            Some((id, event)) = coming.recv() => pool.heed(id, event),
            () = sleep_until(pool.not_before), if pool.lacks() => {}
            _ = hangup.recv() => pool.version += 1,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    println!("stopping");
    pool.workers.iter_mut().for_each(|worker| drop(worker.stop.take()));
    while !pool.workers.is_empty() {
        let Some((id, event)) = coming.recv().await else { break };
        pool.heed(id, event);
        pool.list_targets();
    }
    Ok(())
}

impl Pool {
    fn new(listener: std::net::TcpListener, wanted: NonZeroUsize, events: Events) -> Self {
        let targets = std::env::var_os("TARGETS").map(PathBuf::from);
        let (version, workers, failures, listed) = (0, Vec::new(), 0, String::new());
        let not_before = Instant::now();
        Self { listener, wanted, version, workers, failures, not_before, events, targets, listed }
    }

    fn staying(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| worker.stop.is_some())
    }

    fn lacks(&self) -> bool {
        self.staying().count() < self.wanted.get()
    }

    /// Does the next thing that is to be done by now; false if there is none.
    fn step(&mut self) -> bool {
        if self.lacks() {
            let is_due = Instant::now() >= self.not_before;
            if is_due {
                self.start();
            }
            return is_due;
        }
        let version = self.version;
        let has_one_more = self.staying().count() > self.wanted.get();
        let all_are_ready = self.staying().all(|worker| worker.numbers.is_some());
        let none_leaves = self.staying().count() == self.workers.len();
        let mut staying = self.workers.iter_mut().filter(|worker| worker.stop.is_some());
        let Some(old) = staying.find(|worker| worker.version < version) else { return false };
        if has_one_more && all_are_ready {
            // Where nobody listens, it has ended.
            old.stop.take().map(|stop| stop.send(()));
        } else if !has_one_more && none_leaves {
            self.start();
        } else {
            return false;
        }
        true
    }

    fn start(&mut self) {
        match self.spawn() {
            Ok(worker) => self.workers.push(worker),
            Err(error) => {
                println!("no worker can be started: {error}");
                self.failed(Duration::ZERO, true);
            }
        }
    }

    fn spawn(&self) -> io::Result<Worker> {
        let (ours, its) = Line::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        // All workers together have a thread for each CPU.
        let threads = std::thread::available_parallelism()?.get().div_ceil(self.wanted.get());
        // By its name: where that is a link, it may lead to a new version by now.
        let process = Command::new(std::env::args_os().next().unwrap_or_default())
            .arg(WORKER)
            .env("TOKIO_WORKER_THREADS", threads.to_string())
            .stdin(OwnedFd::from(self.listener.try_clone()?))
            .stdout(OwnedFd::from(its))
            // Ctrl-C is for the parent.
            .process_group(0)
            .spawn()?;
        let id = process.id().unwrap_or_default();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(attend(id, process, ours, stopped, self.events.clone()));
        let (version, since) = (self.version, Instant::now());
        Ok(Worker { id, version, since, numbers: None, stop: Some(stop) })
    }

    fn heed(&mut self, id: u32, event: Event) {
        let Some(at) = self.workers.iter().position(|worker| worker.id == id) else { return };
        match event {
            Event::Ready(numbers) => {
                println!("worker {id} is ready, its numbers are on http://{numbers}/metrics");
                self.workers[at].numbers = Some(numbers);
            }
            Event::Ended(how) => {
                let worker = self.workers.remove(at);
                let how = how.map_or_else(|error| error.to_string(), |status| status.to_string());
                if worker.stop.is_none() {
                    return println!("worker {id} has stopped: {how}");
                }
                println!("worker {id} has ended: {how}");
                let is_new = worker.numbers.is_none() && worker.version == self.version;
                self.failed(worker.since.elapsed(), is_new);
            }
        }
    }

    /// Puts off the next start, and gives a restart up whose worker has not become ready.
    fn failed(&mut self, lived: Duration, is_new: bool) {
        let now = Instant::now();
        // Those that end together count once.
        if now >= self.not_before {
            self.failures = if lived < STEADY { self.failures.saturating_add(1) } else { 1 };
            let factor = 2_u32.saturating_pow(self.failures - 1);
            self.not_before = now + FIRST_DELAY.saturating_mul(factor).min(LAST_DELAY);
        }
        if self.lacks() {
            let delay = self.not_before.saturating_duration_since(now).as_millis();
            println!("another one starts in {delay} ms");
        } else if is_new {
            println!("the restart is given up");
            self.workers.iter_mut().for_each(|worker| worker.version = self.version);
        }
    }

    /// Writes the targets of Prometheus, which reads the file again when it changes.
    fn list_targets(&mut self) {
        let Some(file) = &self.targets else { return };
        let targets = self.workers.iter().filter_map(|worker| worker.numbers.as_deref());
        let list = serde_json::json!([{ "targets": targets.collect::<Vec<_>>() }]).to_string();
        if list == self.listed {
            return;
        }
        // It is never there in part.
        let new = file.with_extension("new");
        match std::fs::write(&new, &list).and_then(|()| std::fs::rename(&new, file)) {
            Ok(()) => self.listed = list,
            Err(error) => println!("{}: {error}", file.display()),
        }
    }
}

/// Reports the end of a process, and kills the process if it does not start or stop in time.
async fn attend(
    id: u32,
    mut process: Child,
    line: UnixStream,
    stop: oneshot::Receiver<()>,
    events: Events,
) {
    // Nobody listens any more where the parent is about to end.
    let tell = |event| drop(events.send((id, event)));
    let (says, mut hears) = line.into_split();
    let late_to_start = async {
        let mut lines = BufReader::new(says).lines();
        let first = async {
            match lines.next_line().await {
                Ok(Some(numbers)) => numbers,
                // It is about to end.
                _ => pending().await,
            }
        };
        let Ok(numbers) = timeout(START, first).await else { return };
        tell(Event::Ready(numbers));
        while let Ok(Some(line)) = lines.next_line().await {
            println!("worker {id}: {line}");
        }
        pending::<()>().await;
    };
    let late_to_stop = async {
        if stop.await.is_ok() {
            // Where it fails, the worker has ended.
            drop(hears.write_all(b".").await);
        }
        drop(hears);
        sleep(STOP).await;
    };
    let ended = tokio::select! {
        ended = process.wait() => Some(ended),
        () = late_to_start => None,
        () = late_to_stop => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // It fails where the process has ended, which the wait tells.
            drop(process.start_kill());
            process.wait().await
        }
    };
    tell(Event::Ended(ended));
}

/// The timeout for a worker to become ready.
const START: Duration = Duration::from_secs(10);

/// The timeout for a worker to stop: longer than the worker gives its requests.
const STOP: Duration = Duration::from_secs(15);

/// The lifetime after which a worker has not ended soon.
const STEADY: Duration = Duration::from_secs(10);

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(10);
