//! What a method may take from the cache (RFC 9111 §4.3.5 and §4.4).

use tower_kit::cache::CacheKey;

use super::rig::{Fields, MINUTE, Rig, reply, request};

/// IANA, HTTP Method Registry: those that are safe, and CONNECT.
const SAFE: [&str; 10] =
    ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "REPORT", "SEARCH", "PRI", "CONNECT"];

/// The others in the registry, what is not in it, and what only looks like a safe one.
const UNSAFE: [&str; 40] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPPATCH",
    "PUT",
    "REBIND",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
    "FROBNICATE",
    "PURGE",
    "get",
    "head",
    "query",
    "search",
    "propfind",
    "report",
    "QUERYX",
    "GETX",
];

#[tokio::test]
async fn safe_methods_take_nothing_away() {
    for method in SAFE {
        let rig = Rig::new(&[]);
        rig.answers(|head| {
            let fields = [("cache-control", "max-age=60"), ("location", "/b")];
            Ok(reply(200, &fields, head.method.as_str()))
        });
        for url in ["/a", "/b"] {
            rig.get(url, &[]).await;
        }
        rig.send(method, "/a", &[]).await;
        for url in ["/a", "/b"] {
            let got = rig.get(url, &[]).await;
            assert_eq!((got.body.as_str(), got.is_hit()), ("GET", true), "{method} {url}");
        }
    }
}

#[tokio::test]
async fn all_other_methods_take_their_url_away() {
    for method in UNSAFE {
        let rig = Rig::new(MINUTE);
        rig.get("/a", &[]).await;
        assert_eq!(rig.send(method, "/a", &[]).await.cache(), "fwd=method", "{method}");
        assert!(!rig.get("/a", &[]).await.is_hit(), "{method}");
    }
}

/// A service that varies by `x-a`, and gives each variant a tag, which HEAD says is another one.
fn varying() -> Rig {
    let rig = Rig::new(&[]);
    rig.answers(|head| {
        let value = head.headers.get("x-a").map_or("", |value| value.to_str().unwrap());
        let tag = format!("\"{value} {}\"", head.method);
        let fields = [("cache-control", "max-age=60"), ("vary", "x-a"), ("etag", &*tag)];
        Ok(reply(200, &fields, value))
    });
    rig
}

#[tokio::test]
async fn a_head_takes_only_its_own_variant_away() {
    let rig = varying();
    let all: [Fields<'_>; 3] = [&[("x-a", "1")], &[("x-a", "2")], &[]];
    for fields in all {
        rig.get("/", fields).await;
    }
    rig.send("HEAD", "/", &[("x-a", "1"), ("cache-control", "no-cache")]).await;
    for (fields, hit) in all.into_iter().zip([false, true, true]) {
        assert_eq!(rig.get("/", fields).await.is_hit(), hit, "{fields:?}");
    }
    for fields in all {
        assert!(rig.get("/", fields).await.is_hit(), "{fields:?} is stored again");
    }
}

#[tokio::test]
async fn uncacheable_response_drops_its_variant_alone() {
    let rig = varying();
    let all: [Fields<'_>; 2] = [&[("x-a", "1")], &[("x-a", "2")]];
    for fields in all {
        rig.get("/", fields).await;
    }
    rig.clock.pass(30);
    rig.get("/", &[("x-a", "2"), ("cache-control", "no-cache")]).await;
    rig.clock.pass(31);
    rig.answers_with(200, &[("cache-control", "private"), ("vary", "x-a")]);
    rig.get("/", all[0]).await;
    assert!(rig.get("/", all[1]).await.is_hit());
}

#[tokio::test]
async fn head_without_evidence_leaves_the_entry() {
    let table: &[(u16, Fields<'_>, bool)] = &[
        // RFC 9111 §4.3.5: what differs shows that the entry is outdated.
        (200, &[("etag", "\"b\"")], false),
        (200, &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], false),
        (200, &[("content-length", "9")], false),
        (200, &[], true),
        (200, &[("etag", "\"a\"")], true),
        (200, &[("content-length", "8")], true),
        // A layer weakens the tag of what it encodes, and the length is then another one.
        (200, &[("etag", "W/\"a\"")], true),
        (200, &[("content-encoding", "gzip"), ("content-length", "9")], true),
        // What one client gets says nothing of what all get.
        (200, &[("etag", "\"b\""), ("cache-control", "private")], true),
        (200, &[("etag", "\"b\""), ("cache-control", "no-store; x")], true),
        (200, &[("etag", "\"b\""), ("set-cookie", "a=b")], true),
        // RFC 9111 §4.3.4: a 304 of another response, like one to a GET.
        (304, &[("etag", "\"b\"")], false),
        (304, &[("etag", "\"a\"")], true),
        // One that failed.
        (204, &[("etag", "\"b\"")], true),
        (400, &[("etag", "\"b\"")], true),
        (404, &[("etag", "\"b\""), ("content-length", "0")], true),
        (405, &[("content-length", "0")], true),
        (429, &[("content-length", "0")], true),
        (500, &[("content-length", "0")], true),
    ];
    for (status, fields, stays) in table {
        let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
        rig.get("/", &[]).await;
        let (status, fields) = (*status, fields.to_vec());
        let said: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        rig.answers(move |_| {
            let fields: Vec<_> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
            Ok(reply(status, &fields, ""))
        });
        rig.send("HEAD", "/", &[("cache-control", "no-cache")]).await;
        rig.answers_with(200, MINUTE);
        assert_eq!(rig.get("/", &[]).await.is_hit(), *stays, "{status} {fields:?}");
    }
}

#[tokio::test]
async fn a_head_is_compared_in_the_spelling_of_the_key() {
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    // The service has another response for the other spelling.
    rig.answers(|head| {
        let is_own = head.uri.authority().is_some_and(|host| host == "x.org");
        let tag = if is_own { "\"a\"" } else { "\"b\"" };
        Ok(reply(200, &[("etag", tag)], ""))
    });
    let head = [("cache-control", "no-cache")];
    let got = rig.send("HEAD", "http://X.org:80/", &head).await;
    assert_eq!(got.cache(), "fwd=request; stored");
    assert_eq!(rig.last().uri, "http://x.org/");
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn a_head_that_cannot_be_respelled_shows_nothing() {
    // The service sees the URL in an extension as the client spelled it.
    #[derive(Clone)]
    struct Original(http::Uri);
    let key = CacheKey::new().uri(|request| Some(&request.extensions.get::<Original>()?.0));
    let rig =
        Rig::with(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], |layer| layer.key(key));
    let ask = |method, url: &'static str, fields| {
        let mut request = request(method, "/", fields);
        request.extensions_mut().insert(Original(http::Uri::from_static(url)));
        rig.ask(request)
    };
    ask("GET", "http://x.org/", &[]).await.unwrap();
    let reload: Fields<'_> = &[("cache-control", "no-cache")];
    for (status, fields) in [(200, &[("etag", "\"b\"")][..]), (304, &[])] {
        rig.answers_with(status, fields);
        let got = ask("HEAD", "http://X.org:80/", reload).await.unwrap();
        assert_eq!(got.cache(), "fwd=request; detail=spelling");
        assert_eq!(rig.asked("if-none-match"), None);
    }
    assert!(ask("GET", "http://x.org/", &[]).await.unwrap().is_hit());
}
