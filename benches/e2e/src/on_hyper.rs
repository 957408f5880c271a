//! The routes on plain hyper.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use serde::Serialize;

use crate::app::{HELLO, Item, KEPT, MOST_JSON, built, catalogue};

/// The service without any layer. What it knows of caching is a field of `/cached/items`.
pub(crate) async fn answer<B: Body>(
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match (request.method().as_str(), request.uri().path()) {
        ("GET", "/hello") => json(&HELLO),
        ("GET", "/items") => json(catalogue()),
        ("GET", "/cached/items") => {
            let mut response = json(catalogue());
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(KEPT));
            response
        }
        ("POST", "/items") => empty(match request.into_body().collect().await {
            Ok(body) => match serde_json::from_slice::<Item>(&body.to_bytes()) {
                Ok(_) => StatusCode::CREATED,
                Err(_) => StatusCode::BAD_REQUEST,
            },
            Err(_) => StatusCode::BAD_REQUEST,
        }),
        ("GET", "/built") => Response::new(Full::from(built())),
        _ => empty(StatusCode::NOT_FOUND),
    })
}

/// The least that a service without layers can do to get there too: an answer that is compressed
/// once and for all, and a look at `content-length`.
pub(crate) async fn by_hand<B: Body>(
    compressed: Bytes,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    match (request.method().as_str(), request.uri().path()) {
        ("GET", "/cached/items") => {
            let mut response = Response::new(Full::new(compressed));
            let fields: [(HeaderName, _); 4] = [
                (CONTENT_TYPE, JSON),
                (CONTENT_ENCODING, "gzip"),
                (VARY, "accept-encoding"),
                (CACHE_CONTROL, KEPT),
            ];
            for (name, value) in fields {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            Ok(response)
        }
        ("POST", "/items") if declared(&request) > MOST_JSON => {
            Ok(empty(StatusCode::PAYLOAD_TOO_LARGE))
        }
        _ => answer(request).await,
    }
}

/// The response to `/items`, before it is compressed.
pub(crate) fn items() -> Vec<u8> {
    to_vec(catalogue())
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(to_vec(value)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

fn to_vec(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| panic!("that is no JSON: {error}"))
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn declared<B>(request: &Request<B>) -> u64 {
    let field = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    field.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(crate) const ROUTES: [&str; 4] = ["/hello", "/items", "/cached/items", "/built"];

const JSON: &str = "application/json";
