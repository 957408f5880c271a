//! For how long (RFC 9111 §4.2, RFC 9213), and what requests ask (§5.2.1).

use std::time::Duration;

use http::HeaderName;
use tower_kit::cache::{CacheHint, CacheLayer};

use super::rig::{Fields, MINUTE, Rig, date, reply, request};
use crate::support::status;

/// For how many seconds a response is fresh; `None` if it is not kept.
async fn ttl(choose: impl FnOnce(CacheLayer) -> CacheLayer, fields: Fields<'_>) -> Option<i64> {
    let rig = Rig::with(fields, choose);
    rig.get("/", &[]).await;
    let second = rig.get("/", &[]).await;
    second.is_hit().then(|| second.ttl())
}

#[tokio::test]
async fn the_first_of_the_stated_lifetimes_counts() {
    let (now, expires, modified) = (&*date(0), &*date(40), &*date(-1000));
    let all = [
        ("cdn-cache-control", "max-age=10"),
        ("cache-control", "s-maxage=20"),
        ("cache-control", "max-age=30"),
        ("expires", expires),
        ("last-modified", modified),
        ("date", now),
    ];
    // Each time without the first of the ones before.
    for (left_out, expected) in [(0, 10), (1, 20), (2, 30), (3, 40), (4, 100)] {
        let plain = |layer| layer;
        assert_eq!(ttl(plain, &all[left_out..]).await, Some(expected), "without {left_out}");
    }
    let by_status = |layer: CacheLayer| {
        layer.ttl(status(200), Duration::from_secs(50)).default_ttl(Duration::from_secs(70))
    };
    assert_eq!(ttl(by_status, &all[3..]).await, Some(40), "a stated one comes before");
    assert_eq!(ttl(by_status, &all[4..]).await, Some(50), "a guessed one comes after");
    let by_default = |layer: CacheLayer| layer.default_ttl(Duration::from_secs(70));
    assert_eq!(ttl(by_default, &all[4..]).await, Some(100));
    assert_eq!(ttl(by_default, &all[5..]).await, Some(70));
    assert_eq!(ttl(|layer| layer, &all[5..]).await, None);
}

#[tokio::test]
async fn a_hint_comes_before_all() {
    let rig = Rig::new(&[]);
    rig.answers(|_| {
        let fields = [("cdn-cache-control", "max-age=10"), ("cache-control", "s-maxage=20")];
        let mut response = reply(200, &fields, "");
        response.extensions_mut().insert(CacheHint::new().ttl(Duration::from_secs(5)));
        Ok(response)
    });
    rig.get("/", &[]).await;
    assert_eq!(rig.get("/", &[]).await.ttl(), 5);
}

#[tokio::test]
async fn a_hint_does_not_excuse_what_may_not_be_kept() {
    for fields in [
        &[("cache-control", "no-store")],
        &[("cache-control", "private")],
        &[("set-cookie", "a=b")],
        &[("vary", "*")],
    ] {
        let rig = Rig::new(&[]);
        rig.answers(move |_| {
            let mut response = reply(200, fields, "");
            response.extensions_mut().insert(CacheHint::new().ttl(Duration::from_secs(5)));
            Ok(response)
        });
        rig.get("/", &[]).await;
        assert!(!rig.get("/", &[]).await.is_hit(), "{fields:?}");
    }
}

