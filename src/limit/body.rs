use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::body_status::{BodyFailure, BodyStatus, UnreadBody};
use super::data_rate::RateTimer;
use super::decompress::{Codings, Decoder};
use super::error::RequestBodyError;
use super::limits::MinDataRate;
use super::size::Size;

/// A request body that enforces the limits of a [`LimitLayer`](super::LimitLayer).
///
/// The inner service gets every request with this body. The body fails with a [`RequestBodyError`]
/// once it exceeds its limit, and the frame that exceeds the limit is not returned. A body that
/// cannot be decompressed or arrives too slowly fails in the same way. A failed body is at its end.
///
/// `RequestBody<B>` is [`Unpin`] even if `B` is not.
pub struct RequestBody<B> {
    /// `None` once the body has ended or failed. Boxed, because a body that is not `Unpin` must be
    /// movable to the task that drains it.
    inner: Option<Pin<Box<B>>>,
    max: u64,
    left: u64,
    checks: Option<Box<Checks>>,
    reporter: Option<Reporter<B>>,
}

/// The body's handle on the status that it shares with the response future.
struct Reporter<B> {
    status: Arc<BodyStatus>,
    /// [`UnreadBody::new`], as a pointer: `Drop` cannot require the bounds of that function.
    unread: fn(Pin<Box<B>>) -> Option<UnreadBody>,
}

/// The optional checks of a body. Boxed, so that bodies without them stay small.
#[derive(Debug)]
pub(super) struct Checks {
    decoding: Option<Decoding>,
    timer: Option<RateTimer>,
}

#[derive(Debug)]
struct Decoding {
    decoder: Decoder,
    /// The remaining number of encoded bytes that may arrive.
    left: u64,
}

impl<B> RequestBody<B>
where
    B: Body + Send + 'static,
{
    pub(super) fn new(
        inner: B,
        max: Size,
        checks: Option<Box<Checks>>,
        status: Option<Arc<BodyStatus>>,
    ) -> Self {
        let reporter = status.map(|status| Reporter { status, unread: UnreadBody::new });
        // A request without a body costs no allocation.
        let ended = checks.is_none() && inner.is_end_stream();
        let inner = (!ended).then(|| Box::pin(inner));
        Self { inner, max: max.get(), left: max.get(), checks, reporter }
    }
}

impl Checks {
    /// Creates the checks of a body, or returns `None` if only its size is limited.
    pub(super) fn new(codings: Codings, rate: Option<MinDataRate>, max: Size) -> Option<Box<Self>> {
        if codings.is_empty() && rate.is_none() {
            return None;
        }
        let decoding = (!codings.is_empty()).then(|| Decoding::new(codings, max.get()));
        Some(Box::new(Self { decoding, timer: rate.map(RateTimer::new) }))
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body + Send + 'static,
    B::Data: From<Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = RequestBodyError;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if this.checks.is_some() {
            return this.poll_checked(cx);
        }
        // The common case is short, so that it is compiled into its caller. Data is taken out of its
        // frame, because a frame has room for trailers, and is three times as much to move.
        match inner.as_mut().poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if data.remaining() as u64 <= this.left => {
                    this.left -= data.remaining() as u64;
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Ok(_) => Poll::Ready(Some(Err(this.fail(BodyFailure::TooLarge)))),
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(RequestBodyError::inner(error)))),
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.inner {
            None => true,
            // The decoder may hold data after the last frame.
            Some(_) if self.is_decoding() => false,
            Some(inner) => inner.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        let Some(inner) = &self.inner else { return SizeHint::with_exact(0) };
        let mut hint = if self.is_decoding() { SizeHint::new() } else { inner.size_hint() };
        match self.left {
            // Only `Size::UNLIMITED` leaves so much.
            left if left > u64::MAX / 2 => hint,
            left if hint.lower() >= left => SizeHint::with_exact(left),
            left => {
                hint.set_upper(hint.upper().map_or(left, |upper| upper.min(left)));
                hint
            }
        }
    }
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        // A body of which nothing was read is not kept. Over HTTP/2 it would hold part of the
        // connection's flow-control window, and with `expect: 100-continue` it is never sent.
        let inner = self.inner.take().filter(|_| self.left < self.max);
        if let (Some(inner), Some(reporter)) = (inner, &self.reporter) {
            reporter.status.keep_dropped((reporter.unread)(inner));
        }
    }
}

