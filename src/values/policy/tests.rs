use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn absence_is_fresh_for_a_shorter_time() {
    let rules = Rules { while_revalidate: 5 * SECOND, if_error: 5 * SECOND, ..Rules::default() };
    for (ttl, is_absent, lifetime, stale) in [
        (None, false, 3_600_000, 5000),
        (Some(SECOND), false, 1000, 5000),
        (Some(Duration::ZERO), false, 0, 5000),
        (Some(Duration::MAX), false, (1 << 31) * 1000, 5000),
        (None, true, 60_000, 0),
        (Some(SECOND), true, 1000, 0),
    ] {
        let freshness = rules.freshness(ttl, is_absent, 7, 1.0);
        let expected = Freshness {
            received: 7,
            lifetime,
            while_revalidate: stale,
            if_error: stale,
            ..Freshness::default()
        };
        assert_eq!(freshness, expected, "{ttl:?} {is_absent}");
    }
}

#[test]
fn jitter_shortens_by_a_fraction() {
    for (jitter, random, expected) in
        [(0.0, 1.0, 1000), (0.1, 1.0, 900), (0.1, 0.5, 950), (1.0, 1.0, 0)]
    {
        let rules = Rules { jitter, ..Rules::default() };
        assert_eq!(rules.freshness(Some(SECOND), false, 0, random).lifetime, expected);
    }
}

#[test]
fn age_decides_about_use() {
    let freshness = Freshness {
        received: 100,
        lifetime: 10,
        while_revalidate: 5,
        if_error: 8,
        ..Freshness::default()
    };
    let rules = |refresh_after| Rules { refresh_after, ..Rules::default() };
    for (now, expected, eager) in [
        (0, Age::Fresh, Age::Fresh),
        (107, Age::Fresh, Age::Fresh),
        (108, Age::Fresh, Age::Due),
        (109, Age::Fresh, Age::Due),
        (110, Age::Stale, Age::Stale),
        (114, Age::Stale, Age::Stale),
        (115, Age::IfError, Age::IfError),
        (117, Age::IfError, Age::IfError),
        (118, Age::Expired, Age::Expired),
        (u64::MAX, Age::Expired, Age::Expired),
    ] {
        let left = freshness.left(now);
        assert_eq!(rules(1.0).age(&freshness, left), expected, "{now}");
        assert_eq!(rules(0.8).age(&freshness, left), eager, "{now}");
    }
    assert_eq!(rules(0.0).age(&freshness, freshness.left(100)), Age::Due);
    // The other way around: a value that is returned at once is of use after a failure too.
    let longer = Freshness { while_revalidate: 8, if_error: 5, ..freshness };
    assert_eq!(rules(1.0).age(&longer, longer.left(117)), Age::Stale);
    assert_eq!(rules(1.0).age(&longer, longer.left(118)), Age::Expired);
}

#[test]
fn failure_decides_about_the_next_load() {
    let rules = |retry_delay, failure_ttl| Rules {
        retry_delay: retry_delay * SECOND,
        failure_ttl: failure_ttl * SECOND,
        ..Rules::default()
    };
    let failed = |at| Some(FailedBefore { at, is_awaited: false });
    let awaited = Some(FailedBefore { at: 0, is_awaited: true });
    // The rules, the failure, and the steps for values that are due, stale, for errors, expired.
    for (rules, failed, due, if_error, expired) in [
        (rules(1, 0), None, Step::Refresh, Step::Load, Step::Load),
        (rules(1, 0), failed(9_001), Step::Return, Step::Return, Step::Load),
        (rules(1, 0), failed(9_000), Step::Refresh, Step::Load, Step::Load),
        (rules(0, 0), failed(10_000), Step::Refresh, Step::Load, Step::Load),
        (rules(1, 2), failed(8_001), Step::Refresh, Step::Load, Step::Fail),
        (rules(1, 2), failed(8_000), Step::Refresh, Step::Load, Step::Load),
        (rules(0, 0), awaited, Step::Refresh, Step::Return, Step::Fail),
        // The clock has gone back.
        (rules(1, 1), failed(10_001), Step::Refresh, Step::Load, Step::Load),
    ] {
        let step = |age| rules.step(age, failed, 10_000);
        assert_eq!(step(Age::Fresh), Step::Return, "{failed:?}");
        assert_eq!(step(Age::Due), due, "{failed:?}");
        assert_eq!(step(Age::Stale), due, "{failed:?}");
        assert_eq!(step(Age::IfError), if_error, "{failed:?}");
        assert_eq!(step(Age::Expired), expired, "{failed:?}");
    }
}

#[test]
fn tags_have_a_maximum() {
    let rules = Rules { namespace: namespace("a"), ..Rules::default() };
    assert_eq!(rules.tags(&["x".to_owned()]), ["value=a:x"]);
    assert_eq!(rules.tag("x").as_deref(), Some("value=a:x"));
    assert_eq!(rules.tag(&"x".repeat(MAX_TAG_LENGTH + 1)), None);
    for (number, length, fits) in [
        (0, 0, true),
        (MAX_TAGS, MAX_TAG_LENGTH, true),
        (MAX_TAGS + 1, 1, false),
        (1, MAX_TAG_LENGTH + 1, false),
    ] {
        let tags = vec!["x".repeat(length); number];
        assert_eq!(tags_fit(&tags), fits, "{number} {length}");
    }
}

#[test]
fn namespaces_do_not_overlap() {
    let names = ["", "a", "ab", "a:", "a%", "a%3A", ":", "ä"];
    let namespaces = names.map(namespace);
    for (at, one) in namespaces.iter().enumerate() {
        for other in namespaces.iter().skip(at + 1) {
            assert!(!one.starts_with(other) && !other.starts_with(one), "{one} {other}");
        }
    }
}

#[test]
fn long_key_has_no_name() {
    let rules = Rules::default();
    assert_eq!(rules.name("a:b").as_deref(), Some("value=:a:b"));
    let long = "a".repeat(MAX_NAME_LENGTH - rules.namespace.len());
    assert!(rules.name(&long).is_some());
    assert!(rules.name(&format!("{long}a")).is_none());
}
