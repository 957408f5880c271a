use std::cell::RefCell;
use std::ptr;

use super::codec::{Codec, CodecError, CodecKind, Op};
use super::sync::thread_local;

/// A codec that goes back to the pool of its thread when it is dropped.
///
/// Making a codec costs more than compressing a small body: the state of deflate takes 380 KB. A
/// pool per thread needs no lock, and a codec that moves to another thread joins the pool of that
/// thread.
pub(super) struct Pooled {
    /// The key in the pool, or `None` for a codec that is not used again.
    key: Option<Key>,
    codec: Option<Box<dyn Codec>>,
}

/// The kind of a codec and its level.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) kind: &'static CodecKind,
    pub(super) level: u32,
}

thread_local! {
    static POOL: RefCell<Vec<(Key, Box<dyn Codec>)>> = const { RefCell::new(Vec::new()) };
}

impl Pooled {
    /// Takes a codec from the pool, or makes one, for a body of `size` bytes, if that is known.
    pub(super) fn take(key: Key, padding: u8, size: Option<usize>) -> Result<Self, CodecError> {
        let pooled = POOL.try_with(|pool| {
            let mut pool = pool.try_borrow_mut().ok()?;
            let index = pool.iter().position(|(other, _)| *other == key)?;
            Some(pool.swap_remove(index).1)
        });
        let pooled = pooled.ok().flatten();
        let prepared = pooled.and_then(|mut codec| codec.prepare(padding, size).then_some(codec));
        let codec = match prepared {
            Some(codec) => codec,
            None => {
                let mut codec = (key.kind.new)(key.level)?;
                codec.prepare(padding, size).then_some(codec).ok_or(CodecError)?
            }
        };
        Ok(Self { key: Some(key), codec: Some(codec) })
    }

    /// Creates a codec that does not go back to a pool.
    pub(super) fn single(codec: Box<dyn Codec>) -> Self {
        Self { key: None, codec: Some(codec) }
    }

    /// Sets the data that came before the input.
    pub(super) fn set_history(&mut self, history: &[u8]) -> Result<(), CodecError> {
        self.codec.as_mut().ok_or(CodecError)?.set_history(history)
    }

    /// Encodes as [`Codec::encode`] does.
    pub(super) fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        // The codec is taken out while it runs: a codec that fails or panics never goes back.
        let mut codec = self.codec.take().ok_or(CodecError)?;
        let done = codec.encode(input, output, op)?;
        self.codec = Some(codec);
        Ok(done)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let (Some(own), Some(mut codec)) = (self.key, self.codec.take()) else { return };
        let put_back = |pool: &RefCell<Vec<(Key, Box<dyn Codec>)>>| {
            let Ok(mut pool) = pool.try_borrow_mut() else { return };
            let kept = pool.iter().filter(|(key, _)| *key == own).count();
            if kept < MAX_KEPT && codec.reset() {
                pool.push((own, codec));
            }
        };
        // Fails while the thread ends, when the pool is gone.
        let _ = POOL.try_with(put_back);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.kind, other.kind) && self.level == other.level
    }
}

/// The number of codecs of one kind and level that a thread keeps.
const MAX_KEPT: usize = 2;
