use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::compress::{CompressLayer, Encoding};

use super::harness::{accepting, encoding_of, every, full, get, html, read, respond, script, sent};
use crate::support::{BoxError, Step, data, noise, now, prose, trailers};

/// Creates a layer of the encodings that need no feature of their own.
pub(super) fn pinned() -> CompressLayer {
    CompressLayer::new().encodings([Encoding::Gzip, Encoding::Deflate])
}

#[test]
fn accept_encoding_selects_the_encoding() {
    let all = CompressLayer::new().encodings([Encoding::Zstd, Encoding::Brotli, Encoding::Gzip]);
    let pinned = pinned();
    let cases: &[(&CompressLayer, &[&str], Option<&str>)] = &[
        (&pinned, &["gzip"], Some("gzip")),
        (&pinned, &["x-gzip"], Some("gzip")),
        (&pinned, &["deflate"], Some("deflate")),
        (&pinned, &["gzip, deflate, br, zstd"], Some("gzip")),
        (&pinned, &["gzip;q=0.5", "deflate;q=0.6"], Some("deflate")),
        (&pinned, &["gzip;q=0, *"], Some("deflate")),
        (&pinned, &["identity, gzip;q=0.5"], None),
        (&pinned, &["identity;q=0"], None),
        (&pinned, &["*;q=0"], None),
        (&pinned, &["br"], None),
        (&pinned, &["\"gzip\", deflate"], Some("deflate")),
        (&all, &["gzip, deflate, br, zstd"], Some("zstd")),
        (&all, &["gzip, deflate, br"], Some("br")),
        (&all, &["gzip, deflate"], Some("gzip")),
        (&all, &["deflate"], None),
        (&all, &["*"], Some("zstd")),
        (&all, &["zstd;q=0.1, *;q=0.2"], Some("br")),
    ];
    for (layer, lines, expected) in cases {
        let add = |request: http::request::Builder, line| request.header("accept-encoding", line);
        let request = lines.iter().copied().fold(Request::get("/"), add);
        let response = respond(layer, request, html().body(full(prose(5_000, 30))).unwrap());
        assert_eq!(response.status(), 200, "{lines:?}");
        assert_eq!(encoding_of(&response), *expected, "{lines:?}");
        assert_eq!(read(response), prose(5_000, 30));
    }
}

#[test]
fn refusing_identity_overrides_size_and_gain() {
    for (accept, body, expected) in [
        ("gzip, identity;q=0", Bytes::from("a".repeat(500)), Some("gzip")),
        ("gzip", Bytes::from("a".repeat(500)), None),
        ("gzip, identity;q=0", Bytes::from("nine byte"), Some("gzip")),
        ("gzip, identity;q=0", noise(2_000), Some("gzip")),
        ("gzip", noise(2_000), None),
    ] {
        let response = html().body(full(body.clone())).unwrap();
        let response = respond(&CompressLayer::new(), accepting(accept), response);
        assert_eq!(encoding_of(&response), expected);
        assert_eq!(read(response), body);
    }
}

#[test]
fn bodies_are_compressed_from_the_threshold() {
    for (layer, least) in [
        (CompressLayer::new(), 1_024),
        (CompressLayer::new().threshold(512), 512),
        (CompressLayer::new().threshold(3_000), 3_000),
        (CompressLayer::new().threshold(u64::MAX), usize::MAX),
        (CompressLayer::new().threshold(0), 0),
    ] {
        for len in [60, 511, 512, 1_023, 1_024, 2_999, 3_000, 200_000] {
            let text = Bytes::from("a".repeat(len));
            let response = respond(&layer, get(), html().body(full(text.clone())).unwrap());
            assert_eq!(encoding_of(&response).is_some(), len >= least, "{len} from {least} on");
            assert_eq!(read(response), text);
        }
    }
}

#[test]
fn bodies_of_unknown_size_are_read_ahead() {
    let stream = |steps: Vec<Step<BoxError>>| sent(script(steps, false));
    for (steps, compressed) in [
        (vec![data(3)], false),
        (vec![data(0), data(3), data(0)], false),
        (vec![data(1_023), trailers()], false),
        (vec![data(1_024)], true),
        (vec![data(512), data(512)], true),
        (vec![data(3), Step::Pending], true),
        (vec![Step::Pending, data(3)], true),
        (vec![data(3), Step::Error("broken".into())], true),
    ] {
        let shown = format!("{steps:?}");
        assert_eq!(encoding_of(&stream(steps)).is_some(), compressed, "{shown}");
    }
    let response = stream((0..200).map(|_| data(1)).collect());
    assert_eq!(encoding_of(&response), None);
    assert_eq!(read(response), [b'x'; 200]);
}

