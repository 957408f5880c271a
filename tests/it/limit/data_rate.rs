//! The minimum data rate, with a clock that the tests move.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Frame;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody, Size};

use super::{is_closed, post, reads, rejections, scripted, send};
use crate::support::{
    BoxError, Metrics, Scripted, Server, Step, clock, data, now, poll_once, soon, text,
};

const GRACE: Duration = Duration::from_secs(5);

type ChannelBody = Channel<Bytes, BoxError>;

fn layer() -> LimitLayer {
    LimitLayer::new().min_data_rate(240, GRACE)
}

/// Sends a body by `upload`. Returns the head of the response, and the seconds until then.
async fn upload<F>(layer: LimitLayer, version: Version, upload: F) -> (http::response::Parts, u64)
where
    F: AsyncFnOnce(&mut Sender<Bytes, BoxError>),
{
    let start = clock();
    let (mut sender, body) = ChannelBody::new(1);
    let request = post().version(version).body(body).unwrap();
    let sending = async {
        upload(&mut sender).await;
        drop(sender);
        pending::<()>().await;
    };
    let response = tokio::select! {
        response = send(&layer, request) => response,
        () = sending => unreachable!(),
    };
    (response.into_parts().0, (clock() - start).as_secs())
}

async fn chunk(sender: &mut Sender<Bytes, BoxError>, len: usize) {
    // Fails once the body has failed.
    drop(sender.send(Frame::data(Bytes::from(vec![b'x'; len]))).await);
}

#[tokio::test(start_paused = true)]
async fn idle_clients_get_408() {
    for layer in [layer(), layer().default_body(Size::UNLIMITED)] {
        let metrics = Metrics::new();
        let layer = layer.recorder(metrics.recorder());
        let (head, seconds) = upload(layer, Version::HTTP_11, async |_| pending().await).await;
        assert_eq!((head.status.as_u16(), seconds), (408, 5));
        assert!(is_closed(&head.headers));
        assert_eq!(rejections(&metrics, "body_too_slow"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_clients_get_408() {
    for (len, pause, expected) in
        [(1, 1_000, 408), (239, 1_000, 408), (240, 1_000, 200), (24, 99, 200)]
    {
        let (head, seconds) = upload(layer(), Version::HTTP_2, async |sender| {
            for _ in 0..2_000 {
                sleep(Duration::from_millis(pause)).await;
                chunk(sender, len).await;
            }
        })
        .await;
        assert_eq!(head.status, expected, "{len} bytes every {pause} ms");
        assert!(!head.headers.contains_key("connection"));
        assert!(len > 1 || seconds == 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_start_does_not_pay_for_a_pause() {
    let (head, seconds) = upload(layer(), Version::HTTP_11, async |sender| {
        chunk(sender, 1_000_000).await;
        pending::<()>().await;
    })
    .await;
    assert_eq!((head.status.as_u16(), seconds), (408, 5));
}

#[tokio::test(start_paused = true)]
async fn pauses_within_the_grace_period_are_refilled() {
    let (head, _) = upload(layer(), Version::HTTP_11, async |sender| {
        for _ in 0..20 {
            sleep(Duration::from_millis(4_900)).await;
            chunk(sender, 5 * 240).await;
        }
    })
    .await;
    assert_eq!(head.status, 200);
}

#[tokio::test(start_paused = true)]
async fn empty_frames_do_not_refill() {
    let (head, seconds) = upload(layer(), Version::HTTP_11, async |sender| {
        loop {
            sleep(Duration::from_millis(100)).await;
            chunk(sender, 0).await;
        }
    })
    .await;
    assert_eq!((head.status.as_u16(), seconds), (408, 5));
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_zero_is_none() {
    for layer in [layer().min_data_rate(0, GRACE), LimitLayer::new()] {
        let (head, seconds) = upload(layer, Version::HTTP_11, async |sender| {
            sleep(Duration::from_secs(3_600)).await;
            chunk(sender, 1).await;
        })
        .await;
        assert_eq!((head.status.as_u16(), seconds), (200, 3_600));
    }
}

/// A slow service is not the client's fault.
#[tokio::test(start_paused = true)]
async fn time_of_the_service_does_not_count() {
    let inner = service_fn(|request: Request<RequestBody<Scripted>>| async move {
        let mut body = pin!(request.into_body());
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            len += frame.unwrap().into_data().unwrap().len();
            sleep(Duration::from_secs(60)).await;
        }
        Ok::<_, Infallible>(Response::new(len.to_string()))
    });
    let body = scripted([data(1), Step::Pending, data(1), data(1), Step::Pending]);
    let response = layer().layer(inner).oneshot(post().body(body).unwrap()).await;
    assert_eq!(response.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn after_the_response_only_the_read_fails() {
    let (_sender, body) = ChannelBody::new(1);
    let (send, receive) = tokio::sync::oneshot::channel();
    let mut send = Some(send);
    let inner = service_fn(move |request: Request<RequestBody<ChannelBody>>| {
        drop(send.take().unwrap().send(request.into_body()));
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let response = layer().layer(inner).oneshot(post().body(body).unwrap()).await;
    assert_eq!(response.unwrap().status(), 200);
    let mut body = receive.await.unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is_too_slow());
    assert!(body.frame().await.is_none(), "the body ends after its error");
}

#[tokio::test(start_paused = true)]
async fn the_timer_wakes_the_reader() {
    let (_sender, body) = ChannelBody::new(1);
    let layer = layer();
    let mut response = pin!(send(&layer, post().body(body).unwrap()));
    assert!(poll_once(response.as_mut()).is_pending());
    advance(GRACE - Duration::from_millis(10)).await;
    assert!(poll_once(response.as_mut()).is_pending());
    advance(Duration::from_millis(20)).await;
    let Poll::Ready(response) = poll_once(response.as_mut()) else { panic!("still pending") };
    assert_eq!(response.status(), 408);
}

#[test]
fn no_rate_applies_outside_of_a_runtime() {
    let body = scripted([Step::Pending, data(3)]);
    let inner = service_fn(|request: Request<RequestBody<Scripted>>| async move {
        let mut body = pin!(request.into_body().collect());
        assert!(poll_once(body.as_mut()).is_pending());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body.await.unwrap().to_bytes())))
    });
    let response = now(layer().layer(inner).oneshot(post().body(body).unwrap()));
    assert_eq!(now(text(response.unwrap())), "xxx");
}

#[tokio::test]
async fn slow_clients_of_a_server_get_408() {
    let layer = LimitLayer::new().min_data_rate(240, Duration::from_millis(50));
    let server = Server::start(ServiceBuilder::new().layer(layer).service_fn(reads)).await;
    let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n";
    let mut client = server.connect().await;
    client.send(&format!("{head}123")).await;
    let all = soon(client.rest()).await.to_ascii_lowercase();
    assert!(all.starts_with("http/1.1 408 "), "{all}");
    assert!(all.contains("\r\nconnection: close\r\n"), "{all}");

    let mut client = server.connect().await;
    client.send(&format!("{head}123456789")).await;
    assert!(client.head().await.starts_with("http/1.1 200 "));
}
