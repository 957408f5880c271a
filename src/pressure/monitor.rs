use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use metrics::{Gauge, Label, Unit};
use tokio::time::Instant;

use super::event::PressureEvent;
use super::memory::{MemorySource, MemoryUsage};
use super::policy::{Level, LevelChange, PressureState, Rules};
use super::rejection::REASONS;
use crate::clock;
use crate::error_response::count_rejected;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// Reads memory at most once per interval, and publishes the result for requests.
///
/// Points in time are nanoseconds since `start`, so that they fit into atomics. The atomics need no
/// ordering among themselves: a request that sees some of them late is shed or admitted a moment
/// later.
#[derive(Debug)]
pub(super) struct Monitor {
    pub(super) settings: MonitorSettings,
    start: Instant,
    /// The time of the next reading.
    next_read: AtomicU64,
    /// The ends of the shedding phase, for requests of low and of normal priority. Each end holds
    /// even if no later reading succeeds, so shedding cannot outlast its phase.
    shed_low_until: AtomicU64,
    shed_normal_until: AtomicU64,
    /// The [`Level`] of the last reading, in shedding and admitting phases alike.
    level: AtomicU8,
    last: Mutex<LastReading>,
}

#[derive(Clone, Debug)]
pub(super) struct MonitorSettings {
    pub(super) rules: Rules,
    pub(super) interval: Duration,
    /// The limit that the user set, in bytes.
    pub(super) memory_limit: Option<u64>,
    pub(super) source: MemorySource,
    pub(super) callbacks: Vec<Callback>,
    pub(super) metrics: Metrics,
}

#[derive(Clone)]
pub(super) struct Callback(pub(super) Arc<dyn Fn(&PressureEvent) + Send + Sync>);

#[derive(Debug, Default)]
struct LastReading {
    state: PressureState,
    usage: Option<MemoryUsage>,
    failures: u64,
    counters_registered: bool,
    gauge: Option<RefreshingHandle<Gauge>>,
}

impl Monitor {
    pub(super) fn new(settings: MonitorSettings) -> Self {
        Self {
            settings,
            start: clock::timer_now(),
            next_read: AtomicU64::new(0),
            shed_low_until: AtomicU64::new(0),
            shed_normal_until: AtomicU64::new(0),
            level: AtomicU8::new(Level::Normal as u8),
            last: Mutex::default(),
        }
    }

    /// Returns the level at which requests are shed now: `Normal` outside of shedding phases. Reads
    /// memory first if a reading is due.
    #[inline]
    pub(super) fn shedding_level(&self) -> Level {
        let now = self.now();
        self.poll_memory(now);
        if now >= self.shed_low_until.load(Ordering::Relaxed) {
            return Level::Normal;
        }
        // `shed_normal_until` is never later: the critical level sheds low priority too.
        let sheds_normal = now < self.shed_normal_until.load(Ordering::Relaxed);
        if sheds_normal { Level::Critical } else { Level::High }
    }

    /// Returns the level of the last reading. Reads memory first if a reading is due.
    pub(super) fn level(&self) -> Level {
        self.poll_memory(self.now());
        Level::from_discriminant(self.level.load(Ordering::Relaxed))
    }

    /// Reads memory whenever a reading is due; never returns.
    pub(super) async fn watch(&self) {
        loop {
            self.poll_memory(self.now());
            let next_read = Duration::from_nanos(self.next_read.load(Ordering::Relaxed));
            match self.start.checked_add(next_read) {
                Some(at) => tokio::time::sleep_until(at).await,
                // The interval is `Duration::MAX` or close to it.
                None => std::future::pending().await,
            }
        }
    }

    #[inline]
    fn poll_memory(&self, now: u64) {
        let due = self.next_read.load(Ordering::Relaxed);
        if now >= due {
            self.read_memory(now, due);
        }
    }

