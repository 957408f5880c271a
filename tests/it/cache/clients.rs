//! What clients ask of a response: conditions (RFC 9110 §13) and ranges (§14).

use http::Response;
use http_body_util::channel::Channel;

use super::rig::{Fields, MINUTE, Rig, date, got, idle, reply, request};
use crate::support::{BoxError, boxed};

/// A rig that keeps ten bytes of text with these fields.
async fn kept(fields: Fields<'_>) -> Rig {
    let rig = over(fields);
    rig.get("/", &[]).await;
    rig.clock.pass(5);
    rig
}

fn over(fields: Fields<'_>) -> Rig {
    let rig = Rig::new(&[]);
    let mut all = vec![("cache-control".to_owned(), "max-age=60".to_owned())];
    all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    rig.answers(move |_| {
        let fields: Vec<_> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        Ok(reply(200, &fields, "0123456789"))
    });
    rig
}

#[tokio::test]
async fn a_client_that_has_the_entry_gets_a_304() {
    let (modified, later, earlier) = (&*date(-1000), &*date(-500), &*date(-1001));
    // RFC 9110 §13.1.2, §13.1.3 and §13.2.2.
    let table: &[(Fields<'_>, Fields<'_>, u16)] = &[
        (&[("etag", "\"a\"")], &[("if-none-match", "\"a\"")], 304),
        (&[("etag", "\"a\"")], &[("if-none-match", "W/\"a\"")], 304),
        (&[("etag", "W/\"a\"")], &[("if-none-match", "\"a\"")], 304),
        (&[("etag", "W/\"a\"")], &[("if-none-match", "W/\"a\"")], 304),
        (&[("etag", "\"a\"")], &[("if-none-match", "\"b\", W/\"c\" , \"a\"")], 304),
        (&[("etag", "\"a\"")], &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], 304),
        (&[("etag", "\"a,b\"")], &[("if-none-match", "\"x\", \"a,b\"")], 304),
        (&[("etag", "\"a\"")], &[("if-none-match", "*")], 304),
        (&[], &[("if-none-match", "*")], 304),
        (&[("etag", "\"a\"")], &[("if-none-match", "\"b\"")], 200),
        (&[("etag", "\"a\"")], &[("if-none-match", "\"A\"")], 200),
        (&[], &[("if-none-match", "\"a\"")], 200),
        (&[("last-modified", modified)], &[("if-modified-since", modified)], 304),
        (&[("last-modified", modified)], &[("if-modified-since", later)], 304),
        (&[("last-modified", modified)], &[("if-modified-since", earlier)], 200),
        (&[("last-modified", modified)], &[("if-modified-since", "junk")], 200),
        // The tag alone counts where both are there.
        (
            &[("last-modified", modified), ("etag", "\"a\"")],
            &[("if-modified-since", later), ("if-none-match", "\"b\"")],
            200,
        ),
        (
            &[("last-modified", modified), ("etag", "\"a\"")],
            &[("if-modified-since", earlier), ("if-none-match", "\"a\"")],
            304,
        ),
    ];
    for (fields, asking, status) in table {
        let rig = kept(fields).await;
        for method in ["GET", "HEAD"] {
            let got = rig.send(method, "/", asking).await;
            assert_eq!(got.status, *status, "{method}, {fields:?}, {asking:?}");
            assert!(got.is_hit());
            let body = if *status == 200 && method == "GET" { "0123456789" } else { "" };
            assert_eq!(got.body, body);
        }
        assert_eq!(rig.calls(), 1);
    }
}

#[tokio::test]
async fn a_304_has_the_fields_that_it_has_to_have() {
    // RFC 9110 §15.4.5.
    let modified = &*date(-1000);
    let rig = kept(&[
        ("etag", "\"a\""),
        ("last-modified", modified),
        ("vary", "accept"),
        ("content-location", "/here"),
        ("expires", &date(60)),
        ("content-type", "text/plain"),
        ("content-language", "en"),
        ("content-encoding", "gzip"),
    ])
    .await;
    let got = rig.get("/", &[("if-none-match", "\"a\"")]).await;
    assert_eq!(got.status, 304);
    for (name, value) in [
        ("cache-control", "max-age=60"),
        ("content-location", "/here"),
        ("date", &date(0)),
        ("etag", "\"a\""),
        ("expires", &date(60)),
        ("vary", "accept"),
        ("age", "5"),
        ("cache-status", "tower-kit; hit; ttl=55"),
    ] {
        assert_eq!(got.field(name), Some(value), "{name}");
    }
    for name in ["content-type", "content-language", "content-encoding", "content-length"] {
        assert_eq!(got.field(name), None, "{name}");
    }
}

