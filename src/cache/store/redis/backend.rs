use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use super::super::super::entry::value::StoredValue;
use super::super::super::entry::{Entry, EntryKind, Freshness, StoredResponse, Watermark};
use super::super::super::error::StoreError;
use super::super::super::purge::Stamp;
use super::breaker::Breaker;
use super::client::{Client, CommandError};
use super::config::RedisConfig;
use super::metrics::RedisMetrics;
use super::purge_log::Exchanged;
use super::status::LastError;

/// The connection to Redis and its state, which requests and the background task share.
pub(super) struct Backend {
    client: ArcSwap<Client>,
    pub(super) breaker: Breaker,
    pub(super) breaker_opened: Notify,
    pub(super) last_error: LastError,
    pub(super) reads: Semaphore,
    pub(super) writes: Semaphore,
    pub(super) config: RedisConfig,
    metrics: RedisMetrics,
    synced: watch::Sender<bool>,
    /// Unknown before the first exchange with the log.
    generation: ArcSwapOption<Generation>,
    /// There are entries of earlier generations to remove.
    cleared: Notify,
    /// The local clock less that of Redis, in milliseconds.
    clock_offset: AtomicI64,
}

/// The entries since a purge of everything: the names of their keys have its stamp.
struct Generation {
    flushed: Stamp,
    prefix: String,
}

impl Backend {
    pub(super) fn new(config: RedisConfig) -> Self {
        let backend = Self {
            client: ArcSwap::from_pointee(new_client(&config)),
            breaker: Breaker::default(),
            breaker_opened: Notify::new(),
            last_error: LastError::default(),
            reads: Semaphore::new(MAX_READS),
            writes: Semaphore::new(MAX_WRITTEN_KIB as usize),
            metrics: RedisMetrics::new(config.metrics.clone()),
            synced: watch::Sender::new(false),
            generation: ArcSwapOption::empty(),
            cleared: Notify::new(),
            clock_offset: AtomicI64::new(0),
            config,
        };
        backend.metrics.set_breaker_open(false);
        backend.metrics.set_synced(false);
        backend.metrics.add_replaced_clients(0);
        backend
    }

    /// Returns the client, which the background task may replace. The caller uses it for one command.
    pub(super) fn client(&self) -> Arc<Client> {
        // No guard: it would be held while the command waits.
        self.client.load_full()
    }

    /// Replaces the client by a new one, without connecting it. The commands that the old one has not
    /// finished fail when its connections are closed.
    pub(super) fn replace_client(&self) {
        self.client.store(Arc::new(new_client(&self.config)));
        self.metrics.add_replaced_clients(1);
    }

    /// Returns the name of a key in Redis.
    ///
    /// # Errors
    ///
    /// Returns an error, which is counted, if no command is to be sent, or if none can be: a body may
    /// be dropped after the runtime has shut down.
    pub(super) fn name(&self, key: &str) -> Result<String, StoreError> {
        let open = self.breaker.is_open();
        let generation = self.generation.load();
        let can_send = !open && Handle::try_current().is_ok();
        let Some(generation) = generation.as_ref().filter(|_| can_send) else {
            return Err(match open {
                true => self.failed("breaker"),
                // A connection that is still being made has not failed.
                false if self.is_starting() => StoreError::new("Redis: not connected yet"),
                false => self.failed("connection"),
            });
        };
        // One allocation: `format!` would grow the string for long keys.
        let mut name = String::with_capacity(generation.prefix.len() + key.len());
        name.push_str(&generation.prefix);
        push_readable(&mut name, key);
        Ok(name)
    }

    /// Returns `true` before the first exchange with the log, unless something has failed.
    fn is_starting(&self) -> bool {
        self.generation.load().is_none() && self.last_error.get().is_none()
    }

    /// Removes the entry of a key, unless it has a later watermark than this one. A list of variants is
    /// removed.
    pub(super) async fn remove_older(&self, key: &str, watermark: Stamp) -> Result<(), StoreError> {
        let name = self.name(key)?;
        let max = usize::try_from(self.config.max_entry_size).unwrap_or(usize::MAX);
        let old = self.client().get_to_update(&name, max.saturating_add(1)).await;
        let old = self.record_result(old)?;
        let entry = Entry::from_bytes(old.clone(), key).ok();
        let stored_at = entry.as_ref().and_then(stamp_of);
        if old.is_empty() || stored_at.is_some_and(|stored_at| stored_at > watermark) {
            return Ok(());
        }
        // An empty value is none, and this one expires at once. What another process has put meanwhile
        // stays.
        let removed = self.client().compare_and_set(&name, old, Bytes::new(), 1).await;
        self.record_result(removed).map(drop)
    }

