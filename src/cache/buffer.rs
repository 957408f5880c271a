//! The bytes of a body that were read for the store, and that its client may not have read yet.

use std::collections::VecDeque;

use bytes::Bytes;

use super::budget::Charge;

/// The bytes of a body as far as it was read, in a buffer of their own: a frame is often a slice of
/// a much larger buffer, which it would keep alive, and a `Bytes` for each small frame would take
/// many times its size.
pub(crate) struct Buffer {
    data: Data,
    /// How many bytes the client has been given.
    given: usize,
    /// Whether a client is to be given the bytes.
    is_for_client: bool,
    /// Where large frames begin and end. The client is given these as they came.
    cuts: VecDeque<usize>,
    charge: Charge,
    /// How many bytes are charged beside those of the body.
    fixed: u64,
    /// The length of the body, if its head states it, in bytes.
    declared: Option<u64>,
}

enum Data {
    /// Nothing but one frame, which is the service's memory: nothing is copied before a second one
    /// comes, or the rest has to be waited for.
    Frame(Bytes),
    Growing(Vec<u8>),
    /// The end of a body without its first bytes, of which there are so many.
    Rest(Bytes, usize),
}

/// The budget has no more bytes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverBudget;

impl Buffer {
    /// Nothing yet. `charge` is of `fixed` bytes, for what a recording takes beside the body.
    pub(crate) fn new(charge: Charge, fixed: u64, declared: Option<u64>) -> Self {
        let data = Data::Frame(Bytes::new());
        let cuts = VecDeque::new();
        Self { data, given: 0, is_for_client: true, cuts, charge, fixed, declared }
    }

    /// Returns the same bytes for a client, with a charge of their own, for those that are recorded
    /// to be dropped without it. None if the budget has no place for them.
    pub(crate) fn copy_for_client(&self) -> Option<Self> {
        let (data, bytes) = match &self.data {
            Data::Frame(frame) => (Data::Frame(frame.clone()), 0),
            Data::Growing(buffer) => {
                (Data::Rest(Bytes::copy_from_slice(buffer), 0), buffer.len() as u64)
            }
            Data::Rest(rest, before) => (Data::Rest(rest.clone(), *before), rest.len() as u64),
        };
        let charge = self.charge.another(bytes)?;
        let copy = Self { data, cuts: self.cuts.clone(), charge, fixed: 0, ..*self };
        copy.note_unread();
        Some(copy)
    }

