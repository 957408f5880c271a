use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body::Body;
use tower_kit::compress::CompressLayer;

use super::harness::{
    accepting, drain, encoding_of, full, get, header, html, list, read, respond, script, steps,
};
use super::policy::pinned;
use crate::support::{noise, prose};

type Headers<'a> = &'a [(&'a str, &'a str)];

#[test]
fn ineligible_responses_pass_unchanged() {
    let cases: &[(&str, u16, Headers<'_>)] = &[
        ("GET", 204, &[]),
        ("GET", 205, &[]),
        ("GET", 206, &[("content-range", "bytes 0-4999/10000")]),
        ("GET", 206, &[]),
        ("GET", 416, &[("content-range", "bytes */10000")]),
        ("GET", 200, &[("content-range", "bytes 0-4999/10000")]),
        ("GET", 101, &[]),
        ("CONNECT", 200, &[]),
        ("GET", 200, &[("cache-control", "no-transform")]),
        ("GET", 200, &[("cache-control", "public, max-age=60 , No-Transform")]),
        ("GET", 200, &[("cache-control", "public"), ("cache-control", "no-transform")]),
        ("GET", 200, &[("content-encoding", "br")]),
        ("GET", 200, &[("content-encoding", "gzip")]),
        ("GET", 200, &[("content-encoding", "identity, gzip")]),
    ];
    // A callback does not override any of these.
    let layers = [CompressLayer::new(), CompressLayer::new().only_if(|_, _| true)];
    for (method, status, headers) in cases {
        for (exact, layer) in [false, true].into_iter().zip(&layers) {
            let mut response =
                html().status(*status).header("etag", "\"v1\"").header("accept-ranges", "bytes");
            for (name, value) in *headers {
                response = response.header(*name, *value);
            }
            let text = prose(5_000, 21);
            let response = response.body(script(steps([text.clone()]), exact)).unwrap();
            let before = response.headers().clone();
            let response = respond(layer, get().method(*method), response);
            assert_eq!(*response.headers(), before, "{method} {status} {headers:?}");
            assert_eq!(response.body().size_hint().exact(), exact.then_some(5_000));
            assert_eq!(drain(&mut response.into_body()).frames, [text], "{method} {status}");
        }
    }
}

#[test]
fn content_encoding_identity_is_compressed() {
    for value in ["identity", "Identity"] {
        let response = html().header("content-encoding", value).body(full(prose(5_000, 22)));
        let response = respond(&CompressLayer::new(), get(), response.unwrap());
        assert_eq!(list(&response, "content-encoding"), "gzip");
        assert_eq!(read(response), prose(5_000, 22));
    }
}

#[test]
fn any_method_and_status_is_compressed() {
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"] {
        for status in [200, 201, 203, 404, 500, 503] {
            let response = html().status(status).body(full(prose(5_000, 23))).unwrap();
            let response = respond(&CompressLayer::new(), get().method(method), response);
            assert_eq!(encoding_of(&response), Some("gzip"), "{method} {status}");
            assert_eq!(response.status(), status);
        }
    }
}

#[test]
fn head_has_the_headers_of_get() {
    let headers = |response: &Response<_>| {
        ["content-encoding", "content-length", "vary", "etag"]
            .map(|name| list::<tower_kit::compress::ResponseBody<_>>(response, name))
    };
    // Services respond to HEAD with the body of a GET, which the server drops, or with a length.
    let text = || prose(5_000, 24);
    for (body, declared) in [(text(), false), (text(), true), (Bytes::new(), true)] {
        let mut response = html().header("etag", "\"v1\"");
        if declared {
            response = response.header("content-length", 5_000);
        }
        let response = response.body(full(body)).unwrap();
        let response = respond(&CompressLayer::new(), get().method("HEAD"), response);
        assert_eq!(headers(&response), ["gzip", "", "accept-encoding", "\"v1--gzip\""]);
    }
    // The GET is not compressed for its media type, its size or its client.
    for (media_type, length, accept, vary) in [
        ("image/png", "5000", "gzip", ""),
        ("text/html", "1023", "gzip", "accept-encoding"),
        ("text/html", "5000", "br", "accept-encoding"),
    ] {
        let response = Response::builder()
            .header("content-type", media_type)
            .header("content-length", length)
            .header("etag", "\"v1\"");
        let response = response.body(full("")).unwrap();
        let response = respond(&pinned(), accepting(accept).method("HEAD"), response);
        assert_eq!(headers(&response), ["", length, vary, "\"v1\""], "{media_type} {accept}");
    }
    // A small body is known to be small to both.
    let small = |method: &str| {
        let response = html().header("etag", "\"v1\"").body(full("small")).unwrap();
        respond(&CompressLayer::new(), get().method(method), response)
    };
    assert_eq!(list(&small("HEAD"), "etag"), list(&small("GET"), "etag"));
}

