use std::collections::HashMap;
use std::time::Duration;

use super::super::super::clock::Clock;
use super::super::super::purge::Stamp;
use super::super::super::purge::list::{LocalPurge, Purges};
use super::super::super::purge::table::{Names, PurgeTarget};
use super::client::{Client, CommandError};

/// A client of the log of purges in Redis, which all processes with the same prefix share.
///
/// The log is a sorted set of the last stamp of each purged target, and a hash with its state. The
/// *floor* purges all entries from before it, so that the log may forget old targets. The *epoch*
/// changes when the log was lost, which purges everything.
// Sets of the keys of each tag would make a purge as expensive as its number of entries, and a put
// as expensive as its number of tags. Tracking by the server (`CLIENT TRACKING`) is no alternative:
// `fred` drops the invalidations of a flush, and the tracking itself when it reconnects.
#[derive(Debug)]
pub(super) struct PurgeLogClient {
    keys: [String; 2],
    channel: String,
    /// The time for which targets are remembered: longer than any entry lives.
    retention: Duration,
    epoch: Stamp,
    /// The last stamp that this process has read.
    known: Stamp,
    /// The target with that stamp, if there is one above the floor. Its absence shows that the log
    /// was lost and written anew.
    known_name: String,
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

/// The epoch, the floor, the last stamp, the stamp of the last purge of everything, the time of the
/// server in microseconds, and targets with their stamps.
type Reply = (Stamp, Stamp, Stamp, Stamp, u64, Vec<String>);

impl PurgeLogClient {
    pub(super) fn new(prefix: &str, retention: Duration) -> Self {
        // The braces put both keys into one slot of a cluster.
        let key = |name| format!("{prefix}{{purges}}:{name}");
        Self {
            keys: [key("names"), key("state")],
            channel: key("news"),
            retention,
            epoch: 0,
            known: 0,
            known_name: String::new(),
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

    /// Writes the pending purges to the log, and reads those of others into `purges`.
    pub(super) async fn exchange(
        &mut self,
        client: &Client,
        purges: &Purges,
        clock: &Clock,
    ) -> Result<Exchanged, CommandError> {
        let mut written = Vec::new();
        let mut wrote_flush = false;
        loop {
            let batch = if written.is_empty() { self.batch() } else { Vec::new() };
            let start = clock.now();
            let (epoch, floor, last, flushed, time, news): Reply =
                client.script(SCRIPT, &self.keys(), self.arguments(&batch)).await?;
            let clock_offset = offset(start, clock.now(), time / 1000);
            let is_last_page = (news.len() as u64) < 2 * PAGE;
            if let [.., name, _] = &*news {
                self.known_name.clone_from(name);
            }
            let news = decode(&news);
            self.epoch = epoch;
            self.floor = floor;
            self.known =
                if is_last_page { last } else { news.last().map_or(last, |(_, stamp)| *stamp) };
            written.extend(batch);
            // The purges that were written are on the last page.
            let written_now: &[_] = if is_last_page { &written } else { &[] };
            purges.learn(&news, floor, written_now, clock_offset);
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

    fn keys(&self) -> [&str; 2] {
        [&self.keys[0], &self.keys[1]]
    }

    fn arguments(&self, batch: &[LocalPurge]) -> Vec<String> {
        let retention = u64::try_from(self.retention.as_micros()).unwrap_or(u64::MAX);
        let numbers = [self.epoch, self.known, PAGE, MAX_NAMES, retention, self.floor];
        let texts = [self.known_name.clone(), self.channel.clone()];
        let targets = batch.iter().map(|purge| encode(&purge.target));
        numbers.map(|number| number.to_string()).into_iter().chain(texts).chain(targets).collect()
    }

    /// Returns the pending purges, up to [`BATCH`] of them.
    fn batch(&self) -> Vec<LocalPurge> {
        let all = self.pending.get_key_value(&PurgeTarget::ALL).into_iter();
        let others = self.pending.iter().filter(|(target, _)| **target != PurgeTarget::ALL);
        let batch = all.chain(others).take(BATCH);
        batch
            .map(|(target, number)| LocalPurge { target: target.clone(), number: *number })
            .collect()
    }
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
        Names::Prefix(prefix) => format!("p{prefix}"),
        Names::Tag(tag) => format!("t{tag}"),
    }
}

/// Decodes targets with their stamps. A target that is unknown comes from a later version of this
/// crate, and may stand for anything. So a version without soft purges takes one for a purge of
/// everything.
fn decode(news: &[String]) -> Vec<(PurgeTarget, Stamp)> {
    let target = |text: &str| match text.strip_prefix('s') {
        Some(soft) => decode_names(soft).map(PurgeTarget::Soft),
        None => decode_names(text).map(PurgeTarget::Hard),
    };
    let pairs = news.chunks_exact(2);
    let known = |text: &str| target(text).unwrap_or(PurgeTarget::ALL);
    pairs.filter_map(|pair| Some((known(&pair[0]), pair[1].parse().ok()?))).collect()
}

fn decode_names(text: &str) -> Option<Names> {
    Some(match text.split_at_checked(1)? {
        ("*", "") => Names::All,
        ("u", url) => Names::Url(u128::from_str_radix(url, 16).ok()?),
        ("p", prefix) => Names::Prefix(prefix.to_owned()),
        ("t", tag) => Names::Tag(tag.to_owned()),
        _ => return None,
    })
}

const SCRIPT: &str = include_str!("purge_log.lua");

/// The maximum number of targets that are read at once: the script blocks Redis meanwhile.
const PAGE: u64 = 10_000;

/// The maximum number of targets that are written at once.
const BATCH: usize = 1_000;

/// The maximum number of targets in the log. Beyond it, entries from before the oldest target are
/// purged.
const MAX_NAMES: u64 = 100_000;

/// The maximum number of pending purges. Beyond it everything is purged.
const MAX_PENDING: usize = 50_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::super::purge::list::{PurgeFuture, PurgeLog};
    use super::super::super::super::purge::{Purge, Standing};
    use super::*;

    #[test]
    fn targets_survive_a_round_trip() {
        let all = [
            Names::All,
            Names::Url(0),
            Names::Url(u128::MAX),
            Names::Prefix("a\nb".into()),
            Names::Tag(String::new()),
            Names::Tag("s".into()),
        ];
        for names in all {
            for target in [PurgeTarget::Hard(names.clone()), PurgeTarget::Soft(names)] {
                let news = [encode(&target), "7".to_owned()];
                assert_eq!(decode(&news), [(target, 7)]);
            }
        }
        for unknown in ["*", "**", "", "x1", "u", "uxyz", "äb", "s", "ss", "sst", "sx", "s*x", "su"]
        {
            let news = [unknown.to_owned(), "7".to_owned()];
            assert_eq!(decode(&news), [(PurgeTarget::ALL, 7)], "{unknown}");
        }
    }

    #[test]
    fn too_many_pending_purges_become_one_of_all() {
        let mut log = PurgeLogClient::new("x:", Duration::from_secs(1));
        let url = |url, number| LocalPurge { target: PurgeTarget::Hard(Names::Url(url)), number };
        let all = LocalPurge { target: PurgeTarget::ALL, number: u64::MAX };
        for number in 0..MAX_PENDING {
            log.add(url(number as u128, number as u64));
            log.add(url(number as u128, number as u64));
        }
        assert_eq!(log.pending.len(), MAX_PENDING);
        assert_eq!(log.batch().len(), BATCH);
        log.add(url(u128::MAX, u64::MAX));
        assert_eq!(log.batch(), std::slice::from_ref(&all));
        log.add(url(1, 3));
        log.add(url(1, 2));
        assert_eq!(log.batch(), [all, url(1, 3)]);
    }

    #[test]
    fn offset_is_that_of_the_middle() {
        for (start, end, server, expected) in [
            (1000, 1000, 1000, 0),
            (1000, 1100, 950, 100),
            (0, 0, 5, -5),
            (u64::MAX, u64::MAX, 0, 0),
        ] {
            assert_eq!(offset(start, end, server), expected, "{start} {end} {server}");
        }
    }

    /// The stamp up to which an entry with this tag is current.
    fn spared(purges: &Purges, tag: &str, watermark: Stamp) -> Option<Stamp> {
        match purges.standing("http://x/", &[tag.into()], watermark, 0) {
            Standing::Current(stamp) => Some(stamp),
            _ => None,
        }
    }

    #[test]
    fn entries_from_before_the_log_are_purged() {
        let purges = Purges::default();
        let tag = |stamp| (PurgeTarget::Hard(Names::Tag("a".into())), stamp);
        let url = (PurgeTarget::Hard(Names::Url(1)), 2005);
        purges.learn(&[tag(1005), url], 5, &[], 0);
        assert_eq!(purges.watermark(), 2005);
        let spared = |tag: &str, watermark| spared(&purges, tag, watermark);
        assert_eq!(spared("a", 4), None, "the entry is older than the log");
        assert_eq!(spared("b", 4), None);
        assert_eq!(spared("a", 5), None);
        assert_eq!(spared("b", 5), Some(2005));
        assert_eq!(spared("a", 1005), Some(2005));
        drop(purges.purge(Purge::Tag("a"), 0));
        assert_eq!(spared("a", 2005), None, "a local purge is the last one");
        purges.learn(&[tag(3005)], 1005, &[], 0);
        assert_eq!(spared("a", 2006), None);
        assert_eq!(spared("a", 3005), Some(3005));
        assert_eq!(spared("b", 1004), None);
        assert_eq!(spared("b", 1005), Some(3005));
        purges.trust_from(100);
        let received = |at| purges.standing("http://x/", &[], 3005, at);
        assert_eq!(received(99), Standing::Purged);
        assert_eq!(received(100), Standing::Current(3005));
    }

    struct SilentLog;

    impl PurgeLog for SilentLog {
        fn write(&self, _: LocalPurge) -> PurgeFuture {
            PurgeFuture::done()
        }
    }

    #[test]
    fn local_purge_holds_until_it_is_written() {
        let tag = |tag: &str| PurgeTarget::Hard(Names::Tag(tag.to_owned()));
        let purges = Purges::with_log(SilentLog);
        purges.learn(&[(tag("other"), 1000)], 0, &[], 0);
        drop(purges.purge(Purge::Tag("a"), 0));
        let spared = |tag: &str, watermark| spared(&purges, tag, watermark);
        assert_eq!(spared("a", 1000), None);
        // Another process knows a newer purge but not this one.
        purges.learn(&[(tag("other"), 2000)], 0, &[], 0);
        assert_eq!(purges.learned(), 2000);
        assert_eq!(spared("a", 2000), None);
        assert!(spared("b", 2000).is_some());
        // An earlier purge of the same target is written, and this one is not.
        drop(purges.purge(Purge::Tag("a"), 0));
        purges.learn(&[(tag("a"), 3000)], 0, &[LocalPurge { target: tag("a"), number: 1 }], 0);
        assert_eq!(spared("a", 3000), None);
        purges.learn(&[(tag("a"), 4000)], 0, &[LocalPurge { target: tag("a"), number: 2 }], 0);
        assert_eq!(spared("a", 4000), Some(4000));
        drop(purges.purge(Purge::All, 0));
        purges.learn(&[(tag("other"), 5000)], 0, &[], 0);
        assert_eq!(spared("b", 5000), None);
        purges.learn(&[], 6000, &[LocalPurge { target: PurgeTarget::ALL, number: 3 }], 0);
        assert_eq!(spared("b", 6000), Some(6000));
    }

    #[test]
    fn soft_purge_has_its_time_by_the_local_clock() {
        let soft = |tag: &str| PurgeTarget::Soft(Names::Tag(tag.to_owned()));
        let purges = Purges::with_log(SilentLog);
        purges.learn(&[(soft("a"), 7_000_000)], 0, &[], -500);
        let standing =
            |tag: &str, watermark| purges.standing("http://x/", &[tag.into()], watermark, 0);
        assert_eq!(standing("a", 0), Standing::Stale { since: 6_500 });
        assert_eq!(standing("a", 7_000_000), Standing::Current(7_000_000));
        assert_eq!(standing("b", 0), Standing::Current(7_000_000));
        drop(purges.soft_purge(Purge::Tag("b"), 6_600));
        assert_eq!(standing("b", 7_000_000), Standing::Stale { since: 6_600 });
        // An entry of another process that does not know of it, and knows a newer one.
        purges.learn(&[(soft("a"), 8_000_000)], 0, &[], -500);
        assert_eq!(standing("b", 8_000_000), Standing::Stale { since: 6_600 });
        let written = [LocalPurge { target: soft("b"), number: 1 }];
        purges.learn(&[(soft("b"), 9_000_000)], 0, &written, -500);
        assert_eq!(standing("b", 8_000_000), Standing::Stale { since: 8_500 });
        assert_eq!(standing("b", 9_000_000), Standing::Current(9_000_000));
        // A purge of everything wins, and so does the floor of the log.
        purges.learn(&[(PurgeTarget::ALL, 10_000_000)], 0, &[], 0);
        assert_eq!(standing("b", 9_000_000), Standing::Purged);
        purges.learn(&[(PurgeTarget::Soft(Names::All), 11_000_000)], 10_500_000, &[], 0);
        assert_eq!(standing("b", 10_000_000), Standing::Purged);
        assert_eq!(standing("b", 10_500_000), Standing::Stale { since: 11_000 });
    }

    #[test]
    fn purge_holds_beyond_the_provisional_stamps() {
        let purges = Purges::with_log(SilentLog);
        for number in 0..2_000 {
            drop(purges.purge(Purge::Tag(&number.to_string()), 0));
        }
        let fetched = purges.watermark();
        drop(purges.purge(Purge::Tag("a"), 0));
        assert_eq!(spared(&purges, "a", fetched), None, "it came after the fetch");
        assert_eq!(spared(&purges, "b", fetched), Some(fetched));
        assert!(!purges.admits("http://x/", &["a".to_owned()], purges.watermark()));
        purges.learn(&[(PurgeTarget::Hard(Names::Tag("0".into())), 1_000)], 0, &[], 0);
        assert_eq!(spared(&purges, "a", 1_000), None, "nor is it written");
    }

    #[test]
    fn local_purges_hide_none_of_others() {
        let purges = Purges::with_log(SilentLog);
        let before = purges.watermark();
        for number in 0..3 * 999 {
            drop(purges.purge(Purge::Tag(&number.to_string()), 0));
            assert!(!purges.admits("http://x/", &[number.to_string()], before));
        }
        assert!(purges.watermark() < 1000, "below the next stamp of the log");
        assert!(purges.admits("http://x/", &["else".to_owned()], purges.watermark()));
    }

    proptest! {
        #[test]
        fn any_target_survives_a_round_trip(
            target in prop_oneof![
                any::<u128>().prop_map(Names::Url),
                any::<String>().prop_map(Names::Prefix),
                any::<String>().prop_map(Names::Tag),
            ],
            is_soft in any::<bool>(),
            stamp in any::<Stamp>(),
        ) {
            let target =
                if is_soft { PurgeTarget::Soft(target) } else { PurgeTarget::Hard(target) };
            let news = [encode(&target), stamp.to_string()];
            prop_assert_eq!(decode(&news), [(target, stamp)]);
        }

        #[test]
        fn no_reply_causes_a_panic(
            news in prop::collection::vec(prop_oneof![any::<String>(), "s?[uptx*]?[0-9a-f+]{0,34}"], 0..8),
        ) {
            let stamped = news.chunks_exact(2).filter(|pair| pair[1].parse::<Stamp>().is_ok());
            let read = decode(&news);
            prop_assert_eq!(read.len(), stamped.clone().count());
            for ((target, _), pair) in read.into_iter().zip(stamped) {
                // Several spellings of a URL's number are equal.
                let (PurgeTarget::Hard(names) | PurgeTarget::Soft(names)) = &target;
                if let Names::Prefix(_) | Names::Tag(_) = names {
                    prop_assert_eq!(&encode(&target), &pair[0]);
                }
            }
        }
    }
}
