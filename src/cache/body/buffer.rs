use std::collections::VecDeque;

use bytes::Bytes;

use super::budget::Charge;

/// The bytes of a body as far as it was read, for the store and for the clients that read it.
///
/// The bytes are in chunks of memory of their own, since a frame is often a slice of a much larger
/// buffer, which it would keep alive. All readers get slices of the same chunks. A chunk is no larger
/// than [`CHUNK`], so that a server which holds one for a slow client does not hold much.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// The first frame of the inner service, before the chunks. Nothing is copied before a second frame
    /// comes, or the rest has to be waited for: most bodies are one frame.
    borrowed: Option<Bytes>,
    chunks: VecDeque<Chunk>,
    /// The number of bytes that were read, and of those that are not held any more.
    len: usize,
    dropped: usize,
    /// Every frame is copied.
    is_owned: bool,
    charge: Charge,
    /// The bytes that are charged beside those of the body.
    fixed: u64,
}

#[derive(Clone, Debug)]
struct Chunk {
    /// The number of bytes of the body up to the end of this chunk.
    end: usize,
    bytes: Bytes,
}

/// The budget has no more bytes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverBudget;

impl Buffer {
    /// Returns an empty buffer. `charge` is of `fixed` bytes, for what a recording takes beside the
    /// body.
    pub(crate) const fn new(charge: Charge, fixed: u64) -> Self {
        let chunks = VecDeque::new();
        Self { borrowed: None, chunks, len: 0, dropped: 0, is_owned: false, charge, fixed }
    }

    /// Returns a buffer of the same bytes with a charge of its own, so that either can be dropped
    /// without the other, or nothing if the budget has no place for it.
    pub(crate) fn another(&self) -> Option<Self> {
        let bytes = if self.borrowed.is_some() { 0 } else { (self.len - self.dropped) as u64 };
        let charge = self.charge.another(bytes)?;
        let (borrowed, chunks) = (self.borrowed.clone(), self.chunks.clone());
        Some(Self { borrowed, chunks, charge, fixed: 0, ..*self })
    }

    /// Returns the number of bytes that were read.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of bytes that are held.
    pub(crate) const fn held(&self) -> usize {
        self.len - self.dropped
    }

    pub(crate) const fn charge(&self) -> &Charge {
        &self.charge
    }

    /// Appends a copy of the data of a frame.
    ///
    /// # Errors
    ///
    /// If the budget has no place for it. The buffer is unchanged then.
    pub(crate) fn push(&mut self, data: &Bytes) -> Result<(), OverBudget> {
        if data.is_empty() {
            return Ok(());
        }
        self.resize(self.held().saturating_add(data.len()))?;
        if self.len == 0 && !self.is_owned {
            self.len = data.len();
            self.borrowed = Some(data.clone());
            return Ok(());
        }
        self.own();
        data.chunks(CHUNK).for_each(|part| self.append_copy(part));
        Ok(())
    }

    /// Appends the data of a frame as it came. Nothing is recorded any more, and so the frame is held
    /// only until the clients have read it. A budget that is used up does not stop it.
    pub(crate) fn pass(&mut self, data: Bytes) {
        self.append(data);
        let _over = self.resize(self.held());
    }

    /// Copies the frame of the inner service, if the buffer holds one, and all that follow.
    pub(crate) fn own(&mut self) {
        self.is_owned = true;
        if let Some(frame) = self.borrowed.take() {
            self.len = 0;
            frame.chunks(CHUNK).for_each(|part| self.append_copy(part));
        }
    }

    /// Returns the only frame, as it came, if no other one was read.
    pub(crate) fn only_frame(&self) -> Option<Bytes> {
        if self.len == 0 {
            return Some(Bytes::new());
        }
        self.borrowed.clone()
    }

    /// Returns all bytes in one allocation of exactly their size, with its charge, and drops those
    /// before `read`, which no client needs.
    ///
    /// Chunks and copy are both held for a moment without a charge. A thread makes one such copy at a
    /// time.
    ///
    /// # Errors
    ///
    /// If the budget has no place for the copy.
    pub(crate) fn freeze(&mut self, read: usize) -> Result<(Bytes, Charge), OverBudget> {
        let mut whole = Vec::with_capacity(self.held());
        whole.extend_from_slice(self.borrowed.as_deref().unwrap_or_default());
        self.chunks.iter().for_each(|chunk| whole.extend_from_slice(&chunk.bytes));
        let whole = Bytes::from(whole);
        if self.borrowed.is_some() {
            return Ok((whole, self.charge.clone()));
        }
        self.drop_before(read);
        let charge = self.charge.another(whole.len() as u64).ok_or(OverBudget)?;
        Ok((whole, charge))
    }

    /// Returns bytes of the body from `position` on, as many as are in one piece, or nothing if no
    /// more were read.
    pub(crate) fn read(&self, position: usize) -> Option<Bytes> {
        if let Some(frame) = self.borrowed.as_ref().filter(|frame| position < frame.len()) {
            return Some(frame.slice(position..));
        }
        let at = self.chunks.partition_point(|chunk| chunk.end <= position);
        let Chunk { end, bytes } = self.chunks.get(at)?;
        let start = end - bytes.len();
        Some(bytes.slice(position.checked_sub(start)?..))
    }

    /// Drops the bytes before `position`.
    pub(crate) fn drop_before(&mut self, position: usize) {
        if let Some(frame) = self.borrowed.take_if(|frame| frame.len() <= position) {
            self.dropped = frame.len();
        }
        while self.chunks.front().is_some_and(|chunk| chunk.end <= position) {
            if let Some(chunk) = self.chunks.pop_front() {
                self.dropped = chunk.end;
            }
        }
        // Shrinking never fails.
        let _fits = self.resize(self.held());
    }

    fn append(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        self.chunks.push_back(Chunk { end: self.len, bytes });
    }

    /// Appends a copy, joined with the last chunks as the digits of a binary counter are: a body of
    /// tiny frames takes few chunks, and each of its bytes is copied a few times at most.
    fn append_copy(&mut self, part: &[u8]) {
        let (mut size, mut joined) = (part.len(), 0);
        for Chunk { bytes, .. } in self.chunks.iter().rev() {
            if bytes.len() > size || bytes.len() >= LARGE || size + bytes.len() > CHUNK {
                break;
            }
            size += bytes.len();
            joined += 1;
        }
        let mut copy = Vec::with_capacity(size);
        let rest = self.chunks.len() - joined;
        self.chunks.range(rest..).for_each(|chunk| copy.extend_from_slice(&chunk.bytes));
        copy.extend_from_slice(part);
        self.chunks.truncate(rest);
        self.len += part.len();
        self.chunks.push_back(Chunk { end: self.len, bytes: copy.into() });
    }

    fn resize(&self, bytes: usize) -> Result<(), OverBudget> {
        let fits = self.charge.resize(self.fixed.saturating_add(bytes as u64));
        if fits { Ok(()) } else { Err(OverBudget) }
    }
}

/// The size in bytes of the largest chunk.
const CHUNK: usize = 16 * 1024;

/// The size in bytes from which on a chunk is not joined with later ones.
const LARGE: usize = 4 * 1024;
