use std::collections::HashMap;
use std::time::Duration;

use super::super::super::clock::Clock;
use super::super::super::purge::Stamp;
use super::super::super::purge::learn::News;
use super::super::super::purge::list::{LocalPurge, Purges};
use super::super::super::purge::table::{Names, PurgeTarget};
use super::client::{Client, CommandError};

/// A client of the log of purges in Redis, which all processes with the same prefix share.
///
/// The log has two sorted sets of the last stamp of each purged target, and a hash with its state. One
/// set has what may still be in Redis, and the other one the names whose entries were removed from
/// Redis or replaced there. The *floor* of the first set purges all entries from before it, so that the
/// log may forget old targets. That of the second set makes processes read again what they have in
/// memory from before it. The *epoch* changes when the log was lost, which purges everything.
// Sets of the keys of each tag would make a purge as expensive as its number of entries, and a put
// as expensive as its number of tags. Tracking by the server (`CLIENT TRACKING`) is no alternative:
// `fred` drops the invalidations of a flush, and the tracking itself when it reconnects.
#[derive(Debug)]
pub(super) struct PurgeLogClient {
    keys: [String; 3],
    channel: String,
    /// The time for which targets are remembered: longer than any entry lives.
    retention: Duration,
    epoch: Stamp,
    /// The last stamp up to which this process has read.
    known: Stamp,
    /// The last targets of both sets that were read, with their stamps. The absence of one that is
    /// above the floor shows that the log was lost and written anew.
    known_targets: [(String, Stamp); 2],
    floor: Stamp,
    /// The purges that the log does not have yet, with their numbers.
    pending: HashMap<PurgeTarget, u64>,
}

/// The outcome of an exchange with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchanged {
    /// The stamp of the last purge of everything.
    pub(super) flushed: Stamp,
    /// A purge of everything was among those that were written.
    pub(super) wrote_flush: bool,
    /// The local clock less that of Redis, in milliseconds.
    pub(super) clock_offset: i64,
}

/// The purges that an exchange has written, with their stamps.
pub(super) type Written = HashMap<PurgeTarget, Stamp>;

/// The epoch, the floor, the floor of the removed names, the last stamp, the stamp of the last purge of
/// everything, the time of the server in microseconds, and the stamp of the first target that was
/// written; then the targets of both sets with their stamps.
type Reply = (Vec<Stamp>, Vec<String>, Vec<String>);

impl PurgeLogClient {
    pub(super) fn new(prefix: &str, retention: Duration) -> Self {
        // The braces put the keys into one slot of a cluster.
        let key = |name| format!("{prefix}{{purges}}:{name}");
        Self {
            keys: [key("names"), key("state"), key("removed")],
            channel: key("news"),
            retention,
            epoch: 0,
            known: 0,
            known_targets: Default::default(),
            floor: 0,
            pending: HashMap::new(),
        }
    }

