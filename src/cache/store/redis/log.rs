//! What keeps this process in step with the others, in the background.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::super::clock::Clock;
use super::super::super::policy::date::in_millis;
use super::super::super::purge::{Log, Own, PurgeFuture, Purges};
use super::super::api::StoreError;
use super::client::{News, Novelty};
use super::store::State;
use super::sync::Sync;
use crate::clock;

/// Where purges go that are to be written down.
#[derive(Clone)]
pub(super) struct Outbox {
    pub(super) letters: UnboundedSender<Letter>,
    pub(super) state: Arc<State>,
}

pub(super) struct Letter {
    own: Own,
    /// Whether it was written down.
    told: oneshot::Sender<bool>,
}

/// The task's own.
pub(super) struct Keeper {
    pub(super) state: Arc<State>,
    /// When the last layer and the last store are dropped, it ends.
    pub(super) purges: Weak<Purges>,
    pub(super) letters: UnboundedReceiver<Letter>,
    pub(super) sync: Sync,
    pub(super) unheard: Duration,
    /// When it was last known what was purged.
    pub(super) heard: Option<Instant>,
    /// Whether messages do not come before they are asked for again.
    pub(super) deaf: bool,
    pub(super) next: Instant,
}

impl Outbox {
    pub(super) fn send(
        &self,
        own: Own,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (told, telling) = oneshot::channel();
        let sent = self.letters.send(Letter { own, told });
        let state = Arc::clone(&self.state);
        async move {
            sent.map_err(|_| StoreError::new("the store is closed"))?;
            if state.breaker.is_open() {
                return Err(StoreError::later(LATER));
            }
            match timeout(state.config.budget, telling).await {
                Ok(Ok(true)) => Ok(()),
                _ => Err(StoreError::later(LATER)),
            }
        }
    }
}

impl Log for Outbox {
    fn write(&self, own: Own) -> PurgeFuture {
        PurgeFuture(Box::pin(self.send(own)))
    }
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let state = Arc::clone(&self.state);
        let mut news = state.client.news();
        let keeping = async {
            self.keep_in_step(&mut news).await;
            // The log outlives those who are dropped.
            if self.sync.is_pending() {
                drop(self.sync.exchange(&state.client, &Purges::default()).await);
            }
        };
        tokio::select! {
            () = state.client.keep_connected() => {}
            () = keeping => {}
        }
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
                        // Whether it is of use still is told by a look.
                        Novelty::Trouble(failure) => {
                            self.state.trouble.of_connection(&failure);
                            self.next = clock::timer_now();
                        }
                        Novelty::Connected | Novelty::Gap => self.next = clock::timer_now(),
                        Novelty::Deaf => {
                            self.deaf = true;
                            self.next = clock::timer_now();
                        }
                    }
                }
                () = self.state.opened.notified() => {
                    self.state.lose_step();
                    self.next = clock::timer_now() + PAUSE;
                    continue;
                }
                () = sleep_until(wake) => {
                    if clock::timer_now() < self.next {
                        continue;
                    }
                }
            }
            // While it is not heard of, one probe in a while is enough.
            if self.state.breaker.is_open() && clock::timer_now() < self.next {
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

    fn take(&mut self, letter: Letter, told: &mut Vec<oneshot::Sender<bool>>) {
        self.sync.note(letter.own);
        told.push(letter.told);
    }

    async fn exchange(&mut self, purges: &Purges, told: Vec<oneshot::Sender<bool>>) {
        let began = clock::timer_now();
        let exchanged = self.sync.exchange(&self.state.client, purges).await;
        let done = exchanged.is_ok();
        match exchanged {
            Ok(flushed) => {
                self.heard = Some(began);
                self.state.synced(flushed);
            }
            Err(failure) => self.state.out_of_step(&failure),
        }
        for told in told {
            // Whoever does not wait any more need not know.
            let _ = told.send(done);
        }
        self.next = clock::timer_now() + PAUSE;
    }

    /// What is trusted, as long as nothing is heard.
    fn judge(&self) {
        let Some(purges) = self.purges.upgrade() else { return };
        let heard = self.heard.is_some_and(|heard| heard.elapsed() < self.unheard);
        purges.trust_from(if self.state.is_in_step() || heard {
            0
        } else if self.unheard.is_zero() {
            u64::MAX
        } else {
            Clock::default().now().saturating_sub(in_millis(self.unheard))
        });
    }

    fn wake(&self) -> Instant {
        if self.state.is_in_step() {
            self.next
        } else {
            self.next.min(clock::timer_now() + PAUSE / 4)
        }
    }
}

impl Drop for Keeper {
    /// It may be dropped with its runtime, which others outlive.
    fn drop(&mut self) {
        if let Some(purges) = self.purges.upgrade() {
            purges.trust_from(u64::MAX);
        }
        self.state.lose_step();
        self.state.breaker.open();
    }
}

/// Between two looks into the log, and between two probes of a Redis that is away: longer than it
/// takes to see that a connection does not answer.
const PAUSE: Duration = Duration::from_secs(1);

const LATER: &str = "other processes will be told when Redis answers";
