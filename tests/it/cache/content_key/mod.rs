//! Requests whose content is a part of their key.

mod contents;
mod sockets;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt};
use tower_kit::cache::content_key::ContentKeyLayer;
use tower_kit::cache::{CacheHandle, CacheLayer, MemoryStore};

use super::rig::{Got, got};
use crate::support::{BoxBody, BoxError, boxed, full};

/// The request bodies that a service has read, with their trailers or their error.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<Content>>>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    data: Bytes,
    trailers: Option<HeaderMap>,
    error: Option<String>,
    /// The size that the body has stated before it was read.
    exact: Option<u64>,
    /// The body has said that it is at its end before it was read.
    is_end_stream: bool,
}

/// A cache behind a layer, over a service that responds with the length of the content.
struct Cached {
    service: BoxCloneService<Request<BoxBody>, Response<BoxBody>, Infallible>,
    seen: Seen,
    handle: CacheHandle,
}

impl Cached {
    fn new(layer: &ContentKeyLayer) -> Self {
        let seen = Seen::default();
        let cache = CacheLayer::new(MemoryStore::new(1 << 22));
        let handle = cache.handle();
        let service = layer.layer(cache.layer(origin(seen.clone())));
        let service = service.map_response(|response| response.map(boxed));
        Self { service: BoxCloneService::new(service), seen, handle }
    }

    async fn send(&self, request: Request<BoxBody>) -> Got {
        got(self.service.clone().oneshot(request).await.unwrap()).await
    }

    async fn query(&self, content: impl Into<Bytes>) -> Got {
        self.send(query(full(content))).await
    }

    /// The bodies that the service has read.
    fn seen(&self) -> Vec<Content> {
        self.seen.0.lock().unwrap().clone()
    }
}

/// Reads each content, and responds with its length for a minute.
fn origin<B>(
    seen: Seen,
) -> impl Service<Request<B>, Response = Response<BoxBody>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    tower::service_fn(move |request: Request<B>| {
        let seen = seen.clone();
        async move {
            let content = read(request.into_body()).await;
            let length = content.data.len();
            seen.0.lock().unwrap().push(content);
            let response = Response::builder().header("cache-control", "max-age=60");
            Ok::<_, Infallible>(response.body(full(length.to_string())).unwrap())
        }
    })
}

/// Reads a body to its end or to its error.
async fn read<B>(body: B) -> Content
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut content = Content {
        exact: body.size_hint().exact(),
        is_end_stream: body.is_end_stream(),
        ..Content::default()
    };
    let mut data = Vec::new();
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(bytes)) => data.extend_from_slice(&bytes),
            Ok(Err(frame)) => content.trailers = frame.into_trailers().ok(),
            Err(error) => {
                content.error = Some(error.into().to_string());
                break;
            }
        }
    }
    content.data = data.into();
    content
}

fn query(body: BoxBody) -> Request<BoxBody> {
    Request::builder()
        .method("QUERY")
        .uri("http://x.org/search")
        .header("content-type", "text/plain")
        .body(body)
        .unwrap()
}

const STORED: &str = "fwd=uri-miss; stored";
