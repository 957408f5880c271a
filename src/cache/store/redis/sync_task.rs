use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::super::super::policy::date::in_millis;
use super::super::super::purge::list::Purges;
use super::backend::Backend;
use super::client::{Event, Events};
use super::purge_log::PurgeLogClient;
use super::purge_queue::Pending;
use crate::clock::timer_now;

/// The background task of a store. It writes the purges of this process to the log, reads those of
/// other processes, and probes a Redis that does not respond.
pub(super) struct SyncTask {
    backend: Arc<Backend>,
    /// The task ends when the last layer and the last store are dropped.
    purges: Weak<Purges>,
    queue: UnboundedReceiver<Pending>,
    log: PurgeLogClient,
    /// The start of the last exchange with the log that succeeded.
    last_synced: Option<Instant>,
    /// The connection for messages has no subscription.
    unsubscribed: bool,
    next_exchange: Instant,
}

impl SyncTask {
    pub(super) fn new(
        backend: Arc<Backend>,
        purges: Weak<Purges>,
        queue: UnboundedReceiver<Pending>,
    ) -> Self {
        let log = PurgeLogClient::new(&backend.config.prefix, backend.config.max_ttl);
        let next_exchange = timer_now();
        Self { backend, purges, queue, log, last_synced: None, unsubscribed: false, next_exchange }
    }

    pub(super) async fn run(mut self) {
        let backend = Arc::clone(&self.backend);
        let mut events = backend.client.events();
        let syncing = async {
            self.sync(&mut events).await;
            // The last purges of a store that was dropped are for the other processes.
            if self.log.is_pending() {
                let none = Purges::default();
                drop(self.log.exchange(&backend.client, &none, &backend.config.clock).await);
            }
        };
        tokio::select! {
            () = backend.client.keep_connected() => {}
            () = backend.remove_cleared() => {}
            () = syncing => {}
        }
    }

    async fn sync(&mut self, events: &mut Events) {
        loop {
            let mut written = Vec::new();
            self.update_trust();
            let wake = self.wake();
            tokio::select! {
                pending = self.queue.recv() => {
                    let Some(pending) = pending else { return };
                    self.take(pending, &mut written);
                    while let Ok(pending) = self.queue.try_recv() {
                        self.take(pending, &mut written);
                    }
                }
                event = events.next() => {
                    match event {
                        Event::Purged(stamp) if self.log.knows(stamp) => continue,
                        Event::Purged(_) => {}
                        // The next exchange shows whether Redis still responds.
                        Event::Failed(error) => {
                            self.backend.last_error.set_connection(&error);
                            self.next_exchange = timer_now();
                        }
                        Event::Connected | Event::Lagged => self.next_exchange = timer_now(),
                        Event::Unsubscribed => {
                            self.unsubscribed = true;
                            self.next_exchange = timer_now();
                        }
                    }
                }
                () = self.backend.breaker_opened.notified() => {
                    self.backend.set_unsynced();
                    self.next_exchange = timer_now() + INTERVAL;
                    continue;
                }
                () = sleep_until(wake) => {
                    if timer_now() < self.next_exchange {
                        continue;
                    }
                }
            }
            // A Redis that does not respond is probed once in an interval.
            if self.backend.breaker.is_open() && timer_now() < self.next_exchange {
                continue;
            }
            let Some(purges) = self.purges.upgrade() else { return };
            // The subscription comes first: no purge between it and the exchange is missed.
            if self.unsubscribed {
                let subscribed = self.backend.client.subscribe(self.log.channel()).await;
                self.unsubscribed = self.backend.record_result(subscribed).is_err();
            }
            self.exchange(&purges, written).await;
        }
    }

    fn take(&mut self, pending: Pending, written: &mut Vec<oneshot::Sender<bool>>) {
        self.log.add(pending.purge);
        written.push(pending.written);
    }

    async fn exchange(&mut self, purges: &Purges, written: Vec<oneshot::Sender<bool>>) {
        let start = timer_now();
        let backend = &self.backend;
        let exchanged = self.log.exchange(&backend.client, purges, &backend.config.clock).await;
        let succeeded = exchanged.is_ok();
        match exchanged {
            Ok(exchanged) => {
                self.last_synced = Some(start);
                backend.set_synced(exchanged);
            }
            Err(error) => backend.sync_failed(&error),
        }
        for written in written {
            // The receiver may have stopped waiting.
            let _ = written.send(succeeded);
        }
        self.next_exchange = timer_now() + INTERVAL;
    }

    /// Limits the age of the entries that are used while purges by others may be missed. A hit then
    /// compares two numbers, and reads no clock.
    fn update_trust(&self) {
        let Some(purges) = self.purges.upgrade() else { return };
        let config = &self.backend.config;
        let is_recent = self.last_synced.is_some_and(|at| at.elapsed() < config.offline_ttl);
        purges.trust_from(if self.backend.is_synced() || is_recent {
            0
        } else if config.offline_ttl.is_zero() {
            u64::MAX
        } else {
            config.clock.now().saturating_sub(in_millis(config.offline_ttl))
        });
    }

    fn wake(&self) -> Instant {
        if self.backend.is_synced() {
            self.next_exchange
        } else {
            self.next_exchange.min(timer_now() + INTERVAL / 4)
        }
    }
}

impl Drop for SyncTask {
    /// Stops the use of entries: stores and layers may outlive the runtime of the task.
    fn drop(&mut self) {
        if let Some(purges) = self.purges.upgrade() {
            purges.trust_from(u64::MAX);
        }
        self.backend.set_unsynced();
        self.backend.breaker.open();
    }
}

/// The time between two exchanges with the log, and between two probes: longer than it takes to
/// notice that a connection does not respond.
const INTERVAL: Duration = Duration::from_secs(1);
