use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, request, response};
use http_body::Body;
use pin_project_lite::pin_project;

use super::body::ResponseBody;
use super::codec::CodecError;
use super::dictionary_source::DictionaryExchange;
use super::head;
use super::metrics::ResponseMetrics;
use super::peekable::PeekableBody;
use super::policy::{Action, Plan, RequestInfo, ResponseInfo};
use super::pool::{Key, Pooled};
use super::settings::Settings;
use super::stream::{Resources, Stream};
use super::whole::Whole;
use crate::future::{self, MapResponse};
use crate::random;
use crate::single_use::{SingleUse, VariesBy};

pin_project! {
    /// The response future of [`Compress`](super::Compress).
    ///
    /// `F` is the future of the inner service, and `B` the body of its responses.
    pub struct ResponseFuture<F, B>
    where
        B: Body,
    {
        #[pin]
        inner: future::ResponseFuture<F, CompressResponse, ResponseBody<B>>,
    }
}

/// Compresses the response of the inner service, if the request and the response allow it.
pub(super) struct CompressResponse {
    pub(super) request: RequestInfo,
    /// The head of the request for the callback of `only_if`, if there is one.
    pub(super) request_head: Option<Box<request::Parts>>,
    /// The dictionaries of the request, if the layer has any.
    pub(super) exchange: Option<Box<dyn DictionaryExchange>>,
    pub(super) settings: Arc<Settings>,
}

/// The parts of a response, beside its body, on its way through the layer.
struct Target<'a> {
    settings: &'a Settings,
    head: &'a mut response::Parts,
    exchange: Option<Box<dyn DictionaryExchange>>,
}

/// A response on its way through the layer.
struct Compression<'a, B: Body> {
    settings: &'a Settings,
    plan: Plan,
    padding: u8,
    head: &'a mut response::Parts,
    body: Pin<Box<PeekableBody<B>>>,
    exchange: Option<Box<dyn DictionaryExchange>>,
    metrics: ResponseMetrics,
}

impl<F, B: Body> ResponseFuture<F, B> {
    pub(super) fn new(inner: F, hook: CompressResponse) -> Self {
        Self { inner: future::ResponseFuture::later(inner, hook) }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    B::Data: From<Bytes>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx)
    }
}

impl<F, B: Body> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<B, E> MapResponse<B, E> for CompressResponse
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Body = ResponseBody<B>;

    fn map_response(
        mut self,
        response: Result<Response<B>, E>,
        cx: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        let (mut head, body) = response?.into_parts();
        let mut exchange = self.exchange.take();
        let settings = &*self.settings;
        if exchange.as_mut().is_some_and(|exchange| !exchange.read_response(&head)) {
            exchange = None;
        }
        let info = ResponseInfo {
            status: head.status,
            hint: head.extensions.get().copied().unwrap_or_default(),
            size: self.request.response_size(&head.headers, body.size_hint()),
            is_selected: self.is_selected(&head),
            dictionary_weight: exchange.as_ref().map(|exchange| exchange.weight()),
        };
        let decision = settings.rules.decide(&self.request, &info, &head.headers);
        let action = decision.apply(&mut head.headers);
        let is_unknown = exchange.as_ref().is_some_and(|exchange| exchange.is_unknown());
        if is_unknown && !matches!(action, Action::Pass | Action::NotModified) {
            // A cache would otherwise store a variant for each hash that a client thinks of.
            SingleUse::mark(&mut head.extensions);
        }
        let body = match action {
            Action::Pass | Action::PassVarying => ResponseBody::passed(body),
            Action::OptOut => {
                // From `private` alone the cache would remember that nothing under this URL can be
                // stored, but the responses to other clients can.
                SingleUse::mark(&mut head.extensions);
                ResponseBody::passed(body)
            }
            Action::NotModified => {
                // The cache takes the marks of an entry from the 304 that freshens it.
                mark_opt_out(settings, &mut head);
                ResponseBody::passed(body)
            }
            Action::Head(_) => ResponseBody::bodiless(body),
            Action::Compress(plan) => {
                let target = Target { settings, head: &mut head, exchange };
                compress(target, plan, body, cx)
            }
        };
        Ok(Response::from_parts(head, body))
    }
}

impl CompressResponse {
    /// Returns the result of the callback of `only_if`: `true` if there is none.
    fn is_selected(&self, response: &response::Parts) -> bool {
        match (&self.settings.only_if, &self.request_head) {
            (Some(only_if), Some(request)) => only_if(request, response),
            _ => true,
        }
    }
}

fn compress<B>(target: Target<'_>, plan: Plan, body: B, cx: &mut Context<'_>) -> ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    let Target { settings, head, exchange } = target;
    let mut body = Box::pin(PeekableBody::new(body));
    // Small bodies are left alone before anything is counted or a codec is taken.
    if plan.read_ahead.is_some_and(|limit| body.as_mut().read_below(limit, cx)) {
        settings.rules.etag_mode.apply(&mut head.headers, None);
        return ResponseBody::peeked(body);
    }
    let padding = random_padding(plan.max_padding);
    let metrics = ResponseMetrics::new(plan.coding(), Arc::clone(&settings.counters));
    let is_whole = plan.whole_size.filter(|size| body.as_mut().read_whole(*size, cx));
    let compression = Compression { settings, plan, padding, head, body, exchange, metrics };
    match is_whole {
        Some(size) => compression.whole(size),
        None => compression.stream(),
    }
}

