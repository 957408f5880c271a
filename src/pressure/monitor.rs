use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use metrics::{Gauge, Label, Unit};
use tokio::time::Instant;

use super::policy::{Change, Level, Rules, State};
use super::reading::{Event, Reading, Source};
use super::refusal::REASONS;
use crate::clock;
use crate::error_response::count_rejected;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// Looks at memory when it is time, and knows what is to be shed until the next look.
///
/// Points in time are nanoseconds since it was made.
#[derive(Debug)]
pub(super) struct Monitor {
    pub(super) settings: Settings,
    start: Instant,
    /// When it is time to look again.
    due: AtomicU64,
    /// Until when requests of low priority are shed, and until when those of normal priority are.
    /// They end by themselves, whatever became of the next look.
    high_until: AtomicU64,
    critical_until: AtomicU64,
    /// The [`Level`] that the last reading led to, whether or not requests are shed.
    level: AtomicU8,
    seen: Mutex<Seen>,
}

/// What a look needs and what it found.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    pub(super) interval: Duration,
    pub(super) limit: Option<u64>,
    pub(super) source: Source,
    pub(super) handlers: Vec<Handler>,
    pub(super) metrics: Metrics,
}

#[derive(Clone)]
pub(super) struct Handler(pub(super) Arc<dyn Fn(&Event) + Send + Sync>);

#[derive(Debug, Default)]
struct Seen {
    state: State,
    last: Option<Reading>,
    failed: u64,
    /// The counters exist.
    announced: bool,
    gauge: Option<RefreshingHandle<Gauge>>,
}

impl Monitor {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            start: clock::timer_now(),
            due: AtomicU64::new(0),
            high_until: AtomicU64::new(0),
            critical_until: AtomicU64::new(0),
            level: AtomicU8::new(Level::Normal as u8),
            seen: Mutex::default(),
        }
    }

    /// The level at which requests are shed now. Looks at memory first, if it is time to.
    #[inline]
    pub(super) fn sheds(&self) -> Level {
        let now = self.now();
        self.look(now);
        if now >= self.high_until.load(Ordering::Relaxed) {
            return Level::Normal;
        }
        let is_critical = now < self.critical_until.load(Ordering::Relaxed);
        if is_critical { Level::Critical } else { Level::High }
    }

    /// Returns the level of memory, which is read first if it is time to.
    pub(super) fn level(&self) -> Level {
        self.look(self.now());
        Level::of(self.level.load(Ordering::Relaxed))
    }

    /// Looks for ever, as often as it is time to.
    pub(super) async fn watch(&self) {
        loop {
            self.look(self.now());
            let due = Duration::from_nanos(self.due.load(Ordering::Relaxed));
            match self.start.checked_add(due) {
                Some(at) => tokio::time::sleep_until(at).await,
                // Centuries from now.
                None => std::future::pending().await,
            }
        }
    }

    #[inline]
    fn look(&self, now: u64) {
        let due = self.due.load(Ordering::Relaxed);
        if now >= due {
            self.look_now(now, due);
        }
    }

    #[cold]
    fn look_now(&self, now: u64, due: u64) {
        let next = now.saturating_add(nanoseconds(self.settings.interval));
        let taken = self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_err() {
            return;
        }
        let mut seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // The look before this one takes longer than the interval.
            Err(TryLockError::WouldBlock) => return,
        };
        if !std::mem::replace(&mut seen.announced, true) {
            self.announce();
        }
        let event = match self.settings.source.read(self.settings.limit) {
            Ok(reading) => self.take_in(&mut seen, reading, now),
            Err(_) => {
                seen.failed += 1;
                seen.state.not_read(&self.settings.rules, Duration::from_nanos(now));
                self.failed("read");
                None
            }
        };
        self.publish(&seen.state, now, next);
        if let Some(event) = event {
            // The lock is held, so that they are told one by one and in order.
            self.tell(&event);
        }
    }

    fn take_in(&self, seen: &mut Seen, reading: Reading, now: u64) -> Option<Event> {
        let Settings { rules, metrics, .. } = &self.settings;
        let at = Duration::from_nanos(now);
        seen.last = Some(reading);
        let clock = (self.start + at).into_std();
        let register = || metrics.gauge(RATIO, Vec::new());
        let gauge = seen.gauge.get_or_insert_with(|| RefreshingHandle::new(register(), clock));
        gauge.get(clock, register).handle.set(reading.ratio());
        let Change { previous, level } = seen.state.read(rules, reading.ratio(), at)?;
        Some(Event { previous, level, reading })
    }

    fn publish(&self, state: &State, now: u64, next: u64) {
        let until = state.sheds_until().map_or(0, nanoseconds);
        let critical = if state.level() == Level::Critical { until } else { 0 };
        self.level.store(state.level() as u8, Ordering::Relaxed);
        self.critical_until.store(critical, Ordering::Relaxed);
        self.high_until.store(until, Ordering::Relaxed);
        let turn = state.turns_at().map(nanoseconds).filter(|turn| *turn > now);
        self.due.store(turn.map_or(next, |turn| turn.min(next)), Ordering::Relaxed);
    }

    fn tell(&self, event: &Event) {
        for Handler(handler) in &self.settings.handlers {
            // It is not the fault of the request that it is told in.
            if catch_unwind(AssertUnwindSafe(|| handler(event))).is_err() {
                self.failed("handler");
            }
        }
    }

    /// Makes all counters exist before anything is counted: the increase from nothing to 1 is one that
    /// Prometheus does not see.
    fn announce(&self) {
        REASONS
            .iter()
            .for_each(|reason| count_rejected(&self.settings.metrics, "pressure", reason, 0));
        for operation in OPERATIONS {
            self.settings.metrics.counter(ERRORS, label(operation)).increment(0);
        }
    }

    fn failed(&self, operation: &'static str) {
        self.settings.metrics.counter(ERRORS, label(operation)).increment(1);
    }

    fn now(&self) -> u64 {
        nanoseconds(clock::timer_now().saturating_duration_since(self.start))
    }

    pub(super) fn describe(&self, f: &mut fmt::DebugStruct<'_, '_>) {
        let Ok(seen) = self.seen.try_lock() else { return };
        f.field("level", &seen.state.level()).field("reading", &seen.last);
        f.field("failed_readings", &seen.failed);
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

fn label(operation: &'static str) -> Vec<Label> {
    vec![Label::from_static_parts("operation", operation)]
}

#[inline]
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What can fail.
const OPERATIONS: [&str; 2] = ["read", "handler"];

const RATIO: Name = Name::new(
    "process_memory_usage_ratio",
    Unit::Count,
    "Memory that is used, as a part of what there may be.",
);
const ERRORS: Name = Name::new(
    "process_memory_errors_total",
    Unit::Count,
    "Readings of memory that failed, and handlers of its pressure that panicked.",
);
