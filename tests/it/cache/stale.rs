//! What is stale (RFC 5861, RFC 9111 §4.2.4), and how it is validated (§4.3).

use std::time::Duration;

use http::HeaderName;
use tower_kit::cache::{CacheHint, CacheLayer};

use super::rig::{Fields, MINUTE, Rig, date, idle, reply, request, until};

const SWR: Fields<'static> = &[("cache-control", "max-age=60, stale-while-revalidate=30")];
const TAGGED: Fields<'static> = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];

const FORBID: [&str; 4] = ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"];

// Stale while it is refreshed.

#[tokio::test]
async fn stale_entry_is_served_while_it_is_refreshed() {
    let rig = Rig::new(SWR);
    rig.get("/", &[]).await;
    rig.clock.pass(70);
    let stale = rig.get("/", &[]).await;
    assert_eq!(stale.body, "answer 0");
    assert_eq!(stale.cache(), "hit; ttl=-10");
    assert_eq!(stale.field("age"), Some("70"));
    until(|| rig.calls() == 2 && rig.handle.in_flight() == 0).await;
    let fresh = rig.get("/", &[]).await;
    assert_eq!((fresh.body.as_str(), fresh.ttl()), ("answer 1", 60));
}

#[tokio::test]
async fn many_who_get_what_is_stale_start_one_refresh() {
    let rig = Rig::new(SWR);
    rig.get("/", &[]).await;
    rig.clock.pass(70);
    for _ in 0..10 {
        // None of them waits, so no task has run in between.
        let future = rig.open(request("GET", "/", &[]));
        assert!(crate::support::now(future).is_ok());
    }
    idle().await;
    assert_eq!(rig.calls(), 2);
    assert_eq!(rig.handle.in_flight(), 0);
}