    /// Returns an entry as Redis keeps it: its time of receipt is by the clock of Redis, so that the
    /// clocks of the processes need not agree.
    pub(super) fn to_server(&self, entry: Entry) -> Entry {
        self.shift(entry, -self.clock_offset())
    }

    /// Returns an entry from Redis with its time of receipt by the local clock.
    pub(super) fn to_local(&self, entry: Entry) -> Entry {
        self.shift(entry, self.clock_offset())
    }

    fn shift(&self, entry: Entry, millis: i64) -> Entry {
        // The usual case, in which nothing is copied.
        if millis == 0 {
            return entry;
        }
        map_times(entry, |freshness, _| {
            freshness.received = freshness.received.saturating_add_signed(millis);
        })
    }

    /// Clocks that differ by less than [`CLOCK_TOLERANCE`] count as equal: the measured offset varies
    /// with the time of the round trip, and the age of an entry would vary with it.
    fn clock_offset(&self) -> i64 {
        let offset = self.clock_offset.load(Ordering::Relaxed);
        if offset.abs() < CLOCK_TOLERANCE { 0 } else { offset }
    }

    pub(super) fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the log was read.
    pub(super) async fn wait_synced(&self) {
        // An error means that the sender is gone, and this is the sender.
        drop(self.synced.subscribe().wait_for(|synced| *synced).await);
    }

    /// Records an exchange with the log that succeeded.
    pub(super) fn set_synced(&self, exchanged: Exchanged) {
        let Exchanged { flushed, wrote_flush, clock_offset } = exchanged;
        self.clock_offset.store(clock_offset, Ordering::Relaxed);
        if self.generation.load().as_ref().is_none_or(|known| known.flushed != flushed) {
            // The empty braces keep clients, who choose the rest of the key, from choosing its slot
            // in a cluster.
            let prefix = format!("{}{flushed:x}{{}}:", self.common_prefix());
            self.generation.store(Some(Arc::new(Generation { flushed, prefix })));
        }
        // Only the process that purged everything removes the entries, not all of them at once.
        if wrote_flush {
            self.cleared.notify_one();
        }
        self.last_error.clear();
        if self.breaker.is_open() {
            self.metrics.set_breaker_open(false);
        }
        self.breaker.close();
        if !self.synced.send_replace(true) {
            self.metrics.set_synced(true);
        }
    }

    /// Records an exchange with the log that failed.
    pub(super) fn sync_failed(&self, error: &CommandError) {
        self.record_error(error);
        if error.is_outage() && self.breaker.open() {
            self.metrics.set_breaker_open(true);
        }
        self.set_unsynced();
    }

    pub(super) fn set_unsynced(&self) {
        if self.synced.send_replace(false) {
            self.metrics.set_synced(false);
        }
    }

    /// Records the result of a command for the breaker, the metrics and the status.
    pub(super) fn record_result<T>(
        &self,
        result: Result<T, CommandError>,
    ) -> Result<T, StoreError> {
        result.inspect(|_| self.breaker.succeeded()).map_err(|error| {
            self.record_error(&error);
            // A refusal is a reply: Redis is there.
            if !error.is_outage() {
                self.breaker.succeeded();
            } else if self.breaker.failed() {
                self.metrics.set_breaker_open(true);
                self.breaker_opened.notify_one();
            }
            StoreError::new(error)
        })
    }

    /// Counts an operation that was not performed, and returns its error.
    pub(super) fn failed(&self, reason: &'static str) -> StoreError {
        self.metrics.failed(reason);
        StoreError::new(format!("Redis: {reason}"))
    }

