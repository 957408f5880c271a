//! The cost of `security_headers`, beside a bare service, its peers and headers set by hand.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;

use axum_helmet::Helmet;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use http_security_headers::Preset;
use hyper::body::Body;
use tower::util::MapResponseLayer;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_helmet::HelmetLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Directive, Nonce, Source};

use support::{Bench, bar, call, read, versioned};

mod support;

fn main() {
    let bench = Bench::from_args();
    let kit = versioned("tower-kit");
    let mut group = bench.group("a response with two fields of its own");
    group.case("bare", || requests(service_fn(answer)));
    group.case(&kit, || requests(SecurityHeadersLayer::new().layer(service_fn(answer))));
    group.case("a loop of twelve inserts", || {
        let fields = twelve();
        let insert = move |mut response: Response<Full<Bytes>>| {
            for (name, value) in &fields {
                response.headers_mut().insert(name.clone(), value.clone());
            }
            response
        };
        requests(MapResponseLayer::new(insert).layer(service_fn(answer)))
    });
    group.case(format!("{}, twelve SetResponseHeader", versioned("tower-http")), || {
        requests(set_twelve(twelve()))
    });
    group.case(format!("{}, fourteen fields", versioned("tower-helmet")), || {
        requests(HelmetLayer::with_defaults().layer(service_fn(answer)))
    });
    group.case(format!("{}, twelve fields", versioned("axum-helmet")), || {
        let Ok(layer) = Helmet::default().into_layer() else { panic!("the default is not valid") };
        requests(layer.layer(service_fn(answer)))
    });
    group.case(format!("{}, Preset::Strict", versioned("http-security-headers")), || {
        let layer = http_security_headers::SecurityHeadersLayer::new(Preset::Strict.build());
        requests(layer.layer(service_fn(answer)))
    });
    let twelve = group.run().net(&kit);

    let mut group = bench.group("a page that may have a nonce");
    let headers = || {
        let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]);
        SecurityHeadersLayer::new().set(policy)
    };
    let Ok(headers) = headers() else { panic!("the policy is not valid") };
    group.case("bare", || requests(service_fn(page)));
    group.case("used", || requests(headers.layer(service_fn(page))));
    group.case("not used", || requests(headers.layer(service_fn(answer))));
    let used = group.run().net("used");

    bar("instructions", twelve.map(|net| net.instructions), 2_500.0);
    bar("allocations", twelve.map(|net| net.allocations), 3.0);
    bar("instructions with a nonce", used.map(|net| net.instructions), 4_500.0);
}

fn requests<S, B>(mut service: S) -> impl FnMut()
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    move || {
        let response = call(&mut service, black_box(Request::new(())));
        let (head, body) = response.into_parts();
        black_box(&head);
        black_box(read(body, None));
    }
}

fn answer(_: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
    ready(Ok(response))
}

/// Reads the nonce, if there is one.
fn page(request: Request<()>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    black_box(request.extensions().get::<Nonce>().map(Nonce::as_str));
    answer(request)
}

/// The headers that the layer adds.
fn twelve() -> [(HeaderName, HeaderValue); 12] {
    let empty = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
    let response = call(&mut SecurityHeadersLayer::new().layer(empty), Request::new(()));
    let fields: Vec<_> =
        response.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    fields.try_into().unwrap_or_else(|fields: Vec<_>| panic!("{} fields", fields.len()))
}

/// Sets each header by a layer of its own.
fn set_twelve(
    fields: [(HeaderName, HeaderValue); 12],
) -> impl Service<Request<()>, Response = Response<Full<Bytes>>> {
    let [a, b, c, d, e, f, g, h, i, j, k, l] =
        fields.map(|(name, value)| SetResponseHeaderLayer::if_not_present(name, value));
    ServiceBuilder::new().layer((a, b, c, d, e, f, g, h, i, j, k, l)).service(service_fn(answer))
}
