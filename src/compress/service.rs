use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::future::{CompressResponse, ResponseFuture};
use super::settings::Settings;

/// A service that compresses the responses of the inner service.
///
/// [`CompressLayer`](super::CompressLayer) creates it.
#[derive(Clone, Debug)]
pub struct Compress<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Compress<S> {
    pub(super) fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Compress<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
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
        let rules = &self.settings.rules;
        // The tags are read before they are rewritten: a 304 has to name the tag that the client
        // sent.
        let info = rules.read(request.method(), request.headers());
        let exchange = self.settings.dictionaries.as_ref().and_then(|source| {
            let (uri, extensions) = (request.uri(), request.extensions());
            source.read(request.method(), uri, request.headers(), extensions)
        });
        rules.rewrite_preconditions(&info, request.headers_mut());
        let (request, head) = match &self.settings.only_if {
            None => (request, None),
            Some(_) => {
                let (head, body) = request.into_parts();
                (Request::from_parts(head.clone(), body), Some(Box::new(head)))
            }
        };
        let settings = Arc::clone(&self.settings);
        let hook = CompressResponse { request: info, request_head: head, exchange, settings };
        ResponseFuture::new(self.inner.call(request), hook)
    }
}
