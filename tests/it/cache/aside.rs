//! A layer that keeps what states no freshness, and what its answers say.

use std::time::Duration;

use tower_kit::cache::{CacheHint, CacheLayer};

use super::rig::{Fields, MINUTE, Rig, date, reply};
use crate::support::status;

/// For how many seconds an aside layer of a minute keeps a response; `None` if it does not.
async fn ttl(
    choose: impl FnOnce(CacheLayer) -> CacheLayer,
    code: u16,
    fields: Fields<'_>,
) -> Option<i64> {
    let rig = Rig::aside(&[], choose);
    rig.answers_with(code, fields);
    rig.get("/", &[]).await;
    let second = rig.get("/", &[]).await;
    second.is_hit().then(|| second.ttl())
}

#[tokio::test]
async fn any_200_is_kept_for_the_time_of_the_layer() {
    let table: &[Fields<'_>] = &[
        &[],
        &[("cache-control", "max-age=5")],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "no-cache")],
        &[("cache-control", "s-maxage=500")],
        &[("cdn-cache-control", "max-age=5")],
        &[("expires", "0")],
        &[("last-modified", &date(-10))],
        &[("age", "500")],
    ];
    for fields in table {
        assert_eq!(ttl(|layer| layer, 200, fields).await, Some(60), "{fields:?}");
    }
}

#[tokio::test]
async fn the_exceptions_hold_in_an_aside_layer() {
    let table: &[Fields<'_>] = &[
        &[("cache-control", "no-store")],
        &[("cache-control", "private")],
        &[("cdn-cache-control", "no-store")],
        &[("set-cookie", "a=b")],
        &[("vary", "*")],
    ];
    for fields in table {
        assert_eq!(ttl(|layer| layer, 200, fields).await, None, "{fields:?}");
    }
    let rig = Rig::aside(&[], |layer| layer);
    for _ in 0..2 {
        assert!(!rig.get("/", &[("authorization", "Basic x")]).await.is_hit());
    }
    assert!(!rig.get("/", &[]).await.is_hit());
    assert!(!rig.get("/", &[("authorization", "Basic x")]).await.is_hit());
}

#[tokio::test]
async fn other_statuses_need_a_lifetime_or_a_setter() {
    for (code, fields, expected) in [
        (404, &[][..], None),
        (500, &[], None),
        (301, &[], None),
        (404, &[("cache-control", "max-age=5")], Some(5)),
    ] {
        assert_eq!(ttl(|layer| layer, code, fields).await, expected, "{code} {fields:?}");
    }
    let chosen = |layer: CacheLayer| {
        layer.ttl(status(404), Duration::from_secs(9)).ttl(status(200), Duration::from_secs(7))
    };
    assert_eq!(ttl(chosen, 404, &[]).await, Some(9));
    assert_eq!(ttl(chosen, 404, &[("cache-control", "max-age=5")]).await, Some(9));
    assert_eq!(ttl(chosen, 200, &[]).await, Some(7));
    let twice = |layer: CacheLayer| {
        layer.ttl(status(404), Duration::from_secs(9)).ttl(status(404), Duration::from_secs(3))
    };
    assert_eq!(ttl(twice, 404, &[]).await, Some(3), "the last one counts");
}

#[tokio::test]
async fn ttl_of_a_status_replaces_the_heuristic_only() {
    let rig = |fields| Rig::with(fields, |layer| layer.ttl(status(200), Duration::from_secs(9)));
    for (fields, expected) in [
        (&[][..], 9),
        (&[("cache-control", "max-age=5")], 5),
        (&[("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT")], 9),
    ] {
        let rig = rig(fields);
        rig.get("/", &[]).await;
        assert_eq!(rig.get("/", &[]).await.ttl(), expected, "{fields:?}");
    }
}