    /// Removes the entries from before each purge of everything by this process. What a failure
    /// leaves expires.
    pub(super) async fn remove_cleared(&self) {
        loop {
            self.cleared.notified().await;
            let Some(flushed) = self.generation.load().as_ref().map(|known| known.flushed) else {
                continue;
            };
            let common = self.common_prefix();
            let is_old = |key: &str| {
                let generation = key.strip_prefix(&common).and_then(|rest| rest.split_once("{}:"));
                let stamp = generation.and_then(|(stamp, _)| Stamp::from_str_radix(stamp, 16).ok());
                // A key of another program, or of a newer generation, is left alone.
                stamp.is_some_and(|stamp| stamp < flushed)
            };
            let pattern = format!("{}*", escape_glob(&common));
            drop(self.record_result(self.client().remove_matching(&pattern, is_old).await));
        }
    }

    /// Returns the beginning of the keys of all generations. The number is that of their format.
    fn common_prefix(&self) -> String {
        format!("{}1:", self.config.prefix)
    }

    fn record_error(&self, error: &CommandError) {
        self.metrics.failed(error.name());
        self.last_error.set_command(error);
    }
}

/// Returns the stamp of the last purge that a response or a value was compared with.
fn stamp_of(entry: &Entry) -> Option<Stamp> {
    match entry.kind() {
        EntryKind::Response(StoredResponse { watermark, .. })
        | EntryKind::Value(StoredValue { watermark, .. }) => Some(watermark.get()),
        EntryKind::Variants(_) => None,
    }
}

/// Returns an entry with the times of its response or value that `edit` has changed.
pub(super) fn map_times(entry: Entry, edit: impl FnOnce(&mut Freshness, &mut Watermark)) -> Entry {
    entry.map(|kind| match kind {
        EntryKind::Response(StoredResponse { freshness, watermark, .. })
        | EntryKind::Value(StoredValue { freshness, watermark, .. }) => edit(freshness, watermark),
        EntryKind::Variants(_) => {}
    })
}

fn new_client(config: &RedisConfig) -> Client {
    Client::new(&*config.server, config.command_timeout)
}

/// Appends a key in a form that tools for Redis can print: control characters are escaped, and the
/// backslash, so that different keys stay different.
fn push_readable(name: &mut String, key: &str) {
    // The usual key is copied as it is.
    let mut rest = key;
    while let Some(at) = rest.find(|character: char| character.is_control() || character == '\\') {
        let (plain, escaped) = rest.split_at(at);
        let mut characters = escaped.chars();
        name.push_str(plain);
        name.extend(characters.next().into_iter().flat_map(char::escape_default));
        rest = characters.as_str();
    }
    name.push_str(rest);
}

/// Escapes the special characters of a glob pattern.
fn escape_glob(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The maximum number of reads at the same time; others wait for one of these.
const MAX_READS: usize = 256;

/// The maximum number of bytes that are written at the same time, in KiB; other writes fail.
pub(super) const MAX_WRITTEN_KIB: u32 = 32 * 1024;

/// The least difference of clocks that counts, in milliseconds.
const CLOCK_TOLERANCE: i64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_readable_and_stay_different() {
        let readable = |key: &str| {
            let mut name = String::from("p:");
            push_readable(&mut name, key);
            name
        };
        for (key, expected) in [
            ("http://x.org/ä?a=%20{b}*", "p:http://x.org/ä?a=%20{b}*"),
            ("http://x.org/\npart=1", r"p:http://x.org/\npart=1"),
            (r"http://x.org/\npart=1", r"p:http://x.org/\\npart=1"),
            ("a\r\t\0\u{1b}\u{7f}\u{85}", r"p:a\r\t\u{0}\u{1b}\u{7f}\u{85}"),
            ("", "p:"),
        ] {
            assert_eq!(readable(key), expected);
        }
        let keys = ["\n", "n", "\\", "\\n", "\\\n", "\\\\n", "\0", r"\u{0}", "u{0}"];
        for (at, key) in keys.iter().enumerate() {
            for other in &keys[at + 1..] {
                assert_ne!(readable(key), readable(other), "{key:?} {other:?}");
            }
        }
    }

    #[test]
    fn special_characters_of_globs_are_escaped() {
        assert_eq!(escape_glob("tower-kit:{a}"), "tower-kit:{a}");
        assert_eq!(escape_glob("a*b?[c]\\"), "a\\*b\\?\\[c\\]\\\\");
    }
}
