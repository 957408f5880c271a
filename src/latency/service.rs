use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::layer::Shared;
use super::ready::CallWhenReady;
use super::watch::Watch;
use crate::respond::Respond;

/// The service of [`LatencyLayer`](super::LatencyLayer). It is always ready: the clock starts with
/// the call, and only then the inner service is waited for.
#[derive(Clone, Debug)]
pub struct Latency<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Latency<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Latency<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    S::Error: 'static,
    ReqBody: Body,
    ResBody: Body,
    ResBody::Error: 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = Respond<CallWhenReady<S, Request<ReqBody>>, Watch, ResponseBody<ResBody>>;

    #[inline]
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let length = request.body().size_hint();
        let (mut watch, mut request) = if self.shared.settings.reads_requests() {
            let (head, body) = request.into_parts();
            let watch = self.shared.watch_head(&head, &length);
            (watch, Request::from_parts(head, body))
        } else {
            (self.shared.watch(&request, &length), request)
        };
        watch.offer_guard(&mut request);
        // Before the inner service runs, so that a panic in there is seen.
        watch.running(true);
        let inner = CallWhenReady::new(&mut self.inner, request);
        watch.running(false);
        Respond::later(inner, watch)
    }
}
