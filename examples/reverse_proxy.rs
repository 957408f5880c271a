//! A caching reverse proxy in front of any HTTP origin, over HTTP/1 and HTTP/2 without TLS.
//!
//! ```sh
//! ORIGIN=http://127.0.0.1:8000 cargo run --example reverse_proxy --features cache
//! curl -i http://127.0.0.1:8080/
//! ```
//!
//! Send the request twice, and look at `cache-status` and `age`. `ADDR` is where it listens, and
//! `TIMEOUT_MS` how long the origin may be silent before it answers, and a client before it asks: 30
//! seconds by default. Upgrades (WebSocket) are not tunnelled: such requests go on as if they did not
//! ask (RFC 9110 §7.8).
//!
//! With `PURGE_TOKEN` in the environment, whoever has the token purges a URL, or tags, or makes them
//! stale:
//!
//! ```sh
//! curl -X PURGE -H "authorization: Bearer $PURGE_TOKEN" http://127.0.0.1:8080/items
//! curl -X PURGE -H "authorization: Bearer $PURGE_TOKEN" -H "surrogate-key: items" http://127.0.0.1:8080/
//! curl -X PURGE -H "authorization: Bearer $PURGE_TOKEN" -H "soft-purge: 1" http://127.0.0.1:8080/items
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::cache::{CacheHandle, CacheLayer, Exception, MemoryStore, PurgeFuture};
use tower_kit::{KIB, MIB};

/// The address of the upstream server.
#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, UnsyncBoxBody<Bytes, hyper::Error>>,
    origin: Authority,
    patience: Duration,
}

/// The right to purge. An address is none: behind another proxy, all clients have that of the proxy.
#[derive(Clone)]
struct Purger {
    handle: CacheHandle,
    /// The token of those who may purge: nobody without one.
    token: Option<Arc<str>>,
}

/// The response to a request that is not forwarded.
type Refusal = (StatusCode, &'static str);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let origin = authority(&variable("ORIGIN", ""))?;
    let addr = variable("ADDR", "127.0.0.1:8080");
    let patience = variable("TIMEOUT_MS", "30000");
    let patience = patience.parse().map_err(|error| format!("TIMEOUT_MS={patience}: {error}"))?;
    let token = Some(variable("PURGE_TOKEN", "")).filter(|token| !token.is_empty());

    // Idle connections end here before they do there: node's server ends them after five seconds.
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(4))
        .build_http();
    let patience = Duration::from_millis(patience);
    let upstream = Upstream { client, origin: origin.clone(), patience };
    let forward = service_fn(move |request| forward(upstream.clone(), request));
    // The origin's word counts for errors too, as RFC 9111 has it. Leave the exception out where a
    // client can cause an error that states a lifetime: it would be every client's.
    // So does the word of clients, who know that they speak to a proxy.
    let cache = CacheLayer::new(MemoryStore::new(64 * MIB))
        .allow(Exception::AnyStatus)
        .honor_request_control();
    let purger = Purger { handle: cache.handle(), token: token.map(Into::into) };
    let cache = cache.layer(forward);
    let proxy = service_fn(move |request| serve(cache.clone(), purger.clone(), request));

    let listener =
        TcpListener::bind(&addr).await.map_err(|error| format!("ADDR={addr}: {error}"))?;
    println!("listening on http://{}, in front of http://{origin}", listener.local_addr()?);

    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let server = server(patience);
    let (stop, stopping) = watch::channel(());
    let seats = Arc::new(Semaphore::new(MOST_CONNECTIONS as usize));
    loop {
        let next = async { (Arc::clone(&seats).acquire_owned().await, listener.accept().await) };
        let (seat, accepted) = tokio::select! {
            next = next => next,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, say: existing connections go on, and make room.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let asked = Arc::new(AtomicBool::new(false));
        let service = proxy.clone().map_request({
            let asked = Arc::clone(&asked);
            move |request| {
                asked.store(true, Ordering::Relaxed);
                request
            }
        });
        let connection =
            server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let held = hold(connection.into_owned(), asked, patience, stopping.clone());
        tokio::spawn(async move {
            held.await;
            drop(seat);
        });
    }
    stop.send_replace(());
    if timeout(GRACE, seats.acquire_many(MOST_CONNECTIONS)).await.is_err() {
        println!("some requests were still open after ten seconds");
    }
    Ok(())
}

/// Sets the bounds of hyper: see the quickstart for the reasons.
fn server(patience: Duration) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(64 * KIB as usize);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(100);
    server
}

/// Serves a connection, and ends it where hyper would not: it waits for ever for the first bytes,
/// and for a client to read what it asked for.
async fn hold(
    connection: impl GracefulConnection,
    asked: Arc<AtomicBool>,
    patience: Duration,
    mut stopping: watch::Receiver<()>,
) {
    let mut connection = pin!(connection);
    let too_long = async {
        sleep(patience).await;
        if asked.load(Ordering::Relaxed) {
            sleep(LONGEST_CONNECTION).await;
        }
    };
    tokio::select! {
        // An error here is a client that left or does not speak HTTP: nothing to tell.
        _ = connection.as_mut() => return,
        () = too_long => {}
        _ = stopping.changed() => {}
    }
    // What is idle ends now, and the rest with its responses.
    connection.as_mut().graceful_shutdown();
    drop(timeout(GRACE, connection).await);
}