    /// Returns how many bytes were read.
    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Frame(frame) => frame.len(),
            Data::Growing(buffer) => buffer.len(),
            Data::Rest(rest, before) => before + rest.len(),
        }
    }

    pub(crate) fn charge(&self) -> &Charge {
        &self.charge
    }

    /// Appends the data of a frame.
    ///
    /// # Errors
    ///
    /// If the budget has no place for it. Then nothing has changed.
    pub(crate) fn push(&mut self, data: &Bytes) -> Result<(), OverBudget> {
        if data.is_empty() {
            return Ok(());
        }
        let before = self.len();
        if before == 0 && matches!(self.data, Data::Frame(_)) {
            self.resize(data.len())?;
            self.data = Data::Frame(data.clone());
        } else {
            let buffer = self.reserve(data.len())?;
            buffer.extend_from_slice(data);
        }
        if data.len() >= LARGE_FRAME && self.is_for_client {
            let begins = Some(before).filter(|begins| self.cuts.back() != Some(begins));
            self.cuts.extend(begins.into_iter().chain([before + data.len()]));
        }
        self.note_unread();
        Ok(())
    }

    /// Copies the bytes into a buffer of their own, if they are not in one yet, and all that follow
    /// too.
    ///
    /// # Errors
    ///
    /// If the budget has no place for it.
    pub(crate) fn own(&mut self) -> Result<(), OverBudget> {
        if self.len() == 0 {
            self.data = Data::Growing(Vec::new());
        }
        self.reserve(0).map(drop)
    }

    /// Notes that no client is to be given these bytes.
    pub(crate) fn forget_client(&mut self) {
        self.is_for_client = false;
        self.cuts = VecDeque::new();
        self.charge.set_unread(0);
    }

    /// Returns the only frame, as it came, if no other one was read.
    pub(crate) fn only_frame(&self) -> Option<Bytes> {
        match &self.data {
            Data::Frame(frame) => Some(frame.clone()),
            _ => None,
        }
    }

    /// Returns what was read in memory of its own, of exactly its size, and goes on with that.
    pub(crate) fn freeze(&mut self) -> Bytes {
        let whole = match std::mem::replace(&mut self.data, Data::Frame(Bytes::new())) {
            Data::Frame(frame) => Bytes::from(Box::from(&*frame)),
            Data::Growing(buffer) => Bytes::from(buffer.into_boxed_slice()),
            Data::Rest(rest, _) => rest,
        };
        // It may be less than what was reserved, and is never more.
        self.charge.resize(self.fixed + whole.len() as u64);
        self.data = Data::Rest(whole.clone(), 0);
        whole
    }

    /// Keeps only what the client was not given yet: nothing is recorded any more.
    pub(crate) fn keep_unread(&mut self) {
        if !self.is_for_client {
            self.given = self.len();
        }
        let given = self.given;
        self.data = match std::mem::replace(&mut self.data, Data::Frame(Bytes::new())) {
            frame @ Data::Frame(_) => frame,
            Data::Growing(buffer) => Data::Rest(Bytes::copy_from_slice(&buffer[given..]), given),
            rest @ Data::Rest(..) => rest,
        };
        self.charge.resize(self.fixed + (self.len() - given) as u64);
    }

    /// Returns `true` if the client was given all.
    pub(crate) fn is_all_given(&self) -> bool {
        self.given == self.len()
    }

    /// Returns the next bytes that the client was not given yet, in memory of their own: a server
    /// may hold them for as long as a client does not read, and shall not hold the others with them.
    pub(crate) fn give(&mut self) -> Option<Bytes> {
        let (given, len) = (self.given, self.len());
        while self.cuts.front().is_some_and(|cut| *cut <= given) {
            self.cuts.pop_front();
        }
        let (piece, end) = match &self.data {
            Data::Frame(frame) => (frame.slice(given..), len),
            Data::Growing(_) | Data::Rest(..) => {
                let cut = self.cuts.front().copied().unwrap_or(len).min(len);
                let end = cut.min(given + PIECE);
                (Bytes::copy_from_slice(self.bytes(given, end)), end)
            }
        };
        if piece.is_empty() {
            return None;
        }
        self.given = end;
        self.note_unread();
        Some(piece)
    }

    fn note_unread(&self) {
        if self.is_for_client {
            self.charge.set_unread((self.len() - self.given) as u64);
        }
    }

    fn bytes(&self, from: usize, to: usize) -> &[u8] {
        match &self.data {
            Data::Frame(frame) => &frame[from..to],
            Data::Growing(buffer) => &buffer[from..to],
            Data::Rest(rest, before) => &rest[from - before..to - before],
        }
    }

    /// Returns the buffer, with room for so many bytes more.
    fn reserve(&mut self, more: usize) -> Result<&mut Vec<u8>, OverBudget> {
        let (len, capacity) = match &self.data {
            Data::Growing(buffer) => (buffer.len(), buffer.capacity()),
            Data::Frame(_) | Data::Rest(..) => (self.len(), 0),
        };
        let needed = len.saturating_add(more);
        if needed > capacity {
            // Doubled, but to no more than what is stated to come, so that most bodies end up in a
            // buffer of their size.
            let stated = self.declared.and_then(|length| usize::try_from(length).ok());
            let grown = needed.max(capacity * 2).max(SMALLEST);
            let capacity = stated.map_or(grown, |stated| grown.min(stated.max(needed)));
            self.resize(capacity)?;
            let mut buffer = match std::mem::replace(&mut self.data, Data::Frame(Bytes::new())) {
                Data::Growing(buffer) => buffer,
                Data::Frame(frame) | Data::Rest(frame, _) => {
                    let mut buffer = Vec::with_capacity(capacity);
                    buffer.extend_from_slice(&frame);
                    buffer
                }
            };
            buffer.reserve_exact(capacity - len);
            self.data = Data::Growing(buffer);
        }
        match &mut self.data {
            Data::Growing(buffer) => Ok(buffer),
            Data::Frame(_) | Data::Rest(..) => Err(OverBudget),
        }
    }

    fn resize(&self, bytes: usize) -> Result<(), OverBudget> {
        let fits = self.charge.resize(self.fixed.saturating_add(bytes as u64));
        if fits { Ok(()) } else { Err(OverBudget) }
    }
}

/// The fewest bytes of a frame that a client is given as it came; smaller ones are joined.
const LARGE_FRAME: usize = 4 * 1024;

/// The most bytes that a client is given at once of what was buffered.
const PIECE: usize = 16 * 1024;

/// The smallest buffer, in bytes.
const SMALLEST: usize = 1024;
