use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, request};
use pin_project_lite::pin_project;
use tower::Service;

use super::conditions::{HostPattern, is_for_host};
use super::nonce::{Misses, Nonce};
use super::overrides::Overrides;
use super::policy::{self, Policy};
use crate::future::{self, MapResponse};

/// The service of [`SecurityHeadersLayer`](crate::SecurityHeadersLayer).
#[derive(Clone, Debug)]
pub struct SecurityHeaders<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// The state that a layer shares with its services.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) is_https: Option<Arc<IsHttps>>,
    /// The hosts whose requests are taken to come by HTTP.
    pub(super) http_hosts: Vec<HostPattern>,
    pub(super) misses: Arc<Misses>,
}

pub(super) type IsHttps = dyn Fn(&request::Parts) -> bool + Send + Sync;

pin_project! {
    /// The response future of [`SecurityHeaders`].
    pub struct ResponseFuture<F, B> {
        #[pin]
        inner: future::ResponseFuture<F, AddHeaders, B>,
    }
}

/// The callback that adds the headers to the response of the inner service.
#[derive(Debug)]
struct AddHeaders {
    shared: Arc<Shared>,
    is_https: bool,
    /// The nonce of the request, and `true` if this layer added it. Only the layer that added a
    /// nonce closes it: a layer further out may still ask for its own nonce.
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
    type Future = ResponseFuture<S::Future, ResBody>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let mut is_https = true;
        if let Some(predicate) = &shared.is_https {
            // `Parts` cannot be borrowed from a request. The predicate takes them, because they
            // have the extensions and the whole head, and no body type.
            let (head, body) = request.into_parts();
            is_https = predicate(&head);
            request = Request::from_parts(head, body);
        }
        is_https &= !is_for_host(&shared.http_hosts, request.uri(), request.headers());
        let nonce = || Nonce::of(request.extensions_mut(), &shared.misses);
        let nonce = shared.policy.has_nonce().then(nonce);
        let callback = AddHeaders { shared, is_https, nonce };
        ResponseFuture { inner: future::ResponseFuture::later(self.inner.call(request), callback) }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<B, E> MapResponse<B, E> for AddHeaders {
    type Body = B;

    #[inline]
    fn map_response(
        self,
        mut result: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<B>, E> {
        if let Ok(response) = &mut result {
            self.apply(response);
        }
        result
    }
}

impl AddHeaders {
    fn apply<B>(&self, response: &mut Response<B>) {
        // The policy is fixed from here on. A later call of `get` must fail, so that the page has
        // no nonce that the policy does not allow.
        if let Some((nonce, true)) = &self.nonce {
            nonce.close();
        }
        let nonce = self.nonce.as_ref().map(|(nonce, _)| nonce);
        // Removed, so that a layer further out does not apply the same changes.
        let overrides = response.extensions_mut().remove::<Overrides>();
        let context = policy::Context {
            is_https: self.is_https,
            status: response.status(),
            nonce: nonce.and_then(Nonce::drawn),
            changes: overrides.as_ref().map(Overrides::changes),
        };
        self.shared.policy.apply(response.headers_mut(), context);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("policy", &self.policy).finish_non_exhaustive()
    }
}
