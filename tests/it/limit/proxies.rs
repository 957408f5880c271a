//! Bodies that are not `Unpin`, and a proxy that names the error type of its body.

use http::Request;

use super::{max_body, scripted, send};
use crate::pinned::pinned;
use crate::support::{Step, data, text};

#[tokio::test]
async fn bodies_that_are_not_unpin_are_limited() {
    for (steps, status, result) in [
        (vec![], 200, Some("0")),
        (vec![data(4), Step::Pending, data(6)], 200, Some("10")),
        (vec![data(11)], 413, None),
    ] {
        let response = send(&max_body(10), Request::new(pinned(scripted(steps)))).await;
        assert_eq!(response.status(), status);
        if let Some(result) = result {
            assert_eq!(text(response).await, result);
        }
    }
    let ended = scripted([]).tells_end().exact();
    assert_eq!(text(send(&max_body(10), Request::new(pinned(ended))).await).await, "0");
}

#[tokio::test]
async fn bodies_that_are_not_unpin_are_drained() {
    let body = scripted([data(11), Step::Pending, data(50)]);
    let log = body.log();
    let response = send(&max_body(10), Request::new(pinned(body))).await;
    assert_eq!(response.status(), 413);
    log.until_dropped().await;
    assert_eq!(log.given(), 61);
}

/// A proxy passes a body of one type to its client, and runs in a task.
#[cfg(feature = "cache")]
#[tokio::test]
async fn a_proxy_under_limit_and_cache_is_send() {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::Response;
    use http_body_util::BodyExt;
    use http_body_util::combinators::UnsyncBoxBody;
    use hyper::body::Incoming;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tower::{ServiceBuilder, service_fn};
    use tower_kit::CacheLayer;
    use tower_kit::cache::MemoryStore;
    use tower_kit::limit::{RequestBody, RequestBodyError};

    use crate::support::{Server, full, h1_client};

    type UpstreamBody = UnsyncBoxBody<Bytes, RequestBodyError>;

    let echo = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    let upstream = Server::start(echo).await;
    let client: Client<_, UpstreamBody> = Client::builder(TokioExecutor::new()).build_http();
    let to = upstream.url("/");
    let proxy = ServiceBuilder::new()
        .layer(max_body(10))
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