#[tokio::test]
async fn stated_lifetimes_are_read_as_the_rfc_says() {
    // RFC 9111 §4.2.1, §5.2, §5.3, §1.2.2.
    let (now, soon, past) = (&*date(0), &*date(40), &*date(-40));
    let table: &[(Fields<'_>, Option<i64>)] = &[
        (&[("cache-control", "max-age=\"30\"")], Some(30)),
        (&[("cache-control", "Max-Age=30")], Some(30)),
        (&[("cache-control", "max-age=30, max-age=99")], Some(30)),
        (&[("cache-control", "max-age=junk")], None),
        (&[("cache-control", "max-age=-1")], None),
        (&[("cache-control", "max-age=99999999999999999999")], Some(1 << 31)),
        (&[("cache-control", "max-age=0, s-maxage=30")], Some(30)),
        (&[("cache-control", "max-age=30, s-maxage=0")], None),
        (&[("cache-control", "max-age=0"), ("expires", soon)], None),
        (&[("expires", "0"), ("last-modified", past)], None),
        (&[("expires", "0")], None),
        (&[("expires", "-1")], None),
        (&[("expires", past), ("date", now)], None),
        (&[("expires", soon), ("expires", soon)], None),
        (&[("expires", soon)], Some(40)),
        (&[("expires", "Sunday, 06-Nov-94 08:50:17 GMT")], Some(40)),
        // The difference counts, not this machine's clock.
        (&[("expires", &date(1040)), ("date", &date(1000))], Some(40)),
    ];
    for (fields, expected) in table {
        let got = ttl(|layer| layer, fields).await;
        assert_eq!(got, *expected, "{fields:?}");
    }
}

#[tokio::test]
async fn heuristic_is_a_tenth_of_the_age_up_to_a_day() {
    for (modified, expected) in [(-100, Some(10)), (-1_000_000, Some(86_400)), (100, None)] {
        let fields = [("last-modified", &*date(modified)), ("date", &*date(0))];
        assert_eq!(ttl(|layer| layer, &fields).await, expected, "{modified}");
    }
    assert_eq!(ttl(|layer| layer, &[("last-modified", "long ago")]).await, None);
}

#[tokio::test]
async fn targeted_header_replaces_the_others() {
    // RFC 9213 §2.1.
    let expires = &*date(40);
    let table: &[(Fields<'_>, Option<i64>)] = &[
        (&[("cdn-cache-control", "max-age=10"), ("cache-control", "no-store")], Some(10)),
        (&[("cdn-cache-control", "max-age=10"), ("cache-control", "private")], Some(10)),
        (&[("cdn-cache-control", "no-store"), ("cache-control", "max-age=30")], None),
        (&[("cdn-cache-control", "private"), ("cache-control", "max-age=30")], None),
        (&[("cdn-cache-control", "x"), ("cache-control", "max-age=30")], None),
        (&[("cdn-cache-control", "x"), ("expires", expires)], None),
        (&[("cdn-cache-control", "max-age=10, s-maxage=20")], Some(20)),
        (&[("cdn-cache-control", "max-age=10"), ("cdn-cache-control", "s-maxage=20")], Some(20)),
    ];
    for (fields, expected) in table {
        assert_eq!(ttl(|layer| layer, fields).await, *expected, "{fields:?}");
    }
}

#[tokio::test]
async fn a_targeted_field_that_is_junk_does_not_count() {
    // RFC 9213 §2.1: an invalid or empty one is ignored as a whole.
    for junk in [
        "",
        "max-age=ten",
        "max-age=\"10\"",
        "max-age=10.5",
        "max-age=-1",
        "max-age",
        "Max-Age=10",
        "max-age=10,",
        "max-age=10, =",
        "max-age=10, x=\"open",
        "max-age=1000000000000000",
    ] {
        let fields = [("cdn-cache-control", junk), ("cache-control", "max-age=30")];
        assert_eq!(ttl(|layer| layer, &fields).await, Some(30), "{junk:?}");
    }
}

#[tokio::test]
async fn targeted_headers_apply_in_their_order() {
    let both = |layer: CacheLayer| {
        let names = ["x-mine-control", "cdn-cache-control"].map(HeaderName::from_static);
        layer.targeted(names)
    };
    let fields = [
        ("cdn-cache-control", "max-age=10"),
        ("x-mine-control", "max-age=5"),
        ("cache-control", "max-age=30"),
    ];
    assert_eq!(ttl(both, &fields).await, Some(5));
    let fields = [("cdn-cache-control", "max-age=10"), ("x-mine-control", "junk=")];
    assert_eq!(ttl(both, &fields).await, Some(10));
    let fields = [("cdn-cache-control", "max-age=10"), ("cache-control", "max-age=30")];
    assert_eq!(ttl(|layer| layer.targeted([]), &fields).await, Some(30));
}

// Age.

#[tokio::test]
async fn age_grows_and_is_rounded_down() {
    let rig = Rig::new(MINUTE);
    assert_eq!(rig.get("/", &[]).await.field("age"), None);
    for (millis, age, left) in [(0, "0", 60), (999, "0", 59), (1, "1", 59), (58_999, "59", 0)] {
        rig.clock.pass_millis(millis);
        let hit = rig.get("/", &[]).await;
        assert_eq!((hit.field("age"), hit.ttl()), (Some(age), left));
    }
    rig.clock.pass_millis(1);
    assert!(!rig.get("/", &[]).await.is_hit(), "the lifetime must be greater than the age");
}

#[tokio::test]
async fn the_age_that_a_response_comes_with_counts() {
    // RFC 9111 §4.2.3.
    let date_of = |after| date(after);
    for (fields, took, age) in [
        (vec![("age", "15".to_owned())], 0, 15),
        (vec![("age", "15, 30".to_owned())], 0, 15),
        (vec![("age", "junk".to_owned())], 0, 0),
        (vec![("age", "15".to_owned())], 5, 20),
        // Of the apparent age and the stated one, the greater one.
        (vec![("date", date_of(-20))], 0, 20),
        (vec![("date", date_of(-20)), ("age", "15".to_owned())], 0, 20),
        (vec![("date", date_of(-20)), ("age", "30".to_owned())], 0, 30),
        (vec![("date", date_of(20))], 0, 0),
        (vec![("date", "junk".to_owned())], 0, 0),
        // What the service took counts once.
        (vec![("date", date_of(0)), ("age", "0".to_owned())], 5, 5),
        (vec![], 5, 5),
    ] {
        let rig = Rig::new(&[]);
        let clock = rig.clock.clone();
        let stated = fields.clone();
        rig.answers(move |_| {
            clock.pass(took);
            let mut all = MINUTE.to_vec();
            all.extend(stated.iter().map(|(name, value)| (*name, &**value)));
            Ok(reply(200, &all, "x"))
        });
        rig.get("/", &[]).await;
        let hit = rig.get("/", &[]).await;
        assert_eq!(hit.field("age"), Some(&*age.to_string()), "{fields:?}, took {took}");
        assert_eq!(hit.ttl(), 60 - age, "{fields:?}, took {took}");
    }
}

#[tokio::test]
async fn expired_response_is_not_served_again() {
    assert_eq!(ttl(|layer| layer, &[("cache-control", "max-age=60"), ("age", "60")]).await, None);
    assert_eq!(
        ttl(|layer| layer, &[("cache-control", "max-age=60"), ("date", &date(-61))]).await,
        None
    );
}

#[tokio::test]
async fn age_is_left_as_it_is_on_the_way_through() {
    for control in ["no-store", "max-age=60"] {
        let rig = Rig::new(&[("cache-control", control), ("age", "7")]);
        let passed = rig.get("/", &[]).await;
        let ages: Vec<_> = passed.headers.get_all("age").iter().collect();
        assert_eq!(ages, ["7"], "{control}");
    }
    let rig = Rig::new(&[("cache-control", "no-store")]);
    assert_eq!(rig.get("/", &[]).await.field("age"), None);
}

#[tokio::test]
async fn response_without_date_gets_its_arrival() {
    // RFC 9110 §6.6.1.
    for fields in [&[][..], &[("date", "junk")]] {
        let fields: Vec<_> = MINUTE.iter().chain(fields).copied().collect();
        let rig = Rig::new(&fields);
        rig.get("/", &[]).await;
        rig.clock.pass(5);
        assert_eq!(rig.get("/", &[]).await.field("date"), Some(&*date(0)), "{fields:?}");
    }
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("date", &date(-5))]);
    rig.get("/", &[]).await;
    assert_eq!(rig.get("/", &[]).await.field("date"), Some(&*date(-5)));
}

