//! Servers whose service is a function, bare or under layers, and clients of HTTP/1 and HTTP/2.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_kit::cache::{CacheLayer, MemoryStore};
use tower_kit::{CompressLayer, MIB};

use crate::support::{BoxBody, BoxError, Server, boxed, full, gunzip, h1_client, h2_client, soon};

pub(super) type Service = BoxCloneSyncService<Request<Incoming>, Response<BoxBody>, BoxError>;

/// The layers over the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    Bare,
    Compressed,
    Cached,
}

/// A server that counts the calls of its service.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) server: Server,
    calls: Arc<AtomicU64>,
}

/// A response that was read to its end.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) head: response::Parts,
    pub(super) bytes: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

impl Served {
    pub(super) async fn start<F>(stack: Stack, layer: CompressLayer, respond: F) -> Self
    where
        F: Fn(&Request<Incoming>) -> Response<BoxBody> + Clone + Send + Sync + 'static,
    {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let inner = service_fn(move |request: Request<Incoming>| {
            counted.fetch_add(1, Ordering::SeqCst);
            ready(Ok::<_, Infallible>(respond(&request)))
        });
        let service = match stack {
            Stack::Bare => erased(inner),
            Stack::Compressed => erased(ServiceBuilder::new().layer(layer).service(inner)),
            Stack::Cached => erased(
                ServiceBuilder::new()
                    .layer(CacheLayer::new(MemoryStore::new(8 * MIB)).honor_request_control())
                    .layer(layer)
                    .service(inner),
            ),
        };
        Self { server: Server::start(service).await, calls }
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(super) fn get(&self, headers: &[(&str, &str)]) -> Request<BoxBody> {
        let mut request = Request::get(self.server.url("/"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(full("")).unwrap()
    }

    /// Sends a GET, and reads the complete response.
    pub(super) async fn read(
        &self,
        client: &Client<HttpConnector, BoxBody>,
        headers: &[(&str, &str)],
    ) -> Read {
        send(client, self.get(headers)).await.unwrap()
    }
}

impl Read {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the decoded body.
    pub(super) fn text(&self) -> Vec<u8> {
        match self.header("content-encoding") {
            None => self.bytes.to_vec(),
            Some(encoding) => {
                assert_eq!(encoding, "gzip");
                gunzip(&self.bytes)
            }
        }
    }
}

pub(super) fn clients() -> [Client<HttpConnector, BoxBody>; 2] {
    [h1_client(), h2_client()]
}

/// Sends a request. Returns an error if the response is not complete.
pub(super) async fn send(
    client: &Client<HttpConnector, BoxBody>,
    request: Request<BoxBody>,
) -> Result<Read, BoxError> {
    let (head, body) = soon(client.request(request)).await?.into_parts();
    let collected = soon(body.collect()).await?;
    let trailers = collected.trailers().cloned();
    Ok(Read { head, bytes: collected.to_bytes(), trailers })
}

fn erased<S, B>(service: S) -> Service
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    BoxCloneSyncService::new(service.map_response(|it| it.map(boxed)).map_err(Into::into))
}
