//! Any cookies and any `no-vary-search`: requests in turn get a response only of the service, to a
//! request with the same cookies of the key, and to a query that the response says is the same.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, COOKIE};
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore};

#[derive(Arbitrary, Debug)]
struct Asked {
    cookies: Vec<Vec<Pair>>,
    query: Vec<Pair>,
    rule: Option<Vec<Pair>>,
}

/// A part of a header or of a query: one that means something, or any.
#[derive(Arbitrary, Debug)]
enum Pair {
    Known(u8),
    Any(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Input {
    aside: bool,
    requests: [Asked; 3],
}

const COOKIES: [&str; 13] = [
    "lang=de",
    "lang=fr",
    "lang=",
    "lang",
    "Lang=de",
    "%6cang=de",
    "_ga=1",
    "_ga=\"2",
    "x\"",
    "s=1",
    "; ",
    ";",
    ",",
];

const QUERY: [&str; 12] =
    ["a=1", "a=2", "%61=1", "b", "b=", "utm=1", "utm", "&", "&&", "=", "+", "%zz"];

const RULE: [&str; 12] = [
    "key-order",
    "params=(\"utm\")",
    "params=(\"utm\" \"b\")",
    "except=(\"a\")",
    "except=()",
    "params",
    ", ",
    ",",
    "=?0",
    "(\"a\")",
    ";p=1",
    "params=(\"%61\")",
];

fn text(parts: &[Pair], known: &[&str], between: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for (at, part) in parts.iter().take(20).enumerate() {
        if at > 0 {
            text.extend(between.as_bytes());
        }
        match part {
            Pair::Known(at) => text.extend(known[usize::from(*at) % known.len()].as_bytes()),
            Pair::Any(bytes) => text.extend(bytes.iter().take(20)),
        }
    }
    text
}

/// The cookies of a header line, split as the simplest service does.
fn is_seen(cookies: &str, name: &str) -> bool {
    cookies.split(';').any(|pair| pair.trim().split('=').next() == Some(name))
}

/// The parameters of a query without escapes that count by `params=("utm")`.
fn without_utm(query: &str) -> Vec<(&str, &str)> {
    let parts = query.trim_start_matches('?').split('&').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    pairs.filter(|(name, _)| *name != "utm").collect()
}

pub(crate) fn check(input: &Input) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(run(input));
}

async fn run(input: &Input) {
    let store = MemoryStore::new(1 << 20);
    let second = std::time::Duration::from_secs(60);
    let layer =
        if input.aside { CacheLayer::with_ttl(store, second) } else { CacheLayer::new(store) };
    let layer = layer.key(CacheKey::new().cookie("lang").without_cookies(["_ga"]));
    let rule = Arc::new(Mutex::new(None::<HeaderValue>));
    let states = Arc::clone(&rule);
    // A response has what its service saw, and the rule that it states.
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        let cookies = request.headers().get_all(COOKIE).iter();
        let cookies: Vec<_> =
            cookies.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect();
        let rule = states.lock().unwrap().clone();
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let body = [cookies.join("; "), query].join("\n");
        let mut response = Response::new(Full::new(Bytes::from(body)));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        response.headers_mut().extend(rule.map(|rule| (NAME, rule)));
        ready(Ok::<_, Infallible>(response))
    });
    let cache = layer.layer(service);
    for asked in &input.requests {
        let query = text(&asked.query, &QUERY, "&");
        let Ok(uri) =
            format!("http://x/a?{}", String::from_utf8_lossy(&query)).parse::<http::Uri>()
        else {
            continue;
        };
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri.clone();
        for line in asked.cookies.iter().take(3) {
            let line = HeaderValue::from_bytes(&text(line, &COOKIES, "; ")).ok();
            line.map(|line| request.headers_mut().append(COOKIE, line));
        }
        let sent: Vec<_> = request.headers().get_all(COOKIE).iter().cloned().collect();
        *rule.lock().unwrap() = asked
            .rule
            .as_ref()
            .and_then(|rule| HeaderValue::from_bytes(&text(rule, &RULE, ", ")).ok());
        let response = cache.clone().oneshot(request).await.unwrap();
        let hit = response.headers()["cache-status"].as_bytes().starts_with(b"tower-kit; hit");
        let stated = response.headers().get(NAME).cloned();
        let mut body = std::pin::pin!(response.into_body());
        let mut got = Vec::new();
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            got.extend(frame.into_data().unwrap_or_default());
        }
        let got = String::from_utf8_lossy(&got).into_owned();
        let (seen, query) = got.split_once('\n').unwrap();
        tokio::task::yield_now().await;
        if !hit {
            continue;
        }
        let sent: Vec<_> =
            sent.iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect();
        let sent = sent.join("; ");
        // The cookie of the key is there or not there for both.
        assert_eq!(is_seen(seen, "lang"), is_seen(&sent, "lang"), "{sent:?} got {seen:?}");
        let plain = !sent.contains(['"', ',', '\\']) && sent.bytes().all(|byte| byte > 31);
        if input.aside && !is_seen(&sent, "lang") && plain {
            assert_eq!(seen, "", "{sent:?} got the response to a session");
        }
        let own = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        match stated {
            None => assert_eq!(own, query),
            Some(rule) if rule == RULE[1] && !(own.clone() + query).contains(['%', '+']) => {
                assert_eq!(without_utm(&own), without_utm(query));
            }
            Some(_) => {}
        }
    }
}

const NAME: http::HeaderName = http::HeaderName::from_static("no-vary-search");
