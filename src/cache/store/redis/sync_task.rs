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
use super::client::{Client, CommandError, Event, Events};
use super::fills::{Fills, LateFill};
use super::purge_log::{PurgeLogClient, Written};
use super::purge_queue::Pending;
use super::renewal::Renewal;
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
    renewal: Renewal,
    fills: Fills,
    /// Those who wait for a purge to be written.
    waiting: Vec<(PurgeTarget, oneshot::Sender<Stamp>)>,
}

/// The reason why the task stops to use a client.
enum Stop {
    /// No store and no layer is left.
    Unused,
    /// The client got no reply for too long.
    Stuck,
    /// The client has given up by itself.
    Ended,
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
        let started = backend.client().is_borrowed();
        let next_exchange = if started { timer_now() } else { timer_now() + INTERVAL };
        let renewal = Renewal::new(timer_now());
        Self {
            backend,
            purges,
            queue,
            log,
            last_synced: None,
            unsubscribed: false,
            started,
            next_exchange,
            renewal,
            fills,
            waiting: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let backend = Arc::clone(&self.backend);
        tokio::select! {
            () = backend.remove_cleared() => {}
            () = self.serve() => {}
        }
    }

    /// Uses one client after the other. What is queued for the log stays queued meanwhile.
    async fn serve(&mut self) {
        loop {
            let client = self.backend.client();
            // Before the client connects: no event is missed.
            let mut events = client.events();
            let stop = tokio::select! {
                () = client.keep_connected() => Stop::Ended,
                stop = self.use_client(&client, &mut events) => stop,
            };
            match stop {
                Stop::Unused => return,
                Stop::Stuck => {}
                Stop::Ended => sleep_until(self.renewal.earliest()).await,
            }
            self.backend.replace_client();
            self.renewal.replaced(timer_now());
            self.unsubscribed = false;
            // The new client tells when it has connected.
            self.started = false;
            self.next_exchange = timer_now() + INTERVAL;
        }
    }

    async fn use_client(&mut self, client: &Client, events: &mut Events) -> Stop {
        let stop = self.sync(client, events).await;
        // The last purges of a store that was dropped are for the other processes.
        if matches!(stop, Stop::Unused) && self.log.is_pending() {
            let (none, clock) = (Purges::default(), &self.backend.config.clock);
            let mut written = Written::new();
            drop(self.log.exchange(client, &none, clock, &mut written).await);
        }
        stop
    }

    async fn sync(&mut self, client: &Client, events: &mut Events) -> Stop {
        loop {
            self.update_trust();
            if self.renewal.is_due(timer_now()) {
                return Stop::Stuck;
            }
            let wake = self.wake();
            tokio::select! {
                pending = self.queue.recv() => {
                    let Some(pending) = pending else { return Stop::Unused };
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
            let Some(purges) = self.purges.upgrade() else { return Stop::Unused };
            let mut replied = true;
            // The subscription comes first: no purge between it and the exchange is missed.
            if self.unsubscribed {
                let subscribed = client.subscribe(self.log.channel()).await;
                replied = is_reply(&subscribed);
                self.unsubscribed = self.backend.record_result(subscribed).is_err();
            }
            if self.exchange(client, &purges).await && replied {
                self.renewal.replied(timer_now());
            } else {
                self.renewal.failed();
            }
        }
    }

    fn take(&mut self, pending: Pending) {
        self.waiting.push((pending.purge.target.clone(), pending.written));
        self.log.add(pending.purge);
    }

    /// Exchanges purges with the log. Returns `true` if the client got a reply.
    async fn exchange(&mut self, client: &Client, purges: &Arc<Purges>) -> bool {
        let start = timer_now();
        let backend = Arc::clone(&self.backend);
        let round = self.fills.begin_round();
        let mut written = Written::new();
        let clock = &backend.config.clock;
        let exchanged = self.log.exchange(client, purges, clock, &mut written).await;
        let replied = is_reply(&exchanged);
        match exchanged {
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
        replied
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

/// Returns `true` if a client got a reply, be it a refusal.
fn is_reply<T>(result: &Result<T, CommandError>) -> bool {
    result.as_ref().err().is_none_or(|error| !error.is_of_client())
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
