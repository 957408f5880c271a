use proptest::prelude::*;

use std::future::ready;

use super::super::super::super::hash::hash128;
use super::super::super::super::purge::list::{Fill, PurgeFuture, PurgeLog, StampFuture};
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
            assert_eq!(decode(&encode(&target)), Some(target));
        }
    }
    let removed = PurgeTarget::Hard(Names::Removed(7));
    assert_eq!(decode(&encode(&removed)), Some(removed));
    for unknown in
        ["*", "**", "", "x1", "u", "uxyz", "äb", "s", "ss", "sst", "sx", "s*x", "su", "rx"]
    {
        assert_eq!(decode(unknown), Some(PurgeTarget::ALL), "{unknown}");
    }
    assert_eq!(decode(REMOVED_MARKER), None);
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
    assert_eq!(log.batch(), [url(1, 3), all]);
}

#[test]
fn offset_is_that_of_the_middle() {
    for (start, end, server, expected) in
        [(1000, 1000, 1000, 0), (1000, 1100, 950, 100), (0, 0, 5, -5), (u64::MAX, u64::MAX, 0, 0)]
    {
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
    learn(&purges, &[tag(1005), url], 5, &[], 0);
    assert_eq!(purges.watermark(), 2005);
    let spared = |tag: &str, watermark| spared(&purges, tag, watermark);
    assert_eq!(spared("a", 4), None, "the entry is older than the log");
    assert_eq!(spared("b", 4), None);
    assert_eq!(spared("a", 5), None);
    assert_eq!(spared("b", 5), Some(2005));
    assert_eq!(spared("a", 1005), Some(2005));
    drop(purges.purge(Purge::Tag("a"), 0));
    assert_eq!(spared("a", 2005), None, "a local purge is the last one");
    learn(&purges, &[tag(3005)], 1005, &[], 0);
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
    fn write(&self, _: LocalPurge) -> StampFuture {
        Box::pin(ready(None))
    }

    fn is_away(&self) -> bool {
        false
    }

    fn confirm(&self, _: StampFuture) -> PurgeFuture {
        PurgeFuture::done()
    }

    fn begin_fill(&self, _: u128, _: &str, _: Stamp) -> Option<Fill> {
        None
    }
}

fn learn(
    purges: &Purges,
    news: &[(PurgeTarget, Stamp)],
    floor: Stamp,
    written: &[LocalPurge],
    clock_offset: i64,
) {
    let read = news.iter().map(|(_, stamp)| *stamp).max().unwrap_or_default();
    purges.learn(&News { purges: news, floor, removed_floor: floor, read, written, clock_offset });
}

#[test]
fn local_purge_holds_until_it_is_written() {
    let tag = |tag: &str| PurgeTarget::Hard(Names::Tag(tag.to_owned()));
    let purges = Purges::with_log(SilentLog);
    learn(&purges, &[(tag("other"), 1000)], 0, &[], 0);
    drop(purges.purge(Purge::Tag("a"), 0));
    let spared = |tag: &str, watermark| spared(&purges, tag, watermark);
    assert_eq!(spared("a", 1000), None);
    // Another process knows a newer purge but not this one.
    learn(&purges, &[(tag("other"), 2000)], 0, &[], 0);
    assert_eq!(purges.learned(), 2000);
    assert_eq!(spared("a", 2000), None);
    assert!(spared("b", 2000).is_some());
    // An earlier purge of the same target is written, and this one is not.
    drop(purges.purge(Purge::Tag("a"), 0));
    learn(&purges, &[(tag("a"), 3000)], 0, &[LocalPurge { target: tag("a"), number: 1 }], 0);
    assert_eq!(spared("a", 3000), None);
    learn(&purges, &[(tag("a"), 4000)], 0, &[LocalPurge { target: tag("a"), number: 2 }], 0);
    assert_eq!(spared("a", 4000), Some(4000));
    drop(purges.purge(Purge::All, 0));
    learn(&purges, &[(tag("other"), 5000)], 0, &[], 0);
    assert_eq!(spared("b", 5000), None);
    learn(&purges, &[], 6000, &[LocalPurge { target: PurgeTarget::ALL, number: 3 }], 0);
    assert_eq!(spared("b", 6000), Some(6000));
}

#[test]
fn soft_purge_has_its_time_by_the_local_clock() {
    let soft = |tag: &str| PurgeTarget::Soft(Names::Tag(tag.to_owned()));
    let purges = Purges::with_log(SilentLog);
    learn(&purges, &[(soft("a"), 7_000_000)], 0, &[], -500);
    let standing = |tag: &str, watermark| purges.standing("http://x/", &[tag.into()], watermark, 0);
    assert_eq!(standing("a", 0), Standing::Stale { since: 6_500 });
    assert_eq!(standing("a", 7_000_000), Standing::Current(7_000_000));
    assert_eq!(standing("b", 0), Standing::Current(7_000_000));
    drop(purges.soft_purge(Purge::Tag("b"), 6_600));
    assert_eq!(standing("b", 7_000_000), Standing::Stale { since: 6_600 });
    // An entry of another process that does not know of it, and knows a newer one.
    learn(&purges, &[(soft("a"), 8_000_000)], 0, &[], -500);
    assert_eq!(standing("b", 8_000_000), Standing::Stale { since: 6_600 });
    let written = [LocalPurge { target: soft("b"), number: 1 }];
    learn(&purges, &[(soft("b"), 9_000_000)], 0, &written, -500);
    assert_eq!(standing("b", 8_000_000), Standing::Stale { since: 8_500 });
    assert_eq!(standing("b", 9_000_000), Standing::Current(9_000_000));
    // A purge of everything wins, and so does the floor of the log.
    learn(&purges, &[(PurgeTarget::ALL, 10_000_000)], 0, &[], 0);
    assert_eq!(standing("b", 9_000_000), Standing::Purged);
    learn(&purges, &[(PurgeTarget::Soft(Names::All), 11_000_000)], 10_500_000, &[], 0);
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
    learn(&purges, &[(PurgeTarget::Hard(Names::Tag("0".into())), 1_000)], 0, &[], 0);
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

#[test]
fn removed_names_purge_nothing_else() {
    let removed = |url| PurgeTarget::Hard(Names::Removed(url));
    let purges = Purges::with_log(SilentLog);
    let learn = |news: &[_], removed_floor| {
        let read = 9_000;
        purges.learn(&News { purges: news, removed_floor, read, ..News::default() });
    };
    learn(&[(removed(hash128("http://x/")), 5_000)], 1_000);
    assert_eq!(spared(&purges, "a", 4_999), None);
    assert_eq!(spared(&purges, "a", 5_000), Some(9_000));
    assert!(!purges.is_outdated(1_000));
    assert!(purges.is_outdated(999), "it is read again");
    learn(&[], 5_000);
    assert_eq!(spared(&purges, "a", 4_999), Some(9_000), "forgotten: Redis has it no more");
    assert!(purges.is_outdated(4_999) && !purges.is_outdated(5_000));
    assert!(!purges.admits("http://x/", &[], 4_999), "a fetch might bring it back");
    assert!(purges.admits("http://x/", &[], 5_000));
}

#[test]
fn pages_of_both_sets_end_together() {
    let page = |stamps: &[Stamp]| stamps.iter().map(|stamp| ("t", *stamp)).collect::<Vec<_>>();
    assert_eq!(end_of_full(&page(&[1, 2]), 2), Some(2));
    assert_eq!(end_of_full(&page(&[1, 2]), 3), None);
    assert_eq!(end_of_full(&[], 3), None);
}

proptest! {
    #[test]
    fn any_target_survives_a_round_trip(
        target in prop_oneof![
            any::<u128>().prop_map(Names::Url),
            any::<u128>().prop_map(Names::Removed),
            any::<String>().prop_map(Names::Prefix),
            any::<String>().prop_map(Names::Tag),
        ],
        is_soft in any::<bool>(),
    ) {
        let target =
            if is_soft { PurgeTarget::Soft(target) } else { PurgeTarget::Hard(target) };
        prop_assert_eq!(decode(&encode(&target)), Some(target));
    }

    #[test]
    fn no_reply_causes_a_panic(
        news in prop::collection::vec(prop_oneof![any::<String>(), "s?[urptx*]?[0-9a-f+]{0,34}"], 0..8),
    ) {
        let read = stamped(&news);
        let pairs = news.chunks_exact(2);
        prop_assert_eq!(read.len(), pairs.filter(|pair| pair[1].parse::<Stamp>().is_ok()).count());
        for (text, _) in read {
            // Several spellings of a URL's number are equal.
            let Some(target) = decode(text) else { continue };
            let (PurgeTarget::Hard(names) | PurgeTarget::Soft(names)) = &target;
            if let Names::Prefix(_) | Names::Tag(_) = names {
                prop_assert_eq!(&encode(&target), text);
            }
        }
    }
}
