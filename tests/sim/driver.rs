//! The scheduler: it polls futures of clients in an order that a seed chooses, and drops some.

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use tokio::time::{Duration, sleep};

use crate::chance::Chance;

/// Futures that are under way. Only those that were woken are polled: a lost wakeup shows.
pub(crate) struct Driver<T> {
    running: Vec<Option<Running<T>>>,
    woken: Arc<Woken>,
    pauses: Arc<Pauses>,
    ended: VecDeque<Ended<T>>,
    open: usize,
}

struct Running<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    waker: Waker,
    /// It is dropped after so many polls.
    polls_left: Option<u64>,
    /// It waits for a lease, and for random times in between.
    is_pausing: bool,
}

/// The pauses between two attempts to get a lease.
///
/// The cache draws their length from a generator that no seed repeats. A future that wakes from such a
/// pause is polled at once and draws no number, and then waits in the store for a time that the seed
/// decides. So nothing of the story depends on the length of the pause.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<Option<bool>>);

/// The numbers of the futures that were woken.
#[derive(Debug, Default)]
struct Woken {
    numbers: Mutex<BTreeSet<usize>>,
    driver: Mutex<Option<Waker>>,
}

struct One(usize, Arc<Woken>);

/// The end of a future.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    Done(T),
    Dropped,
}

impl Pauses {
    /// Notes that the future that is polled was denied a lease, or has it.
    pub(crate) fn note(&self, is_pausing: bool) {
        *self.0.lock().unwrap() = Some(is_pausing);
    }

    fn take(&self) -> Option<bool> {
        self.0.lock().unwrap().take()
    }
}

impl<T> Driver<T> {
    pub(crate) fn new(pauses: &Arc<Pauses>) -> Self {
        let (running, ended) = (Vec::new(), VecDeque::new());
        Self { running, woken: Arc::default(), pauses: Arc::clone(pauses), ended, open: 0 }
    }

    pub(crate) fn open(&self) -> usize {
        self.open
    }

    pub(crate) fn start(&mut self, future: impl Future<Output = T> + 'static, polls: Option<u64>) {
        let number = self.running.len();
        let waker = Waker::from(Arc::new(One(number, Arc::clone(&self.woken))));
        let future = Box::pin(future);
        self.running.push(Some(Running { future, waker, polls_left: polls, is_pausing: false }));
        self.woken.numbers.lock().unwrap().insert(number);
        self.open += 1;
    }

    /// Polls one of the futures that were woken. Returns `None` if there is none, or if it goes on.
    pub(crate) fn poll_one(&mut self, chance: &mut Chance) -> Option<Ended<T>> {
        self.end_pauses();
        if let Some(ended) = self.ended.pop_front() {
            return Some(ended);
        }
        let number = {
            let numbers = self.woken.numbers.lock().unwrap();
            if numbers.is_empty() {
                return None;
            }
            let at = chance.among(0..numbers.len() as u64) as usize;
            *numbers.iter().nth(at)?
        };
        let running = self.running[number].as_mut();
        let is_left = running.is_some_and(|running| {
            let left = running.polls_left.map(|left| left.checked_sub(1));
            running.polls_left = left.flatten();
            left == Some(None)
        });
        if is_left {
            self.woken.numbers.lock().unwrap().remove(&number);
            self.running[number] = None;
            self.open -= 1;
            return Some(Ended::Dropped);
        }
        self.poll(number);
        self.ended.pop_front()
    }

    /// Returns `true` if a future was woken.
    pub(crate) fn has_woken(&mut self) -> bool {
        self.end_pauses();
        !self.ended.is_empty() || !self.woken.numbers.lock().unwrap().is_empty()
    }

    /// Drops one of the futures, wherever it waits.
    pub(crate) fn drop_one(&mut self, chance: &mut Chance) {
        let open = self.running.iter().enumerate().filter(|(_, running)| running.is_some());
        let open: Vec<_> = open.map(|(number, _)| number).collect();
        if !open.is_empty() {
            let number = open[chance.among(0..open.len() as u64) as usize];
            self.running[number] = None;
            self.open -= 1;
        }
    }

    /// Waits until a future is woken, or for a time.
    pub(crate) async fn wait(&mut self, time: Duration) {
        let mut sleep = Box::pin(sleep(time));
        poll_fn(|cx| {
            *self.woken.driver.lock().unwrap() = Some(cx.waker().clone());
            if self.has_woken() { Poll::Ready(()) } else { sleep.as_mut().poll(cx) }
        })
        .await;
    }

    /// Polls the futures whose pause is over.
    fn end_pauses(&mut self) {
        let numbers: Vec<_> = {
            let mut numbers = self.woken.numbers.lock().unwrap();
            numbers.retain(|number| self.running[*number].is_some());
            let is_pausing = |number: &&usize| {
                self.running[**number].as_ref().is_some_and(|running| running.is_pausing)
            };
            numbers.iter().filter(is_pausing).copied().collect()
        };
        numbers.into_iter().for_each(|number| self.poll(number));
    }

    fn poll(&mut self, number: usize) {
        self.woken.numbers.lock().unwrap().remove(&number);
        let Some(running) = self.running[number].as_mut() else { return };
        let polled = running.future.as_mut().poll(&mut Context::from_waker(&running.waker));
        running.is_pausing = self.pauses.take().unwrap_or(running.is_pausing);
        if let Poll::Ready(done) = polled {
            self.running[number] = None;
            self.open -= 1;
            self.ended.push_back(Ended::Done(done));
        }
    }
}

impl Wake for One {
    fn wake(self: Arc<Self>) {
        self.1.numbers.lock().unwrap().insert(self.0);
        let driver = self.1.driver.lock().unwrap().take();
        driver.into_iter().for_each(Waker::wake);
    }
}

/// Lets one background task run.
pub(crate) async fn let_others_run() {
    let mut is_first = true;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_first, false) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
