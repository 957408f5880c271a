use std::task::Poll;

use http::{Request, Response};
use tower_kit::compress::CompressLayer;

use super::harness::{
    ENCODINGS, accepting, drain, every, full, get, html, respond, script, sent, steps,
};
use crate::support::{BoxError, Metrics, Scripted, Step, noise, poll_frame, prose};

const INPUT: &str = "http_compression_input_bytes_total";
const OUTPUT: &str = "http_compression_output_bytes_total";

#[test]
fn bytes_are_counted_by_encoding() {
    for encoding in ENCODINGS {
        for (layer, exact) in [(every(), true), (every().libdeflate(), true), (every(), false)] {
            let metrics = Metrics::new();
            let layer = layer.recorder(metrics.recorder());
            let text = prose(20_000, 60);
            let body = script(steps([text.slice(..9), text.slice(9..)]), exact);
            let request = accepting(encoding.as_str());
            let mut body = respond(&layer, request, html().body(body).unwrap()).into_body();
            let encoded = drain(&mut body).bytes().len() as u64;
            drop(body);
            for (name, expected) in [(INPUT, 20_000), (OUTPUT, encoded)] {
                let labels = [("encoding", encoding.as_str())];
                assert_eq!(metrics.counted(name, &labels), expected, "{encoding:?} {exact}");
                assert_eq!(metrics.counter_labels(name).len(), 1);
                assert_eq!(metrics.counter_labels(name)[0].len(), 1, "no other label");
                assert!(!metrics.described()[name].1.is_empty());
            }
        }
    }
}

#[test]
fn aborted_streams_count_their_bytes() {
    for end in [Step::PendingForever, Step::Error(BoxError::from("broken"))] {
        let metrics = Metrics::new();
        let layer = CompressLayer::new().recorder(metrics.recorder());
        let body = Scripted::new([Step::Data(prose(3_000, 61)), Step::Pending, end]);
        let mut body = respond(&layer, get(), html().body(body).unwrap()).into_body();
        let Poll::Ready(Some(Ok(frame))) = poll_frame(&mut body) else { panic!("no frame") };
        let length = frame.into_data().unwrap().len() as u64;
        drop(poll_frame(&mut body));
        drop(body);
        assert_eq!(metrics.counted(INPUT, &[("encoding", "gzip")]), 3_000);
        assert_eq!(metrics.counted(OUTPUT, &[("encoding", "gzip")]), length);
    }
}

#[test]
fn uncompressed_responses_are_not_counted() {
    let metrics = Metrics::new();
    let layer = CompressLayer::new().recorder(metrics.recorder());
    let image = Response::builder().header("content-type", "image/png");
    for (request, response, body) in [
        (Request::get("/"), html(), prose(5_000, 62)),
        (get().header("x-no-compression", "1"), html(), prose(5_000, 62)),
        (get(), html(), noise(5_000)),
        (get(), html(), "small".into()),
        (get(), image, noise(5_000)),
        (get().method("HEAD"), html(), noise(5_000)),
    ] {
        let response = response.body(full(body)).unwrap();
        drain(&mut respond(&layer, request, response).into_body());
    }
    assert!(metrics.counter_labels(INPUT).is_empty());
    assert!(metrics.counter_labels(OUTPUT).is_empty());
}

#[test]
fn the_default_recorder_is_that_of_the_process() {
    let metrics = Metrics::new();
    metrics::with_local_recorder(&*metrics.recorder(), || {
        drain(&mut sent(full(prose(5_000, 63))).into_body());
    });
    assert_eq!(metrics.counted(INPUT, &[("encoding", "gzip")]), 5_000);
}