#[tokio::test]
async fn only_a_200_is_not_modified() {
    let rig = Rig::new(&[]);
    rig.answers_with(404, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    for asking in [("if-none-match", "\"a\""), ("if-none-match", "*"), ("range", "bytes=0-1")] {
        let got = rig.get("/", &[asking]).await;
        assert_eq!((got.status, got.body.as_str(), got.is_hit()), (404, "answer 0", true));
    }
}

#[tokio::test]
async fn preconditions_for_the_origin_pass_by() {
    // RFC 9111 §4.3.2.
    let rig = kept(&[("etag", "\"a\"")]).await;
    for field in [("if-match", "\"a\""), ("if-unmodified-since", &*date(0))] {
        let got = rig.get("/", &[field]).await;
        assert_eq!(got.cache(), "fwd=bypass; detail=precondition");
        assert_eq!(rig.asked(field.0).as_deref(), Some(field.1));
    }
}

#[tokio::test]
async fn a_part_of_the_entry_is_given() {
    // RFC 9110 §14.1.2, §14.2, §15.3.7.
    let rig = kept(&[("etag", "\"a\""), ("content-type", "text/plain")]).await;
    for (range, part, stated) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-100", "0123456789", "bytes 0-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
        ("bytes=9-9", "9", "bytes 9-9/10"),
        ("BYTES=0-0", "0", "bytes 0-0/10"),
    ] {
        let got = rig.get("/", &[("range", range)]).await;
        assert_eq!((got.status, got.body.as_str()), (206, part), "{range}");
        assert_eq!(got.field("content-range"), Some(stated));
        assert_eq!(got.field("content-length"), Some(&*part.len().to_string()));
        assert_eq!(got.field("etag"), Some("\"a\""));
        assert_eq!(got.field("content-type"), Some("text/plain"));
        assert_eq!(got.field("age"), Some("5"));
        assert!(got.is_hit());
    }
    assert_eq!(rig.calls(), 1);
}

#[tokio::test]
async fn ignored_range_gets_the_whole_response() {
    let rig = kept(&[]).await;
    for range in ["bytes=0-1,3-4", "lines=0-1", "bytes=3-1", "bytes", "bytes=a-b", "bytes=-"] {
        let got = rig.get("/", &[("range", range)]).await;
        assert_eq!((got.status, got.body.as_str()), (200, "0123456789"), "{range}");
        assert_eq!(got.field("content-range"), None);
    }
    // RFC 9110 §14.2: of other methods it is to be ignored.
    let head = rig.send("HEAD", "/", &[("range", "bytes=0-1")]).await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
}

#[tokio::test]
async fn a_range_beyond_the_end_gives_a_416() {
    // RFC 9110 §15.5.17.
    let rig = kept(&[]).await;
    for range in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
        let got = rig.get("/", &[("range", range)]).await;
        assert_eq!((got.status, got.body.as_str()), (416, ""), "{range}");
        assert_eq!(got.field("content-range"), Some("bytes */10"));
        assert_eq!(got.field("content-length"), Some("0"));
        assert!(got.is_hit());
    }
}

#[tokio::test]
async fn a_416_does_not_say_that_it_may_be_kept() {
    // It is final, and with the freshness of the 200 a cache in front might keep it for the URL.
    let rig = kept(&[("expires", &date(60))]).await;
    let got = rig.get("/", &[("range", "bytes=10-")]).await;
    assert_eq!((got.status, got.field("cache-control"), got.field("expires")), (416, None, None));
}

