//! A cache over a mock service whose calls a test answers one by one.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_kit::cache::{Cache, CacheHandle, CacheLayer, ResponseBody};
use tower_test::mock::{Handle, Mock, SendResponse, pair};

use crate::support::{BoxError, poll_once, soon};

pub(super) type Text = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Answer = Result<Response<ResponseBody<Text>>, io::Error>;
pub(super) type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;
pub(super) type Call = SendResponse<Response<Text>>;

pub(super) struct Mocked {
    calls: Handle<Request<Text>, Response<Text>>,
    cache: Cache<Mock<Request<Text>, Response<Text>>>,
    pub(super) handle: CacheHandle,
}

impl Mocked {
    pub(super) fn new(layer: &CacheLayer) -> Self {
        let (inner, calls) = pair();
        Self { calls, handle: layer.handle(), cache: layer.layer(inner) }
    }

    pub(super) fn ask(&self, request: Request<Text>) -> Asking {
        let cache = self.cache.clone().map_err(|error: BoxError| io::Error::other(error));
        Box::pin(cache.oneshot(request))
    }

    /// A request that has come as far as it can, and is not answered.
    pub(super) fn waits(&self, path: &str) -> Asking {
        let mut asking = self.ask(get(path));
        assert!(poll_once(asking.as_mut()).is_pending());
        asking
    }

    /// The next call, which has to come.
    pub(super) async fn call(&mut self) -> (Request<Text>, Call) {
        soon(self.calls.next_request()).await.expect("the service is there")
    }

    /// The next call, if there is one. The others do not count it.
    pub(super) fn called(&mut self) -> Option<(Request<Text>, Call)> {
        match poll_once(pin!(self.calls.next_request())) {
            Poll::Ready(call) => call,
            Poll::Pending => None,
        }
    }

    /// Asks, and answers the call with this response.
    pub(super) async fn opens(&mut self, path: &str, response: Response<Text>) -> Opened {
        let asking = self.waits(path);
        self.call().await.1.send_response(response);
        Opened(soon(asking).await.unwrap())
    }

    /// Returns `true` if a request is answered from the store.
    pub(super) fn is_hit(&self, path: &str) -> bool {
        let mut asking = self.ask(get(path));
        match poll_once(asking.as_mut()) {
            Poll::Ready(response) => Opened(response.unwrap()).said().contains("; hit"),
            Poll::Pending => false,
        }
    }
}

/// A response whose body was not read.
pub(super) struct Opened(pub(super) Response<ResponseBody<Text>>);

impl Opened {
    pub(super) fn said(&self) -> &str {
        self.0.headers()["cache-status"].to_str().unwrap()
    }

    pub(super) async fn text(self) -> String {
        crate::support::text(self.0).await
    }
}

pub(super) fn boxed<B>(body: B) -> Text
where
    B: Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    body.boxed_unsync()
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Text {
    boxed(Full::new(bytes.into()).map_err(|never| match never {}))
}

pub(super) fn channel() -> (Sender<Bytes, io::Error>, Text) {
    let (sender, body) = Channel::new(64);
    (sender, boxed(body))
}

pub(super) fn get(path: &str) -> Request<Text> {
    Request::get(format!("http://x{path}")).body(full("")).unwrap()
}

/// A response that is kept for a minute.
pub(super) fn fresh(body: Text) -> Response<Text> {
    Response::builder().header("cache-control", "max-age=60").body(body).unwrap()
}