    #[cold]
    fn read_memory(&self, now: u64, due: u64) {
        let next = now.saturating_add(nanoseconds(self.settings.interval));
        // The winner of the exchange reads. All other requests go on with the published values.
        let claimed =
            self.next_read.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            return;
        }
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // The previous reading, or one of its callbacks, takes longer than the interval.
            Err(TryLockError::WouldBlock) => return,
        };
        if !std::mem::replace(&mut last.counters_registered, true) {
            self.register_counters();
        }
        // Requests that come during this call use the values of the previous reading.
        let event = match self.settings.source.read(self.settings.memory_limit) {
            Ok(usage) => self.record_usage(&mut last, usage, now),
            Err(_) => {
                last.failures += 1;
                last.state.apply_failure(&self.settings.rules, Duration::from_nanos(now));
                self.count_error("read");
                None
            }
        };
        self.publish(&last.state, now, next);
        if let Some(event) = event {
            // Still under the lock, so that callbacks see events one by one and in order.
            self.notify(&event);
        }
    }

    fn record_usage(
        &self,
        last: &mut LastReading,
        usage: MemoryUsage,
        now: u64,
    ) -> Option<PressureEvent> {
        let MonitorSettings { rules, metrics, .. } = &self.settings;
        let elapsed = Duration::from_nanos(now);
        last.usage = Some(usage);
        let now = (self.start + elapsed).into_std();
        // Registered anew now and then: exporters drop gauges that are idle for long.
        let register = || metrics.gauge(RATIO, Vec::new());
        let gauge = last.gauge.get_or_insert_with(|| RefreshingHandle::new(register(), now));
        gauge.get(now, register).handle.set(usage.ratio());
        let LevelChange { previous, level } = last.state.apply(rules, usage.ratio(), elapsed)?;
        Some(PressureEvent { previous, level, usage })
    }

    fn publish(&self, state: &PressureState, now: u64, next: u64) {
        let until = state.shedding_until().map_or(0, nanoseconds);
        let normal_until = if state.level() == Level::Critical { until } else { 0 };
        self.level.store(state.level() as u8, Ordering::Relaxed);
        self.shed_normal_until.store(normal_until, Ordering::Relaxed);
        self.shed_low_until.store(until, Ordering::Relaxed);
        // Phases start and end on time even if the interval is longer.
        let transition = state.next_transition().map(nanoseconds).filter(|at| *at > now);
        self.next_read.store(transition.map_or(next, |at| at.min(next)), Ordering::Relaxed);
    }

    fn notify(&self, event: &PressureEvent) {
        for Callback(callback) in &self.settings.callbacks {
            // The request that happens to read memory must not fail for a callback's panic.
            if catch_unwind(AssertUnwindSafe(|| callback(event))).is_err() {
                self.count_error("handler");
            }
        }
    }

    /// Registers all counters with 0: Prometheus cannot see an increase from an absent series to 1.
    fn register_counters(&self) {
        let metrics = &self.settings.metrics;
        REASONS.iter().for_each(|reason| count_rejected(metrics, "pressure", reason, 0));
        for operation in OPERATIONS {
            metrics.counter(ERRORS, label(operation)).increment(0);
        }
    }

    fn count_error(&self, operation: &'static str) {
        self.settings.metrics.counter(ERRORS, label(operation)).increment(1);
    }

    fn now(&self) -> u64 {
        nanoseconds(clock::timer_now().saturating_duration_since(self.start))
    }

    /// Adds the last reading to debug output, unless a reading is in progress.
    pub(super) fn fmt_last(&self, f: &mut fmt::DebugStruct<'_, '_>) {
        let Ok(last) = self.last.try_lock() else { return };
        f.field("level", &last.state.level()).field("usage", &last.usage);
        f.field("failed_readings", &last.failures);
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

fn label(operation: &'static str) -> Vec<Label> {
    vec![Label::from_static_parts("operation", operation)]
}

#[inline]
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The values of the label `operation`.
const OPERATIONS: [&str; 2] = ["read", "handler"];

const RATIO: Name = Name::new(
    "process_memory_usage_ratio",
    Unit::Count,
    "Memory usage as a fraction of the memory limit.",
);
const ERRORS: Name = Name::new(
    "process_memory_errors_total",
    Unit::Count,
    "Failed readings of memory usage and panics of memory pressure callbacks, by operation.",
);
