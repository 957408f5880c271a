//! `latency` and `cache` around hyper-util's client, which is a service as well.
//!
//! ```sh
//! cargo run --example quickstart --features full
//! cargo run --example client --features cache,latency -- 'http://127.0.0.1:3000/items?n=3' 'http://127.0.0.1:3000/items?n=3'
//! ```
//!
//! The program requests one URL after the other, prints where each response came from, and then the
//! metrics. The second response comes from the cache, as its `cache-status` shows.
//!
//! The cache is a *shared* one (RFC 9111). It does not store `private` responses, nor responses to
//! requests with `authorization` unless they are `public`. That is right for a client that acts for all
//! of its users, such as one that fetches a catalog, settings or public keys, and for a proxy. A client
//! of a single user would want a private cache, which this crate does not have.
//!
//! `latency` measures servers: its metrics have the names of a server's, and the outcome `cancelled`
//! means that *this* program gave up. Here a prefix from metrics-util keeps them apart from the metrics
//! of a server in the same process. The label `route` is the host, with its port unless it is the
//! scheme's default. Outside the cache, as here, `latency` measures what callers wait for; inside, it
//! would measure the origin.
//!
//! The other layers are for servers. `compress` would compress the response that the client has
//! received; `security_headers` addresses browsers; `limit` bounds requests. To bound responses, use
//! `http_body_util::Limited`.

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use metrics_util::layers::{Layer, PrefixLayer};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_kit::MIB;
use tower_kit::cache::{CacheLayer, MemoryStore};
use tower_kit::latency::{DURATION_BUCKETS, LatencyLayer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .build_recorder();
    let prometheus = recorder.handle();
    let recorder = Arc::new(PrefixLayer::new("client").layer(recorder));

    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_secs(2)));
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build(connector);
    let hosts = LatencyLayer::new().route(|request| host_and_port(&request.uri));
    let mut client = ServiceBuilder::new()
        .layer(hosts.recorder(recorder.clone()))
        .layer(CacheLayer::new(MemoryStore::new(64 * MIB)).recorder(recorder))
        // Until the response headers.
        .timeout(Duration::from_secs(5))
        .service(client);

    for url in env::args().skip(1) {
        match ask(&mut client, url.parse()?).await {
            Ok((status, cache, size)) => println!("{url}: {status}, {size} bytes, {cache}"),
            Err(error) => println!("{url}: {error:?}"),
        }
    }
    println!("{}", prometheus.render());
    Ok(())
}

/// Returns the host of a URL, with its port unless that is the scheme's default. Leaves out a user and
/// password, which must not become a label.
fn host_and_port(url: &Uri) -> Option<&str> {
    let default = if url.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let authority = url.authority()?.as_str();
    match url.port_u16() {
        Some(port) if port != default => authority.rsplit('@').next(),
        _ => url.host(),
    }
}

/// Returns the status of the response, its `cache-status`, and the length of its body.
async fn ask<S, B>(client: &mut S, url: Uri) -> Result<(StatusCode, String, usize), BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    let request = Request::get(url).body(Empty::new())?;
    let response = client.ready().await?.call(request).await?;
    let (head, body) = response.into_parts();
    // Each cache on the way adds a line; the last one is from this cache.
    let cache = head.headers.get_all("cache-status").iter().next_back();
    let cache = cache.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body = Limited::new(body, 10 * 1024 * 1024).collect();
    let body = tokio::time::timeout(Duration::from_secs(30), body).await??;
    Ok((head.status, cache.unwrap_or_default(), body.to_bytes().len()))
}
