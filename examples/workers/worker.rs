//! A worker process, which serves requests.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as Line;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_kit::cache::MemoryStore;
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer};

pub(crate) async fn work() -> Result<(), Box<dyn Error>> {
    let listener = std::net::TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let shared = OwnedFd::from(listener.try_clone()?);
    let listener = TcpListener::from_std(listener)?;
    listener.local_addr().map_err(|error| format!("standard input is no listener: {error}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut told = told_to_stop()?;
    let numbers = show_numbers().await?;

    let app = ServiceBuilder::new()
        .layer(LatencyLayer::new().route_templates(["/", "/echo", "/panic"]))
        .layer(SecurityHeadersLayer::new())
        .layer(LimitLayer::new())
        // Each worker has its own; a `TieredStore` over Redis makes them one.
        .layer(CacheLayer::new(MemoryStore::new(64 * MIB)))
        .layer(CompressLayer::new())
        .service(routes());
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
    // Ready.
    println!("{numbers}");

    let closing = Arc::new(AtomicBool::new(false));
    let connections = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let others_go_on = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // If it has panicked, it has said so on standard error.
            Some(_) = tasks.join_next() => continue,
            told = &mut told => break told.unwrap_or(false),
            // By somebody else: the parent replaces it.
            _ = terminate.recv() => break true,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, say: existing connections go on, and make room.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (app, closing) = (app.clone(), Arc::clone(&closing));
        let service = service_fn(move |request| answer(app.clone(), Arc::clone(&closing), request));
        let connection = server.serve_connection(TokioIo::new(stream), service);
        // An error here is a client that left or does not speak HTTP: nothing to tell.
        let connection = connections.watch(connection.into_owned());
        tasks.spawn(async move { drop(connection.await) });
    };

    drop(listener);
    if !others_go_on {
        end_for_all(shared);
    }
    closing.store(true, Ordering::Relaxed);
    if timeout(DRAIN, drain(tasks, connections)).await.is_err() {
        eprintln!("worker {}: some requests were still open", std::process::id());
    }
    Ok(())
}

fn routes() -> Router {
    Router::new()
        .route("/", get(async || format!("hello from {}\n", std::process::id())))
        .route("/echo", post(async |body: Bytes| body))
        .route("/panic", get(panics))
}

async fn panics() -> &'static str {
    panic!("somebody asked for it")
}

/// Waits until all connections have ended. For a while the idle ones may have a request on its way.
async fn drain(mut tasks: JoinSet<()>, connections: GracefulShutdown) {
    let all_end = async { while tasks.join_next().await.is_some() {} };
    if timeout(LINGER, all_end).await.is_err() {
        connections.shutdown().await;
    }
}

/// The listener is open in other processes. To end it in all of them takes shutdown(2), which std has
/// for streams only. Where a system has none for listeners, it ends with the last process.
fn end_for_all(listener: OwnedFd) {
    drop(TcpStream::from(listener).shutdown(Shutdown::Both));
}

/// Shows the numbers of this process, and tells where.
async fn show_numbers() -> Result<SocketAddr, Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(prometheus.clone()));
    let page = Router::new().route("/metrics", get(async move || prometheus.render()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, page).await });
    Ok(addr)
}

/// Ready when the parent says so: true if others go on. In a thread, since what is printed goes the
/// same way, and does not wait where reads do not.
fn told_to_stop() -> io::Result<oneshot::Receiver<bool>> {
    let mut line = Line::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || tell.send(matches!(line.read(&mut [0]), Ok(1))));
    Ok(told)
}

/// Answers a request, and, once the worker stops, ends the connection with that.
async fn answer<S, B>(
    app: S,
    closing: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<B>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    // HTTP/2 has its own way to say that, which hyper takes.
    let has_field = request.version() < Version::HTTP_2;
    let mut response = app.oneshot(request).await?;
    let headers = response.headers_mut();
    headers.insert("x-worker", std::process::id().into());
    if has_field && closing.load(Ordering::Relaxed) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// The exporter keeps every sample until it is drained.
async fn upkeep(prometheus: PrometheusHandle) {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        prometheus.run_upkeep();
    }
}

/// The time for which a worker that stops keeps idle connections open.
const LINGER: Duration = Duration::from_secs(5);

/// The time for which a worker that stops waits for its open requests, including those five seconds.
const DRAIN: Duration = Duration::from_secs(10);
