use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_kit::compress::{CompressHint, CompressLayer};

use super::harness::{
    accepting, encoding_of, every, get, header, hinted, html, read, respond, script, steps,
};
use crate::support::{noise, prose};

#[test]
fn force_compresses_if_client_and_http_allow() {
    let text = Bytes::from("a".repeat(200));
    let png = Response::builder().header("content-type", "image/png");
    let response = hinted(CompressHint::force(), png, text.clone());
    let response = respond(&CompressLayer::new(), get(), response);
    assert_eq!(encoding_of(&response), Some("gzip"));
    assert_eq!(header(&response, "vary"), Some("accept-encoding"));
    assert_eq!(read(response), text);

    let page = prose(5_000, 37);
    for (request, response, body) in [
        (Request::get("/"), html(), &page),
        (get().header("x-no-compression", "1"), html(), &page),
        (get(), html().status(206), &page),
        (get(), html().header("cache-control", "no-transform"), &page),
        (get(), html().header("content-encoding", "br"), &page),
        (get(), html(), &noise(5_000)),
        (get(), html(), &Bytes::new()),
    ] {
        let response = hinted(CompressHint::force(), response, body.clone());
        let response = respond(&CompressLayer::new(), request, response);
        assert_ne!(encoding_of(&response), Some("gzip"));
    }
}

#[test]
fn forbid_leaves_the_response_uncompressed() {
    for hint in [CompressHint::forbid(), CompressHint::forbid().max_padding(50)] {
        let response = hinted(hint, html().header("etag", "\"v1\""), prose(5_000, 38));
        let response = respond(&CompressLayer::new(), get(), response);
        assert_eq!(encoding_of(&response), None);
        assert_eq!(header(&response, "etag"), Some("\"v1\""));
        assert_eq!(header(&response, "vary"), None, "no client gets it compressed");
        assert_eq!(read(response), prose(5_000, 38));
    }
    let response = hinted(CompressHint::default(), html(), prose(5_000, 38));
    assert_eq!(encoding_of(&respond(&CompressLayer::new(), get(), response)), Some("gzip"));
}

#[test]
fn padding_varies_the_length() {
    let text = prose(3_000, 39);
    for (layer, max) in [
        (CompressLayer::new(), 100),
        (CompressLayer::new(), 255),
        (CompressLayer::new().libdeflate(), 255),
    ] {
        let length = |hint| {
            let response = respond(&layer, get(), hinted(hint, html(), text.clone()));
            let length = response.body().size_hint().exact().unwrap();
            assert_eq!(header(&response, "content-length"), Some(length.to_string().as_str()));
            assert_eq!(read(response), text);
            length
        };
        let plain = length(CompressHint::default());
        // A name of one byte and its zero.
        assert_eq!(length(CompressHint::default().max_padding(1)), plain + 2);
        let padded = CompressHint::default().max_padding(max);
        let mut lengths: Vec<_> = (0..60).map(|_| length(padded)).collect();
        let range = plain + 2..=plain + 1 + u64::from(max);
        assert!(lengths.iter().all(|length| range.contains(length)), "{lengths:?} in {range:?}");
        lengths.sort_unstable();
        lengths.dedup();
        assert!(lengths.len() > 20, "{lengths:?}");
        assert_eq!(length(CompressHint::default()), plain, "the pool keeps no padding");
    }
    // Streams are padded too, and forced ones.
    for hint in [CompressHint::force().max_padding(255), CompressHint::default().max_padding(1)] {
        let mut response = html().body(script(steps([prose(5_000, 26)]), false)).unwrap();
        response.extensions_mut().insert(hint);
        let response = respond(&CompressLayer::new(), get(), response);
        assert_eq!(encoding_of(&response), Some("gzip"));
        assert_eq!(read(response), prose(5_000, 26));
    }
}

#[test]
fn padding_needs_gzip() {
    let none = every().encodings([]);
    for (layer, accept, expected) in [
        (&every(), "br, gzip;q=0.1", Some("gzip")),
        (&every(), "br, deflate, zstd", None),
        (&none, "gzip", None),
    ] {
        let response = hinted(CompressHint::default().max_padding(50), html(), prose(3_000, 40));
        let response = respond(layer, accepting(accept), response);
        assert_eq!(encoding_of(&response), expected, "{accept}");
        assert_eq!(read(response), prose(3_000, 40));
    }
}
