use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::layer::Shared;
use super::policy::Level;
use super::refusal::Refusal;
use crate::drain::Permit;
use crate::form::Form;
use crate::reply::Reply;
use crate::respond::{HandOver, Respond};

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
    type Response = Response<Reply<ResBody>>;
    type Error = S::Error;
    type Future = Respond<S::Future, Admitted, Reply<ResBody>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let level = self.shared.monitor.sheds();
        if level == Level::Normal {
            return Respond::later(self.inner.call(request), Admitted);
        }
        let (head, body) = request.into_parts();
        if !self.shared.sheds(level, &head) {
            return Respond::later(self.inner.call(Request::from_parts(head, body)), Admitted);
        }
        let mut form = Form::of(&head.method, head.version, &head.headers, body.is_end_stream());
        let permit = self.shared.permit(&head, &body);
        if permit.as_ref().is_some_and(Permit::keeps_connection) {
            form.keep_alive();
        }
        let retry_after = self.shared.monitor.settings.rules.retry_after();
        let response = self.shared.refuse(Refusal::new(level, retry_after, form));
        if let Some(permit) = permit {
            permit.drain(body);
        }
        Respond::now(response.map(Reply::own))
    }
}

impl<B, E> HandOver<B, E> for Admitted {
    type Body = Reply<B>;

    #[inline]
    fn hand_over(
        self,
        answer: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<Reply<B>>, E> {
        answer.map(|response| response.map(Reply::inner))
    }
}
