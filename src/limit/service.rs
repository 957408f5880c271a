use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::body::{Checks, RequestBody};
use super::body_status::BodyStatus;
use super::future::{PendingRejection, ResponseFuture};
use super::policy::{self, Admission, Decision, RequestHead};
use super::state::LimitState;
use crate::axum_extensions;
use crate::body::ResponseBody;
use crate::drain::Permit;

/// A service that enforces the limits of a [`LimitLayer`](super::LimitLayer).
#[derive(Clone, Debug)]
pub struct Limit<S> {
    inner: S,
    state: Arc<LimitState>,
}

impl<S> Limit<S> {
    pub(super) fn new(inner: S, state: Arc<LimitState>) -> Self {
        Self { inner, state }
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
    type Future = ResponseFuture<S::Future, ResBody>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let state = &self.state;
        state.register_metrics();
        // A request is three hundred bytes to move, so that only overrides take it apart.
        let limits = if state.overrides.is_empty() {
            &state.limits
        } else {
            let (head, body) = request.into_parts();
            let limits = state.limits_for(&head);
            request = Request::from_parts(head, body);
            limits
        };
        let head = RequestHead {
            method: request.method(),
            version: request.version(),
            uri: request.uri(),
            headers: request.headers(),
            size_hint: request.body().size_hint(),
            is_end_stream: request.body().is_end_stream(),
        };
        match policy::decide(limits, &head) {
            Decision::Admit(Admission { max_body, codings, rejection, drain }) => {
                let pending = rejection.map(|rejection| {
                    let status = Arc::new(BodyStatus::new(Arc::clone(&state.drains), drain));
                    PendingRejection { status, rejection, state: Arc::clone(state) }
                });
                if !codings.is_empty() {
                    policy::remove_encoded_headers(request.headers_mut());
                }
                // Requests without a body are spared the extension, which allocates.
                if !request.body().is_end_stream() {
                    axum_extensions::set_body_limit(&mut request, max_body.get());
                }
                let checks = Checks::new(codings, limits.min_data_rate, max_body);
                let status = pending.as_ref().map(|pending| Arc::clone(&pending.status));
                let request = request.map(|body| RequestBody::new(body, max_body, checks, status));
                ResponseFuture::wait(self.inner.call(request), pending)
            }
            Decision::Reject { mut rejection, drain } => {
                // The permit comes first: without one the response has to close the connection.
                let permit = drain.and_then(|limit| state.drains.try_acquire(limit));
                if permit.as_ref().is_some_and(Permit::keeps_connection) {
                    rejection.keep_alive();
                }
                let response = state.reject(rejection);
                if let Some(permit) = permit {
                    permit.drain(request.into_body());
                }
                ResponseFuture::ready(response)
            }
        }
    }
}