/// Returns `true` if a response of this media type is compressed.
fn compresses(layer: &CompressLayer, media_type: &str) -> bool {
    let response = Response::builder().header("content-type", media_type);
    let response = respond(layer, get(), response.body(full(prose(5_000, 33))).unwrap());
    let is_compressed = encoding_of(&response).is_some();
    assert_eq!(response.headers().contains_key("vary"), is_compressed, "{media_type}");
    assert_eq!(read(response), prose(5_000, 33));
    is_compressed
}

#[test]
fn media_types_are_added_and_skipped() {
    let default = CompressLayer::new();
    let layer = default
        .clone()
        .media_type("Application/vnd.SQLite3")
        .and_then(|layer| layer.media_type("image/png"))
        .and_then(|layer| layer.skip_media_type("TEXT/css"))
        .and_then(|layer| layer.skip_media_type("application/ld+json"))
        .unwrap();
    let last = layer.clone().media_type("text/*").unwrap().skip_media_type("image/*").unwrap();
    for (layer, media_type, expected) in [
        (&default, "text/html", true),
        (&default, "image/png", false),
        (&default, "application/grpc", false),
        (&default, "", false),
        (&layer, "application/vnd.sqlite3", true),
        (&layer, "APPLICATION/VND.SQLITE3; version=3", true),
        (&layer, "image/png", true),
        (&layer, "image/jpeg", false),
        (&layer, "text/css", false),
        (&layer, "text/css; charset=utf-8", false),
        (&layer, "Application/LD+json", false),
        (&layer, "text/html", true),
        (&layer, "application/problem+json", true),
        (&last, "text/css", true),
        (&last, "image/png", false),
    ] {
        assert_eq!(compresses(layer, media_type), expected, "{media_type}");
    }
    let untyped = Response::new(full(prose(5_000, 32)));
    assert_eq!(encoding_of(&respond(&default, get(), untyped)), None);
}

#[test]
fn media_type_if_replaces_the_table() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let layer = {
        let seen = Arc::clone(&seen);
        CompressLayer::new().media_type_if(move |media_type| {
            seen.lock().unwrap().push(media_type.to_owned());
            media_type == "Image/PNG"
        })
    };
    assert!(compresses(&layer, "Image/PNG ; x=y"));
    assert!(!compresses(&layer, "text/html;charset=utf-8"));
    assert_eq!(*seen.lock().unwrap(), ["Image/PNG", "text/html"]);
    // gRPC is never compressed, whatever the callback returns.
    let layer = CompressLayer::new().media_type_if(|_| true);
    assert!(compresses(&layer, "image/png"));
    assert!(!compresses(&layer, "application/grpc"));
    assert!(!compresses(&layer, "application/grpc+proto"));
}

#[test]
fn only_if_sees_both_heads() {
    let layer = CompressLayer::new().only_if(|request, response| {
        request.uri.path() != "/raw" && !response.headers.contains_key("x-raw")
    });
    for (path, own, expected) in
        [("/", "x-own", true), ("/raw", "x-own", false), ("/", "x-raw", false)]
    {
        let response = html().header(own, "1").body(full(prose(5_000, 34))).unwrap();
        let response = respond(&layer, get().uri(path), response);
        assert_eq!(encoding_of(&response).is_some(), expected, "{path} {own}");
        assert_eq!(read(response), prose(5_000, 34));
    }
    // The media type has to fit too.
    assert!(!compresses(&CompressLayer::new().only_if(|_, _| true), "image/png"));
    // The inner service gets the whole request.
    let inner = service_fn(|request: Request<Full<Bytes>>| async move {
        assert_eq!(request.headers()["x-seen"], "1");
        assert_eq!(request.extensions().get::<u8>(), Some(&7));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(html().body(full(body)).unwrap())
    });
    let mut request = get().header("x-seen", "1").body(full(prose(2_000, 35))).unwrap();
    request.extensions_mut().insert(7_u8);
    let response = now(layer.layer(inner).oneshot(request)).unwrap();
    assert_eq!(encoding_of(&response), Some("gzip"));
    assert_eq!(read(response), prose(2_000, 35));
}

#[test]
fn a_layer_without_encodings_compresses_nothing() {
    let layer = every().encodings([]);
    let response = respond(&layer, get(), html().body(full(prose(9_000, 3))).unwrap());
    assert_eq!(encoding_of(&response), None);
}
