//! What keeps this process in step with the others, in the background.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::super::purge::{Log, Name, Purges};
use super::super::super::shared::Clock;
use super::super::api::StoreError;
use super::client::{News, Novelty};
use super::store::State;
use super::sync::Sync;

/// Where purges go that are to be written down.
pub(super) struct Outbox {
    pub(super) letters: UnboundedSender<Letter>,
    /// How long somebody waits to be told.
    pub(super) budget: Duration,
}

pub(super) struct Letter {
    /// None for all.
    name: Option<Name>,
    told: oneshot::Sender<Result<(), StoreError>>,
}

/// The task's own.
pub(super) struct Keeper {
    pub(super) state: Arc<State>,
    /// When the last layer and the last store are dropped, it ends.
    pub(super) purges: Weak<Purges>,
    pub(super) letters: UnboundedReceiver<Letter>,
    pub(super) sync: Sync,
    pub(super) unheard: Duration,
    /// When it was last known what was purged, in milliseconds since 1970.
    pub(super) heard: Option<u64>,
    /// Whether messages do not come before they are asked for again.
    pub(super) deaf: bool,
    pub(super) next: Instant,
}

impl Outbox {
    pub(super) fn send(
        &self,
        name: Option<Name>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (told, telling) = oneshot::channel();
        let sent = self.letters.send(Letter { name, told });
        let budget = self.budget;
        async move {
            sent.map_err(|_| StoreError::new("the store is closed"))?;
            match timeout(budget, telling).await {
                Ok(Ok(told)) => told,
                _ => Err(StoreError::new("Redis was not told in time, but will be")),
            }
        }
    }
}

impl Log for Outbox {
    fn write(&self, name: Name) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        Box::pin(self.send(Some(name)))
    }
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let state = Arc::clone(&self.state);
        let mut news = state.client.news();
        tokio::select! {
            () = state.client.keep_connected() => {}
            () = self.keep_in_step(&mut news) => {}
        }
        state.client.quit().await;
    }

    async fn keep_in_step(&mut self, news: &mut News) {
        loop {
            let mut told = Vec::new();
            self.judge();
            let wake = self.wake();
            tokio::select! {
                letter = self.letters.recv() => {
                    let Some(letter) = letter else { return };
                    self.take(letter, &mut told);
                    while let Ok(letter) = self.letters.try_recv() {
                        self.take(letter, &mut told);
                    }
                }
                novelty = news.next() => {
                    match novelty {
                        Novelty::Message(stamp) if self.sync.knows(stamp) => continue,
                        Novelty::Message(_) => {}
                        Novelty::Trouble(failure) => {
                            self.state.trouble.of_connection(&failure);
                            continue;
                        }
                        Novelty::Connected | Novelty::Gap => self.next = clock(),
                        Novelty::Deaf => {
                            self.deaf = true;
                            self.next = clock();
                        }
                    }
                }
                () = self.state.opened.notified() => {
                    self.next = clock() + PAUSE;
                    continue;
                }
                () = sleep_until(wake) => {
                    if clock() < self.next {
                        continue;
                    }
                }
            }
            // While it is not heard of, one probe in a while is enough.
            if self.state.breaker.is_open() && clock() < self.next {
                tell(told, Some("Redis is away, and will be told"));
                continue;
            }
            let Some(purges) = self.purges.upgrade() else { return };
            // Whoever hears of news before it reads them misses none.
            if self.deaf {
                let subscribed = self.state.client.subscribe(self.sync.channel()).await;
                self.deaf = self.state.heard(subscribed).is_err();
            }
            self.exchange(&purges, told).await;
        }
    }

    fn take(&mut self, letter: Letter, told: &mut Vec<oneshot::Sender<Result<(), StoreError>>>) {
        self.sync.note(letter.name);
        told.push(letter.told);
    }

    async fn exchange(
        &mut self,
        purges: &Purges,
        told: Vec<oneshot::Sender<Result<(), StoreError>>>,
    ) {
        let began = Clock::default().now();
        let client = &self.state.client;
        let (mut exchanged, mut problem) = (self.sync.exchange(client, purges).await, None);
        if let Err(failure) = &exchanged {
            problem = Some("Redis was not told, but will be");
            // One that has no room left can be read still.
            if self.sync.is_pending() && !failure.is_outage() {
                self.state.refused(failure);
                exchanged = self.sync.read(client, purges, Vec::new()).await;
            }
        }
        match exchanged {
            Ok(flushed) => {
                self.heard = Some(began);
                self.state.in_step(flushed, problem.is_none());
            }
            Err(failure) => self.state.out_of_step(&failure),
        }
        tell(told, problem);
        self.next = clock() + PAUSE;
    }

    /// What is trusted, as long as nothing is heard.
    fn judge(&self) {
        let Some(purges) = self.purges.upgrade() else { return };
        let now = Clock::default().now();
        let unheard = u64::try_from(self.unheard.as_millis()).unwrap_or(u64::MAX);
        let since = now.saturating_sub(unheard);
        purges.trust_from(if self.state.is_in_step() || self.heard.is_some_and(|at| at > since) {
            0
        } else if unheard == 0 {
            u64::MAX
        } else {
            since
        });
    }

    fn wake(&self) -> Instant {
        if self.state.is_in_step() { self.next } else { self.next.min(clock() + PAUSE / 4) }
    }
}

fn tell(told: Vec<oneshot::Sender<Result<(), StoreError>>>, problem: Option<&'static str>) {
    for told in told {
        // Whoever does not wait any more need not know.
        drop(told.send(problem.map_or(Ok(()), |problem| Err(StoreError::new(problem)))));
    }
}

#[expect(clippy::disallowed_methods, reason = "a task that waits reads the timer's clock")]
pub(super) fn clock() -> Instant {
    Instant::now()
}

/// Between two looks into the log, and between two probes of a Redis that is away: longer than it
/// takes to see that a connection does not answer.
const PAUSE: Duration = Duration::from_secs(1);
