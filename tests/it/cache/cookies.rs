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
        let name = lines.map(|line| String::from_utf8_lossy(line.as_bytes()));
        let name = name.collect::<Vec<_>>().join("; ");
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

/// The layers whose key has `lang`, without the cookies of analytics and of a banner.
fn rigs_by_language() -> [Rig; 3] {
    let key =
        || CacheKey::new().cookie("lang").without_tracking_cookies().without_cookies(["banner_*"]);
    let rigs = rigs(|layer| layer.key(key()));
    rigs.iter().for_each(|rig| greets(rig, &[]));
    rigs
}

#[tokio::test]
async fn requests_with_ignored_cookies_share_a_page() {
    for rig in rigs_by_language() {
        let first = rig.get("/", &[("cookie", "_ga=1; _ga_X=2"), ("cookie", "banner_seen=1")]);
        assert_eq!(first.await.body, "for ", "the service sees no ignored cookie");
        for (at, fields) in [
            NO_COOKIE,
            &[("cookie", "_ga=2")],
            &[("cookie", "")],
            &[("cookie", "_hjSession_1=x;_pk_id.1.ab=y;__utma=1.2"), ("cookie", "_fbp=fb.1.2")],
        ]
        .into_iter()
        .enumerate()
        {
            assert!(rig.get("/", fields).await.is_hit(), "{at}");
        }
        // The range of a page, and its head alone.
        rig.get("/part", &[("cookie", "_ga=1"), ("range", "bytes=0-1")]).await;
        assert_eq!(rig.asked("cookie"), None);
        rig.send("HEAD", "/head", &[("cookie", "lang=de;_ga=1")]).await;
        assert_eq!(rig.asked("cookie").as_deref(), Some("lang=de"));
    }
}

#[tokio::test]
async fn a_cookie_of_the_key_has_entries_of_its_own() {
    for rig in rigs_by_language() {
        for (cookies, seen) in [
            ("lang=de", "lang=de"),
            ("lang=fr; _ga=1", "lang=fr"),
            ("lang=", "lang="),
            ("lang=DE", "lang=DE"),
            ("lang=\"de\"", "lang=\"de\""),
            ("lang=de; lang=fr", "lang=de; lang=fr"),
            ("lang=fr; lang=de", "lang=fr; lang=de"),
        ] {
            let got = rig.get("/", &[("cookie", cookies)]).await;
            assert!(!got.is_hit() && got.body == format!("for {seen}"), "{cookies}: {got:?}");
            let again = rig.get("/", &[("cookie", "_gid=1"), ("cookie", cookies)]).await;
            assert!(again.is_hit() && again.body == got.body, "{cookies}: {again:?}");
        }
        assert_eq!(rig.get("/", NO_COOKIE).await.body, "for ", "no cookie is not an empty one");
    }
}

#[tokio::test]
async fn unknown_and_odd_cookies_still_bypass() {
    for rig in rigs_by_language() {
        for page in [NO_COOKIE, &[("cookie", "lang=de")]] {
            rig.get("/", page).await;
        }
        for cookies in [
            "session=anna",
            "lang=de; session=anna",
            "_ga=1; session=anna",
            "session",
            "_ga=1; session",
            "_ga=\"1; session=anna; x=\"",
            "_ga=1,session=anna",
            "lang=de; Lang=fr",
            "lang=de; %6cang=fr",
            "lang=de; lang[]=fr",
            "lang =fr",
            "_ga=\u{e4}",
        ] {
            for _ in 0..2 {
                let got = rig.get("/", &[("cookie", cookies)]).await;
                assert!(got.cache().ends_with("; detail=cookie"), "{cookies}: {got:?}");
                assert_ne!(got.body, "for ", "{cookies}");
            }
        }
        assert_eq!(rig.get("/", &[("cookie", "lang=de")]).await.body, "for lang=de");
        assert_eq!(rig.get("/", NO_COOKIE).await.body, "for ");
    }
}

#[tokio::test]
async fn vary_by_cookie_compares_those_not_ignored() {
    let fields = [("cache-control", "max-age=60"), ("vary", "cookie")];
    let rig = Rig::with(&fields, |layer| layer.key(CacheKey::new().without_tracking_cookies()));
    for (first, second, hit) in [
        ("_ga=1", "_gid=2", true),
        ("_ga=1; a=1", "a=1;_ga=2", true),
        ("a=1; b=2", "a=1;b=2", true),
        ("a=1; b=2", "b=2; a=1", false),
        ("a=1", "a=2", false),
        ("a=1", "_ga=1", false),
        ("_ga=1; a", "_ga=2; a", false),
    ] {
        rig.handle.purge_all().await.unwrap();
        rig.get("/", &[("cookie", first)]).await;
        assert_eq!(rig.get("/", &[("cookie", second)]).await.is_hit(), hit, "{first} {second}");
    }
}

#[tokio::test]
async fn a_key_cookie_counts_if_responses_state_ttls() {
    let rig = Rig::with(&[], |layer| layer.key(CacheKey::new().cookie("lang")));
    greets(&rig, &[("cache-control", "max-age=60")]);
    let get = async |cookies| rig.get("/", &[("cookie", cookies)]).await;
    assert_eq!(get("s=1; lang=de").await.body, "for lang=de; s=1");
    assert!(get("lang=de; s=2").await.is_hit(), "other cookies are for the response to name");
    for other in ["lang=fr; s=1", "s=1", "lang=de; %6Cang=fr", "lang=de; LANG=fr", "lang=de; x"] {
        assert!(!get(other).await.is_hit(), "{other}");
        assert!(get(other).await.is_hit(), "{other}");
    }
    assert_eq!(get("lang=de").await.body, "for lang=de; s=1");
}

#[tokio::test]
async fn requests_that_pass_by_keep_all_cookies() {
    let key = CacheKey::new().without_cookies(["*"]);
    let rig = Rig::aside(&[], |layer| {
        layer.key(key).skip_if(|request| {
            request.headers.get(COOKIE).is_some_and(|line| line.as_bytes() == b"preview=1")
        })
    });
    greets(&rig, &[]);
    for cookies in ["preview=1", "a=1; odd"] {
        let got = rig.get("/", &[("cookie", cookies)]).await;
        assert_eq!(got.body, format!("for {cookies}"));
    }
    let post = rig.send("POST", "/", &[("cookie", "_ga=1")]).await;
    assert_eq!(post.body, "for _ga=1");
    assert_eq!(rig.get("/", &[("cookie", "preview=2")]).await.body, "for ");
}

#[tokio::test]
async fn a_post_with_ignored_cookies_answers_no_get() {
    for (cookies, stored) in [("_ga=1", false), ("a=1;b=2", false), ("a=1", true)] {
        let rig = Rig::with(&[], |layer| layer.key(CacheKey::new().without_tracking_cookies()));
        greets(&rig, &[("cache-control", "max-age=60"), ("content-location", "/")]);
        rig.send("POST", "/", &[("cookie", cookies)]).await;
        assert_eq!(rig.get("/", NO_COOKIE).await.is_hit(), stored, "{cookies}");
    }
}
