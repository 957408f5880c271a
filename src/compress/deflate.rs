use std::mem;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::codec::{Codec, CodecError, CodecKind, Op};
use super::envelope::Envelope;

/// A codec of gzip (RFC 1952). The header is not written by zlib-rs, since it may be padded.
struct Gzip {
    deflate: Deflate,
    envelope: Envelope,
}

/// A codec of deflated data (RFC 1951), bare or in zlib's envelope (RFC 1950).
struct Deflate {
    state: Compress,
    level: u32,
    /// The number of bytes at the start of the window that may be left from earlier bodies.
    dirty: usize,
    /// The number of bytes of history that were put into the window.
    history: usize,
    ended: bool,
}

impl Codec for Gzip {
    fn reset(&mut self) -> bool {
        self.deflate.reset()
    }

    fn prepare(&mut self, padding: u8, size: Option<usize>) -> bool {
        self.envelope = Envelope::gzip(padding);
        self.deflate.prepare(padding, size)
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        let Self { deflate, envelope } = self;
        envelope.encode(input, output, op, |input, output| deflate.encode(input, output, op))
    }
}

impl Deflate {
    fn new(level: u32, zlib: bool) -> Self {
        // flate2 is used directly: the codecs of `compression-codecs` cannot be reset, and so
        // cannot be pooled.
        Self {
            state: Compress::new(Compression::new(level), zlib),
            level,
            dirty: 0,
            history: 0,
            ended: false,
        }
    }

    /// Compresses zeros over what is left in the window. Returns `false` if that fails.
    fn scrub(&mut self, flush: FlushCompress) -> bool {
        let mut zeros = &ZEROS[..self.dirty];
        let mut sink = [0; 512];
        loop {
            let before = self.state.total_in();
            let Ok(status) = self.state.compress(zeros, &mut sink, flush) else { return false };
            zeros = &zeros[(self.state.total_in() - before) as usize..];
            let taken = flush == FlushCompress::None && zeros.is_empty();
            if taken || status == Status::StreamEnd {
                self.state.reset();
                self.dirty = 0;
                return true;
            }
        }
    }
}

impl Codec for Deflate {
    fn reset(&mut self) -> bool {
        // At level 9 zlib-rs keeps the links between old matches, and they change the output.
        if self.level == 9 {
            return false;
        }
        let used = usize::try_from(self.state.total_in()).unwrap_or(usize::MAX);
        let used = used.saturating_add(mem::take(&mut self.history));
        self.dirty = self.dirty.max(used.min(ZEROS.len()));
        let ended = mem::take(&mut self.ended) || self.state.total_in() == 0;
        self.state.reset();
        // The reset of zlib-rs forgets two things that only a proper end repairs: that a block is
        // open, at level 1; and, in a stream that was not ended, where the rest of the output stood
        // in its buffer. The next output goes behind that place, and zlib-rs panics when no space
        // is left.
        ended && self.level != 1 || self.scrub(FlushCompress::Finish)
    }

    /// Makes the output of the next body independent of all earlier bodies, to the byte.
    ///
    /// The reset of zlib-rs 0.6 leaves earlier bodies in the window, and the search for matches
    /// reads a few bytes past the end of the input: the output would tell of a body that may be
    /// another client's. A body that is at least as long as they were overwrites them.
    fn prepare(&mut self, _padding: u8, size: Option<usize>) -> bool {
        let covers = size.is_some_and(|size| size >= self.dirty);
        covers || self.dirty == 0 || self.scrub(FlushCompress::None)
    }

    fn set_history(&mut self, history: &[u8]) -> Result<(), CodecError> {
        self.state.set_dictionary(history).map_err(|_| CodecError)?;
        self.history = history.len();
        Ok(())
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        let flush = match op {
            Op::Process => FlushCompress::None,
            Op::Flush => FlushCompress::Sync,
            Op::Finish => FlushCompress::Finish,
        };
        loop {
            if op == Op::Process && input.is_empty() {
                return Ok(true);
            }
            if output.len() == output.capacity() {
                return Ok(false);
            }
            let before = self.state.total_in();
            let status = self.state.compress_vec(input, output, flush).map_err(|_| CodecError)?;
            // The difference is at most the length of the input, which is a `usize`.
            *input = &input[(self.state.total_in() - before) as usize..];
            match op {
                // Spare capacity that is left says that zlib-rs holds no more output.
                Op::Flush if output.len() < output.capacity() => return Ok(true),
                Op::Finish if status == Status::StreamEnd => {
                    self.ended = true;
                    return Ok(true);
                }
                _ => {}
            }
        }
    }
}

pub(super) static GZIP: CodecKind = CodecKind {
    new: |level| {
        let deflate = Deflate::new(level, false);
        Ok(Box::new(Gzip { deflate, envelope: Envelope::gzip(0) }))
    },
};

/// The `deflate` of HTTP (RFC 9110 §8.4.1.2).
pub(super) static ZLIB: CodecKind =
    CodecKind { new: |level| Ok(Box::new(Deflate::new(level, true))) };

/// Deflated data without an envelope, for streams that write their own.
pub(super) static RAW: CodecKind =
    CodecKind { new: |level| Ok(Box::new(Deflate::new(level, false))) };

/// Zeros for the whole window of zlib-rs, which is twice the largest window of the format.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

#[cfg(test)]
mod tests;
