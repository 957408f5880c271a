//! Two of the layers around hyper-util's client, which is a service as well: `latency` and `cache`.
//!
//! ```sh
//! cargo run --example quickstart --features full
//! cargo run --example client --features cache,latency -- 'http://127.0.0.1:3000/items?n=3' 'http://127.0.0.1:3000/items?n=3'
//! ```
//!
//! It asks for one URL after the other, says where each answer came from, and prints the numbers.
//! The second answer comes from the cache: look at what `cache-status` says.
//!
//! The cache is a *shared* one (RFC 9111): it keeps what is for everybody, and neither `private`
//! responses nor such to a request with `authorization`, unless they are `public`. That is right
//! for a client which asks for all of its users, as of a catalogue, of settings or of public keys,
//! and in a proxy. A client of a single user would want a private cache, which this is not.
//!
//! `latency` speaks of servers: its metrics have the names that a server's have, and its `outcome`
//! is `cancelled` where *this* program gave up. So they are recorded under a prefix here, by
//! metrics-util, which keeps them apart from those of a server in the same process. The label
//! `route` is the host. Outside of the cache as it is here, it measures what callers wait for;
//! inside, it would measure the origin.
//!
//! The others are for servers. `compress` would compress what the client has just got;
//! `security_headers` are for browsers; `limit` bounds requests, and not what a server sends: use
//! `http_body_util::Limited` for that.

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
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
    let hosts = LatencyLayer::new().route(|request| request.uri.host());
    let mut client = ServiceBuilder::new()
        .layer(hosts.recorder(recorder.clone()))
        .layer(CacheLayer::new(MemoryStore::new(64 * MIB)).recorder(recorder))
        // Until the response's head.
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

/// The status of the response, what the cache says of it, and the length of its body.
async fn ask<S, B>(client: &mut S, url: Uri) -> Result<(StatusCode, String, usize), BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    let request = Request::get(url).body(Empty::new())?;
    let response = client.ready().await?.call(request).await?;
    let (head, body) = response.into_parts();
    // Each cache on the way adds a line; ours is the last.
    let cache = head.headers.get_all("cache-status").iter().next_back();
    let cache = cache.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body = Limited::new(body, 10 * 1024 * 1024).collect();
    let body = tokio::time::timeout(Duration::from_secs(30), body).await??;
    Ok((head.status, cache.unwrap_or_default(), body.to_bytes().len()))
}
