//! The cost of `pressure` next to a bare service and to tower's `load_shed`, and of a reading.

use std::convert::Infallible;
use std::fs::read_to_string;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{Empty, Full};
use hyper::body::Body;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};
use tower::load_shed::LoadShedLayer;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_kit::pressure::{MemoryUsage, PressureLayer};

use support::{Bench, bar, call, read, versioned};

mod support;

fn main() {
    let bench = Bench::from_args();
    let kit = versioned("tower-kit");

    let mut group = bench.group("GET that is let in");
    group.case("bare", || requests(service_fn(respond)));
    group.case(&kit, || requests(PressureLayer::new().layer(service_fn(respond))));
    let by_skip_if = format!("{kit}, all that is of normal priority shed");
    group.case(&by_skip_if, || {
        let layer = full().skip_if(|request| request.uri.path() == "/items");
        requests(layer.layer(service_fn(respond)))
    });
    group.case("tower's load_shed", || requests(LoadShedLayer::new().layer(service_fn(respond))));
    let admitted = group.run();

    let mut group = bench.group("GET that is shed");
    group.case("bare, not shed", || requests(service_fn(respond)));
    group.case(&kit, || requests(full().layer(service_fn(respond))));
    group.case("tower's load_shed, and a bare 503 for its error", || {
        let shed = LoadShedLayer::new().layer(Never);
        requests(shed.map_result(|result: Result<_, BoxError>| {
            Ok::<_, BoxError>(result.unwrap_or_else(|_| unavailable()))
        }))
    });
    group.run();

    let mut group = bench.group("a reading");
    group.case("/proc/self/statm, opened each time", || {
        || drop(black_box(read_to_string("/proc/self/statm")))
    });
    group.case(&kit, || {
        let layer = PressureLayer::new();
        move || drop(black_box(layer.memory_usage()))
    });
    group.case(versioned("sysinfo"), || {
        let (mut system, own) = (System::new(), get_current_pid());
        move || {
            let Ok(own) = own else { return };
            let kind = ProcessRefreshKind::nothing().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, kind);
            system.refresh_memory();
            black_box(&system);
        }
    });
    let reading = group.run();

    let of = |name: &str| admitted.net(name);
    bar("allocations for a request that is let in", of(&kit).map(|net| net.allocations), 0.0);
    bar("instructions for a request that is let in", of(&kit).map(|net| net.instructions), 300.0);
    let allocations = of(&by_skip_if).map(|net| net.allocations);
    bar("allocations for one that is let in while others are shed", allocations, 0.0);
    // The bare case allocates, so the difference may be negative.
    let allocations = reading.net(&kit).map(|net| net.allocations.max(0.0));
    bar("allocations for a reading, beyond those of reading one file", allocations, 0.0);
}

/// Returns a layer that sheds, and reads memory once.
fn full() -> PressureLayer {
    let layer = PressureLayer::new().memory_source(|| Ok(MemoryUsage::new(95, 100)));
    layer.shed_duration(FOREVER).interval(FOREVER)
}

fn requests<S, B>(mut service: S) -> impl FnMut() + use<S, B>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    let head = head();
    move || {
        let request = black_box(head.clone()).map(|()| Empty::new());
        black_box(read(call(&mut service, request).into_body(), None));
    }
}

fn respond<B>(_: Request<B>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"done")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    ready(Ok(response))
}

fn unavailable() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

fn head() -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = Uri::from_static("/items?page=2");
    for (name, value) in [(HOST, "localhost:3000"), (USER_AGENT, "curl/8.5.0"), (ACCEPT, "*/*")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// A service that is never ready.
struct Never;

impl Service<Request<Empty<Bytes>>> for Never {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        respond(request)
    }
}

/// Longer than a bench.
const FOREVER: Duration = Duration::from_secs(1 << 30);