impl<B> Compression<'_, B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    /// Compresses a body of `size` bytes that has been read.
    fn whole(mut self, size: usize) -> ResponseBody<B> {
        if let Some(bytes) = self.whole_with_dictionary(size) {
            self.count(size, &bytes);
            self.edit_head(Some(bytes.len()));
            return ResponseBody::compressed(self.body, bytes);
        }
        let Plan { encoding, level, must, .. } = self.plan;
        // libdeflate knows no streams, so that only this place asks for the codec of whole bodies.
        let key = Key { kind: (self.settings.whole_codec)(encoding), level };
        let whole = Whole { chunks: self.body.chunks(), size, must };
        let codec = Pooled::take(key, self.padding, Some(size));
        match codec.and_then(|codec| whole.compress(codec)) {
            Ok(Some(bytes)) => {
                self.count(size, &bytes);
                self.edit_head(Some(bytes.len()));
                ResponseBody::compressed(self.body, bytes)
            }
            Ok(None) => self.pass(),
            Err(CodecError) => {
                self.metrics.record_failure();
                self.fall_back()
            }
        }
    }

    /// Keeps a body of `size` bytes as a dictionary, if the response allows it. Returns the body
    /// compressed with an earlier one, if the client has that, and it pays.
    fn whole_with_dictionary(&mut self, size: usize) -> Option<Bytes> {
        let exchange = self.exchange.as_mut()?;
        exchange.keep(&mut self.head.headers, &mut self.body.chunks(), size);
        if !self.plan.with_dictionary {
            return None;
        }
        let levels = &self.settings.rules.levels;
        let compressed = exchange.compress(&mut self.body.chunks(), levels).unwrap_or_else(|_| {
            self.metrics.record_failure();
            SingleUse::mark(&mut self.head.extensions);
            None
        });
        let compressed = compressed.filter(|bytes| self.plan.must || bytes.len() < size);
        if compressed.is_none() {
            // The bytes count for the encoding that is sent in the end.
            self.plan.with_dictionary = false;
            let counters = Arc::clone(&self.settings.counters);
            self.metrics = ResponseMetrics::new(self.plan.coding(), counters);
        }
        compressed
    }

    fn count(&mut self, input: usize, output: &Bytes) {
        self.metrics.input = input as u64;
        self.metrics.output = output.len() as u64;
    }

    /// Compresses the body while the client reads it.
    fn stream(mut self) -> ResponseBody<B> {
        let Self { settings, plan, padding, .. } = self;
        let permits =
            if plan.is_event_stream { &settings.event_streams } else { &settings.streams };
        // A resumable event stream holds a codec only within a poll.
        let is_resumable = plan.encoding.is_resumable() && !plan.with_dictionary;
        let needs_permit = !(plan.is_event_stream && is_resumable);
        let permit = match needs_permit {
            true => Arc::clone(permits).try_acquire_owned().ok(),
            false => None,
        };
        if permit.is_none() && needs_permit {
            return self.fall_back();
        }
        let exchange = self.exchange.as_ref().filter(|_| plan.with_dictionary);
        let codec = match exchange.map(|exchange| exchange.codec(&settings.rules.levels)) {
            None => None,
            Some(Ok(codec)) => Some(Pooled::single(codec)),
            Some(Err(CodecError)) => {
                self.metrics.record_failure();
                return self.fall_back();
            }
        };
        self.edit_head(None);
        let resources = Resources {
            permit,
            permits: (!plan.is_event_stream).then(|| Arc::clone(permits)),
            codec,
            padding,
            flush_delay: if plan.is_event_stream { Duration::ZERO } else { settings.flush_delay },
            etag_mode: settings.rules.etag_mode,
            metrics: self.metrics,
        };
        ResponseBody::stream(self.body, Stream::new(&plan, resources))
    }

    /// Describes a compressed body in the head, with its length if that is known.
    fn edit_head(&mut self, length: Option<usize>) {
        let coding = self.plan.coding();
        head::set_encoding_headers(&mut self.head.headers, coding, length);
        self.settings.rules.etag_mode.apply(&mut self.head.headers, Some(coding));
        mark_opt_out(self.settings, self.head);
    }

    /// Sends the response uncompressed, since compression does not pay.
    fn pass(self) -> ResponseBody<B> {
        self.settings.rules.etag_mode.apply(&mut self.head.headers, None);
        ResponseBody::peeked(self.body)
    }

    /// Sends the response uncompressed for lack of a codec. The next response may be compressed
    /// again, so that no cache may store this one.
    fn fall_back(self) -> ResponseBody<B> {
        self.metrics.record_fallback();
        SingleUse::mark(&mut self.head.extensions);
        self.pass()
    }
}

/// Tells a cache outside of this layer that the response depends on the header that opts out, which
/// `vary` does not name.
fn mark_opt_out(settings: &Settings, head: &mut response::Parts) {
    if let Some(name) = &settings.rules.opt_out_header {
        head.extensions.insert(VariesBy(name.clone()));
    }
}

/// Returns a number from 1 to `max`, or 0 if `max` is 0.
fn random_padding(max: u8) -> u8 {
    let number = random::bits().checked_rem(u64::from(max));
    number.map_or(0, |number| u8::try_from(number + 1).unwrap_or(max))
}
