//! Requests with `cookie`, where the lifetime is the layer's own.

use std::time::Duration;

use http::HeaderName;
use http::header::COOKIE;
use tower_kit::cache::{CacheHint, CacheKey, CacheLayer, Exception};

use super::rig::{Fields, Rig, date, reply};
use crate::support::status;

const ANNA: Fields<'static> = &[("cookie", "session=anna")];
const BEN: Fields<'static> = &[("cookie", "session=ben")];
const NO_COOKIE: Fields<'static> = &[];
const MINUTE: Duration = Duration::from_secs(60);

/// The service greets whoever the request's cookie names, and states these headers.
fn greets(rig: &Rig, fields: Fields<'static>) {
    rig.answers(move |head| {
        let lines = head.headers.get_all(COOKIE).iter();
        let name = lines.filter_map(|line| line.to_str().ok()).collect::<Vec<_>>().join("; ");
        Ok(reply(200, fields, &format!("for {name}")))
    });
}

/// The layers whose lifetimes are their own, each by another setter.
fn rigs(choose: impl Fn(CacheLayer) -> CacheLayer) -> [Rig; 3] {
    [
        Rig::aside(&[], &choose),
        Rig::with(&[], |layer| choose(layer.default_ttl(MINUTE))),
        Rig::with(&[], |layer| choose(layer.ttl(status(200), MINUTE))),
    ]
}

#[tokio::test]
async fn a_page_of_one_session_is_nobody_elses() {
    let table: &[Fields<'_>] = &[
        ANNA,
        &[("cookie", "")],
        &[("cookie", "theme=dark"), ("cookie", "session=anna")],
        &[("Cookie", "_ga=1")],
    ];
    for first in table {
        for rig in rigs(|layer| layer) {
            greets(&rig, &[]);
            rig.get("/", first).await;
            for then in [BEN, NO_COOKIE, first] {
                let got = rig.get("/", then).await;
                let name: Vec<_> = then.iter().map(|(_, value)| *value).collect();
                assert_eq!(got.body, format!("for {}", name.join("; ")), "{first:?} {then:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_does_not_get_the_page_for_all() {
    for rig in rigs(|layer| layer) {
        greets(&rig, &[]);
        rig.get("/", NO_COOKIE).await;
        assert_eq!(rig.get("/", ANNA).await.cache(), "fwd=bypass; detail=cookie");
        assert_eq!(rig.get("/", ANNA).await.body, "for session=anna");
        // And takes it from nobody.
        assert!(rig.get("/", NO_COOKIE).await.is_hit());
    }
}

#[tokio::test]
async fn a_session_gets_no_stale_page_for_all() {
    for rig in rigs(|layer| layer.stale_if_error(Duration::from_secs(600))) {
        greets(&rig, &[]);
        rig.get("/", NO_COOKIE).await;
        rig.clock.pass(61);
        rig.answers_with(503, &[]);
        assert_eq!(rig.get("/", ANNA).await.status, 503);
        assert_eq!(rig.get("/", NO_COOKIE).await.status, 200);
    }
}

#[tokio::test]
async fn ttl_layer_bypasses_cookies_of_all_methods() {
    let rig = Rig::aside(&[("cache-control", "public, max-age=60")], |layer| layer);
    for method in ["GET", "HEAD"] {
        assert_eq!(rig.send(method, "/", ANNA).await.cache(), "fwd=bypass; detail=cookie");
    }
    rig.answers(|_| {
        Ok(reply(200, &[("content-location", "/"), ("cache-control", "max-age=60")], ""))
    });
    rig.send("POST", "/", ANNA).await;
    assert!(!rig.get("/", NO_COOKIE).await.is_hit());
    assert_eq!(rig.handle.statistics().bypasses, 3);
}

#[tokio::test]
async fn hint_does_not_share_bypassed_requests() {
    let hinted = |_: &http::request::Parts| {
        let mut response = reply(200, &[], "");
        response.extensions_mut().insert(CacheHint::new().ttl(MINUTE));
        Ok(response)
    };
    let rig = Rig::aside(&[], |layer| layer);
    rig.answers(hinted);
    rig.get("/", ANNA).await;
    assert!(!rig.get("/", NO_COOKIE).await.is_hit());
    // Elsewhere the handler's word about its own response counts, as a header would.
    let rig = Rig::with(&[], |layer| layer.default_ttl(MINUTE));
    rig.answers(hinted);
    rig.get("/", ANNA).await;
    assert!(rig.get("/", BEN).await.is_hit());
}

#[tokio::test]
async fn what_a_response_states_is_for_cookies_too() {
    let modified = date(-1000);
    let table: [Fields<'_>; 4] = [
        &[("cache-control", "max-age=60")],
        &[("cache-control", "s-maxage=60")],
        &[("cdn-cache-control", "max-age=60")],
        &[("last-modified", &modified)],
    ];
    for fields in table {
        for choose in [
            |layer: CacheLayer| layer,
            |layer: CacheLayer| layer.default_ttl(Duration::from_secs(9)),
        ] {
            let rig = Rig::with(fields, choose);
            rig.get("/", ANNA).await;
            assert!(rig.get("/", BEN).await.is_hit(), "{fields:?}");
            assert!(rig.get("/", NO_COOKIE).await.is_hit(), "{fields:?}");
        }
    }
}

#[tokio::test]
async fn cookies_are_stored_where_they_are_allowed() {
    for rig in rigs(|layer| layer.allow(Exception::Cookie)) {
        rig.get("/", ANNA).await;
        assert!(rig.get("/", BEN).await.is_hit());
        assert!(rig.get("/", NO_COOKIE).await.is_hit());
    }
    // What the response says of itself holds.
    for fields in [("cache-control", "private"), ("vary", "cookie"), ("set-cookie", "a=b")] {
        let rig = Rig::aside(&[fields], |layer| layer.allow(Exception::Cookie));
        rig.get("/", ANNA).await;
        assert!(!rig.get("/", BEN).await.is_hit(), "{fields:?}");
    }
    let rig = Rig::aside(&[], |layer| layer.allow(Exception::Authorization));
    rig.get("/", ANNA).await;
    assert!(!rig.get("/", BEN).await.is_hit(), "one exception is not the other");
}

#[tokio::test]
async fn a_key_with_the_cookie_has_entries_for_each() {
    for rig in rigs(|layer| layer.key(CacheKey::new().header(COOKIE))) {
        greets(&rig, &[]);
        for who in [ANNA, BEN, NO_COOKIE] {
            assert!(!rig.get("/", who).await.is_hit());
        }
        for who in [ANNA, BEN, NO_COOKIE] {
            let got = rig.get("/", who).await;
            let name = who.first().map_or("", |(_, value)| value);
            assert!(got.is_hit() && got.body == format!("for {name}"), "{who:?}");
        }
    }
    // Another header of the key is not the cookie.
    let other = HeaderName::from_static("x-tenant");
    let rig = Rig::aside(&[], |layer| layer.key(CacheKey::new().header(other)));
    rig.get("/", ANNA).await;
    assert!(!rig.get("/", BEN).await.is_hit());
}