#[tokio::test]
async fn a_hint_comes_before_the_time_of_the_layer() {
    let rig = Rig::aside(&[], |layer| layer);
    rig.answers(|_| {
        let mut response = reply(200, &[], "");
        response.extensions_mut().insert(CacheHint::new().ttl(Duration::from_secs(3)));
        Ok(response)
    });
    rig.get("/", &[]).await;
    assert_eq!(rig.get("/", &[]).await.ttl(), 3);
    rig.clock.pass(3);
    rig.answers(|_| {
        let mut response = reply(200, &[], "");
        response.extensions_mut().insert(CacheHint::no_store());
        Ok(response)
    });
    assert_eq!(rig.get("/", &[]).await.cache(), "fwd=stale; detail=hint");
    assert!(!rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn a_post_is_not_kept_by_the_time_of_the_layer() {
    let rig = Rig::aside(&[("content-location", "/")], |layer| layer);
    rig.send("POST", "/", &[]).await;
    assert!(!rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn request_may_ask_a_ttl_layer_to_revalidate() {
    let rig = Rig::aside(&[], CacheLayer::honor_request_control);
    rig.get("/", &[]).await;
    assert_eq!(rig.get("/", &[("cache-control", "no-cache")]).await.body, "answer 1");
    let rig = Rig::aside(&[], |layer| layer);
    rig.get("/", &[]).await;
    assert!(rig.get("/", &[("cache-control", "no-cache")]).await.is_hit());
}

#[tokio::test]
async fn jitter_shortens_and_never_lengthens() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let got = ttl(|layer| layer.jitter(0.5).unwrap(), 200, &[]).await.unwrap();
        assert!((30..=60).contains(&got), "{got}");
        seen.insert(got);
    }
    assert!(seen.len() > 1, "always {seen:?}");
    assert_eq!(ttl(|layer| layer.jitter(0.0).unwrap(), 200, &[]).await, Some(60));
}

#[tokio::test]
async fn tags_are_stripped_from_all_that_clients_get() {
    let tags = [("surrogate-key", "a"), ("cache-tag", "b")];
    for strips in [false, true] {
        let choose = |layer: CacheLayer| if strips { layer.strip_tags() } else { layer };
        let kept: Vec<_> = MINUTE.iter().chain(&tags).copied().collect();
        let rig = Rig::with(&kept, choose);
        let passing = Rig::with(&tags, choose);
        for got in [
            rig.get("/", &[]).await,
            rig.get("/", &[]).await,
            rig.send("POST", "/other", &[]).await,
            passing.get("/", &[]).await,
            passing.get("/", &[("if-match", "*")]).await,
        ] {
            for (name, value) in tags {
                assert_eq!(got.field(name), (!strips).then_some(value), "{}", got.cache());
            }
        }
        rig.handle.purge_tag("a");
        assert!(!rig.get("/", &[]).await.is_hit(), "they purge all the same");
    }
}

#[tokio::test]
async fn cache_status_can_be_left_out() {
    let rig = Rig::with(MINUTE, |layer| layer.hide_cache_status());
    for (method, fields) in [
        ("GET", &[][..]),
        ("GET", &[]),
        ("HEAD", &[]),
        ("POST", &[]),
        ("GET", &[("if-match", "*")]),
        ("GET", &[("cache-control", "only-if-cached")]),
    ] {
        let got = rig.send(method, "/", fields).await;
        assert_eq!(got.field("cache-status"), None, "{method} {fields:?}");
    }
}

#[tokio::test]
async fn cache_status_follows_those_of_inner_caches() {
    // RFC 9211 §2: the first is the one that is closest to the origin.
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("cache-status", "inner; hit")]);
    let lines = |got: &super::rig::Got| {
        let all = got.headers.get_all("cache-status").iter();
        all.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(", ")
    };
    let first = rig.get("/", &[]).await;
    assert_eq!(lines(&first), "inner; hit, tower-kit; fwd=uri-miss; stored");
    let second = rig.get("/", &[]).await;
    assert_eq!(lines(&second), "tower-kit; hit; ttl=60", "theirs was about another request");
    let rig = Rig::with(&[("cache-status", "inner; hit")], |layer| layer.hide_cache_status());
    assert_eq!(rig.get("/", &[]).await.field("cache-status"), Some("inner; hit"));
}
