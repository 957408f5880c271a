use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower::Service;

use super::body::{Crossed, RequestBody};
use super::layer::Shared;
use super::policy::{Head, Verdict};
use super::refusal::Refusal;
use crate::reply::Reply;
use crate::respond::{HandOver, Respond};

/// The service of [`LimitLayer`](super::LimitLayer).
#[derive(Clone, Debug)]
pub struct Limit<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Replaces the inner service's answer by a refusal where a body of unknown length crossed its
/// limit before.
#[derive(Debug)]
pub struct Settle(Option<Watched>);

#[derive(Debug)]
struct Watched {
    crossed: Crossed,
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
    ReqBody: Body,
    ResBody: Body,
    ResBody::Data: From<Bytes>,
{
    type Response = Response<Reply<ResBody>>;
    type Error = S::Error;
    type Future = Respond<S::Future, Settle, Reply<ResBody>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let verdict = self.shared.limits.judge(&Head {
            method: request.method(),
            version: request.version(),
            uri: request.uri(),
            headers: request.headers(),
            body: request.body().size_hint(),
            no_body: request.body().is_end_stream(),
        });
        match verdict {
            Verdict::Refuse(refusal) => Respond::now(self.shared.refuse(refusal).map(Reply::own)),
            Verdict::Pass { most, if_crossed } => {
                let watched = if_crossed.map(|refusal| Watched {
                    crossed: Crossed::default(),
                    refusal,
                    shared: Arc::clone(&self.shared),
                });
                let crossed = watched.as_ref().map(|watched| watched.crossed.clone());
                let request = request.map(|body| RequestBody::new(body, most, crossed));
                Respond::later(self.inner.call(request), Settle(watched))
            }
        }
    }
}

impl<B, E> HandOver<B, E> for Settle {
    type Body = Reply<B>;

    #[inline]
    fn hand_over(
        self,
        answer: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<Reply<B>>, E> {
        if let Some(Watched { crossed, refusal, shared }) = self.0 {
            if crossed.is_set() {
                if !is_413(&answer) {
                    return Ok(shared.refuse(refusal).map(Reply::own));
                }
                shared.count(&refusal);
                return answer.map(|response| refusal.close(response).map(Reply::inner));
            }
        }
        answer.map(|response| response.map(Reply::inner))
    }
}

fn is_413<B, E>(answer: &Result<Response<B>, E>) -> bool {
    answer.as_ref().is_ok_and(|response| response.status() == StatusCode::PAYLOAD_TOO_LARGE)
}
