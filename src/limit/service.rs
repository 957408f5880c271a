use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower::Service;

use super::body::{Checks, RequestBody};
use super::failure::OnFailure;
use super::layer::Shared;
use super::policy::{self, Admission, Decision, Head, MinRate};
use super::refusal::Refusal;
use crate::axum_extensions;
use crate::body::ResponseBody;
use crate::drain::Permit;
use crate::future::{MapResponse, ResponseFuture};

/// The service of [`LimitLayer`](super::LimitLayer).
#[derive(Clone, Debug)]
pub struct Limit<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Replaces the inner service's response by a refusal where the request body has failed before.
#[derive(Debug)]
pub struct Settle(Option<PendingRefusal>);

#[derive(Debug)]
struct PendingRefusal {
    on_failure: Arc<OnFailure>,
    refusal: Refusal,
    shared: Arc<Shared>,
}

impl<S> Limit<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Limit<S>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body + Send + 'static,
    ResBody: Body,
    ResBody::Data: From<Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Settle, ResponseBody<ResBody>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        self.shared.register();
        let (request, limits) = self.shared.limits(request);
        let decision = limits.decide(&Head {
            method: request.method(),
            version: request.version(),
            uri: request.uri(),
            headers: request.headers(),
            body: request.body().size_hint(),
            no_body: request.body().is_end_stream(),
        });
        match decision {
            Decision::Pass(admission) => {
                let (request, settle) = admit(&self.shared, request, admission, limits.min_rate);
                ResponseFuture::later(self.inner.call(request), settle)
            }
            Decision::Refuse { mut refusal, unread } => {
                let permit = unread.and_then(|unread| self.shared.drains.permit(unread));
                if permit.as_ref().is_some_and(Permit::keeps_connection) {
                    refusal.format.keep_alive();
                }
                let response = self.shared.refuse(refusal);
                if let Some(permit) = permit {
                    permit.drain(request.into_body());
                }
                ResponseFuture::now(response.map(ResponseBody::own))
            }
        }
    }
}

impl<B, E> MapResponse<B, E> for Settle {
    type Body = ResponseBody<B>;

    #[inline]
    fn map_response(
        self,
        answer: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        if let Some(PendingRefusal { on_failure, mut refusal, shared }) = self.0 {
            if let Some((failure, keeps_connection)) = on_failure.get() {
                refusal.failed(failure);
                if keeps_connection {
                    refusal.format.keep_alive();
                }
                let status = refusal.status();
                if !answer.as_ref().is_ok_and(|response| response.status() == status) {
                    return Ok(shared.refuse(refusal).map(ResponseBody::own));
                }
                shared.count(&refusal);
                return answer.map(|response| refusal.close(response).map(ResponseBody::inner));
            }
            let status = answer.as_ref().map(Response::status);
            if status.is_ok_and(|status| status == StatusCode::PAYLOAD_TOO_LARGE) {
                on_failure.discard_dropped();
            }
        }
        answer.map(|response| response.map(ResponseBody::inner))
    }
}

fn admit<B>(
    shared: &Arc<Shared>,
    mut request: Request<B>,
    admission: Admission,
    min_rate: Option<MinRate>,
) -> (Request<RequestBody<B>>, Settle)
where
    B: Body + Send + 'static,
{
    let Admission { max, codings, on_failure, unread } = admission;
    let pending = on_failure.map(|refusal| {
        let drains = Arc::clone(&shared.drains);
        let on_failure = Arc::new(OnFailure::new(drains, unread));
        PendingRefusal { on_failure, refusal, shared: Arc::clone(shared) }
    });
    if !codings.is_empty() {
        policy::strip_codings(request.headers_mut());
    }
    let checks = Checks::new(codings, min_rate, max);
    let on_failure = pending.as_ref().map(|pending| Arc::clone(&pending.on_failure));
    if !request.body().is_end_stream() {
        axum_extensions::set_body_limit(&mut request, max.get());
    }
    let request = request.map(|body| RequestBody::new(body, max, checks, on_failure));
    (request, Settle(pending))
}
