use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, request, response};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::codec::CodecError;
use super::head;
use super::layer::Shared;
use super::peekable::PeekableBody;
use super::policy::{Decision, Plan, RequestInfo, ResponseInfo};
use super::pool::{self, Pooled};
use super::stream::{Resources, Stream};
use super::tally::Tally;
use crate::future::{MapResponse, ResponseFuture};
use crate::single_use::{SingleUse, VariesBy};

/// The service of [`CompressLayer`](super::CompressLayer).
#[derive(Clone, Debug)]
pub struct Compress<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// Compresses the inner service's response, if the request and the response allow it.
#[derive(Debug)]
pub struct Squeeze {
    asked: RequestInfo,
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
    ResBody: Body,
    ResBody::Data: From<Bytes>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Squeeze, ResponseBody<ResBody>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let method = request.method().clone();
        let asked = self.shared.rules.read(&method, request.headers_mut());
        let (request, head) = match &self.shared.only_if {
            None => (request, None),
            Some(_) => {
                let (head, body) = request.into_parts();
                (Request::from_parts(head.clone(), body), Some(Box::new(head)))
            }
        };
        let shared = Arc::clone(&self.shared);
        ResponseFuture::later(self.inner.call(request), Squeeze { asked, request: head, shared })
    }
}

impl<B, E> MapResponse<B, E> for Squeeze
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Body = ResponseBody<B>;

    fn map_response(
        self,
        answer: Result<Response<B>, E>,
        cx: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        let (mut head, body) = answer?.into_parts();
        let response = ResponseInfo {
            status: head.status,
            hint: head.extensions.get().copied().unwrap_or_default(),
            size: self.asked.size(&head.headers, body.size_hint()),
            wanted: self.wants(&head),
        };
        let decision = self.shared.rules.decide(&self.asked, &response, &mut head.headers);
        let body = match decision {
            Decision::Leave => ResponseBody::inner(PeekableBody::plain(body)),
            Decision::OptedOut => {
                SingleUse::mark(&mut head.extensions);
                ResponseBody::inner(PeekableBody::plain(body))
            }
            Decision::Confirmed => {
                self.mark_opt_out(&mut head);
                ResponseBody::inner(PeekableBody::plain(body))
            }
            Decision::Bodiless => ResponseBody::bodiless(PeekableBody::plain(body)),
            Decision::Compress(plan) => {
                self.compress(&plan, &mut head, PeekableBody::boxed(body), cx)
            }
        };
        Ok(Response::from_parts(head, body))
    }
}

impl Squeeze {
    fn wants(&self, response: &response::Parts) -> bool {
        match (&self.shared.only_if, &self.request) {
            (Some(compresses), Some(request)) => compresses(request, response),
            _ => true,
        }
    }

    /// Tells a cache outside that those who opt out get another response, which `vary` does not
    /// say.
    fn mark_opt_out(&self, head: &mut response::Parts) {
        if let Some(name) = &self.shared.rules.opt_out {
            head.extensions.insert(VariesBy(name.clone()));
        }
    }

    fn compress<B>(
        &self,
        plan: &Plan,
        head: &mut response::Parts,
        mut body: PeekableBody<B>,
        cx: &mut Context<'_>,
    ) -> ResponseBody<B>
    where
        B: Body,
        B::Data: From<Bytes>,
    {
        if plan.look_ahead.is_some_and(|limit| body.read_below(limit, cx)) {
            return self.leave(head, body);
        }
        let padding = pool::random_up_to(plan.padding);
        let tally = Tally::new(plan.coding, Arc::clone(&self.shared.counters));
        if let Some(size) = plan.at_once.filter(|size| body.read_whole(*size, cx)) {
            return self.compress_whole(plan, size, padding, head, body, tally);
        }
        let resumable = plan.coding.is_resumable();
        let (permit, permits) = match (plan.events, resumable) {
            (true, true) => (None, None),
            (true, false) => (self.shared.events.try_acquire(), None),
            (false, _) => (self.shared.streams.try_acquire(), Some(self.shared.streams.clone())),
        };
        if permit.is_none() && !(plan.events && resumable) {
            return self.fall_back(head, body, &tally);
        }
        let etags = self.shared.rules.etags;
        head::set_encoding_headers(&mut head.headers, etags, plan.coding, None);
        self.mark_opt_out(head);
        let flush_after = if plan.events { Duration::ZERO } else { self.shared.flush_after };
        let resources = Resources { permit, permits, flush_after, etags, tally };
        ResponseBody::stream(body, Stream::new(plan, padding, resources))
    }

    /// Compresses a body of `size` bytes that has been read.
    fn compress_whole<B>(
        &self,
        plan: &Plan,
        size: usize,
        padding: u8,
        head: &mut response::Parts,
        body: PeekableBody<B>,
        mut tally: Tally,
    ) -> ResponseBody<B>
    where
        B: Body,
    {
        let key = (plan.coding, plan.level, self.shared.library);
        let codec = Pooled::take(key, padding, Some(size));
        match codec.and_then(|codec| pool::compress_whole(codec, body.chunks(), size, plan.must)) {
            Ok(Some(bytes)) => {
                tally.input = size as u64;
                tally.output = bytes.len() as u64;
                let (etags, length) = (self.shared.rules.etags, Some(bytes.len()));
                head::set_encoding_headers(&mut head.headers, etags, plan.coding, length);
                self.mark_opt_out(head);
                ResponseBody::compressed(body, bytes)
            }
            Ok(None) => self.leave(head, body),
            Err(CodecError) => {
                tally.failed();
                self.fall_back(head, body, &tally)
            }
        }
    }

    /// Sends a response as it is, since it gains nothing from a coding.
    fn leave<B: Body>(&self, head: &mut response::Parts, body: PeekableBody<B>) -> ResponseBody<B> {
        self.shared.rules.etags.apply(&mut head.headers, None);
        ResponseBody::inner(body)
    }

    /// Sends a response as it is for want of a codec: the next one may be compressed again, so that
    /// no cache is to keep this one.
    fn fall_back<B: Body>(
        &self,
        head: &mut response::Parts,
        body: PeekableBody<B>,
        tally: &Tally,
    ) -> ResponseBody<B> {
        tally.fell_back();
        SingleUse::mark(&mut head.extensions);
        self.leave(head, body)
    }
}
