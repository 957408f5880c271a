use std::task::Poll;

use http::{HeaderMap, Response};
use http_body::SizeHint;
use http_body_util::BodyExt;
use tower_kit::compress::{CompressLayer, Encoding};

use super::harness::{
    Compressed, ENCODINGS, accepting, assert_cut, compressed, drain, encoding_of, every, full, get,
    header, html, list, read, respond, script, sent, steps,
};
use crate::support::{BoxError, Scripted, Step, data, noise, now, poll_frame, prose};

#[test]
fn errors_pass_and_end_the_body() {
    for encoding in ENCODINGS {
        let text = prose(3_000, 11);
        for pending in [false, true] {
            // The length is unknown, or known and at least that of the data before the error.
            for hint in [SizeHint::new(), SizeHint::with_exact(5_000), SizeHint::with_exact(3_000)]
            {
                let mut all = vec![Step::Data(text.clone())];
                all.extend(pending.then_some(Step::Pending));
                all.push(Step::Error("broken".into()));
                let body = Scripted::<BoxError>::new(all).hint(&hint);
                let log = body.log();
                let response = compressed(encoding, body);
                assert_eq!(header(&response, "content-length"), None);
                let drained = drain(&mut response.into_body());
                assert_eq!(drained.error.as_deref(), Some("broken"), "{encoding:?}");
                assert_cut(encoding.as_str(), &drained.bytes(), &text);
                assert!(!log.polled_after_end());
            }
        }
    }
}

#[test]
fn inner_errors_keep_their_type() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let mut body = sent(Scripted::new([data(2_000), Step::Error(Own(7))])).into_body();
    let error = loop {
        match poll_frame(&mut body) {
            Poll::Ready(Some(Err(error))) => break error,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
            Poll::Ready(None) => panic!("no error"),
        }
    };
    assert_eq!(error.into_inner(), Some(Own(7)));
}

#[test]
fn immediate_errors_come_alone() {
    for hint in [SizeHint::new(), SizeHint::with_exact(5_000)] {
        let body = Scripted::<BoxError>::new([Step::Error("broken".into())]).hint(&hint);
        let drained = drain(&mut sent(body).into_body());
        assert_eq!(drained.error.as_deref(), Some("broken"));
        assert!(drained.frames.is_empty());
    }
}

/// A complete gzip body would hide a wrong declared length, which the server or the client notices
/// without the layer.
#[test]
fn bodies_of_a_wrong_length_fail() {
    for encoding in ENCODINGS {
        for (declared, given) in
            [(5_000, 3_000), (3_000, 5_000), (200_000, 3_000), (3_000, 200_000)]
        {
            for (in_header, in_hint, pending) in [
                (true, true, false),
                (true, false, true),
                (false, true, false),
                (false, true, true),
            ] {
                let text = prose(given, 12);
                let mut all = steps([text.slice(..2_000), text.slice(2_000..)]);
                if pending {
                    all.insert(1, Step::Pending);
                }
                let mut body = Scripted::new(all);
                if in_hint {
                    body = body.hint(&SizeHint::with_exact(declared));
                }
                let mut response = html();
                if in_header {
                    response = response.header("content-length", declared);
                }
                let request = accepting(encoding.as_str());
                let response = respond(&every(), request, response.body(body).unwrap());
                assert_eq!(encoding_of(&response), Some(encoding.as_str()));
                assert_eq!(header(&response, "content-length"), None);
                let drained = drain(&mut response.into_body());
                let error = drained.error.as_deref().expect("an error");
                assert!(error.contains(&declared.to_string()), "{error}");
                assert_cut(encoding.as_str(), &drained.bytes(), &text);
            }
        }
    }
}

#[test]
fn inner_bodies_are_not_polled_after_the_end() {
    let text = prose(2_000, 14);
    for (bytes, media_type) in
        [(&text, "text/html"), (&noise(2_000), "text/html"), (&text, "image/png")]
    {
        for pending in [false, true] {
            for exact in [false, true] {
                let mut all = steps([bytes.clone()]);
                all.extend(pending.then_some(Step::Pending));
                let body = script(all, exact);
                let log = body.log();
                let response = Response::builder().header("content-type", media_type);
                let response = respond(&CompressLayer::new(), get(), response.body(body).unwrap());
                assert_eq!(read(response), *bytes);
                assert!(!log.polled_after_end(), "{media_type} {pending} {exact}");
            }
        }
    }
}

