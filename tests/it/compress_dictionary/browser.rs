//! Chromium, which keeps dictionaries and decodes `dcz` itself.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::Value;
use tower::ServiceBuilder;
use tower_kit::compress::ResponseBody;

use super::support::{changing, fresh, layer, list};
use crate::chromium::Chromium;
use crate::support::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn chromium_fetches_deltas() {
    let Some(chromium) = Chromium::find("deltas of a list").await else { return };
    let codings = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&codings);
    let lists = Arc::new(Mutex::new(0_u64));
    let (inner, _) = changing(move |request: &http::Request<()>, _| {
        if request.uri().path() != "/items" {
            let page = Full::new("<!doctype html><title>Lists</title>".into());
            return Response::builder().header("content-type", "text/html").body(page).unwrap();
        }
        let mut version = lists.lock().unwrap();
        *version += 1;
        fresh(list(10_240, 3, *version))
    });
    let service = ServiceBuilder::new()
        .map_response(move |response: Response<ResponseBody<Full<Bytes>>>| {
            if let Some(coding) = response.headers().get("content-encoding") {
                log.lock().unwrap().push(coding.to_str().unwrap().to_owned());
            }
            response
        })
        .layer(layer())
        .service(inner);
    let server = Server::start(service).await;
    let mut page = chromium.open(&server.url("/")).await;
    page.evaluate(FETCH).await;
    let mut sizes = Vec::new();
    for version in 1..6 {
        let fetched = page.evaluate("fetchItems()").await;
        assert_eq!(
            fetched["text"],
            Value::from(String::from_utf8_lossy(&list(10_240, 3, version)))
        );
        sizes.push(fetched["size"].as_u64().unwrap());
    }
    page.close().await;
    let codings = codings.lock().unwrap().clone();
    let deltas: Vec<_> =
        codings.iter().zip(&sizes).filter(|(coding, _)| *coding == "dcz").collect();
    // The browser writes a dictionary to its disk in the background.
    assert!(deltas.len() >= 2, "{codings:?} {sizes:?}");
    assert!(deltas.iter().all(|(_, size)| **size <= 200), "{codings:?} {sizes:?}");
}

/// Fetches the list past the browser's cache, and gives the browser time to store its dictionary.
const FETCH: &str = "
    globalThis.fetchItems = async () => {
        await new Promise(done => setTimeout(done, 500));
        performance.clearResourceTimings();
        const text = await (await fetch('/items', { cache: 'no-cache' })).text();
        let entry;
        while (!(entry = performance.getEntriesByType('resource').at(-1))) {
            await new Promise(done => setTimeout(done, 10));
        }
        return { text, size: entry.encodedBodySize };
    };
    0";
