//! What is kept (RFC 9111 §3), and for whom.

use bytes::Bytes;
use http::Response;
use tower_kit::CacheLayer;
use tower_kit::cache::{CacheHint, Exception, MemoryStore};

use super::rig::{Fields, MINUTE, Rig, date, got, reply, request};
use crate::support::{BoxError, Scripted, Step, boxed, data, full, trailers};

const NO_FIELDS: Fields<'static> = &[];

/// Whether the second of two requests is a hit, and what the first one was told.
async fn kept(status: u16, response: Fields<'_>, asking: Fields<'_>) -> (bool, String) {
    let rig = Rig::new(&[]);
    rig.answers_with(status, response);
    let first = rig.get("/", asking).await;
    let second = rig.get("/", asking).await;
    assert_eq!(first.status, status);
    assert_eq!(second.status, status);
    assert_eq!(second.is_hit(), rig.calls() == 1);
    (second.is_hit(), first.cache().to_owned())
}

#[tokio::test]
async fn what_may_not_be_kept_is_not_kept_and_says_why() {
    let table: &[(u16, Fields<'_>, &str)] = &[
        (200, &[("cache-control", "max-age=60, no-store")], "no-store"),
        (200, &[("cache-control", "max-age=60"), ("cache-control", "no-store")], "no-store"),
        (200, &[("cache-control", "max-age=60, NO-STORE")], "no-store"),
        (200, &[("cache-control", "max-age=60, private")], "private"),
        (200, &[("cache-control", "public, private, s-maxage=60")], "private"),
        (200, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")], "set-cookie"),
        (200, &[("cache-control", "public, s-maxage=60"), ("set-cookie", "a=b")], "set-cookie"),
        (200, &[("cache-control", "max-age=60"), ("vary", "*")], "vary"),
        (200, &[("cache-control", "max-age=60"), ("vary", "accept, *")], "vary"),
        (200, &[("cache-control", "max-age=60"), ("vary", "accept"), ("vary", "*")], "vary"),
        (206, &[("cache-control", "max-age=60"), ("content-range", "bytes 0-7/9")], "status"),
        (304, &[("cache-control", "max-age=60")], "status"),
        (200, &[], "no-freshness"),
        (200, &[("cache-control", "public")], "no-freshness"),
        (200, &[("cache-control", "max-age=0")], "no-freshness"),
        (200, &[("cache-control", "max-age=60"), ("content-type", "text/event-stream")], "stream"),
        (
            200,
            &[("cache-control", "max-age=60"), ("content-type", "application/grpc+proto")],
            "stream",
        ),
    ];
    for (status, fields, detail) in table {
        let (hit, said) = kept(*status, fields, &[]).await;
        assert!(!hit, "{status} {fields:?}");
        assert_eq!(said, format!("fwd=uri-miss; detail={detail}"), "{status} {fields:?}");
    }
}

#[tokio::test]
async fn each_exception_stores_what_it_names() {
    let table: &[(Exception, Fields<'_>, Fields<'_>)] = &[
        (Exception::NoStore, &[("cache-control", "max-age=60, no-store")], &[]),
        (Exception::Private, &[("cache-control", "max-age=60, private")], &[]),
        (Exception::SetCookie, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")], &[]),
        (Exception::VaryAll, &[("cache-control", "max-age=60"), ("vary", "*")], &[]),
        (Exception::Authorization, MINUTE, &[("authorization", "Basic x")]),
    ];
    for (exception, fields, asking) in table {
        let rig = Rig::with(fields, |layer| layer.allow(*exception));
        rig.get("/", asking).await;
        assert!(rig.get("/", asking).await.is_hit(), "{exception:?}");
        for (other, _, _) in table.iter().filter(|(other, _, _)| other != exception) {
            let rig = Rig::with(fields, |layer| layer.allow(*other));
            rig.get("/", asking).await;
            assert!(!rig.get("/", asking).await.is_hit(), "{exception:?} under {other:?}");
        }
    }
}

#[tokio::test]
async fn a_status_that_is_not_final_is_not_kept() {
    for status in [102, 103] {
        assert!(!kept(status, MINUTE, &[]).await.0, "{status}");
    }
}

#[tokio::test]
async fn only_some_statuses_have_a_heuristic() {
    // RFC 9110 §15.1; RFC 9111 §4.2.2.
    let modified: &str = &date(-1000);
    for (status, guessed) in [
        (200, true),
        (203, true),
        (204, true),
        (300, true),
        (301, true),
        (308, true),
        (404, true),
        (410, true),
        (302, false),
        (303, false),
        (307, false),
    ] {
        let fields = [("last-modified", modified)];
        assert_eq!(kept(status, &fields, &[]).await.0, guessed, "{status}");
        let public = [("last-modified", modified), ("cache-control", "public")];
        assert!(kept(status, &public, &[]).await.0, "{status} that is public");
    }
    for status in [201, 400, 403, 405, 414, 418, 500, 501, 503] {
        let public = [("last-modified", modified), ("cache-control", "public")];
        assert!(!kept(status, &public, &[]).await.0, "{status}");
    }
}

#[tokio::test]
async fn must_understand_replaces_no_store() {
    // RFC 9111 §5.2.2.3.
    for (status, control, expected) in [
        (200, "max-age=60, must-understand, no-store", true),
        (404, "no-store, max-age=60, must-understand", true),
        (418, "max-age=60, must-understand, no-store", false),
        (599, "max-age=60, must-understand", false),
        (299, "max-age=60, must-understand", false),
        (200, "max-age=60, must-understand", true),
        (200, "max-age=60, must-understand, no-store, private", false),
    ] {
        let (hit, _) = kept(status, &[("cache-control", control)], &[]).await;
        assert_eq!(hit, expected, "{status} {control}");
    }
}

#[tokio::test]
async fn headers_named_by_directives_are_not_stored() {
    // RFC 9111 §5.2.2.4 and §5.2.2.7.
    for control in [
        "max-age=60, no-cache=\"set-cookie, x-user\"",
        "max-age=60, private=\"Set-Cookie, X-User\"",
        "max-age=60, private=\"set-cookie\", no-cache=\"x-user\"",
    ] {
        let fields = [
            ("cache-control", control),
            ("set-cookie", "a=b"),
            ("x-user", "me"),
            ("x-other", "here"),
        ];
        let rig = Rig::new(&fields);
        let first = rig.get("/", &[]).await;
        assert_eq!(first.field("x-user"), Some("me"), "the one who asked gets them");
        assert_eq!(first.field("set-cookie"), Some("a=b"));
        let second = rig.get("/", &[]).await;
        assert!(second.is_hit(), "{control}");
        assert_eq!(second.field("x-user"), None, "{control}");
        assert_eq!(second.field("set-cookie"), None, "{control}");
        assert_eq!(second.field("x-other"), Some("here"));
        assert_eq!(second.field("cache-control"), Some(control));
    }
}

#[tokio::test]
async fn named_headers_excuse_no_other_header() {
    let fields = [("cache-control", "max-age=60, private=\"x-user\""), ("set-cookie", "a=b")];
    assert!(!kept(200, &fields, &[]).await.0);
}

#[tokio::test]
async fn authorized_response_is_stored_only_if_public() {
    // RFC 9111 §3.5.
    for (control, expected) in [
        ("max-age=60", false),
        ("max-age=60, proxy-revalidate", false),
        ("max-age=60, immutable", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
        ("max-age=60, public, no-store", false),
        ("max-age=60, public, private", false),
    ] {
        let asking = [("authorization", "Bearer a")];
        let (hit, said) = kept(200, &[("cache-control", control)], &asking).await;
        assert_eq!(hit, expected, "{control}: {said}");
    }
}

#[tokio::test]
async fn one_users_page_is_never_given_to_another() {
    let rig = Rig::new(&[]);
    rig.answers(|head| {
        let who = head.headers.get("authorization").map_or("nobody", |who| who.to_str().unwrap());
        Ok(reply(200, MINUTE, who))
    });
    for (fields, who) in [
        (&[("authorization", "Bearer a")][..], "Bearer a"),
        (&[("authorization", "Bearer b")], "Bearer b"),
        (NO_FIELDS, "nobody"),
        (&[("authorization", "Bearer a")], "Bearer a"),
        (NO_FIELDS, "nobody"),
        (&[("authorization", "")], ""),
    ] {
        assert_eq!(rig.get("/", fields).await.body, who);
    }
    assert_eq!(rig.calls(), 5, "only what is nobody's was given again");
}

#[tokio::test]
async fn anonymous_entry_is_withheld_and_stays() {
    let rig = Rig::new(MINUTE);
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
    let own = rig.get("/", &[("authorization", "Bearer a")]).await;
    assert_eq!(own.body, "answer 1");
    assert_eq!(own.cache(), "fwd=bypass; detail=authorization");
    let again = rig.get("/", &[]).await;
    assert_eq!((again.body.as_str(), again.is_hit()), ("answer 0", true));
}

#[tokio::test]
async fn stale_anonymous_entry_serves_no_authorized() {
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.fails();
    let asked = rig.ask(request("GET", "/", &[("authorization", "Bearer a")])).await;
    assert_eq!(asked.unwrap_err().to_string(), "the service is gone");
}

#[tokio::test]
async fn public_entry_serves_authorized_requests() {
    for control in ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"] {
        let rig = Rig::new(&[("cache-control", control)]);
        rig.get("/", &[("authorization", "Bearer a")]).await;
        assert!(rig.get("/", &[("authorization", "Bearer b")]).await.is_hit(), "{control}");
        assert!(rig.get("/", &[]).await.is_hit(), "{control}");
    }
}

#[tokio::test]
async fn a_cookie_is_never_given_to_another_client() {
    let rig = Rig::new(&[]);
    let mut number = 0;
    rig.answers(move |_| {
        number += 1;
        let cookie = format!("session={number}");
        Ok(reply(200, &[("cache-control", "max-age=60"), ("set-cookie", &cookie)], "page"))
    });
    for number in 1..=3 {
        let got = rig.get("/", &[]).await;
        assert_eq!(got.field("set-cookie"), Some(&*format!("session={number}")));
    }
}

#[tokio::test]
async fn no_store_of_a_request_may_hit_and_never_fills() {
    let rig = Rig::new(MINUTE);
    let no_store = [("cache-control", "no-store")];
    assert_eq!(rig.get("/", &no_store).await.cache(), "fwd=uri-miss; detail=no-store");
    assert_eq!(rig.get("/", &[]).await.body, "answer 1");
    assert!(rig.get("/", &no_store).await.is_hit());
}

#[tokio::test]
async fn head_hits_the_entry_of_a_get() {
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    let head = rig.send("HEAD", "/", &[]).await;
    assert!(head.is_hit());
    assert_eq!(head.field("content-length"), Some("8"));
    assert_eq!(head.body, "");
    let get = rig.get("/", &[]).await;
    assert_eq!((get.body.as_str(), get.is_hit()), ("answer 0", true));
}

#[tokio::test]
async fn head_fills_nothing() {
    let rig = Rig::new(MINUTE);
    rig.answers(|head| {
        let body = if head.method == "HEAD" { "" } else { "the body" };
        Ok(reply(200, MINUTE, body))
    });
    let head = rig.send("HEAD", "/", &[]).await;
    assert_eq!(head.cache(), "fwd=uri-miss; detail=partial");
    assert_eq!(rig.get("/", &[]).await.body, "the body");
    assert_eq!(rig.calls(), 2);
}

#[tokio::test]
async fn head_on_a_stale_entry_leaves_its_body() {
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers(|head| match head.method.as_str() {
        "HEAD" => Ok(reply(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")], "")),
        _ => Ok(reply(304, &[("etag", "\"a\"")], "")),
    });
    assert_eq!(rig.send("HEAD", "/", &[]).await.status, 200);
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
}

#[tokio::test]
async fn a_part_is_never_given_to_a_plain_get() {
    let rig = Rig::new(&[]);
    rig.answers(|head| {
        Ok(if head.headers.contains_key("range") {
            let fields = [("cache-control", "max-age=60"), ("content-range", "bytes 0-3/9")];
            reply(206, &fields, "the ")
        } else {
            reply(200, MINUTE, "the whole")
        })
    });
    let part = rig.get("/", &[("range", "bytes=0-3")]).await;
    assert_eq!((part.status, part.body.as_str()), (206, "the "));
    let whole = rig.get("/", &[]).await;
    assert_eq!((whole.status, whole.body.as_str()), (200, "the whole"));
}

#[tokio::test]
async fn a_part_that_nobody_asked_for_is_not_kept() {
    let rig = Rig::new(&[]);
    rig.answers_with(206, &[("cache-control", "max-age=60"), ("content-range", "bytes 0-7/9")]);
    rig.get("/", &[]).await;
    rig.answers_with(200, MINUTE);
    assert_eq!(rig.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn fields_of_one_connection_are_never_kept() {
    // RFC 9111 §3.1, RFC 9110 §7.6.1.
    let rig = Rig::new(&[
        ("cache-control", "max-age=60"),
        ("connection", "keep-alive, X-Hop"),
        ("connection", "x-other-hop"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
        ("proxy-authorization", "Basic x"),
        ("te", "trailers"),
        ("trailer", "x-sum"),
        ("upgrade", "h2c"),
        ("x-hop", "1"),
        ("x-other-hop", "1"),
        ("x-end", "1"),
    ]);
    rig.get("/", &[]).await;
    let hit = rig.get("/", &[]).await;
    assert!(hit.is_hit());
    let mut names: Vec<_> = hit.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["age", "cache-control", "cache-status", "content-length", "date", "x-end"]);
}

#[tokio::test]
async fn get_with_a_body_neither_hits_nor_fills() {
    let rig = Rig::new(MINUTE);
    let with_body = || {
        let mut request = request("GET", "/", &[]);
        *request.body_mut() = full("body");
        request
    };
    assert_eq!(rig.ask(with_body()).await.unwrap().cache(), "fwd=bypass; detail=body");
    assert_eq!(rig.get("/", &[]).await.body, "answer 1", "it filled nothing");
    assert_eq!(rig.ask(with_body()).await.unwrap().body, "answer 2", "it is no hit");
    for fields in [[("content-length", "4")], [("transfer-encoding", "chunked")]] {
        assert!(!rig.get("/", &fields).await.is_hit(), "{fields:?}");
    }
    assert!(rig.get("/", &[("content-length", "0")]).await.is_hit());
}

#[tokio::test]
async fn a_body_that_did_not_come_whole_is_not_kept() {
    type Steps = fn() -> Scripted;
    let bodies: [(&str, Steps, Fields<'_>); 5] = [
        ("it fails", || Scripted::new([data(4), Step::Error("broken".into())]), &[]),
        ("it is too short", || Scripted::new([data(4)]), &[("content-length", "5")]),
        ("it is too long", || Scripted::new([data(6)]), &[("content-length", "5")]),
        ("it has trailers", || Scripted::new([data(4), trailers()]), &[]),
        ("it is too large", || Scripted::new([data(1 << 20), data(1)]), &[]),
    ];
    for (why, body, fields) in bodies {
        let rig = Rig::new(&[]);
        let fields: Vec<_> = MINUTE.iter().chain(fields).copied().collect();
        let stated = fields.clone().into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
        let stated: Vec<_> = stated.collect();
        rig.answers(move |_| {
            let mut response = Response::builder();
            for (name, value) in &stated {
                response = response.header(name, value);
            }
            Ok(response.body(boxed(body())).unwrap())
        });
        let response = rig.open(request("GET", "/", &[])).await.unwrap();
        drop(http_body_util::BodyExt::collect(response.into_body()).await);
        rig.answers_with(200, MINUTE);
        assert_eq!(rig.get("/", &[]).await.body, "answer 0", "{why}");
    }
}

#[tokio::test]
async fn a_body_in_pieces_is_kept_whole() {
    let rig = Rig::new(&[]);
    rig.answers(|_| {
        let pieces =
            ["a ", "body ", "in ", "pieces"].map(|piece| Bytes::from_static(piece.as_bytes()));
        let steps =
            pieces.into_iter().flat_map(|piece| [Step::<BoxError>::Pending, Step::Data(piece)]);
        let body = boxed(Scripted::new(steps.collect::<Vec<_>>()));
        Ok(Response::builder().header("cache-control", "max-age=60").body(body).unwrap())
    });
    let first = got(rig.open(request("GET", "/", &[])).await.unwrap()).await;
    assert_eq!(first.body, "a body in pieces");
    let hit = rig.get("/", &[]).await;
    assert!(hit.is_hit());
    assert_eq!(hit.body, "a body in pieces");
    assert_eq!(hit.field("content-length"), Some("16"));
}

#[tokio::test]
async fn body_over_max_entry_size_passes_unstored() {
    let rig = Rig::with(MINUTE, |layer| layer.max_entry_size(7));
    let first = rig.get("/", &[]).await;
    assert_eq!(first.cache(), "fwd=uri-miss; detail=too-large");
    assert_eq!(first.body, "answer 0");
    assert_eq!(rig.get("/", &[]).await.body, "answer 1");
    let rig = Rig::with(MINUTE, |layer| layer.max_entry_size(8));
    rig.get("/", &[]).await;
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn max_entry_size_is_that_of_the_store_at_most() {
    let mib = |bytes: u64| bytes * tower_kit::MIB;
    for (store, fits) in [
        (MemoryStore::new(mib(64)), false),
        (MemoryStore::with_max_entry_size(mib(64), mib(3)), true),
        (MemoryStore::with_max_entry_size(mib(3), mib(3)), false),
    ] {
        let rig = Rig::over(CacheLayer::new(store).max_entry_size(u64::MAX));
        rig.answers(|_| Ok(reply(200, MINUTE, &"a".repeat(2 << 20))));
        let first = rig.get("/", &[]).await;
        assert_eq!((first.body.len(), first.cache().contains("; stored")), (2 << 20, fits));
        assert_eq!(rig.get("/", &[]).await.is_hit(), fits);
    }
}

#[tokio::test]
async fn unsafe_methods_fill_nothing() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FROBNICATE"] {
        let rig = Rig::new(MINUTE);
        rig.send(method, "/", &[]).await;
        assert_eq!(rig.get("/", &[]).await.body, "answer 1", "{method}");
    }
}

#[tokio::test]
async fn a_handler_that_says_so_keeps_its_response_out() {
    let rig = Rig::new(&[]);
    rig.answers(|_| {
        let mut response = reply(200, MINUTE, "");
        response.extensions_mut().insert(CacheHint::no_store());
        Ok(response)
    });
    assert_eq!(rig.get("/", &[]).await.cache(), "fwd=uri-miss; detail=hint");
    assert!(!rig.get("/", &[]).await.is_hit());
}
