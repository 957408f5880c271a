use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::buffer::Buffer;
use super::error::BodyError;

/// A response body that one task reads, and that any number of clients read as it comes.
///
/// The task reads ahead of the clients while the body is recorded for the store. Afterwards it reads
/// only what the fastest client asks for, and clients that are too slow lose the body, so that the
/// memory stays bounded and nobody waits for them.
pub(crate) struct SharedBody(Mutex<State>);

/// A response body whose type is erased: requests to different services may share it.
pub(crate) type BoxedBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

struct State {
    buffer: Buffer,
    readers: BTreeMap<u64, Cursor>,
    next: u64,
    /// The position of the fastest reader ever, in bytes.
    furthest: usize,
    /// The task, while it waits until a reader wants more.
    task: Option<Waker>,
    phase: Phase,
    end: End,
}

/// A reader as the body knows it.
#[derive(Default)]
struct Cursor {
    position: usize,
    waker: Option<Waker>,
    is_lagged: bool,
}

enum Phase {
    /// The body is recorded, and all of it is held. Clients may join.
    Recorded,
    /// The body is not recorded any more. The clients that joined read on.
    Passed,
    /// The body is not recorded any more, and its only reader reads the rest itself, without a task
    /// in between.
    Handed(BoxedBody),
}

/// The end of the body, behind the bytes in the buffer.
enum End {
    /// More bytes, or it is not known yet.
    Open,
    Complete(Option<HeaderMap>),
    Failed(BodyError),
    /// The panic of the inner body, for the first reader, which is the client that it was for.
    Panicked(Option<Box<dyn Any + Send>>),
}

/// A client that reads a shared body.
pub(crate) struct Reader {
    body: Arc<SharedBody>,
    id: u64,
    /// The end was returned: an error or trailers come once.
    is_done: bool,
}

impl SharedBody {
    /// Returns a body that is being recorded, and its first reader.
    pub(crate) fn new(buffer: Buffer) -> (Arc<Self>, Reader) {
        let body = Arc::new(Self(Mutex::new(State {
            buffer,
            readers: BTreeMap::from([(0, Cursor::default())]),
            next: 1,
            furthest: 0,
            task: None,
            phase: Phase::Recorded,
            end: End::Open,
        })));
        let reader = Reader { body: Arc::clone(&body), id: 0, is_done: false };
        (body, reader)
    }

    /// Adds a reader at the start of the body, unless the body is not recorded any more.
    pub(crate) fn join(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.lock();
        // A body whose first bytes are gone has been stored.
        let is_whole = state.buffer.held() == state.buffer.len();
        if !matches!((&state.phase, &state.end), (Phase::Recorded, End::Open)) || !is_whole {
            return None;
        }
        let id = state.next;
        state.next += 1;
        state.readers.insert(id, Cursor::default());
        drop(state);
        Some(Reader { body: Arc::clone(self), id, is_done: false })
    }

    /// Returns `true` if the task may read further than the clients have. If not, the task is woken
    /// when a client wants more.
    pub(crate) fn may_read(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        let is_recorded = matches!(state.phase, Phase::Recorded);
        let may = is_recorded && state.buffer.charge().may_read_ahead() || state.is_wanted();
        if !may {
            state.task = Some(cx.waker().clone());
        }
        may
    }

    /// Returns `true` if no client reads the body.
    pub(crate) fn is_unread(&self) -> bool {
        self.lock().readers.is_empty()
    }

    /// Edits the buffer, and wakes the clients.
    pub(crate) fn fill<T>(&self, push: impl FnOnce(&mut Buffer) -> T) -> T {
        let mut state = self.lock();
        let pushed = push(&mut state.buffer);
        state.note_unread();
        wake(state);
        pushed
    }

    /// Appends a frame of a body that is not recorded. Clients that hold more than `window` bytes in
    /// memory because they are slower than the fastest one lose the body.
    pub(crate) fn pass(&self, data: Bytes, window: usize) {
        let mut state = self.lock();
        let len = state.buffer.len();
        for cursor in state.readers.values_mut() {
            cursor.is_lagged |= len - cursor.position > window;
        }
        state.drop_read();
        state.buffer.pass(data);
        wake(state);
    }

    /// Calls `freeze` with the buffer and the position that all clients have read to.
    pub(crate) fn freeze<T>(&self, freeze: impl FnOnce(&mut Buffer, usize) -> T) -> T {
        let mut state = self.lock();
        let read = state.slowest();
        let frozen = freeze(&mut state.buffer, read);
        state.note_unread();
        frozen
    }

