use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::future::ResponseFuture;
use super::shared::Shared;

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
    type Future = ResponseFuture<S::Future, S, Request<ReqBody>, S::Error>;

    #[inline]
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let length = request.body().size_hint();
        let mut in_flight;
        let request = if self.shared.settings.reads_requests {
            let (mut head, body) = request.into_parts();
            in_flight = self.shared.start_head(&head, &length);
            if let Some(in_flight) = &mut in_flight {
                in_flight.offer_guard(&mut head.extensions);
            }
            Request::from_parts(head, body)
        } else {
            let mut started = self.shared.start(&request, &length);
            started.offer_guard(request.extensions_mut());
            in_flight = Some(started);
            request
        };
        ResponseFuture::new(&mut self.inner, request, in_flight)
    }
}
