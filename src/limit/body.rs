use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Full, Limited};
use pin_project_lite::pin_project;

use super::policy::Size;

pin_project! {
    /// A request body that fails once it has given more bytes than it may.
    ///
    /// The frame that crosses the limit is not given; in its place comes an error, which is
    /// exactly [`LengthLimitError`](http_body_util::LengthLimitError), and after it the end.
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        inner: B,
        // `None` once the limit is crossed.
        left: Option<u64>,
        crossed: Option<Crossed>,
    }
}

/// Tells the response future that the limit was crossed.
#[derive(Clone, Debug, Default)]
pub(super) struct Crossed(Arc<AtomicBool>);

impl<B> RequestBody<B> {
    pub(super) fn new(inner: B, most: Size, crossed: Option<Crossed>) -> Self {
        Self { inner, left: Some(most.get()), crossed }
    }
}

impl Crossed {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let Some(left) = *this.left else { return Poll::Ready(None) };
        // Looked at by reference and returned whole: a frame is a hundred bytes to move.
        let polled = this.inner.poll_frame(cx);
        let data = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Buf::remaining) as u64,
            _ => 0,
        };
        if data > left {
            *this.left = None;
            if let Some(Crossed(flag)) = this.crossed {
                flag.store(true, Ordering::Release);
            }
            return Poll::Ready(Some(Err(length_limit_error(cx))));
        }
        *this.left = Some(left - data);
        polled.map_err(Into::into)
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.left.is_none() || self.inner.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        match self.left {
            None => SizeHint::with_exact(0),
            // Counted down from no limit at all.
            Some(left) if left > u64::MAX / 2 => hint,
            Some(left) if hint.lower() >= left => SizeHint::with_exact(left),
            Some(left) => {
                hint.set_upper(hint.upper().map_or(left, |upper| upper.min(left)));
                hint
            }
        }
    }
}

/// `LengthLimitError` has no constructor outside of its crate, and axum answers 413 to that type
/// alone: so its own body makes one.
#[cold]
fn length_limit_error(cx: &mut Context<'_>) -> Box<dyn Error + Send + Sync> {
    let mut over = Limited::new(Full::new(Bytes::from_static(b"1")), 0);
    match Pin::new(&mut over).poll_frame(cx) {
        Poll::Ready(Some(Err(error))) => error,
        _ => "length limit exceeded".into(),
    }
}
