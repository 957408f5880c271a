//! The minimum data rate, over a clock that the tests move.

use std::convert::Infallible;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::Frame;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody, Size};

use crate::support::{BoxError, Metrics, Scripted, Server, Step, data, now, poll_once, soon, text};

const REJECTED: &str = "http_requests_rejected_total";
const GRACE: Duration = Duration::from_secs(5);

fn layer() -> LimitLayer {
    LimitLayer::new().min_data_rate(240, GRACE)
}

type ChannelBody = Channel<Bytes, BoxError>;

/// Reads the body; answers with its length, or 400 with its error.
async fn reads(
    request: Request<RequestBody<ChannelBody>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, says) = match request.into_body().collect().await {
        Ok(body) => (200, body.to_bytes().len().to_string()),
        Err(error) => {
            assert!(error.is_too_slow() && !error.is_malformed());
            (400, error.to_string())
        }
    };
    Ok(Response::builder().status(status).body(says.into()).unwrap())
}

/// Sends a body by `send`, and returns the status and the seconds that it took.
async fn upload<F>(layer: LimitLayer, version: Version, send: F) -> (Response<()>, u64)
where
    F: AsyncFnOnce(&mut Sender<Bytes, BoxError>),
{
    let start = clock();
    let (mut sender, body) = ChannelBody::new(1);
    let request = Request::post("/").version(version).body(body).unwrap();
    let response = layer.layer(service_fn(reads)).oneshot(request);
    let sending = async {
        send(&mut sender).await;
        drop(sender);
        std::future::pending::<()>().await;
    };
    let response = tokio::select! {
        response = response => response.unwrap(),
        () = sending => unreachable!(),
    };
    (response.map(|_| ()), (clock() - start).as_secs())
}

#[expect(clippy::disallowed_methods, reason = "the clock that the tests move")]
fn clock() -> Instant {
    Instant::now()
}

