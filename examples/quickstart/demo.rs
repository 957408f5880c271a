//! The parts that only the page needs: a coding that the browser chooses, memory that only seems to be
//! short, and a table that takes many rows at once.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Request, Response, request};
use http_body_util::Empty;
use metrics::NoopRecorder;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_kit::PressureLayer;
use tower_kit::batch::{Batch, BatchError, BatchLayer};
use tower_kit::pressure::{MemoryUsage, Priority};

/// Sheds `/report` from 80% of the memory on, since it costs the most, and the rest from 90% on.
pub(crate) fn pressure() -> PressureLayer {
    PressureLayer::new().priority(|request: &request::Parts| match request.uri.path() {
        "/report" => Priority::Low,
        _ => Priority::Normal,
    })
}

/// Sends a request for each path through the layer at this percentage of memory in use. Returns a JSON
/// object with the status of each path.
pub(crate) async fn rehearse(used: u64, paths: &[&str]) -> String {
    let service = ServiceBuilder::new()
        .layer(
            pressure()
                .memory_source(move || Ok(MemoryUsage::new(used, 100)))
                .recorder(Arc::new(NoopRecorder)),
        )
        .service(service_fn(|_: Request<Empty<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
    let mut statuses = serde_json::Map::new();
    for path in paths {
        let mut request = Request::new(Empty::new());
        if let Ok(uri) = path.parse() {
            *request.uri_mut() = uri;
        }
        let response = match service.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        statuses.insert((*path).to_owned(), response.status().as_u16().into());
    }
    serde_json::Value::Object(statuses).to_string()
}

/// Reduces `accept-encoding` to the coding that the query names as `coding`, if the client accepts
/// that coding: a script cannot set this header. `identity` leaves no coding.
pub(crate) fn narrow_codings<B>(mut request: Request<B>) -> Request<B> {
    let query = request.uri().query().unwrap_or_default();
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("coding="));
    let accepted = request.headers().get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let mut accepted = accepted.unwrap_or_default().split(',').map(str::trim);
    let one = wanted.filter(|wanted| *wanted == "identity" || accepted.any(|it| it == *wanted));
    if let Some(one) = one.and_then(|one| HeaderValue::from_str(one).ok()) {
        request.headers_mut().insert(ACCEPT_ENCODING, one);
    }
    request
}

/// A table of page views, which takes up to twenty rows at once. The response to a view is the
/// number of the insert that it went in.
pub(crate) fn views() -> Batch<u64, u64> {
    let inserts = AtomicU64::new(0);
    let insert = move |views: Vec<u64>| {
        let number = inserts.fetch_add(1, Ordering::Relaxed);
        async move {
            // An insert takes about as long with twenty rows as with one.
            sleep(Duration::from_millis(20)).await;
            Ok::<_, Infallible>(vec![number; views.len()])
        }
    };
    ServiceBuilder::new()
        .layer(BatchLayer::new().max_size(20).max_delay(Duration::from_millis(50)))
        .service(service_fn(insert))
}

/// Records `n` views at the same time, as the handlers of `n` requests would. Returns a JSON array:
/// how many of them each insert had.
pub(crate) async fn record_views(views: &Batch<u64, u64>, n: u64) -> Result<String, BatchError> {
    let mut calls: JoinSet<_> = (0..n).map(|view| views.clone().oneshot(view)).collect();
    let mut inserts = BTreeMap::<u64, usize>::new();
    while let Some(called) = calls.join_next().await {
        // A call neither panics nor is aborted.
        if let Ok(insert) = called {
            *inserts.entry(insert?).or_default() += 1;
        }
    }
    Ok(serde_json::json!(inserts.into_values().collect::<Vec<_>>()).to_string())
}
