use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::codec::{self, Codec, CodecError, Library, Op};
use super::coding::Coding;
use super::sync::{Arc, AtomicUsize, thread_local};

/// A codec that goes back to its thread's pool when it is dropped.
///
/// A deflate state takes 380 KB: making one costs more than compressing a small
/// body. A pool per thread needs no lock, and a codec that moves to another thread joins the pool
/// there.
pub(super) struct Pooled {
    key: Key,
    codec: Option<Box<dyn Codec>>,
}

/// Bounds how many streams hold a codec at a time: each is slow to end where its client is.
#[derive(Clone, Debug)]
pub(super) struct Semaphore {
    pub(super) permits: usize,
    taken: Arc<AtomicUsize>,
}

/// The right to hold a codec, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

/// The coding, its level, and what makes it.
type Key = (Coding, u32, Library);

thread_local! {
    static POOL: RefCell<Vec<(Key, Box<dyn Codec>)>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Semaphore {
    pub(super) fn try_acquire(&self) -> Option<Permit> {
        let more = |taken| (taken < self.permits).then_some(taken + 1);
        let free = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        free.ok().map(|_| Permit(Arc::clone(&self.taken)))
    }
}

impl Default for Semaphore {
    fn default() -> Self {
        Self { permits: DEFAULT_STREAMS, taken: Arc::default() }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pooled {
    /// A codec for a body of so many bytes, if that is known.
    pub(super) fn take(key: Key, padding: u8, size: Option<usize>) -> Result<Self, CodecError> {
        let pooled = POOL.try_with(|pool| {
            let mut pool = pool.try_borrow_mut().ok()?;
            let at = pool.iter().position(|(at, _)| *at == key)?;
            Some(pool.swap_remove(at).1)
        });
        let pooled = pooled.ok().flatten();
        let codec = match pooled.and_then(|mut codec| codec.prepare(padding, size).then_some(codec))
        {
            Some(codec) => codec,
            None => {
                let (coding, level, library) = key;
                let mut codec = codec::new(coding, level, library)?;
                codec.prepare(padding, size).then_some(codec).ok_or(CodecError)?
            }
        };
        Ok(Self { key, codec: Some(codec) })
    }

    /// Sets what came before the input.
    pub(super) fn set_history(&mut self, history: &[u8]) -> Result<(), CodecError> {
        self.codec.as_mut().ok_or(CodecError)?.set_history(history)
    }

    pub(super) fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        // Out of its place meanwhile: one that panics or fails does not go back.
        let mut codec = self.codec.take().ok_or(CodecError)?;
        let done = codec.encode(input, output, op)?;
        self.codec = Some(codec);
        Ok(done)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(mut codec) = self.codec.take() else { return };
        let put_back = |pool: &RefCell<Vec<(Key, Box<dyn Codec>)>>| {
            let Ok(mut pool) = pool.try_borrow_mut() else { return };
            let kept = pool.iter().filter(|(at, _)| *at == self.key).count();
            if kept < KEPT && codec.reset() {
                pool.push((self.key, codec));
            }
        };
        // Fails while the thread ends: then there is no pool any more.
        let _ = POOL.try_with(put_back);
    }
}

/// Compresses a body of `size` bytes. `None` if it does not become smaller, unless it `must` be
/// compressed.
pub(super) fn compress_whole<'a>(
    mut codec: Pooled,
    chunks: impl Iterator<Item = &'a [u8]>,
    size: usize,
    must: bool,
) -> Result<Option<Bytes>, CodecError> {
    // The thread's buffer, since how much comes out is only known afterwards.
    let mut output = OUTPUT.try_with(Cell::take).unwrap_or_default();
    output.clear();
    output.reserve(if must { 2 * size + 1024 } else { size });
    let done = encode_whole(&mut codec, chunks, &mut output)?;
    let worth_it = done && (must || output.len() < size);
    let bytes = worth_it.then(|| Bytes::copy_from_slice(&output));
    let _ = OUTPUT.try_with(|cell| cell.set(output));
    Ok(bytes)
}

/// False if the output is full before the end.
fn encode_whole<'a>(
    codec: &mut Pooled,
    chunks: impl Iterator<Item = &'a [u8]>,
    output: &mut Vec<u8>,
) -> Result<bool, CodecError> {
    for mut chunk in chunks {
        if !codec.encode(&mut chunk, output, Op::Process)? {
            return Ok(false);
        }
    }
    codec.encode(&mut &[][..], output, Op::Finish)
}

/// 1 to `most` (0 if that is 0), not to be guessed: std seeds its hashers from the system's random
/// numbers.
pub(super) fn random_up_to(most: u8) -> u8 {
    let number = RandomState::new().hash_one(()).checked_rem(u64::from(most));
    number.map_or(0, |number| u8::try_from(number + 1).unwrap_or(most))
}

/// How many codecs of a coding and level a thread keeps.
const KEPT: usize = 2;

/// Of gzip, 100 MB.
const DEFAULT_STREAMS: usize = 256;