#[test]
fn headers_describe_the_compressed_bytes() {
    let stale = [
        ("accept-ranges", "bytes"),
        ("content-digest", "sha-256=:AA==:"),
        ("repr-digest", "sha-256=:AA==:"),
        ("digest", "sha-256=AA=="),
        ("content-md5", "AA=="),
    ];
    let own = [("x-own", "1"), ("last-modified", "then")];
    let response = |exact, etag| {
        let mut response = html().header("etag", etag);
        for (name, value) in stale.into_iter().chain(own) {
            response = response.header(name, value);
        }
        response.body(script(steps([prose(5_000, 26)]), exact)).unwrap()
    };
    for (exact, etag, expected) in [
        (true, "\"v1\"", "\"v1--gzip\""),
        (false, "\"v1\"", "\"v1--gzip\""),
        (true, "W/\"v1\"", "W/\"v1\""),
        (false, "W/\"v1\"", "W/\"v1\""),
    ] {
        let response = respond(&CompressLayer::new(), get(), response(exact, etag));
        assert_eq!(encoding_of(&response), Some("gzip"));
        assert_eq!(list(&response, "etag"), expected);
        for (name, _) in stale {
            assert_eq!(header(&response, name), None, "{name}");
        }
        for (name, value) in own {
            assert_eq!(header(&response, name), Some(value), "{name}");
        }
    }
    for request in [Request::get("/"), get().header("x-no-compression", "1")] {
        let response = respond(&CompressLayer::new(), request, response(true, "\"v1\""));
        for (name, value) in stale {
            assert_eq!(header(&response, name), Some(value), "{name}");
        }
    }
}

#[test]
fn vary_is_the_same_for_all_clients() {
    let requests = || {
        [
            (Request::get("/"), None),
            (accepting("br"), None),
            (accepting("gzip;q=0"), None),
            (get(), Some("gzip")),
            (get().header("x-no-compression", ""), None),
        ]
    };
    for (before, expected) in [
        (&[][..], "accept-encoding"),
        (&["origin", "cookie"], "origin, cookie, accept-encoding"),
        (&["origin ,ACCEPT-ENCODING, cookie"], "origin ,ACCEPT-ENCODING, cookie"),
        (&["x-accept-encoding"], "x-accept-encoding, accept-encoding"),
        (&["*"], "*"),
    ] {
        for (request, encoding) in requests() {
            let mut response = html();
            for line in before {
                response = response.header("vary", *line);
            }
            let response = response.body(full(prose(5_000, 27))).unwrap();
            let response = respond(&pinned(), request, response);
            assert_eq!(encoding_of(&response), encoding);
            assert_eq!(list(&response, "vary"), expected);
        }
    }
    let small = html().body(full(prose(1_023, 27))).unwrap();
    let small = respond(&CompressLayer::new(), get(), small);
    assert_eq!(list(&small, "vary"), "accept-encoding", "under the threshold");
    for request in [get(), get().header("x-no-compression", "1")] {
        let image = Response::builder().header("content-type", "image/png");
        let image = image.header("vary", "origin").body(full(noise(5_000))).unwrap();
        let response = respond(&CompressLayer::new(), request, image);
        assert_eq!(list(&response, "vary"), "origin", "never eligible");
    }
}

#[test]
fn clients_opt_out_by_a_header_of_any_value() {
    let default = CompressLayer::new();
    let named = CompressLayer::new().opt_out_header(HeaderName::from_static("x-raw"));
    let off = CompressLayer::new().opt_out_header(None);
    for (layer, name, value, encoding) in [
        (&default, "x-no-compression", "", None),
        (&default, "x-no-compression", "1", None),
        (&default, "x-no-compression", "true", None),
        (&default, "x-no-compression", "false", None),
        (&default, "x-no-compression", "0", None),
        (&default, "x-no-compression", "no", None),
        (&named, "x-raw", "1", None),
        (&named, "x-no-compression", "1", Some("gzip")),
        (&off, "x-no-compression", "1", Some("gzip")),
    ] {
        let response = html().body(full(prose(5_000, 28))).unwrap();
        let response = respond(layer, get().header(name, value), response);
        assert_eq!(encoding_of(&response), encoding, "{name} {value:?}");
        assert_eq!(list(&response, "vary"), "accept-encoding");
        assert_eq!(read(response), prose(5_000, 28));
    }
}
