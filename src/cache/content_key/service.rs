use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, request};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::super::key::{Content, ContentMethod, Unread};
use super::body::RequestBody;
use super::config::Config;
use super::policy::{content_method, declared_length, digest};
use super::read::read;

/// The service of [`ContentKeyLayer`](super::ContentKeyLayer).
#[derive(Clone, Debug)]
pub struct ContentKey<S> {
    inner: S,
    config: Arc<Config>,
}

pin_project! {
    /// The response future of [`ContentKey`].
    pub struct ResponseFuture<F: Future> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F: Future> {
        /// No content is read.
        Inner { #[pin] future: F },
        Reading { future: Pin<Box<dyn Future<Output = F::Output> + Send>> },
    }
}

impl<S> ContentKey<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ContentKey<S>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    ReqBody: Body + Send + 'static,
    ReqBody::Data: From<Bytes> + Send,
    ReqBody::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let reads_post = self.config.post.is_some();
        if let Some(method) = content_method(request.method(), reads_post) {
            let lower = request.body().size_hint().lower();
            let declared = declared_length(request.headers(), lower, self.config.max_content);
            match declared {
                // Not even polled: a client that expects 100 (Continue) is told to send its content
                // only when the inner service reads it.
                Err(reason) => {
                    request.extensions_mut().insert(Content::Unknown(reason));
                }
                Ok(declared) => {
                    let clone = self.inner.clone();
                    let ready = std::mem::replace(&mut self.inner, clone);
                    let config = Arc::clone(&self.config);
                    let reading = read_and_call(ready, request, config, (method, declared));
                    return ResponseFuture { state: State::Reading { future: Box::pin(reading) } };
                }
            }
        }
        let future = self.inner.call(request.map(RequestBody::unread));
        ResponseFuture { state: State::Inner { future } }
    }
}

/// Reads the content of a request, marks the request, and calls `inner`, which is ready.
async fn read_and_call<S, B>(
    mut inner: S,
    request: Request<B>,
    config: Arc<Config>,
    (method, declared): (ContentMethod, Option<u64>),
) -> Result<S::Response, S::Error>
where
    S: Service<Request<RequestBody<B>>>,
    B: Body,
    B::Data: From<Bytes>,
{
    let (mut head, body) = request.into_parts();
    let (body, content) = read(body, &config).await;
    let content = content.and_then(|content| match declared {
        Some(declared) if declared != content.len() as u64 => Err(Unread::Malformed),
        _ => Ok(content),
    });
    let mark = match content {
        Err(reason) => Some(Content::Unknown(reason)),
        Ok(content) => mark(&config, &head, method, &content),
    };
    // A mark of a layer outside would tell of the same content.
    if let Some(mark) = mark {
        head.extensions.insert(mark);
    }
    inner.call(Request::from_parts(head, body)).await
}

/// Returns the mark of a request whose content is known, or `None` for a `POST` that is not chosen.
fn mark(
    config: &Config,
    head: &request::Parts,
    method: ContentMethod,
    content: &[u8],
) -> Option<Content> {
    let is_chosen = match (method, &config.post) {
        (ContentMethod::Query, _) => Ok(true),
        (ContentMethod::Post, None) => Ok(false),
        (ContentMethod::Post, Some(post)) => catch_unwind(AssertUnwindSafe(|| post(head, content))),
    };
    match is_chosen {
        Ok(true) => Some(Content::Known(method, digest(&head.headers, content))),
        Ok(false) => None,
        Err(_) => Some(Content::Panicked),
    }
}

impl<F: Future> Future for ResponseFuture<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future } => future.poll(cx),
            StateProj::Reading { future } => future.as_mut().poll(cx),
        }
    }
}

impl<F: Future> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