async fn piece(sender: &mut Sender<Bytes, BoxError>, len: usize) {
    // It fails once the body has been given up.
    drop(sender.send(Frame::data(Bytes::from(vec![b'x'; len]))).await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_gets_408() {
    let metrics = Metrics::new();
    let layer = layer().recorder(metrics.recorder());
    let (response, seconds) =
        upload(layer, Version::HTTP_11, async |_| std::future::pending().await).await;
    assert_eq!(response.status(), 408);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(seconds, 5);
    let labels = [("layer", "limit"), ("reason", "body_too_slow")];
    assert_eq!(metrics.counted(REJECTED, &labels), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_gets_408() {
    for (len, pause, expected) in
        [(1, 1_000, 408), (239, 1_000, 408), (240, 1_000, 200), (24, 99, 200)]
    {
        let (response, seconds) = upload(layer(), Version::HTTP_2, async |sender| {
            for _ in 0..2_000 {
                sleep(Duration::from_millis(pause)).await;
                piece(sender, len).await;
            }
        })
        .await;
        assert_eq!(response.status(), expected, "{len} bytes each {pause} ms");
        assert!(!response.headers().contains_key("connection"));
        if len == 1 {
            assert_eq!(seconds, 5);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_start_does_not_pay_for_a_pause() {
    let (response, seconds) = upload(layer(), Version::HTTP_11, async |sender| {
        piece(sender, 1_000_000).await;
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!((response.status().as_u16(), seconds), (408, 5));
}

#[tokio::test(start_paused = true)]
async fn pauses_within_the_grace_period_are_paid_back() {
    let (response, _) = upload(layer(), Version::HTTP_11, async |sender| {
        for _ in 0..20 {
            sleep(Duration::from_millis(4_900)).await;
            piece(sender, 5 * 240).await;
        }
    })
    .await;
    assert_eq!(response.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn frames_of_no_data_buy_no_time() {
    let (response, seconds) = upload(layer(), Version::HTTP_11, async |sender| {
        loop {
            sleep(Duration::from_millis(100)).await;
            piece(sender, 0).await;
        }
    })
    .await;
    assert_eq!((response.status().as_u16(), seconds), (408, 5));
}

#[tokio::test(start_paused = true)]
async fn an_unlimited_body_has_the_rate_too() {
    let layer = layer().default_body(Size::UNLIMITED);
    let (response, _) =
        upload(layer, Version::HTTP_11, async |_| std::future::pending().await).await;
    assert_eq!(response.status(), 408);
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_zero_is_none() {
    for layer in [layer().min_data_rate(0, GRACE), LimitLayer::new()] {
        let (response, seconds) = upload(layer, Version::HTTP_11, async |sender| {
            sleep(Duration::from_secs(3_600)).await;
            piece(sender, 1).await;
        })
        .await;
        assert_eq!((response.status().as_u16(), seconds), (200, 3_600));
    }
}

/// The client is not to blame for a service that reads slowly.
#[tokio::test(start_paused = true)]
async fn a_slow_service_does_not_count() {
    let inner = service_fn(|request: Request<RequestBody<Scripted>>| async move {
        let mut body = pin!(request.into_body());
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            len += frame.unwrap().into_data().unwrap().len();
            sleep(Duration::from_secs(60)).await;
        }
        Ok::<_, Infallible>(Response::new(len.to_string()))
    });
    let body = Scripted::new([data(1), Step::Pending, data(1), data(1), Step::Pending]);
    let response = layer().layer(inner).oneshot(Request::post("/").body(body).unwrap()).await;
    assert_eq!(response.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn after_the_response_only_the_read_fails() {
    let (sender, body) = ChannelBody::new(1);
    let (send, receive) = tokio::sync::oneshot::channel();
    let mut send = Some(send);
    let inner = service_fn(move |request: Request<RequestBody<ChannelBody>>| {
        drop(send.take().unwrap().send(request.into_body()));
        async {
            Ok::<_, Infallible>(
                Response::builder().status(202).body(Full::<Bytes>::default()).unwrap(),
            )
        }
    });
    let request = Request::post("/").body(body).unwrap();
    let response = layer().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 202);
    let mut body = receive.await.unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is_too_slow());
    assert!(body.frame().await.is_none(), "the body ends after its error");
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn the_reader_is_woken_when_time_is_up() {
    let (_sender, body) = ChannelBody::new(1);
    let request = Request::post("/").body(body).unwrap();
    let mut response = pin!(layer().layer(service_fn(reads)).oneshot(request));
    assert!(poll_once(response.as_mut()).is_pending());
    advance(GRACE - Duration::from_millis(10)).await;
    assert!(poll_once(response.as_mut()).is_pending());
    advance(Duration::from_millis(20)).await;
    let Poll::Ready(response) = poll_once(response.as_mut()) else { panic!("still pending") };
    assert_eq!(response.unwrap().status(), 408);
}

#[test]
fn without_a_runtime_no_rate_is_enforced() {
    let body = Scripted::<BoxError>::new([Step::Pending, data(3)]);
    let inner = service_fn(|request: Request<RequestBody<Scripted>>| async move {
        let mut body = pin!(request.into_body().collect());
        // The first poll is pending.
        assert!(poll_once(body.as_mut()).is_pending());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body.await.unwrap().to_bytes())))
    });
    let response = now(layer().layer(inner).oneshot(Request::post("/").body(body).unwrap()));
    assert_eq!(now(text(response.unwrap())), "xxx");
}

#[tokio::test]
async fn a_slow_client_of_a_real_server_gets_408() {
    async fn reads(
        request: Request<RequestBody<Incoming>>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let status = if request.into_body().collect().await.is_ok() { 200 } else { 400 };
        Ok(Response::builder().status(status).body(Full::default()).unwrap())
    }
    let layer = LimitLayer::new().min_data_rate(240, Duration::from_millis(50));
    let server = Server::start(ServiceBuilder::new().layer(layer).service_fn(reads)).await;
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n123").await;
    let all = soon(client.rest()).await.to_ascii_lowercase();
    assert!(all.starts_with("http/1.1 408 "), "{all}");
    assert!(all.contains("\r\nconnection: close\r\n"), "{all}");

    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n123456789").await;
    assert!(client.head().await.starts_with("http/1.1 200 "));
}
