use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::super::policy::date::in_millis;
use super::super::super::purge::Stamp;
use super::super::super::purge::list::Purges;
use super::super::super::purge::table::PurgeTarget;
use super::super::super::task::spawn;
use super::backend::Backend;
use super::client::{Event, Events};
use super::fills::{Fills, LateFill};
use super::purge_log::{PurgeLogClient, Written};
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
    /// A connection for commands was made, or could not be made.
    started: bool,
    next_exchange: Instant,
    fills: Fills,
    /// Those who wait for a purge to be written.
    waiting: Vec<(PurgeTarget, oneshot::Sender<Stamp>)>,
}

impl SyncTask {
    pub(super) fn new(
        backend: Arc<Backend>,
        purges: Weak<Purges>,
        queue: UnboundedReceiver<Pending>,
        fills: Fills,
    ) -> Self {
        let log = PurgeLogClient::new(&backend.config.prefix, backend.config.max_ttl);
        // The connections of a user may be there already. Others tell when they are made, and a command
        // before that would fail with a healthy Redis.
        let started = backend.client.is_borrowed();
        let next_exchange = if started { timer_now() } else { timer_now() + INTERVAL };
        Self {
            backend,
            purges,
            queue,
            log,
            last_synced: None,
            unsubscribed: false,
            started,
            next_exchange,
            fills,
            waiting: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let backend = Arc::clone(&self.backend);
        let mut events = backend.client.events();
        let syncing = async {
            self.sync(&mut events).await;
            // The last purges of a store that was dropped are for the other processes.
            if self.log.is_pending() {
                let (none, clock) = (Purges::default(), &backend.config.clock);
                let mut written = Written::new();
                drop(self.log.exchange(&backend.client, &none, clock, &mut written).await);
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
            self.update_trust();
            let wake = self.wake();
            tokio::select! {
                pending = self.queue.recv() => {
                    let Some(pending) = pending else { return };
                    self.take(pending);
                    while let Ok(pending) = self.queue.try_recv() {
                        self.take(pending);
                    }
                }
                event = events.next() => {
                    match event {
                        Event::Purged(stamp) if self.log.knows(stamp) => continue,
                        Event::Purged(_) => {}
                        // The next exchange shows whether Redis still responds.
                        Event::Failed(error) => {
                            self.backend.last_error.set_connection(&error);
                            self.started = true;
                            self.next_exchange = timer_now();
                        }
                        Event::Connected | Event::Lagged => {
                            self.started = true;
                            self.next_exchange = timer_now();
                        }
                        Event::Unsubscribed => {
                            self.unsubscribed = true;
                            if self.started {
                                self.next_exchange = timer_now();
                            }
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
                    self.started = true;
                }
            }
            if !self.started {
                continue;
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
            self.exchange(&purges).await;
        }
    }

    fn take(&mut self, pending: Pending) {
        self.waiting.push((pending.purge.target.clone(), pending.written));
        self.log.add(pending.purge);
    }

    async fn exchange(&mut self, purges: &Arc<Purges>) {
        let start = timer_now();
        let backend = Arc::clone(&self.backend);
        let round = self.fills.begin_round();
        let mut written = Written::new();
        let clock = &backend.config.clock;
        match self.log.exchange(&backend.client, purges, clock, &mut written).await {
            Ok(exchanged) => {
                self.last_synced = Some(start);
                backend.set_synced(exchanged);
                self.answer(&written);
                let late = self.fills.confirm(round, |name, at| purges.is_removed(name, at));
                if !late.is_empty() {
                    spawn(remove_late(backend, Arc::downgrade(purges), late));
                }
            }
            Err(error) => {
                backend.sync_failed(&error);
                // A caller that has stopped waiting leaves its purge in the log's own table.
                self.waiting.retain(|(_, written)| !written.is_closed());
            }
        }
        self.next_exchange = timer_now() + INTERVAL;
    }

    /// Tells the callers that wait of the stamps that were written.
    fn answer(&mut self, written: &Written) {
        // One purge of everything may have taken the place of many others.
        let all = written.get(&PurgeTarget::ALL);
        for (target, waiting) in self.waiting.drain(..) {
            if let Some(stamp) = written.get(&target).or(all) {
                // The receiver may have stopped waiting.
                let _ = waiting.send(*stamp);
            }
        }
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

/// Removes entries that came into Redis after their names had been removed there. The name of one that
/// cannot be removed is purged for as long as entries live.
async fn remove_late(backend: Arc<Backend>, purges: Weak<Purges>, late: Vec<LateFill>) {
    for LateFill { name, key, watermark } in late {
        let mut removed = backend.remove_older(&key, watermark).await;
        // A purge would also hit what was stored since.
        for _ in 0..REMOVE_RETRIES {
            if removed.is_ok() {
                break;
            }
            sleep(INTERVAL).await;
            removed = backend.remove_older(&key, watermark).await;
        }
        let Some(purges) = purges.upgrade() else { return };
        if removed.is_err() {
            drop(purges.purge_hash(name, backend.config.clock.now()));
        }
    }
}

/// The number of times that the removal of an entry is tried again.
const REMOVE_RETRIES: u32 = 5;

/// The time between two exchanges with the log, and between two probes: longer than it takes to
/// notice that a connection does not respond.
const INTERVAL: Duration = Duration::from_secs(1);
