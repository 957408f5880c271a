use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body::Body;
use tower::Service;

use super::layer::{Requests, Shared};
use super::policy::{Level, Priority};
use super::refusal::Refusal;
use crate::body::ResponseBody;
use crate::drain::{DEFAULT_MAX, DrainLimit, Permit, expects_continue};
use crate::error_response::{ErrorFormat, count_rejected};
use crate::future::{MapResponse, ResponseFuture};

/// The service of [`PressureLayer`](super::PressureLayer).
#[derive(Clone, Debug)]
pub struct Pressure<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Hands the answer to a request that was let in over as it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Admitted;

impl<S> Pressure<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
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
    type Future = ResponseFuture<S::Future, Admitted, ResponseBody<ResBody>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let level = self.shared.monitor.sheds();
        if level == Level::Normal {
            return ResponseFuture::later(self.inner.call(request), Admitted);
        }
        let (head, body) = request.into_parts();
        if !self.shared.sheds(level, &head) {
            return ResponseFuture::later(
                self.inner.call(Request::from_parts(head, body)),
                Admitted,
            );
        }
        let mut format =
            ErrorFormat::of(&head.method, head.version, &head.headers, body.is_end_stream());
        let permit = self.shared.permit(&head, &body);
        if permit.as_ref().is_some_and(Permit::keeps_connection) {
            format.keep_alive();
        }
        let retry_after = self.shared.monitor.settings.rules.retry_after();
        let response = self.shared.refuse(Refusal::new(level, retry_after, format));
        if let Some(permit) = permit {
            permit.drain(body);
        }
        ResponseFuture::now(response.map(ResponseBody::own))
    }
}

impl Shared {
    /// Whether a request is shed at this level.
    #[cold]
    fn sheds(&self, level: Level, request: &request::Parts) -> bool {
        let Requests { exempt, skip, priority, .. } = &self.requests;
        if exempt.iter().any(|path| path.matches(request.uri.path()))
            || skip.as_ref().is_some_and(|skip| skip(request))
        {
            return false;
        }
        let own = priority.as_ref().map_or_else(Priority::default, |priority| priority(request));
        level.sheds(own.of_speculative(&request.headers))
    }

    /// Returns the permit to discard the body of a request that is shed, where there is one that
    /// the client sends.
    fn permit<B: Body>(&self, head: &request::Parts, body: &B) -> Option<Permit> {
        if body.is_end_stream() || expects_continue(head.version, &head.headers) {
            return None;
        }
        self.drains.try_acquire(DrainLimit::new(DEFAULT_MAX, body.size_hint().exact()))
    }

    /// Counts the refusal and makes its response.
    fn refuse(&self, mut refusal: Refusal) -> Response<Bytes> {
        let Requests { format, respond, .. } = &self.requests;
        refusal.format.or(*format);
        count_rejected(&self.monitor.settings.metrics, "pressure", refusal.reason(), 1);
        let response = match respond {
            Some(respond) => respond(&refusal),
            None => refusal.to_response(),
        };
        refusal.format.finish(response)
    }
}

impl<B, E> MapResponse<B, E> for Admitted {
    type Body = ResponseBody<B>;

    #[inline]
    fn map_response(
        self,
        answer: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        answer.map(|response| response.map(ResponseBody::inner))
    }
}
