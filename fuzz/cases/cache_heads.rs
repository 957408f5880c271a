//! Any two requests in turn, and any answers: no panic, no 5xx of the cache's own but the 504 of
//! `only-if-cached`, and no body that the service has not given to a request that is alike.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::header::*;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::cache::{CacheLayer, Exception, MemoryStore};

#[derive(Arbitrary, Debug)]
struct Head {
    code: u16,
    url: u8,
    /// The name, and one of the values that mean something, or another one.
    fields: Vec<(u8, Value)>,
}

#[derive(Arbitrary, Debug)]
enum Value {
    Known(u8),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Input {
    aside: bool,
    options: u8,
    seconds: u16,
    requests: [Head; 2],
    responses: [Head; 2],
}

const REQUEST: [HeaderName; 13] = [
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_LENGTH,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    PRAGMA,
    RANGE,
    HeaderName::from_static("x-forwarded-host"),
];

const RESPONSE: [HeaderName; 19] = [
    AGE,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_TYPE,
    DATE,
    ETAG,
    EXPIRES,
    HeaderName::from_static("cache-group-invalidation"),
    HeaderName::from_static("cache-groups"),
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("surrogate-control"),
    LAST_MODIFIED,
    LOCATION,
    SET_COOKIE,
    TRAILER,
    VARY,
];

const VALUES: [&str; 40] = [
    "max-age=60",
    "max-age=0",
    "s-maxage=60",
    "max-age=60, stale-while-revalidate=60",
    "max-age=60, stale-if-error=60",
    "max-age=60, must-revalidate",
    "public, max-age=60",
    "no-cache",
    "no-cache=\"set-cookie\", max-age=60",
    "private",
    "private=\"etag\", max-age=60",
    "no-store",
    "no-transform",
    "only-if-cached",
    "max-stale",
    "max-stale=60",
    "min-fresh=30",
    "immutable",
    "\"tag\"",
    "W/\"tag\"",
    "*",
    "\"a\", \"tag\"",
    "Tue, 14 Nov 2023 22:13:20 GMT",
    "Tue, 14 Nov 2023 22:14:20 GMT",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "bytes=0-3",
    "bytes=3-",
    "bytes=-3",
    "bytes=0-1,3-4",
    "bytes=900-",
    "gzip",
    "br, gzip;q=0.5",
    "identity",
    "accept-encoding",
    "accept-language",
    "accept-language, accept-encoding",
    "x",
    "/a",
    "60",
    "0",
];

const METHODS: [Method; 6] =
    [Method::GET, Method::GET, Method::GET, Method::HEAD, Method::POST, Method::DELETE];

fn fields(names: &[HeaderName], head: &Head) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in head.fields.iter().take(40) {
        let value = match value {
            Value::Known(at) => VALUES[usize::from(*at) % VALUES.len()].as_bytes(),
            Value::Any(value) => value,
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.append(&names[usize::from(*name) % names.len()], value);
        }
    }
    map
}

/// Returns a number that is different for each of the three URLs.
fn length<B>(request: &Request<B>) -> u8 {
    request.uri().path_and_query().map_or(0, |path| path.as_str().len() as u8)
}

fn text(url: u8, call: usize) -> Bytes {
    Bytes::from(format!("answer {call} to {url} with some more text of {}", "x".repeat(call * 7)))
}

pub(crate) fn check(input: &Input) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(run(input));
}

async fn run(input: &Input) {
    let store = MemoryStore::new(1 << 20);
    let layer = if input.aside {
        CacheLayer::with_ttl(store, Duration::from_secs(60))
    } else {
        CacheLayer::new(store)
    };
    let now = Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    let clock = Arc::clone(&now);
    let mut layer = layer.clock(move || *clock.lock().unwrap());
    let options: [fn(CacheLayer) -> CacheLayer; 5] = [
        |layer| layer.etag(),
        |layer| layer.strip_tags(),
        |layer| layer.honor_request_control(),
        |layer| layer.default_ttl(Duration::from_secs(9)),
        |layer| layer.allow(Exception::Authorization),
    ];
    for (at, option) in options.into_iter().enumerate() {
        if input.options & 1 << at != 0 {
            layer = option(layer);
        }
    }
    // What the service gave: for which URL, with which status and body.
    let given = Arc::new(Mutex::new(Vec::<(u8, StatusCode, Bytes)>::new()));
    let gives = Arc::clone(&given);
    let answers: Vec<_> = input
        .responses
        .iter()
        .filter_map(|head| {
            let status = StatusCode::from_u16(200 + head.code % 400).ok()?;
            Some((status, fields(&RESPONSE, head)))
        })
        .collect();
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        let url = length(&request);
        let mut given = gives.lock().unwrap();
        let (status, headers) = answers[given.len().min(answers.len() - 1)].clone();
        let body = text(url, given.len());
        given.push((url, status, body.clone()));
        let body = if request.method() == Method::HEAD { Full::default() } else { Full::new(body) };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        ready(Ok::<_, Infallible>(response))
    });
    let cache = layer.layer(service);
    // Whether the requests that the service got said one.
    let mut languages = Vec::new();
    for head in &input.requests {
        let mut request = Request::new(Full::default());
        *request.method_mut() = METHODS[usize::from(head.code) % METHODS.len()].clone();
        let path = ["/", "/a", "/a?b"][usize::from(head.url) % 3];
        *request.uri_mut() = format!("http://x{path}").parse().unwrap();
        *request.headers_mut() = fields(&REQUEST, head);
        let (url, method) = (length(&request), request.method().clone());
        let language = request.headers().contains_key(ACCEPT_LANGUAGE);
        let before = given.lock().unwrap().len();
        let response = cache.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let (parts, body) = response.into_parts();
        let mut body = std::pin::pin!(body);
        let mut got = Vec::new();
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            got.extend(frame.into_data().unwrap_or_default());
        }
        let given = given.lock().unwrap().clone();
        let asked = given.len() > before;
        if status.is_server_error() {
            let its = given.iter().any(|(_, of, _)| *of == status);
            assert!(its || !asked && status == StatusCode::GATEWAY_TIMEOUT, "{status}");
        }
        if !asked && status != StatusCode::GATEWAY_TIMEOUT {
            assert!(!parts.headers.contains_key(SET_COOKIE));
            let mut varies = parts.headers.get_all(VARY).iter();
            if varies.any(|vary| vary.as_bytes().eq_ignore_ascii_case(b"accept-language")) {
                assert!(languages.contains(&language));
            }
        }
        if asked {
            languages.push(language);
        }
        if method == Method::HEAD {
            assert!(got.is_empty());
        }
        if !got.is_empty() {
            let one = given.iter().any(|(of, _, body)| {
                *of == url && (body == &got || Some(&*got) == part(status, &parts.headers, body))
            });
            assert!(one, "{status}: {}", String::from_utf8_lossy(&got));
        }
        *now.lock().unwrap() += Duration::from_secs(u64::from(input.seconds));
        tokio::task::yield_now().await;
    }
}

/// The part of a body that a response says it has.
fn part<'a>(status: StatusCode, headers: &HeaderMap, body: &'a [u8]) -> Option<&'a [u8]> {
    let range = headers.get(CONTENT_RANGE).filter(|_| status == StatusCode::PARTIAL_CONTENT)?;
    let (range, length) = range.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    (length == body.len().to_string()).then(|| body.get(first..=last))?
}