/// Answers a request from the cache, which is around [`forward`].
async fn serve<S, B>(
    cache: S,
    purger: Purger,
    mut request: Request<Incoming>,
) -> Result<Response<Either<B, Full<Bytes>>>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    let head_only = *request.method() == Method::HEAD;
    let response = match admit(&mut request) {
        // The origin never sees it: an answer of 200 would purge, whoever asked.
        Ok(()) if request.method().as_str() == "PURGE" => say(purge(&purger, request).await),
        Ok(()) => cache.oneshot(request).await?.map(Either::Left),
        Err(refusal) => say(refusal),
    };
    // Over HTTP/2, hyper would send the body.
    Ok(if head_only { response.map(|_| Either::Right(Full::default())) } else { response })
}

/// Purges the tags that a request names, or else its URL. The answer is 200 whether or not there was
/// an entry, as that of Varnish is.
async fn purge<B>(purger: &Purger, request: Request<B>) -> Refusal {
    let (head, _) = request.into_parts();
    let sent = head.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let sent = sent.and_then(|sent| sent.strip_prefix(b"Bearer "));
    match (&purger.token, sent) {
        (Some(token), Some(sent)) if is_same(token.as_bytes(), sent) => {}
        _ => return (StatusCode::FORBIDDEN, "no right to purge\n"),
    }
    let (handle, is_soft) = (&purger.handle, head.headers.contains_key("soft-purge"));
    let tags =
        ["surrogate-key", "cache-tag"].into_iter().flat_map(|name| head.headers.get_all(name));
    let tags = tags.flat_map(|line| line.as_bytes().split(|byte| b" ,".contains(byte)));
    let tags = tags.filter_map(|tag| std::str::from_utf8(tag).ok()).filter(|tag| !tag.is_empty());
    let by_tag = |tag| if is_soft { handle.soft_purge_tag(tag) } else { handle.purge_tag(tag) };
    let mut purges: Vec<PurgeFuture> = tags.map(by_tag).collect();
    if purges.is_empty() {
        let purge = match is_soft {
            true => handle.soft_purge_request(&head),
            false => handle.purge_request(&head),
        };
        match purge {
            Ok(purge) => purges.push(purge),
            Err(_) => return (StatusCode::BAD_REQUEST, "no entry has such a URL\n"),
        }
    }
    for purge in purges {
        // It holds here already. With a `RedisStore`, an error says that other processes learn of it
        // later.
        drop(purge.await);
    }
    (StatusCode::OK, "purged\n")
}

/// Compares in a time that does not tell where two tokens differ.
fn is_same(token: &[u8], sent: &[u8]) -> bool {
    let differs = token.iter().zip(sent).fold(0, |differs, (a, b)| differs | (a ^ b));
    token.len() == sent.len() && differs == 0
}

/// Makes a request the one that the origin, and so the cache, is to see.
fn admit<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    let (method, version) = (request.method().clone(), request.version());
    let uri = std::mem::take(request.uri_mut());
    let headers = request.headers_mut();
    if method == Method::CONNECT {
        return Err((StatusCode::NOT_IMPLEMENTED, "there are no tunnels here\n"));
    }
    if !is_only_chunked(headers) {
        return Err((StatusCode::NOT_IMPLEMENTED, "the only transfer coding here is chunked\n"));
    }
    // RFC 9112 §3.2, which hyper leaves to us. If the target names a host too, that one counts; the
    // request goes to the origin all the same.
    let hosts = headers.get_all(header::HOST).iter().count();
    let named = uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let host = named.or_else(|| headers.get(header::HOST).cloned());
    let lacks = hosts == 0 && version == Version::HTTP_11;
    if lacks || hosts > 1 || host.as_ref().is_some_and(|host| !is_host(host.as_bytes())) {
        return Err((StatusCode::BAD_REQUEST, "the request needs one host\n"));
    }
    let Some(path) = uri.path_and_query() else {
        return Err((StatusCode::BAD_REQUEST, "the request needs a path\n"));
    };
    // RFC 9110 §7.6.2.
    if let (&Method::OPTIONS | &Method::TRACE, Some(left)) =
        (&method, headers.get(header::MAX_FORWARDS))
    {
        match left.to_str().ok().and_then(|left| left.parse::<u64>().ok()) {
            Some(0) if method == Method::OPTIONS => return Err((StatusCode::NO_CONTENT, "")),
            Some(0) => return Err((StatusCode::NOT_IMPLEMENTED, "no traces of this server\n")),
            Some(left) => headers.insert(header::MAX_FORWARDS, (left - 1).into()),
            None => return Err((StatusCode::BAD_REQUEST, "max-forwards is not a number\n")),
        };
    }
    let trailers = list(headers, header::TE).any(|of| of.eq_ignore_ascii_case(b"trailers"));
    remove_hop_by_hop(headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    // HTTP/2 may split it, HTTP/1 may not (RFC 9113 §8.2.3).
    let cookies: Vec<_> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let (2.., Ok(joined)) = (cookies.len(), HeaderValue::from_bytes(&cookies.join(&b"; "[..]))) {
        headers.insert(header::COOKIE, joined);
    }
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    }
    add_via(headers, version);
    *request.uri_mut() = Uri::from(path.clone());
    Ok(())
}