#[tokio::test]
async fn if_range_needs_the_same_response() {
    // RFC 9110 §13.1.5.
    let (modified, other, now) = (&*date(-1000), &*date(-999), &*date(0));
    let table: &[(Fields<'_>, &str, u16)] = &[
        (&[("etag", "\"a\"")], "\"a\"", 206),
        (&[("etag", "\"a\"")], "\"b\"", 200),
        (&[("etag", "W/\"a\"")], "W/\"a\"", 200),
        (&[("etag", "W/\"a\"")], "\"a\"", 200),
        (&[("last-modified", modified)], modified, 206),
        (&[("last-modified", modified)], other, 200),
        // A date that is too young is weak.
        (&[("last-modified", now), ("date", now)], now, 200),
        (&[], modified, 200),
        (&[("etag", "\"a\"")], "junk", 200),
    ];
    for (fields, validator, status) in table {
        let rig = kept(fields).await;
        let got = rig.get("/", &[("range", "bytes=0-3"), ("if-range", validator)]).await;
        assert_eq!(got.status, *status, "{fields:?} {validator}");
        assert!(got.is_hit());
        // It means nothing alone.
        assert_eq!(rig.get("/", &[("if-range", validator)]).await.status, 200);
    }
}

#[tokio::test]
async fn a_condition_comes_before_a_range() {
    let rig = kept(&[("etag", "\"a\"")]).await;
    let both = [("range", "bytes=0-3"), ("if-none-match", "\"a\"")];
    assert_eq!(rig.get("/", &both).await.status, 304);
    let other = [("range", "bytes=0-3"), ("if-none-match", "\"b\"")];
    assert_eq!(rig.get("/", &other).await.status, 206);
}

#[tokio::test]
async fn a_range_on_a_miss_passes_untouched() {
    let rig = over(&[("etag", "\"a\"")]);
    // The service ignores the range: its response is whole.
    let fields = [("range", "bytes=0-3"), ("if-range", "\"a\""), ("if-none-match", "\"b\"")];
    let got = rig.get("/", &fields).await;
    assert_eq!(got.cache(), "fwd=uri-miss; stored");
    assert_eq!(got.body, "0123456789", "as the service answers");
    for (name, value) in fields {
        assert_eq!(rig.asked(name).as_deref(), Some(value));
    }
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn a_condition_on_a_miss_fills_with_the_whole() {
    let modified = date(-1000);
    for (name, value) in [
        ("if-none-match", "\"b\", \"a\""),
        ("if-none-match", "*"),
        ("if-modified-since", &modified),
    ] {
        let rig = over(&[("etag", "\"a\""), ("last-modified", &modified)]);
        let first = rig.get("/", &[(name, value)]).await;
        assert_eq!((first.status, first.body.as_str()), (304, ""));
        assert_eq!(first.cache(), "fwd=uri-miss; stored");
        assert_eq!(first.field("etag"), Some("\"a\""));
        assert_eq!(first.field("content-length"), None);
        assert_eq!(rig.asked(name), None, "the service was asked for the whole");
        let second = rig.get("/", &[]).await;
        assert_eq!((second.body.as_str(), second.is_hit()), ("0123456789", true));
    }
    let rig = over(&[("etag", "\"a\"")]);
    let other = rig.get("/", &[("if-none-match", "\"b\"")]).await;
    assert_eq!((other.status, other.body.as_str()), (200, "0123456789"));
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn condition_on_a_miss_fills_with_the_body() {
    let rig = Rig::new(&[]);
    let (mut send, body) = Channel::<bytes::Bytes, BoxError>::new(4);
    let mut body = Some(body);
    rig.answers(move |_| {
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok(response.header("etag", "\"a\"").body(boxed(body.take().unwrap())).unwrap())
    });
    let first = rig.open(request("GET", "/", &[("if-none-match", "\"a\"")])).await.unwrap();
    assert_eq!(got(first).await.status, 304);
    send.send_data("late".into()).await.unwrap();
    drop(send);
    idle().await;
    let second = rig.get("/", &[]).await;
    assert_eq!((second.body.as_str(), second.is_hit()), ("late", true));
}

#[tokio::test]
async fn condition_on_an_unstored_response_gets_304() {
    // Its condition was not passed on, so it is this layer's to answer.
    let rig = Rig::new(&[("cache-control", "no-store"), ("etag", "\"a\"")]);
    let got = rig.get("/", &[("if-none-match", "\"a\"")]).await;
    assert_eq!((got.status, got.body.as_str()), (304, ""));
    assert_eq!(got.cache(), "fwd=uri-miss; detail=no-store");
}

#[tokio::test]
async fn condition_on_a_validation_gets_its_own_304() {
    let rig = kept(&[("etag", "\"a\"")]).await;
    for (asking, status) in [("\"a\"", 304), ("\"b\"", 200), ("\"b\", \"a\"", 304)] {
        rig.clock.pass(61);
        rig.answers_with(304, &[]);
        let got = rig.get("/", &[("if-none-match", asking)]).await;
        assert_eq!(got.status, status, "{asking}");
        assert_eq!(rig.asked("if-none-match").as_deref(), Some("\"a\""));
    }
    rig.clock.pass(61);
    rig.answers(|_| Ok(reply(200, &[("etag", "\"b\""), MINUTE[0]], "new")));
    assert_eq!(rig.get("/", &[("if-none-match", "\"b\"")]).await.status, 304);
    assert_eq!(rig.get("/", &[]).await.body, "new");
}

#[tokio::test]
async fn response_without_etag_gets_a_strong_one() {
    let rig = Rig::with(MINUTE, tower_kit::cache::CacheLayer::etag);
    rig.get("/", &[]).await;
    let hit = rig.get("/", &[]).await;
    let tag = hit.field("etag").expect("one of its own");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
    assert_eq!(rig.get("/", &[("if-none-match", tag)]).await.status, 304);
    // The same bytes have the same, others another.
    rig.answers(|head| {
        Ok(reply(200, MINUTE, if head.uri.path() == "/b" { "b" } else { "answer 0" }))
    });
    for (path, same) in [("/a", true), ("/b", false)] {
        rig.get(path, &[]).await;
        assert_eq!(rig.get(path, &[]).await.field("etag") == Some(tag), same);
    }
    for validator in [("etag", "W/\"a\""), ("last-modified", &*date(-1000))] {
        let rig = Rig::with(&[MINUTE[0], validator], tower_kit::cache::CacheLayer::etag);
        rig.get("/", &[]).await;
        let hit = rig.get("/", &[]).await;
        let own = if validator.0 == "etag" { Some(validator.1) } else { None };
        assert_eq!(hit.field("etag"), own);
    }
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    assert_eq!(rig.get("/", &[]).await.field("etag"), None, "only where it is chosen");
}

#[tokio::test]
async fn head_with_another_response_drops_the_entry() {
    // RFC 9111 §4.3.5. What the entry has, what HEAD gets when it is stale, and whether the next GET
    // finds something to validate.
    for (get, head, kept) in [
        (("etag", "\"a\""), ("etag", "\"a\""), true),
        (("etag", "\"a\""), ("etag", "\"b\""), false),
        (("etag", "\"a\""), ("content-length", "10"), true),
        (("etag", "\"a\""), ("content-length", "11"), false),
        (("etag", "\"a\""), ("x-other", "1"), true),
    ] {
        let rig = Rig::new(&[]);
        rig.answers(move |request| {
            let (name, value) = if request.method == "HEAD" { head } else { get };
            Ok(reply(200, &[("cache-control", "max-age=60"), (name, value)], "0123456789"))
        });
        rig.get("/", &[]).await;
        rig.clock.pass(61);
        let asked = rig.send("HEAD", "/", &[]).await;
        assert_eq!(asked.status, 200);
        rig.get("/", &[]).await;
        let validated = rig.asked("if-none-match").is_some();
        assert_eq!(validated, kept, "{get:?} {head:?}");
    }
}

#[tokio::test]
async fn a_range_of_an_entry_has_one_content_range() {
    let rig = kept(&[("content-range", "bytes 0-3/4")]).await;
    for (range, expected) in [("bytes=0-1", "bytes 0-1/10"), ("bytes=20-", "bytes */10")] {
        let got = rig.get("/", &[("range", range)]).await;
        assert!(got.headers.get_all("content-range").iter().eq([expected]), "{:?}", got.headers);
    }
}
