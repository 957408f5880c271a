//! The wait for the inner service: part of the duration, and in flight.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body as AxumBody;
use axum::routing::get as route;
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::buffer::BufferLayer;
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower_kit::latency::Latency;
use tower_test::mock;

use super::*;
use crate::support::{Server, clock, h1_client, h2_client, soon};

const WORK: Duration = Duration::from_secs(1);

/// Responds after a second.
async fn slow<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    sleep(WORK).await;
    Ok(Response::new(Full::from("done")))
}

/// Sends five requests at once. Returns the sum of the times that their clients waited, in seconds.
async fn send_five<S>(service: S) -> f64
where
    S: Service<Request<Empty<Bytes>>> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
{
    let mut clients = JoinSet::new();
    for _ in 0..5 {
        let service = service.clone();
        clients.spawn(async move {
            let start = clock();
            let answered = service.oneshot(get()).await.is_ok();
            assert!(answered);
            start.elapsed().as_secs_f64()
        });
    }
    clients.join_all().await.iter().sum()
}

/// Asserts that five requests, served one after the other, are in flight as long as clients wait.
async fn assert_wait_is_in_flight<S>(metrics: &Metrics, service: S)
where
    S: Service<Request<Empty<Bytes>>> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
{
    // The layer does not use the paused clock of tokio, so the gauge is read once a second.
    let in_flight = async {
        let mut sum = 0.0;
        sleep(WORK / 2).await;
        while metrics.gauge(IN_FLIGHT) > 0.0 {
            sum += metrics.gauge(IN_FLIGHT);
            sleep(WORK).await;
        }
        sum
    };
    assert_eq!(tokio::join!(send_five(service), in_flight), (15.0, 15.0));
    assert_eq!(metrics.samples(DURATION).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn wait_for_an_inner_limit_is_in_flight() {
    let metrics = Metrics::new();
    let stack = ServiceBuilder::new().layer(layer(&metrics));
    let limited = stack.layer(GlobalConcurrencyLimitLayer::new(1)).service_fn(slow);
    assert_wait_is_in_flight(&metrics, limited).await;

    let metrics = Metrics::new();
    let stack = ServiceBuilder::new().layer(layer(&metrics)).layer(BufferLayer::new(2));
    let buffered = stack.layer(ConcurrencyLimitLayer::new(1)).service_fn(slow);
    assert_wait_is_in_flight(&metrics, buffered).await;
}

#[tokio::test(start_paused = true)]
async fn wait_is_in_flight_in_axum_stacks() {
    let map_body = |request: Request<Empty<Bytes>>| request.map(AxumBody::new);
    let limit = || GlobalConcurrencyLimitLayer::new(1);
    for tuple in [true, false] {
        let metrics = Metrics::new();
        let app = Router::new().route("/items/{id}", route(|| async { sleep(WORK).await }));
        let app = if tuple {
            app.layer((layer(&metrics), limit()))
        } else {
            app.layer(limit()).layer(layer(&metrics))
        };
        let service = ServiceBuilder::new().map_request(map_body).service(app);
        assert_wait_is_in_flight(&metrics, service).await;
    }
}

type Mock = mock::Mock<Request<Full<Bytes>>, Response<Full<Bytes>>>;
type Handle = mock::Handle<Request<Full<Bytes>>, Response<Full<Bytes>>>;

/// Returns the layer over a service that is not ready.
fn unready(metrics: &Metrics) -> (Latency<Mock>, Handle) {
    let (inner, mut handle) = mock::pair();
    handle.allow(0);
    (layer(metrics).layer(inner), handle)
}

#[tokio::test]
async fn call_waits_until_the_service_is_ready() {
    let metrics = Metrics::new();
    let (mut service, mut handle) = unready(&metrics);
    assert!(now(service.ready()).is_ok(), "the layer is always ready");
    let mut call = Box::pin(service.call(Request::new(Full::default())));
    assert!(poll_once(call.as_mut()).is_pending());
    assert_in_flight(&metrics);
    let serve = async {
        tokio::task::yield_now().await;
        handle.allow(1);
        let (_, respond) = handle.next_request().await.unwrap();
        assert_in_flight(&metrics);
        respond.send_response(Response::new(Full::default()));
    };
    let (response, ()) = soon(async { tokio::join!(call, serve) }).await;
    assert_eq!(response.unwrap().status(), status(200));
    assert_ended(&metrics, Some("200"), "ok");
}

#[tokio::test]
async fn readiness_error_is_a_service_error() {
    for waits in [true, false] {
        let metrics = Metrics::new();
        let (mut service, mut handle) = unready(&metrics);
        if !waits {
            handle.send_error("gone");
        }
        let mut call = Box::pin(service.call(Request::new(Full::default())));
        if waits {
            assert!(poll_once(call.as_mut()).is_pending());
            handle.send_error("gone");
        }
        let error = soon(call).await.unwrap_err();
        assert_eq!(error.to_string(), "gone");
        assert_ended(&metrics, None, "service_error");
    }
}

#[test]
fn call_dropped_while_waiting_is_cancelled() {
    for polled in [true, false] {
        let metrics = Metrics::new();
        let (mut service, _handle) = unready(&metrics);
        let mut call = Box::pin(service.call(Request::new(Full::default())));
        assert!(!polled || poll_once(call.as_mut()).is_pending());
        assert_in_flight(&metrics);
        drop(call);
        assert_ended(&metrics, None, "cancelled");
    }
}

#[tokio::test]
async fn each_call_of_a_service_gets_a_permit() {
    let metrics = Metrics::new();
    let mut service = ServiceBuilder::new()
        .layer(layer(&metrics))
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(|_| async { Ok::<_, Infallible>(empty_response(200)) });
    // All calls are made on one service, without polling it for readiness in between.
    let calls: Vec<_> = (0..3).map(|_| service.call(get())).collect();
    assert_eq!(metrics.gauge(IN_FLIGHT), 3.0);
    for call in calls {
        assert_eq!(soon(call).await.unwrap().status(), status(200));
    }
    assert_eq!(metrics.samples(DURATION).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn rejection_of_inner_load_shed_is_recorded() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new()
        .layer(layer(&metrics))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(1))
        .service_fn(slow);
    let (first, second) =
        tokio::join!(service.clone().oneshot(get()), service.clone().oneshot(get()));
    drop(first.unwrap());
    assert!(second.unwrap_err().is::<tower::load_shed::error::Overloaded>());
    // The body of the first response is not read.
    assert_eq!(values(&metrics, DURATION, "outcome"), ["disconnect", "service_error"]);
}

#[tokio::test]
async fn durations_over_sockets_count_the_wait() {
    for client in [h1_client(), h2_client()] {
        let metrics = Metrics::new();
        let service = ServiceBuilder::new()
            .layer(layer(&metrics))
            .layer(GlobalConcurrencyLimitLayer::new(1))
            .service_fn(|_: Request<hyper::body::Incoming>| async {
                sleep(Duration::from_millis(100)).await;
                Ok::<_, Infallible>(Response::new(full("done")))
            });
        let server = Server::start(service).await;
        let mut clients = JoinSet::new();
        for _ in 0..5 {
            let (client, url) = (client.clone(), server.url("/items/1"));
            clients.spawn(async move {
                let start = clock();
                let response =
                    client.request(Request::get(url).body(full("")).unwrap()).await.unwrap();
                response.into_body().collect().await.unwrap();
                start.elapsed().as_secs_f64()
            });
        }
        let waited: f64 = clients.join_all().await.iter().sum();
        metrics.wait_for(DURATION, 5).await;
        let measured: f64 = metrics.samples(DURATION).iter().map(|(_, value)| value).sum();
        // Without the wait for the permit it would be a third. The paused clock of the tests above is
        // exact; over sockets a loaded machine takes time that no layer sees.
        assert!(measured > waited / 2.0, "{measured} of {waited}");
    }
}