impl<B> RequestBody<B> {
    fn is_decoding(&self) -> bool {
        self.checks.as_ref().is_some_and(|checks| checks.decoding.is_some())
    }
}

impl<B> RequestBody<B>
where
    B: Body + Send + 'static,
    B::Data: From<Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Polls a body that is decompressed or has a minimum data rate.
    // Not inlined, so that `poll_frame` of a plain body stays small.
    #[inline(never)]
    fn poll_checked(&mut self, cx: &mut Context<'_>) -> Polled<B::Data, RequestBodyError> {
        loop {
            let (Some(inner), Some(checks)) = (&mut self.inner, &mut self.checks) else {
                return Poll::Ready(None);
            };
            match checks.decoding.as_mut().map_or(Ok(None), |it| it.decoder.next()) {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    self.left = self.left.saturating_sub(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
                }
                Err(error) => return Poll::Ready(Some(Err(self.fail(error.into())))),
            }
            let polled = inner.as_mut().poll_frame(cx);
            let data = data_len(&polled);
            if let Some(timer) = &mut checks.timer {
                match polled {
                    Poll::Ready(_) => timer.record(data),
                    Poll::Pending if timer.poll_exhausted(cx).is_pending() => {}
                    Poll::Pending => {
                        return Poll::Ready(Some(Err(self.fail(BodyFailure::TooSlow))));
                    }
                }
            }
            let left = checks.decoding.as_mut().map_or(&mut self.left, |it| &mut it.left);
            if data > *left {
                return Poll::Ready(Some(Err(self.fail(BodyFailure::TooLarge))));
            }
            *left -= data;
            let Some(decoding) = &mut checks.decoding else {
                return polled.map_err(RequestBodyError::inner);
            };
            match polled {
                // An empty frame is returned below: each iteration of the loop must make progress.
                Poll::Ready(Some(Ok(frame))) if data > 0 => decoding.feed(frame),
                Poll::Ready(None) if !decoding.decoder.is_complete() => {
                    return Poll::Ready(Some(Err(self.fail(BodyFailure::Malformed))));
                }
                Poll::Ready(Some(Ok(ref frame)))
                    if frame.is_trailers() && !decoding.decoder.is_complete() =>
                {
                    return Poll::Ready(Some(Err(self.fail(BodyFailure::Malformed))));
                }
                Poll::Ready(None | Some(Err(_))) => {
                    // An error of the inner body takes precedence over a truncated encoding.
                    self.inner = None;
                    return polled.map_err(RequestBodyError::inner);
                }
                other => return other.map_err(RequestBodyError::inner),
            }
        }
    }

    /// Drops the inner body, which is at its end.
    #[cold]
    fn end(&mut self) {
        self.inner = None;
    }

    /// Ends the body and returns the error for its reader.
    #[cold]
    fn fail(&mut self, failure: BodyFailure) -> RequestBodyError {
        self.checks = None;
        if let (Some(inner), Some(reporter)) = (self.inner.take(), &self.reporter) {
            reporter.status.fail(failure, (reporter.unread)(inner));
        }
        RequestBodyError::of_failure(failure)
    }
}

impl Decoding {
    fn new(codings: Codings, max: u64) -> Self {
        Self { decoder: Decoder::new(codings, max), left: max }
    }

    fn feed<D: Buf>(&mut self, frame: Frame<D>) {
        if let Ok(mut data) = frame.into_data() {
            self.decoder.feed(data.copy_to_bytes(data.remaining()));
        }
    }
}

impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("left", &self.left).finish_non_exhaustive()
    }
}

type Polled<D, E> = Poll<Option<Result<Frame<D>, E>>>;

#[inline]
fn data_len<D: Buf, E>(polled: &Polled<D, E>) -> u64 {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Buf::remaining) as u64,
        _ => 0,
    }
}
