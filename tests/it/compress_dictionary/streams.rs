use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_kit::CompressLayer;
use tower_kit::compress::dictionary::Dictionaries;

use super::support::{Client, Erased, URI, fresh, layer, list, serve, undo};
use crate::support::{BoxBody, BoxError, Scripted, Step, boxed};

fn whole(body: Bytes) -> Response<BoxBody> {
    fresh(body).map(boxed)
}

fn streamed(media_type: &str, steps: Vec<Step>) -> Response<BoxBody> {
    let body = boxed(Scripted::<BoxError>::new(steps));
    Response::builder().header("content-type", media_type).body(body).unwrap()
}

/// Serves a dictionary first, and then these responses.
async fn client_with_dictionary<F>(layer: CompressLayer, stream: F) -> (Client, Erased)
where
    F: Fn() -> Response<BoxBody> + Clone + Send + Sync + 'static,
{
    let service = serve(&layer, move |_, call| match call {
        0 => whole(list(10_240, 3, 1)),
        _ => stream(),
    });
    let mut client = Client::default();
    client.get(&service, URI).await;
    (client, service)
}

#[tokio::test]
async fn large_bodies_are_streamed_in_deltas() {
    let text = [list(10_240, 3, 2), list(600_000, 3, 2), list(10_240, 3, 3)].concat();
    let sent = Bytes::from(text.clone());
    let (mut client, service) = client_with_dictionary(layer(), move || {
        let pieces = sent.chunks(50_000).map(|piece| Step::Data(Bytes::copy_from_slice(piece)));
        streamed("application/json", pieces.collect())
    })
    .await;
    let read = client.get(&service, URI).await;
    assert!(read.is_delta());
    assert_eq!(read.text, text);
    assert_eq!(read.header("content-length"), None);
    assert_eq!(read.header("use-as-dictionary"), None, "a stream is not kept");
}

#[tokio::test]
async fn events_are_flushed_one_by_one() {
    let events: Vec<Bytes> = (0..5)
        .map(|number| {
            Bytes::from(format!("data: {}\n\n", String::from_utf8_lossy(&list(2_000, 3, number))))
        })
        .collect();
    let sent = events.clone();
    let (client, service) = client_with_dictionary(layer(), move || {
        let steps = sent.iter().flat_map(|event| [Step::Data(event.clone()), Step::Pending]);
        streamed("text/event-stream", steps.collect())
    })
    .await;
    let response = service.oneshot(client.request(URI)).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "dcz");
    let mut body = response.into_body();
    let dictionary = client.dictionary.unwrap();
    let mut decoder = zstd_safe::DCtx::create();
    decoder.load_dictionary(&dictionary).unwrap();
    let mut text = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let frame = if at == 0 { frame.slice(40..) } else { frame };
        let before = text.len();
        let mut input = zstd_safe::InBuffer::around(&frame);
        let mut piece = Vec::with_capacity(10_000);
        decoder
            .decompress_stream(&mut zstd_safe::OutBuffer::around(&mut piece), &mut input)
            .unwrap();
        text.extend_from_slice(&piece);
        assert_eq!(text[before..], event[..], "event {at} is whole");
        assert!(frame.len() < 400, "{} bytes for event {at}", frame.len());
    }
}

#[tokio::test]
async fn failed_stream_stays_failed() {
    let (client, service) = client_with_dictionary(layer(), || {
        let failure = Step::Error("broken".into());
        streamed("application/json", vec![Step::Data(list(30_000, 3, 2)), Step::Pending, failure])
    })
    .await;
    let response = service.oneshot(client.request(URI)).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "dcz");
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn short_body_never_looks_complete() {
    let (client, service) = client_with_dictionary(layer(), || {
        let mut response = streamed("application/json", vec![Step::Data(list(3_000, 3, 2))]);
        response.headers_mut().insert("content-length", "4000".parse().unwrap());
        response
    })
    .await;
    let response = service.oneshot(client.request(URI)).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn streams_with_dictionaries_are_bounded() {
    let (client, service) = client_with_dictionary(layer().max_streams(2), || {
        streamed("application/json", vec![Step::Data(list(3_000, 3, 2)), Step::Pending])
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(service.clone().oneshot(client.request(URI)).await.unwrap());
    }
    let deltas = open.iter().filter(|it| it.headers().contains_key("content-encoding")).count();
    assert_eq!(deltas, 2);
    let plain = open.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(plain, list(3_000, 3, 2));
    drop(open);
    let response = service.oneshot(client.request(URI)).await.unwrap();
    let sent = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(undo(&sent, &client.dictionary.unwrap()), list(3_000, 3, 2));
}

#[tokio::test]
async fn whole_body_in_pieces_is_kept() {
    let pieces = |call: u64| -> Vec<Step> {
        list(9_000, 3, call)
            .chunks(1_000)
            .map(|it| Step::Data(Bytes::copy_from_slice(it)))
            .collect()
    };
    let layer = CompressLayer::new().dictionaries(Dictionaries::new());
    let service = serve(&layer, move |_, call| {
        let body = boxed(Scripted::<BoxError>::new(pieces(call)).exact());
        fresh("").map(|_| body)
    });
    let mut client = Client::default();
    for call in 0..4 {
        let read = client.get(&service, URI).await;
        assert_eq!(read.text, list(9_000, 3, call));
        assert_eq!(read.is_delta(), call > 0);
    }
}
