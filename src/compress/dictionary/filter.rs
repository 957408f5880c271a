use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

use super::policy::AVAILABLE_DICTIONARY;
use super::shared::{Offer, RequestHead, Shared};

/// A layer that removes the names of unknown dictionaries from requests.
///
/// [`Dictionaries::filter`](super::Dictionaries::filter) creates it. See
/// [caches](super#caches) for its place.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct FilterLayer {
    shared: Arc<Shared>,
}

/// A service that removes the names of unknown dictionaries from requests.
///
/// [`FilterLayer`] creates it.
#[derive(Clone, Debug)]
pub struct Filter<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl FilterLayer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl<S> Layer<S> for FilterLayer {
    type Service = Filter<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Filter { inner, shared: Arc::clone(&self.shared) }
    }
}

impl<S, B> Service<Request<B>> for Filter<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let head = RequestHead {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        };
        // Nearly all requests offer none, and cost no lookup.
        let lookup = if head.is_offered() { self.shared.look_up(head) } else { None };
        if lookup.is_some_and(|lookup| matches!(lookup.offer, Offer::Unknown)) {
            // The layer inside sees no offer, and counts none.
            self.shared.lookups.record(false);
            request.headers_mut().remove(&AVAILABLE_DICTIONARY);
            request.headers_mut().remove(DICTIONARY_ID);
        }
        self.inner.call(request)
    }
}

/// The request header with the `id` of a dictionary (RFC 9842 §2.3).
const DICTIONARY_ID: &str = "dictionary-id";
