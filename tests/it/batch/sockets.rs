//! Handlers of a real server that share batches, and clients that disconnect.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::{ServiceExt, service_fn};
use tower_kit::batch::BatchLayer;

use super::{next_batch, scripted, settle};
use crate::support::{Server, boxed, empty, h1_client, h2_client, soon, text};

/// Reports the end of a handler, even if its client has disconnected.
struct Ended(mpsc::UnboundedSender<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        _ = self.0.send(());
    }
}

#[tokio::test]
async fn item_of_a_disconnected_client_is_not_sent() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
    let (sender, mut ended) = mpsc::unbounded_channel();
    let (queued, mut is_queued) = mpsc::unbounded_channel();
    let handlers = batch.clone();
    let server = Server::start(service_fn(move |request: Request<Incoming>| {
        let (batch, ended, queued) = (handlers.clone(), Ended(sender.clone()), queued.clone());
        async move {
            let _ended = ended;
            let item = request.uri().path()[1..].parse().unwrap();
            let mut batch = batch;
            let future = tower::Service::call(batch.ready().await.unwrap(), item);
            queued.send(()).unwrap();
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(future.await.unwrap())))
        }
    }))
    .await;
    for client in [h1_client, h2_client] {
        let get = |item: u32, client: hyper_util::client::legacy::Client<_, _>| {
            let request = Request::get(server.url(&format!("/{item}"))).body(boxed(empty()));
            let mut task = JoinSet::new();
            task.spawn(client.request(request.unwrap()));
            task
        };
        let leaves = get(1, client());
        soon(is_queued.recv()).await.unwrap();
        drop(leaves);
        soon(ended.recv()).await.unwrap();
        let stays = [get(2, client()), get(3, client())];
        for _ in &stays {
            soon(is_queued.recv()).await.unwrap();
        }
        let mut items = next_batch(&mut arrived).await.succeed();
        items.sort_unstable();
        assert_eq!(items, [2, 3]);
        for (mut response, expected) in stays.into_iter().zip(["2", "3"]) {
            let response = soon(response.join_next()).await.unwrap().unwrap().unwrap();
            assert_eq!(text(response).await, expected);
        }
        for _ in 0..2 {
            soon(ended.recv()).await.unwrap();
        }
    }
    settle().await;
    assert!(arrived.try_recv().is_err());
    soon(batch.drain()).await;
}
