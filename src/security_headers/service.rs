use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::conditions::is_one_of;
use super::layer::Shared;
use super::nonce::Nonce;
use super::overrides::Overrides;
use super::policy::Facts;
use crate::future::{MapResponse, ResponseFuture};

/// The service of [`SecurityHeadersLayer`](super::SecurityHeadersLayer).
#[derive(Clone, Debug)]
pub struct SecurityHeaders<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Adds the fields to the inner service's answer.
#[derive(Debug)]
pub struct Stamp {
    shared: Arc<Shared>,
    is_https: bool,
    /// The request's, and whether this layer gave it: only then does it close it.
    nonce: Option<(Nonce, bool)>,
}

impl<S> SecurityHeaders<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SecurityHeaders<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Stamp, ResBody>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let mut is_https = true;
        if let Some(ask) = &shared.is_https {
            let (head, body) = request.into_parts();
            is_https = ask(&head);
            request = Request::from_parts(head, body);
        }
        is_https &= !is_one_of(&shared.http_hosts, request.uri(), request.headers());
        let of = || Nonce::of(request.extensions_mut(), &shared.misses);
        let nonce = shared.policy.has_nonce().then(of);
        ResponseFuture::later(self.inner.call(request), Stamp { shared, is_https, nonce })
    }
}

impl<B, E> MapResponse<B, E> for Stamp {
    type Body = B;

    #[inline]
    fn map_response(
        self,
        mut answer: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<B>, E> {
        if let Ok(response) = &mut answer {
            self.stamp(response);
        }
        answer
    }
}

impl Stamp {
    fn stamp<B>(&self, response: &mut Response<B>) {
        if let Some((nonce, true)) = &self.nonce {
            nonce.close();
        }
        let nonce = self.nonce.as_ref().map(|(nonce, _)| nonce);
        let overrides = response.extensions_mut().remove::<Overrides>();
        let facts = Facts {
            is_https: self.is_https,
            status: response.status(),
            nonce: nonce.and_then(Nonce::drawn),
            changes: overrides.as_ref().map(Overrides::changes),
        };
        self.shared.policy.stamp(response.headers_mut(), facts);
    }
}
