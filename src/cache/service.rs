use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, request};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::fetched::{change, pass};
use super::flow::{Job, Next};
use super::key::{Key, NoKey};
use super::policy::{Ask, Before, Bypass};
use super::shared::Shared;
use crate::future::{Identity, ResponseFuture};

/// The service of [`CacheLayer`](super::CacheLayer). It is always ready: a hit needs nothing of the
/// inner service, and a miss waits for it then.
#[derive(Clone, Debug)]
pub struct Cache<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// The future of whatever does not come from memory.
type Slow<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

impl<S> Cache<S> {
    pub(crate) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Cache<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<Slow<ResBody, S::Error>, Identity, ResponseBody<ResBody>>;

    #[inline]
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        let slow = |future: Slow<ResBody, S::Error>| ResponseFuture::later(future, Identity);
        let asked = match self.shared.before(&head, !body.is_end_stream()) {
            Before::LookUp(ask) => {
                self.shared.key_of(&head).map(|key| (ask.spelled(key.may_fill()), key))
            }
            Before::Pass(bypass) => Err(bypass),
            Before::Invalidate => {
                let (shared, inner) = (Arc::clone(&self.shared), self.inner.clone());
                return slow(Box::pin(change(shared, inner, head, body)));
            }
        };
        let (ask, key) = match asked {
            Ok(asked) => asked,
            Err(bypass) => {
                let (shared, inner) = (Arc::clone(&self.shared), self.inner.clone());
                let request = Request::from_parts(head, body);
                return slow(Box::pin(pass(shared, inner, request, bypass)));
            }
        };
        let looked = match self.shared.get_now(&key, &head.headers) {
            Poll::Ready(looked) => looked,
            Poll::Pending => {
                let job = self.job(head, body, key, ask);
                return slow(Box::pin(Box::new(job).serve(None)));
            }
        };
        let now = self.shared.clock.now();
        match self.shared.judge(&ask, &looked, now) {
            Next::Answer { entry, outcome, refresh } => {
                let response = self.shared.answer(&entry, &ask, &head.headers, outcome, now);
                if refresh {
                    Box::new(self.job(head, body, key, ask)).refresh(entry);
                }
                ResponseFuture::now(response)
            }
            Next::Fetch { report, old, alone } => {
                let job = self.job(head, body, key, ask);
                slow(match job.direct(&looked, alone, now) {
                    Some(mark) => {
                        let (asking, fetching) = job.fetch(old, mark, None, report, now);
                        Box::pin(ResponseFuture::later(asking, fetching))
                    }
                    None => Box::pin(Box::new(job).serve(Some(looked))),
                })
            }
        }
    }
}

impl<S: Clone> Cache<S> {
    fn job<B>(&self, head: request::Parts, body: B, key: Key, ask: Ask) -> Job<S, B> {
        let (shared, inner) = (Arc::clone(&self.shared), self.inner.clone());
        Job { shared, inner, head, body, key, ask }
    }
}

impl Shared {
    fn key_of(&self, head: &request::Parts) -> Result<Key, Bypass> {
        self.key.of(head).map_err(|fault| {
            if fault == NoKey::Panicked {
                self.state.tally.panicked();
            }
            Bypass::Key
        })
    }
}
