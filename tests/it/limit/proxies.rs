//! Services that are strict about types: a proxy whose body has the layer's error, and bodies that
//! are not `Unpin`.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody};

use crate::pinned::pinned;
use crate::support::{BoxError, Metrics, Scripted, Step, data, soon, text};

async fn reads<B>(request: Request<RequestBody<B>>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (status, says) = match request.into_body().collect().await {
        Ok(body) => (200, body.to_bytes().len().to_string()),
        Err(error) => (if error.is::<LengthLimitError>() { 413 } else { 400 }, error.to_string()),
    };
    Ok(Response::builder().status(status).body(says.into()).unwrap())
}

#[tokio::test]
async fn body_that_is_not_unpin_is_limited() {
    let layer = LimitLayer::new().default_body(10);
    for (steps, status) in [(vec![data(4), Step::Pending, data(6)], 200), (vec![data(11)], 413)] {
        let body = pinned(Scripted::<BoxError>::new(steps));
        let response = layer.layer(service_fn(reads)).oneshot(Request::new(body)).await.unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn rest_of_a_body_that_is_not_unpin_is_discarded() {
    let metrics = Metrics::new();
    let layer = LimitLayer::new().default_body(10).recorder(metrics.recorder());
    let body = Scripted::<BoxError>::new([data(11), Step::Pending, data(50)]);
    let log = body.log();
    let request = Request::new(pinned(body));
    let response = layer.layer(service_fn(reads)).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 413);
    soon(async {
        while !log.dropped() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(log.given(), 61);
}

#[tokio::test]
async fn empty_body_is_passed_on_as_empty() {
    let body = Scripted::<BoxError>::new([]).tells_end().exact();
    let request = Request::new(pinned(body));
    let response = LimitLayer::new().layer(service_fn(reads)).oneshot(request).await.unwrap();
    assert_eq!(text(response).await, "0");
}

/// A proxy sends a body of one type to its client, and runs in a task.
#[cfg(feature = "cache")]
#[tokio::test]
async fn proxy_under_limit_and_cache_runs_in_a_task() {
    use http_body_util::combinators::UnsyncBoxBody;
    use hyper::body::Incoming;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tower::ServiceBuilder;
    use tower_kit::CacheLayer;
    use tower_kit::cache::MemoryStore;
    use tower_kit::limit::RequestBodyError;

    use crate::support::{Server, full, h1_client};

    type UpstreamBody = UnsyncBoxBody<Bytes, RequestBodyError>;

    let echo = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let upstream = Server::start(echo).await;
    let client: Client<_, UpstreamBody> = Client::builder(TokioExecutor::new()).build_http();
    let to = upstream.url("/");
    let proxy = ServiceBuilder::new()
        .layer(LimitLayer::new().default_body(10))
        .layer(CacheLayer::new(MemoryStore::new(1 << 20)))
        .service_fn(move |request: Request<RequestBody<Incoming>>| {
            let (client, to) = (client.clone(), to.clone());
            async move {
                let body = request.into_body().boxed_unsync();
                client.request(Request::post(to).body(body).unwrap()).await
            }
        });
    let front = Server::start(proxy).await;
    let ask = tokio::spawn(async move {
        let request =
            |len: usize| Request::post(front.url("/")).body(full(vec![b'x'; len])).unwrap();
        let fits = h1_client().request(request(10)).await.unwrap();
        let fits = (fits.status().as_u16(), text(fits).await.len());
        (fits, h1_client().request(request(11)).await.unwrap().status().as_u16())
    });
    assert_eq!(ask.await.unwrap(), ((200, 10), 413));
}