#[tokio::test]
async fn the_time_for_a_refresh_ends() {
    let rig = Rig::new(SWR);
    rig.get("/", &[]).await;
    rig.clock.pass(91);
    let got = rig.get("/", &[]).await;
    assert_eq!((got.body.as_str(), got.cache()), ("answer 1", "fwd=stale; stored"));
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_entry() {
    let rig = Rig::new(SWR);
    rig.get("/", &[]).await;
    rig.clock.pass(70);
    rig.fails();
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
    idle().await;
    assert_eq!(rig.calls(), 2);
    rig.answers_with(500, &[]);
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
    idle().await;
    assert_eq!(rig.calls(), 2, "it has failed just now");
    rig.clock.pass(1);
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
    idle().await;
    assert_eq!(rig.calls(), 3);
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
}

#[tokio::test]
async fn a_refresh_validates_where_it_can() {
    let rig =
        Rig::new(&[("cache-control", "max-age=60, stale-while-revalidate=30"), ("etag", "\"a\"")]);
    rig.get("/", &[("if-none-match", "\"other\"")]).await;
    rig.clock.pass(70);
    rig.answers_with(304, &[]);
    rig.get("/", &[("if-none-match", "\"other\""), ("range", "bytes=0-1")]).await;
    until(|| rig.calls() == 2 && rig.handle.in_flight() == 0).await;
    assert_eq!(rig.asked("if-none-match").as_deref(), Some("\"a\""));
    assert_eq!(rig.asked("range"), None);
    let hit = rig.get("/", &[]).await;
    assert_eq!((hit.body.as_str(), hit.ttl()), ("answer 0", 60));
}

#[tokio::test]
async fn a_head_refreshes_by_a_get() {
    let rig = Rig::new(SWR);
    rig.get("/", &[]).await;
    rig.clock.pass(70);
    rig.send("HEAD", "/", &[]).await;
    until(|| rig.calls() == 2 && rig.handle.in_flight() == 0).await;
    assert_eq!(rig.last().method, "GET");
    assert_eq!(rig.get("/", &[]).await.body, "answer 1");
}

#[tokio::test]
async fn a_refresh_never_carries_what_may_not_fill() {
    // The fields that services take the URL from, together with what else fills nothing.
    for (method, fields) in [
        ("GET", &[("x-forwarded-host", "evil")][..]),
        ("HEAD", &[("x-forwarded-host", "evil")]),
        ("GET", &[("range", "bytes=0-1"), ("x-forwarded-host", "evil")]),
        ("GET", &[("x-forwarded-host", "evil"), ("range", "bytes=0-1")]),
        ("GET", &[("cache-control", "no-store, max-stale")]),
        ("HEAD", &[("cache-control", "no-store, max-stale")]),
    ] {
        let rig = Rig::new(SWR);
        rig.get("/", &[]).await;
        rig.clock.pass(70);
        assert!(rig.send(method, "/", fields).await.is_hit(), "{method} {fields:?}");
        idle().await;
        assert_eq!(rig.get("/", &[]).await.body, "answer 0", "{method} {fields:?}");
    }
}

// Stale where the service fails.

#[tokio::test]
async fn an_entry_stands_in_for_a_service_that_fails() {
    for status in [500, 502, 503, 504, 599] {
        let rig = Rig::new(MINUTE);
        rig.get("/", &[]).await;
        rig.clock.pass(660);
        rig.answers_with(status, &[]);
        let got = rig.get("/", &[]).await;
        assert_eq!((got.status, got.body.as_str()), (200, "answer 0"));
        assert_eq!(got.cache(), format!("fwd=stale; fwd-status={status}; detail=service-failed"));
        assert_eq!(got.field("age"), Some("660"));
        let got = rig.get("/", &[]).await;
        assert_eq!((got.body.as_str(), got.cache()), ("answer 0", "hit; ttl=-600"));
        assert_eq!(rig.calls(), 2, "it has failed just now");
    }
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    rig.clock.pass(660);
    rig.fails();
    let got = rig.get("/", &[]).await;
    assert_eq!((got.body.as_str(), got.cache()), ("answer 0", "fwd=stale; detail=service-failed"));
}

#[tokio::test]
async fn the_time_to_stand_in_is_stated_or_the_grace() {
    for (control, grace, last) in [
        ("max-age=60", None, 660),
        ("max-age=60", Some(5), 65),
        ("max-age=60", Some(0), 59),
        ("max-age=60, stale-if-error=20", None, 80),
        ("max-age=60, stale-if-error=2000", Some(5), 2060),
        ("max-age=60, stale-if-error=0", None, 59),
    ] {
        for (after, stands) in [(last, true), (last + 1, false)] {
            let rig = Rig::with(&[("cache-control", control)], |layer: CacheLayer| match grace {
                Some(grace) => layer.stale_if_error(Duration::from_secs(grace)),
                None => layer,
            });
            rig.get("/", &[]).await;
            rig.clock.pass(after);
            rig.fails();
            let got = rig.ask(request("GET", "/", &[])).await;
            assert_eq!(got.is_ok(), stands, "{control}, {grace:?}, after {after}");
        }
    }
}

#[tokio::test]
async fn must_revalidate_forbids_stale_responses() {
    for forbids in FORBID {
        let control =
            format!("max-age=60, stale-while-revalidate=30, stale-if-error=30, {forbids}");
        let fields = [("cache-control", &*control), ("etag", "\"a\"")];
        let rig = Rig::new(&fields);
        rig.get("/", &[]).await;
        rig.clock.pass(61);
        rig.fails();
        let error = rig.ask(request("GET", "/", &[])).await.unwrap_err();
        assert_eq!(error.to_string(), "the service is gone", "{forbids}");
        rig.answers_with(503, &[]);
        let got = rig.get("/", &[]).await;
        assert_eq!((got.status, got.body.as_str()), (503, "answer 0"), "{forbids}");
        rig.answers_with(200, &fields);
        assert!(!rig.get("/", &[]).await.is_hit(), "{forbids}");
    }
}

#[tokio::test]
async fn no_cache_is_validated_though_it_is_fresh() {
    let rig = Rig::new(&[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    rig.answers_with(304, &[]);
    for calls in 2..4 {
        let got = rig.get("/", &[]).await;
        assert_eq!((got.status, got.body.as_str()), (200, "answer 0"));
        assert_eq!(got.cache(), "fwd=stale; fwd-status=304; stored");
        assert_eq!(rig.calls(), calls);
    }
}

#[tokio::test]
async fn an_error_of_the_service_passes_untouched() {
    let rig = Rig::new(MINUTE);
    rig.fails();
    let error = rig.ask(request("GET", "/", &[])).await.unwrap_err();
    assert_eq!(error.to_string(), "the service is gone");
    for method in ["POST", "OPTIONS"] {
        let error = rig.ask(request(method, "/", &[])).await.unwrap_err();
        assert_eq!(error.to_string(), "the service is gone", "{method}");
    }
    assert_eq!(rig.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_4xx_is_no_failure() {
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(404, &[]);
    assert_eq!(rig.get("/", &[]).await.status, 404);
    rig.fails();
    assert!(rig.ask(request("GET", "/", &[])).await.is_err(), "the 404 dropped the entry");
}

#[tokio::test]
async fn uncacheable_failure_does_not_drop_the_entry() {
    let rig = Rig::new(&[("cache-control", "max-age=60, must-revalidate"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(503, &[]);
    assert_eq!(rig.get("/", &[]).await.status, 503);
    rig.answers_with(304, &[]);
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
    assert_eq!(rig.asked("if-none-match").as_deref(), Some("\"a\""));
}

// Validation.

#[tokio::test]
async fn stale_entry_is_validated() {
    // RFC 9111 §4.3.1.
    let modified = &*date(-1000);
    let table: &[(Fields<'_>, Option<&str>, Option<&str>)] = &[
        (&[("etag", "\"a\"")], Some("\"a\""), None),
        (&[("etag", "W/\"a\"")], Some("W/\"a\""), None),
        (&[("last-modified", modified)], None, Some(modified)),
        (&[("etag", "\"a\""), ("last-modified", modified)], Some("\"a\""), Some(modified)),
    ];
    for (validators, tag, since) in table {
        let fields: Vec<_> = MINUTE.iter().chain(*validators).copied().collect();
        let rig = Rig::new(&fields);
        // The client's own are not what is sent.
        let own = [("if-none-match", "\"mine\""), ("if-modified-since", &*date(-5000))];
        rig.get("/", &own).await;
        assert_eq!(rig.asked("if-none-match"), None);
        assert_eq!(rig.asked("if-modified-since"), None);
        rig.clock.pass(61);
        rig.answers_with(304, &[]);
        let got = rig.get("/", &own).await;
        assert_eq!(rig.asked("if-none-match").as_deref(), *tag, "{validators:?}");
        assert_eq!(rig.asked("if-modified-since").as_deref(), *since, "{validators:?}");
        assert_eq!((got.status, got.body.as_str()), (200, "answer 0"));
        assert_eq!(got.cache(), "fwd=stale; fwd-status=304; stored");
        let hit = rig.get("/", &[]).await;
        assert_eq!((hit.ttl(), hit.field("age")), (60, Some("0")));
    }
}

#[tokio::test]
async fn not_modified_updates_all_but_content_headers() {
    // RFC 9111 §3.2.
    let rig = Rig::new(&[
        ("cache-control", "max-age=60"),
        ("etag", "\"a\""),
        ("content-encoding", "gzip"),
        ("content-type", "text/plain"),
        ("x-several", "1"),
        ("x-several", "2"),
        ("x-stays", "here"),
        ("age", "5"),
    ]);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers(|_| {
        Ok(reply(
            304,
            &[
                ("cache-control", "max-age=90"),
                ("etag", "\"a\""),
                ("content-encoding", "br"),
                ("content-length", "0"),
                ("content-range", "bytes 0-1/2"),
                ("x-several", "3"),
                ("x-new", "4"),
                ("connection", "x-hop"),
                ("x-hop", "5"),
            ],
            "",
        ))
    });
    let answered = rig.get("/", &[]).await;
    let hit = rig.get("/", &[]).await;
    assert_eq!(hit.ttl(), 90);
    for got in [&answered, &hit] {
        assert_eq!(got.body, "answer 0");
        assert_eq!(got.field("content-length"), Some("8"));
        assert_eq!(got.field("content-encoding"), Some("gzip"));
        assert_eq!(got.field("content-range"), None);
        assert_eq!(got.field("cache-control"), Some("max-age=90"));
        let several: Vec<_> = got.headers.get_all("x-several").iter().collect();
        assert_eq!(several, ["3"]);
        assert_eq!(got.field("x-new"), Some("4"));
        assert_eq!(got.field("x-stays"), Some("here"));
        assert_eq!(got.field("x-hop"), None);
        assert_eq!(got.field("age"), Some("0"));
        assert_eq!(got.field("date"), Some(&*date(61)));
    }
}

#[tokio::test]
async fn not_modified_without_validators_confirms() {
    // RFC 9111 §4.3.4, the last case.
    let rig = Rig::new(TAGGED);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(304, &[]);
    rig.get("/", &[]).await;
    let hit = rig.get("/", &[]).await;
    assert_eq!((hit.is_hit(), hit.field("etag")), (true, Some("\"a\"")));
}

#[tokio::test]
async fn a_304_of_another_strong_etag_updates_nothing() {
    // RFC 9111 §4.3.4: it is of no stored response.
    let rig = Rig::new(TAGGED);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(304, &[("etag", "\"b\"")]);
    let got = rig.get("/", &[]).await;
    assert_ne!(got.field("etag"), Some("\"b\""), "the old body under the new tag");
    rig.answers_with(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")]);
    let next = rig.get("/", &[]).await;
    assert!(!next.is_hit(), "what was not confirmed is not fresh");
}

#[tokio::test]
async fn a_304_that_says_no_store_drops_the_entry() {
    for control in ["no-store", "private"] {
        let rig = Rig::new(TAGGED);
        rig.get("/", &[]).await;
        rig.clock.pass(61);
        rig.answers_with(304, &[("cache-control", control)]);
        let last = rig.get("/", &[]).await;
        assert_eq!((last.status, last.body.as_str()), (200, "answer 0"));
        assert_eq!(last.cache(), format!("fwd=stale; fwd-status=304; detail={control}"));
        assert_eq!(last.field("cache-control"), Some(control));
        rig.answers_with(200, &[]);
        let next = rig.get("/", &[]).await;
        assert!(next.cache().starts_with("fwd=uri-miss"), "{}", next.cache());
        assert_eq!(rig.asked("if-none-match"), None);
    }
}

#[tokio::test]
async fn cookie_of_a_304_goes_to_one_client_only() {
    let rig = Rig::new(TAGGED);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(304, &[("set-cookie", "a=b")]);
    assert_eq!(rig.get("/", &[]).await.field("set-cookie"), Some("a=b"));
    rig.answers_with(200, &[]);
    assert_eq!(rig.get("/", &[]).await.field("set-cookie"), None);
}

#[tokio::test]
async fn a_304_that_adds_to_vary_narrows_the_entry() {
    // RFC 9111 §3.2 and §4.1: the stored response has the new `vary` from now on.
    let rig = Rig::new(TAGGED);
    rig.get("/", &[("accept-language", "de")]).await;
    rig.clock.pass(61);
    rig.answers_with(304, &[("vary", "accept-language")]);
    rig.get("/", &[("accept-language", "de")]).await;
    rig.answers_with(200, MINUTE);
    let other = rig.get("/", &[("accept-language", "fr")]).await;
    assert!(!other.is_hit(), "a response that varies is given to one who asked for another");
}

#[tokio::test]
async fn a_304_keeps_the_tags() {
    for strips in [false, true] {
        let rig = Rig::with(&[], |layer| if strips { layer.strip_tags() } else { layer });
        let fields =
            [("cache-control", "max-age=60"), ("etag", "\"a\""), ("surrogate-key", "field")];
        rig.answers(move |_| {
            let mut response = reply(200, &fields, "x");
            response.extensions_mut().insert(CacheHint::new().tag("hint"));
            Ok(response)
        });
        for tag in ["field", "hint"] {
            rig.get("/", &[]).await;
            rig.clock.pass(61);
            rig.answers_with(304, &[]);
            rig.get("/", &[]).await;
            assert!(rig.get("/", &[]).await.is_hit());
            rig.handle.purge_tag(tag);
            rig.answers(move |_| {
                let mut response = reply(200, &fields, "x");
                response.extensions_mut().insert(CacheHint::new().tag("hint"));
                Ok(response)
            });
            assert!(!rig.get("/", &[]).await.is_hit(), "{tag}, stripped: {strips}");
        }
    }
}

#[tokio::test]
async fn a_200_to_a_validation_replaces_the_entry() {
    let rig = Rig::new(TAGGED);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers(|_| {
        Ok(reply(200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], "the new one"))
    });
    assert_eq!(rig.get("/", &[]).await.cache(), "fwd=stale; stored");
    let hit = rig.get("/", &[]).await;
    assert_eq!((hit.body.as_str(), hit.field("etag")), ("the new one", Some("\"b\"")));
}

#[tokio::test]
async fn a_200_that_may_not_be_kept_drops_the_entry() {
    let rig = Rig::new(&[("cache-control", "max-age=60, stale-if-error=1000"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(200, &[("cache-control", "no-store")]);
    assert_eq!(rig.get("/", &[]).await.cache(), "fwd=stale; detail=no-store");
    rig.fails();
    assert!(rig.ask(request("GET", "/", &[])).await.is_err(), "the old one stands in");
}

#[tokio::test]
async fn what_has_no_validator_is_asked_for_anew() {
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.get("/", &[]).await;
    assert_eq!(rig.asked("if-none-match"), None);
    assert_eq!(rig.asked("if-modified-since"), None);
}

#[tokio::test]
async fn an_early_refresh_is_off_unless_it_is_chosen() {
    for (beta, calls) in [(0.0, 1), (1000.0, 2)] {
        let rig = Rig::with(MINUTE, |layer| layer.early_refresh(beta).unwrap());
        let clock = rig.clock.clone();
        let mut number = 0;
        rig.answers(move |_| {
            number += 1;
            clock.pass(if number == 1 { 50 } else { 0 });
            Ok(reply(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "x"))
        });
        rig.get("/", &[]).await;
        rig.clock.pass_millis(9_999);
        assert!(rig.get("/", &[]).await.is_hit());
        idle().await;
        assert_eq!(rig.calls(), calls, "{beta}");
    }
}

#[tokio::test]
async fn stripped_tags_are_not_in_the_last_response() {
    let rig = Rig::with(TAGGED, CacheLayer::strip_tags);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(304, &[("cache-control", "no-store"), ("surrogate-key", "secret")]);
    let last = rig.get("/", &[]).await;
    assert_eq!(last.body, "answer 0");
    assert!(!last.headers.contains_key(HeaderName::from_static("surrogate-key")));
}

#[tokio::test]
async fn a_stored_error_stands_in_for_nothing() {
    for code in [404, 410, 500] {
        let rig =
            Rig::with(&[], |layer| layer.ttl(crate::support::status(code), Duration::from_secs(5)));
        rig.answers_with(code, &[]);
        assert_eq!(rig.get("/", &[]).await.status, code);
        rig.clock.pass(500);
        rig.answers_with(503, &[]);
        assert_eq!(rig.get("/", &[]).await.status, 503, "{code}");
        rig.fails();
        assert!(rig.ask(request("GET", "/", &[])).await.is_err(), "{code}");
    }
}

#[tokio::test]
async fn a_304_gives_its_client_what_is_not_stored() {
    // RFC 9111 §5.2.2.4 and §5.2.2.7.
    for control in ["max-age=60, private=\"set-cookie\"", "max-age=60, no-cache=\"set-cookie\""] {
        let rig = Rig::new(&[("cache-control", control), ("etag", "\"a\"")]);
        rig.get("/", &[]).await;
        rig.clock.pass(61);
        rig.answers_with(304, &[("set-cookie", "a=b")]);
        assert_eq!(rig.get("/", &[]).await.field("set-cookie"), Some("a=b"), "{control}");
        let hit = rig.get("/", &[]).await;
        assert_eq!((hit.is_hit(), hit.field("set-cookie")), (true, None), "{control}");
    }
}

#[tokio::test]
async fn a_304_that_ends_an_entry_has_its_own_age() {
    let rig = Rig::new(TAGGED);
    rig.get("/", &[]).await;
    rig.clock.pass(70);
    rig.answers_with(304, &[("cache-control", "no-store"), ("age", "3")]);
    assert_eq!(rig.get("/", &[]).await.field("age"), Some("3"), "it was validated just now");
}
