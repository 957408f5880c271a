use std::cell::Cell;

use bytes::Bytes;

use super::codec::{CodecError, Op};
use super::pool::Pooled;

/// A body that has been read, and is to be compressed in one go.
pub(super) struct Whole<I> {
    pub(super) chunks: I,
    /// The number of bytes in the chunks.
    pub(super) size: usize,
    /// Compress the body even if that makes it larger.
    pub(super) must: bool,
}

thread_local! {
    /// The output, whose length is only known afterwards: the body gets a copy of the right size.
    static OUTPUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<'a, I: Iterator<Item = &'a [u8]>> Whole<I> {
    /// Returns the compressed body, or `None` if it is not smaller.
    pub(super) fn compress(self, mut codec: Pooled) -> Result<Option<Bytes>, CodecError> {
        let mut output = OUTPUT.try_with(Cell::take).unwrap_or_default();
        output.clear();
        // A buffer of the body's size is full as soon as compression does not pay.
        output.reserve(if self.must { 2 * self.size + 1024 } else { self.size });
        let done = encode(&mut codec, self.chunks, &mut output)?;
        let pays = done && (self.must || output.len() < self.size);
        let bytes = pays.then(|| Bytes::copy_from_slice(&output));
        let _ = OUTPUT.try_with(|cell| cell.set(output));
        Ok(bytes)
    }
}

/// Compresses all chunks. Returns `false` if the output is full before the end.
fn encode<'a>(
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
