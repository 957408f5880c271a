//! The cost of `limit`, compared with a bare service and the peer that counts bodies too.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::hint::black_box;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{Empty, Full};
use hyper::body::{Body, Buf, Frame};
use tower::{Layer, Service, service_fn};
use tower_http::limit::RequestBodyLimitLayer;
use tower_kit::LimitLayer;

use support::{Bench, Costs, bar, call, read, versioned};

mod support;

type BoxError = Box<dyn Error + Send + Sync>;

fn main() {
    let bench = Bench::from_args();
    let mut get = post();
    *get.method_mut() = Method::GET;
    get.headers_mut().remove(CONTENT_TYPE);
    let mut declared = post();
    declared.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("10240"));

    let bodiless = compare(&bench, "GET without a body", &get, Empty::<Bytes>::new);
    compare(&bench, "POST of 10 KiB in one frame, content-length", &declared, || {
        Full::new(Bytes::from_static(&[b'x'; 10_240]))
    });
    let boxed = [
        compare(&bench, "POST of 100 frames, boxed error", &post(), Frames::<100, BoxError>::new),
        compare(&bench, "POST of 1100 frames, boxed error", &post(), Frames::<1100, BoxError>::new),
    ];
    let infallible = [
        compare(&bench, "POST of 100 frames", &post(), Frames::<100, Infallible>::new),
        compare(&bench, "POST of 1100 frames", &post(), Frames::<1100, Infallible>::new),
    ];

    let (kit, peer) = (versioned("tower-kit"), versioned("tower-http"));
    let allocations = bodiless.net(&kit).map(|net| net.allocations);
    bar("allocations for a request without a body", allocations, 0.0);
    bar("instructions for an extra frame, boxed error", per_frame(&boxed, &kit), 10.0);
    bar("instructions for an extra frame, infallible", per_frame(&infallible, &kit), 10.0);
    if let (Some(boxed), Some(infallible)) =
        (per_frame(&boxed, &peer), per_frame(&infallible, &peer))
    {
        println!("     {peer}: {boxed:.1}, and {infallible:.1} infallible");
    }
}

/// The same requests to the bare service and to the layered ones.
fn compare<B>(bench: &Bench, title: &'static str, head: &Request<()>, body: fn() -> B) -> Costs
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let mut group = bench.group(title);
    group.case("bare", || requests(service_fn(answer), head, body));
    group.case(versioned("tower-kit"), || {
        requests(LimitLayer::new().layer(service_fn(answer)), head, body)
    });
    group.case(versioned("tower-http"), || {
        requests(RequestBodyLimitLayer::new(2 * 1024 * 1024).layer(service_fn(answer)), head, body)
    });
    group.run()
}

fn requests<S, B, R>(
    mut service: S,
    head: &Request<()>,
    body: fn() -> B,
) -> impl FnMut() + use<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    R: Body,
{
    let head = head.clone();
    move || {
        let response = call(&mut service, black_box(head.clone()).map(|()| body()));
        black_box(read(response.into_body(), None));
    }
}

fn per_frame(short_and_long: &[Costs; 2], name: &str) -> Option<f64> {
    let [short, long] = short_and_long;
    Some((long.net(name)?.instructions - short.net(name)?.instructions) / 1_000.0)
}

/// Headers of every request.
fn post() -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/items?page=2");
    let fields = [
        (HOST, "localhost:3000"),
        (USER_AGENT, "curl/8.5.0"),
        (ACCEPT, "*/*"),
        (CONTENT_TYPE, "application/octet-stream"),
    ];
    for (name, value) in fields {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// Reads the body to its end.
async fn answer<B: Body>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = pin!(request.into_body());
    let mut bytes = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        bytes += frame.data_ref().map_or(0, Buf::remaining);
    }
    black_box(bytes);
    Ok(Response::new(Full::new(Bytes::from_static(b"done"))))
}

/// A body of unknown length: so many frames of one byte.
struct Frames<const COUNT: u32, E> {
    left: u32,
    error: PhantomData<fn() -> E>,
}

impl<const COUNT: u32, E> Frames<COUNT, E> {
    fn new() -> Self {
        Self { left: COUNT, error: PhantomData }
    }
}

impl<const COUNT: u32, E> Body for Frames<COUNT, E> {
    type Data = Bytes;
    type Error = E;

    // Nor is a server's body inlined into the layers around it.
    #[inline(never)]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}