/// Sends the request to the origin. A failure becomes a response and not an error: the cache sees that
/// the service failed, and serves a stale entry instead.
async fn forward(
    upstream: Upstream,
    request: Request<Incoming>,
) -> Result<Response<Either<Incoming, Full<Bytes>>>, Infallible> {
    Ok(match ask(upstream, request).await {
        Ok(response) => response.map(Either::Left),
        Err(refusal) => say(refusal),
    })
}

async fn ask(
    upstream: Upstream,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, Refusal> {
    let Upstream { client, origin, patience } = upstream;
    let (mut head, body) = request.into_parts();
    let mut target = head.uri.into_parts();
    (target.scheme, target.authority) = (Some(Scheme::HTTP), Some(origin));
    head.uri =
        Uri::from_parts(target).map_err(|_| (StatusCode::BAD_REQUEST, "no such target\n"))?;
    head.version = Version::HTTP_11;
    // hyper would drop the body of a GET if it did not know its length.
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    // While the origin takes pieces of the request, it is not silent.
    let moved = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&moved);
    let body = body.map_frame(move |frame| {
        mark.store(true, Ordering::Relaxed);
        frame
    });
    let mut asked = pin!(client.request(Request::from_parts(head, body.boxed_unsync())));
    // It passes over informational responses (1xx): hyper's server could not send them.
    let answered = loop {
        match timeout(patience, &mut asked).await {
            Ok(answered) => break answered,
            Err(_) if moved.swap(false, Ordering::Relaxed) => {}
            Err(_) => return Err((StatusCode::GATEWAY_TIMEOUT, "the origin is silent\n")),
        }
    };
    let mut response = answered.map_err(|error| why(&error))?;
    let (version, size) = (response.version(), response.body().size_hint().exact());
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    if switched || !is_only_chunked(headers) {
        return Err((StatusCode::BAD_GATEWAY, "the origin sent what nobody asked for\n"));
    }
    // hyper has read by the one that counts, and leaves the other (RFC 9112 §6.3).
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    } else if let (Some(size @ 1..), true) = (size, headers.contains_key(header::CONTENT_LENGTH)) {
        headers.insert(header::CONTENT_LENGTH, size.into());
    }
    remove_hop_by_hop(headers);
    add_via(headers, version);
    *response.version_mut() = Version::HTTP_11;
    Ok(response)
}

/// The client's body may have failed, and not the origin.
fn why(error: &legacy::Error) -> Refusal {
    let source = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    if source.is_some_and(hyper::Error::is_user) {
        return (StatusCode::BAD_REQUEST, "the body cannot be read\n");
    }
    eprintln!("{error:?}");
    (StatusCode::BAD_GATEWAY, "the origin gave no answer\n")
}

fn say<B>((status, text): Refusal) -> Response<Either<B, Full<Bytes>>> {
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    response
}

/// RFC 9110 §7.6.1: what speaks of one connection. For the next one, hyper sets what it needs.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = list(headers, header::CONNECTION);
    let named: Vec<_> = named.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

/// RFC 9110 §7.6.3.
fn add_via(headers: &mut HeaderMap, version: Version) {
    let via = format!("{version:?} tower-kit").replace("HTTP/", "");
    headers.extend(HeaderValue::try_from(via).ok().map(|via| (header::VIA, via)));
}

/// Returns `true` for transfer codings that hyper does not decode.
fn is_only_chunked(headers: &HeaderMap) -> bool {
    let codings: Vec<_> = list(headers, header::TRANSFER_ENCODING).collect();
    codings.is_empty() || matches!(codings[..], [only] if only.eq_ignore_ascii_case(b"chunked"))
}

fn is_host(host: &[u8]) -> bool {
    !host.contains(&b'@') && Authority::try_from(host).is_ok()
}

/// The members of a list that has nothing quoted in it.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

fn authority(origin: &str) -> Result<Authority, String> {
    let uri = origin.parse::<Uri>().unwrap_or_default();
    match (uri.scheme_str(), uri.authority(), uri.path(), uri.query()) {
        (Some("http"), Some(of), "/", None) if is_host(of.as_str().as_bytes()) => Ok(of.clone()),
        _ => Err(format!("ORIGIN={origin}: has to be http://HOST or http://HOST:PORT")),
    }
}

const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The maximum number of connections: times the memory of each, it bounds the memory of all.
const MOST_CONNECTIONS: u32 = 1_000;

/// Long enough for what clients download.
const LONGEST_CONNECTION: Duration = Duration::from_secs(60 * 60);

const GRACE: Duration = Duration::from_secs(10);
