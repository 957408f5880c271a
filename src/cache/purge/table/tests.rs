use proptest::prelude::*;

use super::*;

/// The purge with this stamp, ten milliseconds for each step of it.
fn mark(stamp: Stamp) -> Mark {
    Mark { stamp, time: 10 * stamp }
}

fn prefix(table: &mut PurgeTable, prefix: &str, stamp: Stamp) {
    table.insert(Purge::Prefix(prefix).names(), mark(stamp));
}

#[test]
fn many_prefixes_purge_nothing_else() {
    let mut table = PurgeTable::default();
    for number in 0..10_000 {
        prefix(&mut table, &format!("http://x/{number}/"), number + 1);
    }
    assert!(table.is_purged("http://x/1/a", &[], 0));
    assert!(table.is_purged("http://x/9999/a", &[], 9_999));
    assert!(!table.is_purged("http://x/1/a", &[], 2));
    assert!(!table.is_purged("http://x/other", &[], 0));
}

#[test]
fn full_table_of_prefixes_purges_more() {
    let mut table = PurgeTable::default();
    for number in 0..=MAX_NAMES as Stamp {
        prefix(&mut table, &format!("http://x/{number}/"), number + 1);
    }
    assert!(table.is_purged("http://x/1/", &[], 0));
    assert!(table.is_purged("http://x/other", &[], 0));
    assert!(!table.remembers(0));
    assert!(!table.is_purged("http://x/other", &[], MAX_NAMES as Stamp));
}

#[test]
fn million_removed_names_purge_nothing_else() {
    let mut table = PurgeTable::default();
    table.insert(Purge::Tag("a").names(), mark(1));
    table.insert(Purge::Url("http://x/a").names(), mark(2));
    prefix(&mut table, "http://y/", 3);
    for number in 0..1_000_000 {
        table.insert(Names::Removed(number.into()), mark(10 + number));
        assert!(table.removed.len() <= MAX_NAMES);
    }
    assert!(!table.is_purged("http://x/other", &["b".into()], 0));
    // What was purged before stays purged.
    assert!(table.is_purged("http://x/other", &["a".into()], 0));
    assert!(table.is_purged("http://x/a", &[], 0) && table.is_purged("http://y/a", &[], 0));
    assert_eq!(table.removed_at(999_999).map(|mark| mark.stamp), Some(1_000_009));
    assert!(table.removed_at(0).is_none(), "it is forgotten");
    assert!(table.has_forgotten_removed(0) && !table.has_forgotten_removed(1_000_009));
    assert!(!table.remembers(0), "a fetch from before may be one of a removed name");
}

#[test]
fn shorter_prefix_replaces_longer_ones() {
    let mut table = PurgeTable::default();
    for (stamp, name) in ["ab", "abc", "a", "b"].into_iter().enumerate() {
        prefix(&mut table, name, stamp as Stamp + 1);
    }
    assert_eq!(table.prefixes.keys().collect::<Vec<_>>(), ["a", "b"]);
    prefix(&mut table, "ab", 9);
    prefix(&mut table, "a", 8);
    assert!(table.is_purged("abc", &[], 8), "the later purge of the longer one stays");
}

#[test]
fn first_of_several_purges_counts() {
    let mut table = PurgeTable::default();
    let tags = ["a".to_owned(), "b".to_owned()];
    for (purge, stamp) in [
        (Purge::Tag("b"), 3),
        (Purge::Tag("a"), 5),
        (Purge::Url("http://x/1"), 4),
        (Purge::Prefix("http://"), 2),
        (Purge::Prefix("http://x"), 6),
        (Purge::Prefix("http://y"), 1),
    ] {
        table.insert(purge.names(), mark(stamp));
    }
    let at = |watermark| table.purged_at("http://x/1", &tags, watermark);
    assert_eq!(
        [0, 2, 3, 4, 5, 6].map(at),
        [20, 30, 40, 50, 60, 0].map(|at| (at > 0).then_some(at))
    );
    // A later purge of the same name replaces the one before.
    table.insert(Purge::Prefix("http://").names(), mark(7));
    assert_eq!(table.purged_at("http://x/1", &tags, 6), Some(70));
    table.insert(Names::All, mark(8));
    assert_eq!(table.purged_at("http://x/1", &tags, 7), Some(80));
}

proptest! {
    #[test]
    fn prefixes_are_found_as_by_comparing_all(
        prefixes in prop::collection::vec(("[aä/]{0,5}", 1_u64..9), 0..12),
        url in "[aä/]{0,7}",
        watermark in 0_u64..9,
    ) {
        let mut table = PurgeTable::default();
        for (name, stamp) in &prefixes {
            prefix(&mut table, name, *stamp);
        }
        let expected = prefixes
            .iter()
            .any(|(name, stamp)| url.starts_with(name.as_str()) && *stamp > watermark);
        prop_assert_eq!(table.is_purged(&url, &[], watermark), expected);
        prop_assert_eq!(table.purged_at(&url, &[], watermark).is_some(), expected);
    }
}
