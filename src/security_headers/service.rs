use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::policy::Template;
use crate::respond::{HandOver, Respond};

/// The service of [`SecurityHeadersLayer`](super::SecurityHeadersLayer).
#[derive(Clone, Debug)]
pub struct SecurityHeaders<S> {
    inner: S,
    template: Arc<Template>,
}

/// Adds the fields to the inner service's answer.
#[derive(Debug)]
pub struct Stamp(Arc<Template>);

impl<S> SecurityHeaders<S> {
    pub(super) fn new(inner: S, template: Arc<Template>) -> Self {
        Self { inner, template }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SecurityHeaders<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Respond<S::Future, Stamp, ResBody>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        Respond::later(self.inner.call(request), Stamp(Arc::clone(&self.template)))
    }
}

impl<B, E> HandOver<B, E> for Stamp {
    type Body = B;

    #[inline]
    fn hand_over(
        self,
        answer: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<B>, E> {
        answer.map(|mut response| {
            self.0.stamp(response.headers_mut());
            response
        })
    }
}
