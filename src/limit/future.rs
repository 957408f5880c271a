use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, StatusCode};
use pin_project_lite::pin_project;

use super::body_status::BodyStatus;
use super::rejection::LimitRejection;
use super::state::LimitState;
use crate::body::ResponseBody;
use crate::future::{self, MapResponse};

pin_project! {
    /// The response future of [`Limit`](super::Limit).
    ///
    /// `F` is the future of the inner service, and `B` its response body.
    pub struct ResponseFuture<F, B> {
        #[pin]
        inner: future::ResponseFuture<F, RejectFailedBody, ResponseBody<B>>,
    }
}

/// Replaces the response of the inner service by a rejection if the request body has failed.
#[derive(Debug)]
struct RejectFailedBody(Option<PendingRejection>);

/// The rejection of an admitted request whose body may still fail.
#[derive(Debug)]
pub(super) struct PendingRejection {
    pub(super) status: Arc<BodyStatus>,
    pub(super) rejection: LimitRejection,
    pub(super) state: Arc<LimitState>,
}

impl<F, B> ResponseFuture<F, B> {
    /// Creates a future that is ready with a response of the layer.
    pub(super) fn ready(response: Response<Bytes>) -> Self {
        Self { inner: future::ResponseFuture::now(response.map(ResponseBody::own)) }
    }

    /// Creates a future that waits for the inner service.
    pub(super) fn wait(inner: F, pending: Option<PendingRejection>) -> Self {
        Self { inner: future::ResponseFuture::later(inner, RejectFailedBody(pending)) }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

impl<B, E> MapResponse<B, E> for RejectFailedBody {
    type Body = ResponseBody<B>;

    #[inline]
    fn map_response(
        self,
        result: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        match self.0 {
            Some(pending) => pending.resolve(result),
            None => result.map(|response| response.map(ResponseBody::inner)),
        }
    }
}

impl PendingRejection {
    /// Returns the rejection if the body has failed, and the result of the inner service otherwise.
    fn resolve<B, E>(self, result: Result<Response<B>, E>) -> Result<Response<ResponseBody<B>>, E> {
        let Self { status, mut rejection, state } = self;
        let inner_status = result.as_ref().ok().map(Response::status);
        let Some(failed) = status.get() else {
            // The inner service has a limit of its own, and its client must see the response too.
            if inner_status == Some(StatusCode::PAYLOAD_TOO_LARGE) {
                status.drain_dropped();
            }
            return result.map(|response| response.map(ResponseBody::inner));
        };
        rejection.set_failure(failed.failure);
        if failed.keeps_connection {
            rejection.keep_alive();
        }
        // An inner service that responds to the failure with the right status keeps its response.
        match result {
            Ok(response) if inner_status == Some(rejection.status()) => {
                state.record(&rejection);
                Ok(rejection.close(response).map(ResponseBody::inner))
            }
            _ => Ok(state.reject(rejection).map(ResponseBody::own)),
        }
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