#[tokio::test]
async fn clock_set_back_makes_nothing_fresher() {
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("age", "10")]);
    rig.clock.pass(1000);
    rig.get("/", &[]).await;
    rig.clock.pass_millis(0_u64.wrapping_sub(900_000));
    assert_eq!(rig.get("/", &[]).await.ttl(), 50);
}

// What requests ask.

#[tokio::test]
async fn what_a_request_asks_of_a_fresh_entry_is_done() {
    // RFC 9111 §5.2.1 and §5.4; the entry is 10 s old and fresh for 50 s more.
    let table: &[(Fields<'_>, &str)] = &[
        (&[("cache-control", "no-cache")], "fwd=request; stored"),
        (&[("cache-control", "No-Cache")], "fwd=request; stored"),
        (&[("pragma", "no-cache")], "fwd=request; stored"),
        (&[("pragma", "no-cache"), ("cache-control", "x")], "hit; ttl=50"),
        (&[("pragma", "x")], "hit; ttl=50"),
        (&[("cache-control", "max-age=0")], "fwd=request; stored"),
        (&[("cache-control", "max-age=9")], "fwd=request; stored"),
        (&[("cache-control", "max-age=10")], "hit; ttl=50"),
        (&[("cache-control", "min-fresh=50")], "hit; ttl=50"),
        (&[("cache-control", "min-fresh=51")], "fwd=request; stored"),
        (&[("cache-control", "max-stale=0")], "hit; ttl=50"),
        (&[("cache-control", "only-if-cached")], "hit; ttl=50"),
        (&[("cache-control", "no-transform")], "hit; ttl=50"),
    ];
    for (fields, expected) in table {
        let rig = Rig::new(MINUTE);
        rig.get("/", &[]).await;
        rig.clock.pass(10);
        assert_eq!(rig.get("/", fields).await.cache(), *expected, "{fields:?}");
        let rig = Rig::ignoring(MINUTE);
        rig.get("/", &[]).await;
        rig.clock.pass(10);
        assert_eq!(rig.get("/", fields).await.cache(), "hit; ttl=50", "{fields:?} is ignored");
    }
}

#[tokio::test]
async fn a_client_that_takes_what_is_stale_gets_it() {
    // RFC 9111 §5.2.1.2.
    for (control, after, hit) in [
        ("max-stale=5", 65, true),
        ("max-stale=5", 66, false),
        ("max-stale", 100_000, true),
        ("max-stale=junk", 61, false),
        ("max-stale=5, max-age=60", 62, false),
        ("max-stale=5, min-fresh=1", 62, false),
    ] {
        let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
        rig.get("/", &[]).await;
        rig.clock.pass(after);
        let got = rig.get("/", &[("cache-control", control)]).await;
        assert_eq!(got.is_hit(), hit, "{control} after {after}");
        if hit {
            assert_eq!(got.ttl(), 60 - i64::try_from(after).unwrap());
            assert_eq!(got.field("age"), Some(&*after.to_string()));
        }
    }
}

#[tokio::test]
async fn max_stale_does_not_overrule_the_response() {
    for forbids in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
        let control = format!("max-age=60, {forbids}");
        let rig = Rig::new(&[("cache-control", &control), ("etag", "\"a\"")]);
        rig.get("/", &[]).await;
        rig.clock.pass(61);
        let got = rig.get("/", &[("cache-control", "max-stale")]).await;
        assert!(!got.is_hit(), "{forbids}");
    }
}

