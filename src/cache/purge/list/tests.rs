use super::super::table::MAX_NAMES;
use super::*;

#[test]
fn purge_affects_what_was_requested_before_it() {
    let tags = ["a".to_owned(), "b".to_owned()];
    for (purge, hit) in [
        (Purge::All, true),
        (Purge::Url("http://x/1"), true),
        (Purge::Url("http://x/2"), false),
        (Purge::Removed("http://x/1"), true),
        (Purge::Prefix("http://x/"), true),
        (Purge::Prefix("http://y/"), false),
        (Purge::Tag("b"), true),
        (Purge::Tag("c"), false),
    ] {
        let purges = Purges::default();
        let before = purges.watermark();
        drop(purges.purge(purge, 5));
        let standing = |watermark| purges.standing("http://x/1", &tags, watermark, 0);
        let after = Standing::Current(purges.watermark());
        assert_eq!(standing(before), if hit { Standing::Purged } else { after }, "{purge:?}");
        assert_eq!(purges.admits("http://x/1", &tags, before), !hit, "{purge:?}");
        assert_eq!(standing(purges.watermark()), after, "{purge:?}");
    }
}

#[test]
fn soft_purge_makes_stale_what_came_before_it() {
    let tags = ["a".to_owned(), "b".to_owned()];
    for (purge, hit) in [
        (Purge::All, true),
        (Purge::Url("http://x/1"), true),
        (Purge::Url("http://x/2"), false),
        (Purge::Prefix("http://x/"), true),
        (Purge::Prefix("http://y/"), false),
        (Purge::Tag("b"), true),
        (Purge::Tag("c"), false),
    ] {
        let purges = Purges::default();
        let before = purges.watermark();
        drop(purges.soft_purge(purge, 5));
        let standing = |watermark| purges.standing("http://x/1", &tags, watermark, 0);
        let after = purges.watermark();
        let stale = Standing::Stale { since: 5 };
        assert_eq!(standing(before), if hit { stale } else { Standing::Current(after) });
        assert!(purges.admits("http://x/1", &tags, before), "{purge:?}: to be served as stale");
        assert_eq!(standing(after), Standing::Current(after), "{purge:?}");
        // A hard purge of the same wins, before and after.
        drop(purges.purge(purge, 6));
        if hit {
            assert_eq!([standing(before), standing(after)], [Standing::Purged; 2], "{purge:?}");
            let fetched = purges.watermark();
            drop(purges.soft_purge(purge, 7));
            assert_eq!([standing(before), standing(after)], [Standing::Purged; 2], "{purge:?}");
            assert_eq!(standing(fetched), Standing::Stale { since: 7 }, "{purge:?}");
        }
    }
}

#[test]
fn stamps_grow_whatever_the_clock_does() {
    let purges = Purges::default();
    for now in [5, 5, 1, 0] {
        let before = purges.watermark();
        drop(purges.purge(Purge::Tag("a"), now));
        assert!(purges.watermark() > before);
    }
}

#[test]
fn many_changed_urls_purge_nothing_else() {
    let purges = Purges::default();
    let before = purges.watermark();
    for number in 0..=MAX_NAMES {
        drop(purges.purge(Purge::Removed(&format!("http://x/{number}")), 0));
    }
    assert_ne!(purges.standing("http://x/other", &[], before, 0), Standing::Purged);
    assert!(!purges.remembers(before), "an entry that was not removed may be purged");
    assert!(purges.remembers(purges.watermark()));
    assert!(!purges.admits("http://x/1", &[], before));
    assert!(purges.admits("http://x/1", &[], purges.watermark()));
}

#[test]
fn purged_url_stays_purged_among_many() {
    let purges = Purges::default();
    let before = purges.watermark();
    drop(purges.purge(Purge::Url("http://x/1"), 0));
    drop(purges.purge(Purge::Removed("http://x/1"), 0));
    for number in 2..=MAX_NAMES + 1 {
        drop(purges.purge(Purge::Removed(&format!("http://x/{number}")), 0));
    }
    assert_eq!(purges.standing("http://x/1", &[], before, 0), Standing::Purged);
}

#[test]
fn many_soft_purges_make_more_stale() {
    let purges = Purges::default();
    let before = purges.watermark();
    for number in 0..=MAX_NAMES as u64 {
        drop(purges.soft_purge(Purge::Tag(&number.to_string()), 100 + number));
    }
    let Standing::Stale { since } = purges.standing("http://x/", &[], before, 0) else {
        panic!("older than what is forgotten");
    };
    assert!(since > 100, "the time of the last that is forgotten");
    assert!(purges.admits("http://x/", &[], before));
    let after = purges.watermark();
    assert_eq!(purges.standing("http://x/", &[], after, 0), Standing::Current(after));
}