    /// Stops recording. Returns the body if the task has to read on, because several clients read it.
    /// Its only client gets the body itself.
    pub(crate) fn stop_recording(&self, body: BoxedBody) -> Option<BoxedBody> {
        let mut state = self.lock();
        state.phase = Phase::Passed;
        state.drop_read();
        state.note_unread();
        let body = match state.readers.len() {
            0 => None,
            1 => {
                state.phase = Phase::Handed(body);
                None
            }
            _ => return Some(body),
        };
        wake(state);
        body
    }

    /// Ends the body. `trailers` follow its bytes.
    pub(crate) fn complete(&self, trailers: Option<HeaderMap>) {
        self.end(End::Complete(trailers));
    }

    pub(crate) fn fail(&self, error: BodyError) {
        self.end(End::Failed(error));
    }

    pub(crate) fn panic(&self, panic: Box<dyn Any + Send>) {
        self.end(End::Panicked(Some(panic)));
    }

    fn end(&self, end: End) {
        let mut state = self.lock();
        state.end = end;
        wake(state);
    }

    /// A panic under this lock can only come from a waker or a destructor. It leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns `true` if a reader waits for bytes that were not read yet.
    fn is_wanted(&self) -> bool {
        let len = self.buffer.len();
        self.readers.values().any(|cursor| cursor.position == len && cursor.waker.is_some())
    }

    /// Returns the position that all readers have read to.
    fn slowest(&self) -> usize {
        let positions = self.readers.values().filter(|cursor| !cursor.is_lagged);
        positions.map(|cursor| cursor.position).min().unwrap_or(self.buffer.len())
    }

    /// Drops the bytes that all readers have read, once they are of no use for the store.
    fn drop_read(&mut self) {
        let read = self.slowest();
        self.buffer.drop_before(read);
    }

    /// Notes how much was read ahead of the fastest reader. A body that nobody reads can be dropped
    /// at any time.
    fn note_unread(&self) {
        let ahead = if self.readers.is_empty() { 0 } else { self.buffer.len() - self.furthest };
        self.buffer.charge().set_unread(ahead as u64);
    }
}

impl Reader {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        let mut state = self.body.lock();
        let State { buffer, readers, furthest, task, phase, end, .. } = &mut *state;
        let Some(cursor) = readers.get_mut(&self.id) else { return Poll::Ready(None) };
        if cursor.is_lagged {
            self.is_done = true;
            return Poll::Ready(Some(Err(BodyError::lagged())));
        }
        if let Some(piece) = buffer.read(cursor.position) {
            cursor.position += piece.len();
            *furthest = cursor.position.max(*furthest);
            // A task that waits for room to read ahead has some now.
            let task = task.take();
            // What one reader has read is of no use to anybody else.
            if readers.len() == 1 && !matches!(phase, Phase::Recorded) {
                state.drop_read();
            }
            state.note_unread();
            drop(state);
            task.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match end {
            End::Open => {}
            End::Complete(trailers) => {
                self.is_done = true;
                let trailers = trailers.clone();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            End::Failed(error) => {
                self.is_done = true;
                return Poll::Ready(Some(Err(error.clone())));
            }
            End::Panicked(panic) => {
                self.is_done = true;
                let panic = panic.take().filter(|_| self.id == 0);
                drop(state);
                let Some(panic) = panic else {
                    return Poll::Ready(Some(Err(BodyError::panicked())));
                };
                resume_unwind(panic);
            }
        }
        // Only this reader polls the body from now on, and what wakes the body wakes this reader.
        if let Phase::Handed(body) = phase {
            return body.as_mut().poll_frame(cx);
        }
        cursor.waker = Some(cx.waker().clone());
        let task = task.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
        Poll::Pending
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.body.lock();
        let Some(cursor) = state.readers.get(&self.id) else { return true };
        let is_read = cursor.position == state.buffer.len() && !cursor.is_lagged;
        self.is_done
            || is_read
                && match (&state.phase, &state.end) {
                    (Phase::Handed(body), _) => body.is_end_stream(),
                    (_, End::Complete(trailers)) => trailers.is_none(),
                    _ => false,
                }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.body.lock();
        let cursor = state.readers.remove(&self.id);
        let is_handed = matches!(state.phase, Phase::Handed(_));
        let phase = is_handed.then(|| std::mem::replace(&mut state.phase, Phase::Passed));
        state.note_unread();
        let task = state.task.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
        // A destructor of the inner service may run any code.
        drop((cursor, phase));
    }
}

impl fmt::Debug for SharedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBody").finish_non_exhaustive()
    }
}

/// Wakes the readers, without the lock: a waker may be the last that keeps a task, and what that
/// task holds.
fn wake(mut state: MutexGuard<'_, State>) {
    let wakers = state.readers.values_mut().filter_map(|cursor| cursor.waker.take());
    let wakers: Vec<_> = wakers.collect();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}