    /// Returns the channel on which processes announce new stamps.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn knows(&self, stamp: Stamp) -> bool {
        stamp <= self.known
    }

    /// Adds a purge to those that are to be written.
    pub(super) fn add(&mut self, purge: LocalPurge) {
        let number = self.pending.entry(purge.target).or_default();
        *number = purge.number.max(*number);
        if self.pending.len() > MAX_PENDING {
            let newest = self.pending.drain().map(|(_, number)| number).max();
            self.pending.insert(PurgeTarget::ALL, newest.unwrap_or_default());
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes the pending purges to the log, and reads those of others into `purges`. Adds the stamps of
    /// those that were written to `stamps`.
    pub(super) async fn exchange(
        &mut self,
        client: &Client,
        purges: &Purges,
        clock: &Clock,
        stamps: &mut Written,
    ) -> Result<Exchanged, CommandError> {
        let mut written = Vec::new();
        let mut wrote_flush = false;
        loop {
            let batch = if written.is_empty() { self.batch() } else { Vec::new() };
            let start = clock.now();
            let reply: Reply = client.script(SCRIPT, &self.keys(), self.arguments(&batch)).await?;
            let (numbers, names, removed) = reply;
            let Ok(numbers) = <[Stamp; 7]>::try_from(numbers) else {
                return Err(CommandError::Refused("an unexpected reply".into()));
            };
            let [epoch, floor, removed_floor, last, flushed, time, first] = numbers;
            let clock_offset = offset(start, clock.now(), time / 1000);
            let all = [&names, &removed].map(|texts| stamped(texts));
            let page_end = all.iter().filter_map(|page| end_of_full(page, PAGE)).min();
            let mut news = Vec::new();
            for (page, known) in all.iter().zip(&mut self.known_targets) {
                // What the other set has from before that is on a later page.
                let page =
                    page.iter().take_while(|(_, stamp)| page_end.is_none_or(|end| *stamp <= end));
                for (text, stamp) in page {
                    *known = ((*text).to_owned(), *stamp);
                    news.extend(decode(text).map(|target| (target, *stamp)));
                }
            }
            self.epoch = epoch;
            self.floor = floor;
            self.known = page_end.unwrap_or(last);
            // Their stamps are as far apart as those of the log.
            let numbered = batch.iter().zip((first..).step_by(1000));
            stamps.extend(numbered.map(|(purge, stamp)| (purge.target.clone(), stamp)));
            written.extend(batch);
            // The purges that were written are on the last page.
            let is_last_page = page_end.is_none();
            let written_now: &[_] = if is_last_page { &written } else { &[] };
            purges.learn(&News {
                purges: &news,
                floor,
                removed_floor,
                read: self.known,
                written: written_now,
                clock_offset,
            });
            if is_last_page {
                for purge in written.drain(..) {
                    wrote_flush |= purge.target == PurgeTarget::ALL;
                    self.pending.remove(&purge.target);
                }
                if !self.is_pending() {
                    return Ok(Exchanged { flushed, wrote_flush, clock_offset });
                }
            }
        }
    }

    fn keys(&self) -> [&str; 3] {
        [&self.keys[0], &self.keys[1], &self.keys[2]]
    }

    fn arguments(&self, batch: &[LocalPurge]) -> Vec<String> {
        let retention = u64::try_from(self.retention.as_micros()).unwrap_or(u64::MAX);
        let numbers = [self.epoch, self.known, PAGE, MAX_NAMES, retention, self.floor];
        let known = self.known_targets.iter();
        let known = known.flat_map(|(target, stamp)| [target.clone(), stamp.to_string()]);
        let targets = batch.iter().map(|purge| encode(&purge.target));
        let numbers = numbers.map(|number| number.to_string()).into_iter();
        numbers.chain(known).chain([self.channel.clone()]).chain(targets).collect()
    }

    /// Returns up to [`BATCH`] pending purges, the first ones: a value that is inserted before a purge
    /// of its namespace must not get the later stamp.
    fn batch(&self) -> Vec<LocalPurge> {
        let purge = |(target, number): (&PurgeTarget, &u64)| LocalPurge {
            target: target.clone(),
            number: *number,
        };
        let mut batch: Vec<_> = self.pending.iter().map(purge).collect();
        if batch.len() > BATCH {
            batch.select_nth_unstable_by_key(BATCH, |purge| purge.number);
            batch.truncate(BATCH);
        }
        batch.sort_unstable_by_key(|purge| purge.number);
        batch
    }
}

/// Returns the targets of a reply with their stamps, without those that have none.
fn stamped(texts: &[String]) -> Vec<(&str, Stamp)> {
    let pairs = texts.chunks_exact(2);
    pairs.filter_map(|pair| Some((&*pair[0], pair[1].parse().ok()?))).collect()
}

/// Returns the last stamp of a page that is full, so that another one may follow.
fn end_of_full(page: &[(&str, Stamp)], size: u64) -> Option<Stamp> {
    page.last().map(|(_, stamp)| *stamp).filter(|_| page.len() as u64 >= size)
}

/// Returns how far the local clock is ahead of the server's, which read `server` at a time between
/// `start` and `end`. All are in milliseconds.
fn offset(start: u64, end: u64, server: u64) -> i64 {
    let local = start / 2 + end / 2;
    i64::try_from(i128::from(local) - i128::from(server)).unwrap_or_default()
}

fn encode(target: &PurgeTarget) -> String {
    match target {
        PurgeTarget::Hard(names) => encode_names(names),
        PurgeTarget::Soft(names) => format!("s{}", encode_names(names)),
    }
}

fn encode_names(names: &Names) -> String {
    match names {
        Names::All => "*".to_owned(),
        Names::Url(url) => format!("u{url:032x}"),
        Names::Removed(url) => format!("r{url:032x}"),
        Names::Prefix(prefix) => format!("p{prefix}"),
        Names::Tag(tag) => format!("t{tag}"),
    }
}

/// Decodes a target. One that is unknown comes from a later version of this crate, and may stand for
/// anything. So a version without soft purges takes one for a purge of everything, and one without
/// removed names takes their marker for that, which is nothing here.
fn decode(text: &str) -> Option<PurgeTarget> {
    if text == REMOVED_MARKER {
        return None;
    }
    let target = match text.strip_prefix('s') {
        Some(soft) => decode_names(soft).map(PurgeTarget::Soft),
        None => decode_names(text).map(PurgeTarget::Hard),
    };
    Some(target.unwrap_or(PurgeTarget::ALL))
}

fn decode_names(text: &str) -> Option<Names> {
    Some(match text.split_at_checked(1)? {
        ("*", "") => Names::All,
        ("u", url) => Names::Url(u128::from_str_radix(url, 16).ok()?),
        ("r", url) => Names::Removed(u128::from_str_radix(url, 16).ok()?),
        ("p", prefix) => Names::Prefix(prefix.to_owned()),
        ("t", tag) => Names::Tag(tag.to_owned()),
        _ => return None,
    })
}

const SCRIPT: &str = include_str!("purge_log.lua");

/// Has the stamp of the last removed name, for versions that do not know of these.
const REMOVED_MARKER: &str = "r";

/// The maximum number of targets of each set that are read at once: the script blocks Redis meanwhile.
const PAGE: u64 = 10_000;

/// The maximum number of targets that are written at once.
const BATCH: usize = 1_000;

/// The maximum number of targets in each set of the log. Beyond it, entries from before the oldest target
/// are purged, or read from Redis again.
const MAX_NAMES: u64 = 100_000;

/// The maximum number of pending purges. Beyond it everything is purged: they wait for a Redis that
/// does not respond, which has not removed their entries either.
const MAX_PENDING: usize = 100_000;

#[cfg(test)]
mod tests;
