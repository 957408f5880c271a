//! The reading of a content, within its bounds of memory and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::super::body::FRAMES_AT_ONCE;
use super::super::body::budget::{Budget, Charge};
use super::super::key::Unread;
use super::body::{ReadFrame, ReadPart, RequestBody};
use super::config::Config;

/// The reading of a body.
struct Reader<B: Body> {
    body: Pin<Box<B>>,
    bytes: Vec<u8>,
    /// The frame or the error after which nothing more is read.
    next: Option<ReadFrame<B>>,
    has_ended: bool,
    charge: Option<Charge>,
    budget: Arc<Budget>,
    max_content: usize,
    max_buffered: u64,
    /// The bytes that may still come. An empty frame counts as a byte: otherwise an endless run of
    /// them has no end.
    left: usize,
}

/// Reads a body to its end. Returns the content, or the reason why it is not known, and the same body
/// for the inner service.
pub(super) async fn read<B>(body: B, config: &Config) -> (RequestBody<B>, Result<Bytes, Unread>)
where
    B: Body,
    B::Data: From<Bytes>,
{
    let mut reader = Reader::new(body, config);
    // A content that has come with its head needs no timer.
    let first = poll_fn(|cx| Poll::Ready(reader.poll(cx))).await;
    let outcome = match first {
        Poll::Ready(outcome) => outcome,
        // Outside of a runtime there is no timer.
        Poll::Pending if Handle::try_current().is_err() => poll_fn(|cx| reader.poll(cx)).await,
        Poll::Pending => {
            let reading = timeout(config.read_timeout, poll_fn(|cx| reader.poll(cx)));
            reading.await.unwrap_or(Err(Unread::Late))
        }
    };
    let Reader { body, bytes, next, has_ended, charge, .. } = reader;
    let bytes = Bytes::from(bytes);
    let rest = (!has_ended).then_some(body);
    let content = outcome.map(|()| bytes.clone());
    (RequestBody::read(ReadPart { bytes, next, rest, _charge: charge }), content)
}

impl<B: Body> Reader<B> {
    fn new(body: B, config: &Config) -> Self {
        let max_content = usize::try_from(config.max_content).unwrap_or(usize::MAX);
        Self {
            body: Box::pin(body),
            bytes: Vec::new(),
            next: None,
            has_ended: false,
            charge: None,
            budget: Arc::clone(&config.budget),
            max_content,
            max_buffered: config.max_buffered,
            left: max_content,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unread>> {
        for _ in 0..FRAMES_AT_ONCE {
            if self.body.is_end_stream() {
                self.has_ended = true;
                return Poll::Ready(Ok(()));
            }
            match ready!(self.body.as_mut().poll_frame(cx)) {
                None => {
                    self.has_ended = true;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => {
                    self.next = Some(Err(error));
                    return Poll::Ready(Err(Unread::Malformed));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.add(data)?,
                    // A service may heed trailers, which are no part of the key.
                    Err(trailers) => {
                        self.next = Some(Ok(trailers));
                        return Poll::Ready(Err(Unread::Malformed));
                    }
                },
            }
        }
        // A body that is always ready would keep other tasks from running, and the timer too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Copies a frame. A frame of one byte may keep a whole buffer of the connection alive.
    fn add(&mut self, mut data: B::Data) -> Result<(), Unread> {
        let len = data.remaining();
        let fits = match self.left.checked_sub(len.max(1)) {
            None => Err(Unread::TooLarge),
            Some(_) if !self.reserve(len) => Err(Unread::Budget),
            Some(left) => Ok(left),
        };
        match fits {
            Ok(left) => {
                self.left = left;
                while data.has_remaining() {
                    let chunk = data.chunk();
                    let taken = chunk.len();
                    self.bytes.extend_from_slice(chunk);
                    data.advance(taken);
                }
                Ok(())
            }
            Err(reason) => {
                self.next = Some(Ok(Frame::data(data)));
                Err(reason)
            }
        }
    }

    /// Makes space for `more` bytes, of the memory that the layer may use. Returns `false` if there is
    /// none.
    fn reserve(&mut self, more: usize) -> bool {
        let needed = self.bytes.len() + more;
        if needed <= self.bytes.capacity() {
            return true;
        }
        // Doubled, so that bytes are not copied for each frame, up to the maximum.
        let capacity = needed.max((self.bytes.capacity() * 2).min(self.max_content));
        let size = capacity as u64;
        let charged = match &self.charge {
            Some(charge) => charge.resize(size),
            None => {
                self.charge = self.budget.charge(self.max_buffered, size);
                self.charge.is_some()
            }
        };
        if charged {
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        charged
    }
}