#[test]
fn empty_streams_are_valid() {
    for encoding in ENCODINGS {
        for parts in [vec![], vec![data(0)], vec![data(0), Step::Pending, data(0)]] {
            let response = html().body(script(parts, false)).unwrap();
            let response = respond(&every(), accepting(encoding.as_str()), response);
            assert_eq!(read(response), b"", "{encoding:?}");
        }
    }
    let response = sent(full(""));
    assert_eq!(encoding_of(&response), None);
    assert_eq!(read(response), b"");
}

#[test]
fn streams_above_the_maximum_are_uncompressed() {
    let layer = every().max_streams(2);
    let stream = |encoding: Encoding| -> Compressed<Scripted> {
        let body = Scripted::new([data(2_000), Step::Pending, data(2_000)]);
        respond(&layer, accepting(encoding.as_str()), html().body(body).unwrap())
    };
    for encoding in ENCODINGS {
        let is_compressed = |response: &Compressed<Scripted>| {
            assert_eq!(list(response, "vary"), "accept-encoding");
            encoding_of(response) == Some(encoding.as_str())
        };
        let [mut first, second, mut third] = [0; 3].map(|_| stream(encoding));
        assert_eq!([&first, &second, &third].map(is_compressed), [true, true, false]);
        assert_eq!(drain(third.body_mut()).bytes(), [b'x'; 4_000]);
        // A whole body takes no permit.
        let whole = html().body(full(vec![b'x'; 2_000])).unwrap();
        let whole = respond(&layer, accepting(encoding.as_str()), whole);
        assert_eq!(encoding_of(&whole), Some(encoding.as_str()));
        // A stream gives its permit back at its end, and when it is dropped.
        drain(first.body_mut());
        let next = stream(encoding);
        assert!(is_compressed(&next));
        assert!(!is_compressed(&stream(encoding)));
        drop(second);
        assert!(is_compressed(&stream(encoding)));
    }
    // A stream that fails gives its permit back too.
    let body = Scripted::<BoxError>::new([data(2_000), Step::Error("broken".into())]);
    let mut failed = respond(&layer, get(), html().body(body).unwrap());
    drain(failed.body_mut());
    let both = [stream(Encoding::Gzip), stream(Encoding::Gzip)];
    assert_eq!(both.each_ref().map(encoding_of), [Some("gzip"); 2]);
}

#[test]
fn dropped_streams_drop_the_inner_body() {
    for encoding in ENCODINGS {
        for round in 0..5 {
            let secret = prose(30_000, 100 + round);
            let body = Scripted::<BoxError>::new([Step::Data(secret), Step::PendingForever]);
            let log = body.log();
            let mut body = compressed(encoding, body).into_body();
            for _ in 0..round {
                assert!(poll_frame(&mut body).is_ready() || round > 1);
            }
            drop(body);
            assert!(log.dropped());
            let text = prose(20_000, 15);
            assert_eq!(read(compressed(encoding, full(text.clone()))), text);
        }
    }
}

/// The response of one client must not show in that of another.
#[test]
fn abandoned_streams_leak_nothing() {
    for encoding in ENCODINGS {
        let text = prose(20_000, 16);
        let encode = || drain(&mut compressed(encoding, full(text.clone())).into_body()).bytes();
        // A new thread has an empty pool.
        let fresh = std::thread::scope(|scope| scope.spawn(encode).join().unwrap());
        for len in [1, 500, 20_000, 90_000] {
            for wait in [false, true] {
                let mut all = steps([noise(len)]);
                if wait {
                    all.extend([Step::Pending, Step::Data(text.slice(..len.min(5_000)))]);
                }
                all.push(Step::PendingForever);
                let mut body = compressed(encoding, script(all, false)).into_body();
                for _ in 0..30 {
                    drop(poll_frame(&mut body));
                }
                drop(body);
                assert_eq!(encode(), fresh, "{encoding:?} {len}");
            }
        }
    }
}

#[test]
fn digests_are_removed_from_trailers() {
    let mut map = HeaderMap::new();
    map.insert("content-digest", "sha-256=:AA==:".parse().unwrap());
    map.insert("x-sum", "1".parse().unwrap());
    let response = compressed(Encoding::Gzip, script([data(2_000), Step::Trailers(map)], false));
    let collected = now(response.into_body().collect()).unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    assert!(trailers.contains_key("x-sum"));
}
