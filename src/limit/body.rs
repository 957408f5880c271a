use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::coding::Codings;
use super::decode::{DecodeError, Decoder};
use super::error::RequestBodyError;
use super::failure::{Failure, OnFailure, Rest};
use super::pace::Pace;
use super::policy::{MinRate, Size};

/// A request body that fails once it has given more bytes than it may.
///
/// The frame that crosses the limit is not given; in its place comes a [`RequestBodyError`], which
/// in a box is [`LengthLimitError`](http_body_util::LengthLimitError), and after it the end. So does a
/// body fail that cannot be decompressed, or arrives too slowly.
///
/// It is [`Unpin`] whether or not the inner body is.
pub struct RequestBody<B> {
    /// `None` once the body has ended or failed. Boxed, so that a body that is not `Unpin` can be
    /// moved to the task that discards the rest of it.
    inner: Option<Pin<Box<B>>>,
    max: u64,
    left: u64,
    checks: Option<Box<Checks>>,
    observer: Option<Observer<B>>,
}

/// Tells the response future what has become of the body.
struct Observer<B> {
    on_failure: Arc<OnFailure>,
    /// Made where it is known that the body may be moved to a task, which `Drop` does not know.
    rest: fn(Pin<Box<B>>) -> Option<Rest>,
}

/// What only some layers ask of a body. Boxed, so that the others do not carry it.
#[derive(Debug)]
pub(super) struct Checks {
    decoding: Option<Decoding>,
    pace: Option<Pace>,
}

/// A body whose codings are taken off.
#[derive(Debug)]
struct Decoding {
    decoder: Decoder,
    /// How many more encoded bytes may come.
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
        on_failure: Option<Arc<OnFailure>>,
    ) -> Self {
        let observer = on_failure.map(|on_failure| Observer { on_failure, rest: Rest::new });
        // A body that is at its end needs no box.
        let ended = checks.is_none() && inner.is_end_stream();
        let inner = (!ended).then(|| Box::pin(inner));
        Self { inner, max: max.get(), left: max.get(), checks, observer }
    }
}

impl Checks {
    /// Returns `None` where there is nothing to check but the limit.
    pub(super) fn new(codings: Codings, rate: Option<MinRate>, max: Size) -> Option<Box<Self>> {
        if codings.is_empty() && rate.is_none() {
            return None;
        }
        let decoding = (!codings.is_empty()).then(|| Decoding::new(codings, max.get()));
        Some(Box::new(Self { decoding, pace: rate.map(Pace::new) }))
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
        // Looked at by reference and returned whole: a frame is a hundred bytes to move.
        let polled = inner.as_mut().poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(0, Buf::remaining) as u64;
                if data > this.left {
                    return Poll::Ready(Some(Err(this.fail(Failure::TooLarge))));
                }
                this.left -= data;
            }
            Poll::Ready(None) => this.inner = None,
            _ => {}
        }
        polled.map_err(RequestBodyError::inner)
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.inner {
            None => true,
            // What the decoder still has comes after the last frame.
            Some(_) if self.is_decoding() => false,
            Some(inner) => inner.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        let Some(inner) = &self.inner else { return SizeHint::with_exact(0) };
        let mut hint = if self.is_decoding() { SizeHint::new() } else { inner.size_hint() };
        match self.left {
            // Counted down from no limit at all.
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
        // One of which nothing was read is not kept: over HTTP/2 it would hold the window of its
        // connection, and after `expect: 100-continue` it is not sent.
        let inner = self.inner.take().filter(|_| self.left < self.max);
        if let (Some(inner), Some(observer)) = (inner, &self.observer) {
            observer.on_failure.dropped((observer.rest)(inner));
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
            if let Some(pace) = &mut checks.pace {
                match polled {
                    Poll::Ready(_) => pace.arrived(data),
                    Poll::Pending if pace.poll_slow(cx).is_pending() => {}
                    Poll::Pending => {
                        return Poll::Ready(Some(Err(self.fail(Failure::TooSlow))));
                    }
                }
            }
            let left = checks.decoding.as_mut().map_or(&mut self.left, |it| &mut it.left);
            if data > *left {
                return Poll::Ready(Some(Err(self.fail(Failure::TooLarge))));
            }
            *left -= data;
            let Some(decoding) = &mut checks.decoding else {
                return polled.map_err(RequestBodyError::inner);
            };
            match polled {
                // An empty frame is given on, so that each turn of the loop has decoded something.
                Poll::Ready(Some(Ok(frame))) if data > 0 => decoding.feed(frame),
                Poll::Ready(None) if !decoding.decoder.is_complete() => {
                    return Poll::Ready(Some(Err(self.fail(Failure::Malformed))));
                }
                Poll::Ready(Some(Ok(ref frame)))
                    if frame.is_trailers() && !decoding.decoder.is_complete() =>
                {
                    return Poll::Ready(Some(Err(self.fail(Failure::Malformed))));
                }
                Poll::Ready(None | Some(Err(_))) => {
                    // After an error there is no end that the decoder could miss.
                    self.inner = None;
                    return polled.map_err(RequestBodyError::inner);
                }
                other => return other.map_err(RequestBodyError::inner),
            }
        }
    }

    /// Ends the body, and returns the error for its reader.
    #[cold]
    fn fail(&mut self, failure: Failure) -> RequestBodyError {
        self.checks = None;
        if let (Some(inner), Some(observer)) = (self.inner.take(), &self.observer) {
            observer.on_failure.failed(failure, (observer.rest)(inner));
        }
        RequestBodyError::own(failure)
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

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed => Self::Malformed,
            DecodeError::TooLarge => Self::TooLarge,
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
