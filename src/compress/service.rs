use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, request, response};
use http_body::Body;
use tower::Service;

use super::ahead::Ahead;
use super::body::ResponseBody;
use super::codec::Failed;
use super::layer::Shared;
use super::policy::{self, Answer, Asked, Decision};
use super::pool::{self, Pooled};
use super::tally::Tally;
use crate::respond::{HandOver, Respond};

/// The service of [`CompressLayer`](super::CompressLayer).
#[derive(Clone, Debug)]
pub struct Compress<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Compresses the inner service's answer, if the request and the answer allow it.
#[derive(Debug)]
pub struct Squeeze {
    asked: Asked,
    /// For the user's closure, if there is one.
    request: Option<Box<request::Parts>>,
    shared: Arc<Shared>,
}

impl<S> Compress<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Compress<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body + Unpin,
    ResBody::Data: From<Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = Respond<S::Future, Squeeze, ResponseBody<ResBody>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let asked = self.shared.rules.ask(request.method(), request.headers());
        let (request, head) = match &self.shared.when {
            None => (request, None),
            Some(_) => {
                let (head, body) = request.into_parts();
                (Request::from_parts(head.clone(), body), Some(Box::new(head)))
            }
        };
        let shared = Arc::clone(&self.shared);
        Respond::later(self.inner.call(request), Squeeze { asked, request: head, shared })
    }
}

impl<B, E> HandOver<B, E> for Squeeze
where
    B: Body + Unpin,
    B::Data: From<Bytes>,
{
    type Body = ResponseBody<B>;

    fn hand_over(
        self,
        answer: Result<Response<B>, E>,
        cx: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        let (mut head, body) = answer?.into_parts();
        let answer = Answer {
            status: head.status,
            hint: head.extensions.get().copied().unwrap_or_default(),
            size: self.asked.size(&head.headers, body.size_hint()),
            wanted: self.wants(&head),
        };
        let decision = self.shared.rules.decide(&self.asked, &answer, &mut head.headers);
        let body = self.act(decision, &mut head, Ahead::new(body), cx);
        Ok(Response::from_parts(head, body))
    }
}

impl Squeeze {
    fn wants(&self, response: &response::Parts) -> bool {
        match (&self.shared.when, &self.request) {
            (Some(when), Some(request)) => when(request, response),
            _ => true,
        }
    }

    fn act<B>(
        self,
        decision: Decision,
        head: &mut response::Parts,
        mut body: Ahead<B>,
        cx: &mut Context<'_>,
    ) -> ResponseBody<B>
    where
        B: Body + Unpin,
    {
        let (coding, level, padding, size, at_once, must) = match decision {
            Decision::Leave => return ResponseBody::inner(body),
            Decision::Bodiless => return ResponseBody::bodiless(body),
            Decision::Compress { coding, level, padding, size, at_once, must } => {
                (coding, level, pool::random_up_to(padding), size, at_once, must)
            }
        };
        let mut tally = Tally::new(coding, Arc::clone(&self.shared.counters));
        if let Some(size) = at_once.filter(|size| body.read_whole(*size, cx)) {
            let key = (coding, level, self.shared.library);
            let codec = Pooled::take(key, padding, Some(size));
            match codec.and_then(|codec| pool::compress_whole(codec, body.chunks(), size, must)) {
                Ok(Some(bytes)) => {
                    tally.input = size as u64;
                    tally.output = bytes.len() as u64;
                    policy::mark(&mut head.headers, coding, Some(bytes.len()));
                    return ResponseBody::compressed(body, bytes);
                }
                Ok(None) => {}
                Err(Failed) => tally.failed(),
            }
            return ResponseBody::inner(body);
        }
        let Some(place) = self.shared.places.take() else { return ResponseBody::inner(body) };
        policy::mark(&mut head.headers, coding, None);
        ResponseBody::stream(body, (coding, level, padding), place, size, tally)
    }
}
