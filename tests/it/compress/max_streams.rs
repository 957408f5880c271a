use http::Response;
use http_body_util::BodyExt;
use tower_kit::CompressLayer;
use tower_kit::compress::Encoding;

use super::support::{Served, Stack, clients};
use crate::support::{BoxBody, BoxError, Metrics, Scripted, Step, boxed, full, prose, soon};

const FALLBACKS: &str = "http_compression_fallbacks_total";

/// Responds with a stream that sends one event, or with a large page.
fn respond<B>(request: &http::Request<B>) -> Response<BoxBody> {
    let kind = request.headers().get("x-type").and_then(|it| it.to_str().ok()).map(str::to_owned);
    let Some(kind) = kind else {
        let response = Response::builder()
            .header("content-type", "text/html")
            .header("cache-control", "max-age=60");
        return response.body(full(prose(300_000, 9))).unwrap();
    };
    let event = Step::Data("data: 1\n\n".into());
    let body = Scripted::<BoxError>::new([event, Step::PendingForever]);
    Response::builder().header("content-type", kind).body(boxed(body)).unwrap()
}

#[tokio::test]
async fn idle_streams_leave_others_compressed() {
    for (media_type, accept) in [
        ("text/event-stream", "gzip"),
        ("text/event-stream", "deflate"),
        ("text/event-stream", "br"),
        ("text/event-stream", "zstd"),
        ("application/x-ndjson", "gzip"),
        ("text/plain", "deflate"),
    ] {
        let metrics = Metrics::new();
        let encodings = [Encoding::Brotli, Encoding::Zstd, Encoding::Gzip, Encoding::Deflate];
        let layer =
            CompressLayer::new().encodings(encodings).max_streams(4).recorder(metrics.recorder());
        let served = Served::start(Stack::Cached, layer, respond).await;
        let client = &clients()[1];
        let mut idle = Vec::new();
        for _ in 0..4 {
            let fields = [("accept-encoding", accept), ("x-type", media_type)];
            let response = soon(client.request(served.get(&fields))).await.unwrap();
            assert_eq!(response.headers()["content-encoding"], accept, "{media_type}");
            let mut body = response.into_body();
            assert!(soon(body.frame()).await.unwrap().unwrap().is_data());
            idle.push(body);
        }
        let read = served.read(client, &[("accept-encoding", "gzip")]).await;
        assert_eq!(read.header("content-encoding"), Some("gzip"), "{media_type} {accept}");
        assert_eq!(metrics.counted(FALLBACKS, &[]), 0);
    }
}

#[tokio::test]
async fn fallbacks_are_counted_and_not_stored() {
    let metrics = Metrics::new();
    let layer = CompressLayer::new()
        .encodings([Encoding::Brotli, Encoding::Gzip])
        .max_streams(1)
        .recorder(metrics.recorder());
    let served = Served::start(Stack::Cached, layer, respond).await;
    for client in clients() {
        let taken = served.get(&[("accept-encoding", "br"), ("x-type", "text/plain")]);
        let mut holder = soon(client.request(taken)).await.unwrap().into_body();
        assert!(soon(holder.frame()).await.unwrap().unwrap().is_data());
        let before = served.calls();
        let counted = metrics.counted(FALLBACKS, &[("encoding", "gzip")]);
        for _ in 0..2 {
            let fields = [("accept-encoding", "gzip"), ("cache-control", "no-cache")];
            let read = served.read(&client, &fields).await;
            assert_eq!(read.header("content-encoding"), None);
            assert_eq!(read.text(), prose(300_000, 9));
        }
        assert_eq!(served.calls(), before + 2, "the fallback was stored");
        assert_eq!(metrics.counted(FALLBACKS, &[("encoding", "gzip")]), counted + 2);
        drop(holder);
        // The server may learn of the drop later.
        let compressed = async {
            loop {
                let fields = [("accept-encoding", "gzip"), ("cache-control", "no-cache")];
                let read = served.read(&client, &fields).await;
                if read.header("content-encoding").is_some() {
                    return;
                }
            }
        };
        soon(compressed).await;
        let before = served.calls();
        let read = served.read(&client, &[("accept-encoding", "gzip")]).await;
        assert_eq!(read.header("content-encoding"), Some("gzip"));
        assert_eq!(served.calls(), before, "the next response was not stored");
    }
}

#[test]
fn counters_exist_before_their_first_count() {
    let metrics = Metrics::new();
    metrics::with_local_recorder(&*metrics.recorder(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let served = Served::start(Stack::Compressed, CompressLayer::new(), respond).await;
            served.read(&clients()[0], &[("accept-encoding", "gzip")]).await;
        });
    });
    assert!(metrics.described().contains_key(FALLBACKS));
    assert_eq!(metrics.counted(FALLBACKS, &[]), 0);
}
