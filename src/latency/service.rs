use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::future::ResponseFuture;
use super::in_flight::InFlight;
use super::shared::Shared;
use super::upgrade::UpgradeGuard;

/// The service that [`LatencyLayer`](super::LatencyLayer) makes.
///
/// The service is always ready. The clock starts with the call, and the response future waits for
/// the inner service, so that this wait is part of the duration.
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

    // The clock starts with the call. If the service waited here for the inner one, the time that a
    // request spends in the queue of a concurrency limit would not be measured.
    #[inline]
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let length = request.body().size_hint();
        let record = if self.shared.settings.reads_requests {
            let (parts, body) = request.into_parts();
            let record = self.shared.read_parts(&parts, &length);
            request = Request::from_parts(parts, body);
            record
        } else {
            Some(self.shared.read(&request, &length))
        };
        let in_flight = record.map(|record| InFlight::start(Arc::clone(&self.shared), record));
        let method = in_flight.as_ref().map(InFlight::method);
        let guard = method.and_then(|it| UpgradeGuard::insert(it, request.extensions_mut()));
        ResponseFuture::new(&mut self.inner, request, in_flight, guard)
    }
}
