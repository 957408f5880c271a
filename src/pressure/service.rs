use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::policy::Level;
use super::rejection::PressureRejection;
use super::state::SharedState;
use crate::body::ResponseBody;
use crate::drain::Permit;
use crate::error_response::ErrorFormat;
use crate::future::{self, MapResponse};

/// The service that [`PressureLayer`](super::PressureLayer) creates around an inner service.
#[derive(Clone, Debug)]
pub struct Pressure<S> {
    inner: S,
    shared: Arc<SharedState>,
}

pin_project! {
    /// The response future of [`Pressure`].
    ///
    /// `F` is the future of the inner service, and `B` the body of its responses.
    #[must_use = "futures do nothing unless you `.await` or poll them"]
    pub struct ResponseFuture<F, B> {
        #[pin]
        future: future::ResponseFuture<F, WrapBody, ResponseBody<B>>,
    }
}

/// Wraps the body of an admitted request's response, without changing it.
struct WrapBody;

impl<S> Pressure<S> {
    pub(super) fn new(inner: S, shared: Arc<SharedState>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Pressure<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ReqBody: Body + Send + 'static,
    ResBody: Body,
    ResBody::Data: From<Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        // Here and not in `poll_ready`, which sees no request. The inner service is ready by now, so
        // rejecting a request gives its reservation back.
        let level = self.shared.monitor.shedding_level();
        if level == Level::Normal {
            return ResponseFuture::admitted(self.inner.call(request));
        }
        let (head, body) = request.into_parts();
        if !self.shared.sheds(level, &head) {
            return ResponseFuture::admitted(self.inner.call(Request::from_parts(head, body)));
        }
        let mut format =
            ErrorFormat::of(&head.method, head.version, &head.headers, body.is_end_stream());
        // Known before the response: a body that will be drained leaves the connection usable.
        let permit = self.shared.drain_permit(&head, &body);
        if permit.as_ref().is_some_and(Permit::keeps_connection) {
            format.keep_alive();
        }
        let retry_after = self.shared.monitor.settings.rules.retry_after();
        let response = self.shared.reject(PressureRejection::new(level, retry_after, format));
        if let Some(permit) = permit {
            permit.drain(body);
        }
        ResponseFuture { future: future::ResponseFuture::now(response.map(ResponseBody::own)) }
    }
}

impl<F, B> ResponseFuture<F, B> {
    fn admitted(inner: F) -> Self {
        Self { future: future::ResponseFuture::later(inner, WrapBody) }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx)
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<B, E> MapResponse<B, E> for WrapBody {
    type Body = ResponseBody<B>;

    #[inline]
    fn map_response(
        self,
        result: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        result.map(|response| response.map(ResponseBody::inner))
    }
}