#[tokio::test]
async fn only_if_cached_without_an_entry_gets_504() {
    // RFC 9111 §5.2.1.7.
    let rig = Rig::new(MINUTE);
    let only = [("cache-control", "only-if-cached")];
    let missed = rig.get("/", &only).await;
    assert_eq!((missed.status, rig.calls()), (504, 0));
    rig.get("/", &[]).await;
    assert_eq!(rig.get("/", &only).await.status, 200);
    rig.clock.pass(61);
    assert_eq!(rig.get("/", &only).await.status, 504);
    let stale = [("cache-control", "only-if-cached, max-stale=5")];
    assert_eq!(rig.get("/", &stale).await.status, 200);
    let authorized = [("cache-control", "only-if-cached"), ("authorization", "Basic x")];
    assert_eq!(rig.get("/", &authorized).await.status, 504);
    assert_eq!(rig.calls(), 1);
}

#[tokio::test]
async fn ignored_request_control_covers_all_directives() {
    let rig = Rig::ignoring(MINUTE);
    let got = rig.get("/", &[("cache-control", "only-if-cached, no-store")]).await;
    assert_eq!(got.cache(), "fwd=uri-miss; stored");
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn a_request_for_a_newer_one_replaces_the_entry() {
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    assert_eq!(rig.get("/", &[("cache-control", "no-cache")]).await.body, "answer 1");
    assert_eq!(rig.get("/", &[]).await.body, "answer 1");
    assert_eq!(rig.calls(), 2);
}

#[tokio::test]
async fn warming_fetches_past_a_fresh_entry() {
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    rig.handle.warm(rig.service(), request("GET", "/", &[])).await.unwrap();
    let hit = rig.get("/", &[]).await;
    assert_eq!((hit.body.as_str(), hit.is_hit(), rig.calls()), ("answer 1", true, 2));
}
