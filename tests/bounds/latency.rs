//! The memory of the latency layer: sets of labels, label values and requests in flight.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::KIB;
use tower_kit::latency::{Latency, LatencyLayer, ResponseBody};

use super::{allocations, alone, held};

async fn ok(_: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::default()))
}

fn header<'a>(head: &'a http::request::Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

/// Sends requests, each with a route and label values of its own. Returns the bytes that are held
/// afterwards in addition.
async fn flood<S>(service: &Latency<S>, numbers: Range<usize>, length: usize) -> u64
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone,
{
    let before = held();
    for number in numbers {
        let value = format!("{number:0length$}");
        let mut request = Request::get("/").header("x-route", format!("/{value}"));
        for name in LABELS {
            request = request.header(name, &value);
        }
        let request = request.body(Empty::new()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    held().saturating_sub(before)
}

#[test]
fn label_sets_and_routes_are_bounded() {
    alone(async {
        let layer = LatencyLayer::new()
            .record_time_to_first_byte()
            .record_body_sizes()
            .route(|head| header(head, "x-route"));
        let service = layer.layer(service_fn(ok));
        let taken = flood(&service, 0..5_000, 100).await;
        assert!(taken <= 2_000 * KIB / 2, "{taken}");
        let more = flood(&service, 5_000..8_000, 100).await;
        assert!(more <= 4 * KIB, "{more} beyond the bound");
    });
}

#[test]
fn label_values_are_bounded() {
    for length in [8, 128, 129, 5_000] {
        alone(async {
            let mut layer = LatencyLayer::new();
            for name in LABELS {
                layer = layer.request_label(name, move |head| header(head, name)).unwrap();
            }
            let service = layer.layer(service_fn(ok));
            let taken = flood(&service, 0..300, length).await;
            // 100 values of each of the 8 labels, and the 101 sets of labels with them.
            let max = 8 * 100 * (128 + 64) + 101 * KIB / 2;
            assert!(taken <= max, "{taken} for {length} bytes");
            let more = flood(&service, 300..600, length).await;
            assert!(more <= 4 * KIB, "{more} beyond the bound, for {length} bytes");
        });
    }
}

#[test]
fn combinations_of_values_are_bounded() {
    alone(async {
        let mut layer = LatencyLayer::new();
        for name in LABELS {
            layer = layer.request_label(name, move |head| header(head, name)).unwrap();
        }
        let service = layer.layer(service_fn(ok));
        let send = async |numbers: Range<usize>| {
            let before = held();
            for number in numbers {
                let mut request = Request::get("/");
                for (at, name) in LABELS.into_iter().enumerate() {
                    request = request.header(name, format!("v{}", number >> (3 * at) & 7));
                }
                let response =
                    service.clone().oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
                response.into_body().collect().await.unwrap();
            }
            held().saturating_sub(before)
        };
        let taken = send(0..5_000).await;
        assert!(taken <= 2_000 * KIB / 2, "{taken}");
        let more = send(5_000..8_000).await;
        assert!(more <= 4 * KIB, "{more} beyond the bound");
    });
}

#[test]
fn request_in_flight_allocates_nothing() {
    const COUNT: usize = 100;
    alone(async {
        let mut cx = Context::from_waker(Waker::noop());
        // Requests that wait for a service that hangs.
        let hangs =
            |_: Request<Empty<Bytes>>| pending::<Result<Response<Full<Bytes>>, Infallible>>();
        let mut service = LatencyLayer::new().layer(service_fn(hangs));
        // The first request registers the metrics.
        drop(service.call(Request::new(Empty::new())));
        let mut waiting = Vec::with_capacity(COUNT);
        let before = allocations();
        for _ in 0..COUNT {
            waiting.push(service.call(Request::new(Empty::new())));
        }
        for future in &mut waiting {
            assert!(Pin::new(future).poll(&mut cx).is_pending());
        }
        assert_eq!(allocations(), before);
        // Responses whose client does not read the body.
        let responds =
            |_: Request<Empty<Bytes>>| ready(Ok::<_, Infallible>(Response::new(Full::default())));
        let mut service = LatencyLayer::new().layer(service_fn(responds));
        let first: Response<_> = service.call(Request::new(Empty::new())).await.unwrap();
        drop::<Response<ResponseBody<Full<Bytes>>>>(first);
        let mut open = Vec::with_capacity(COUNT);
        let before = allocations();
        for _ in 0..COUNT {
            open.push(service.call(Request::new(Empty::new())).await.unwrap());
        }
        assert_eq!(allocations(), before);
    });
}

const LABELS: [&str; 8] = ["l0", "l1", "l2", "l3", "l4", "l5", "l6", "l7"];
