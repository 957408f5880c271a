use async_compression::codecs::EncodeV2;
use async_compression::codecs::brotli::BrotliEncoder;
use async_compression::codecs::brotli::params::EncoderParams;
use async_compression::codecs::core::Level;
use async_compression::codecs::core::util::{PartialBuffer, WriteBuffer};

use super::codec::{Codec, CodecError, CodecKind, Op};

/// A codec of br (RFC 7932). The encoder has no reset, so that each body gets a new one.
struct Brotli(BrotliEncoder);

impl Brotli {
    fn new(level: u32) -> Self {
        let level = Level::Precise(i32::try_from(level).unwrap_or(i32::MAX));
        let params = EncoderParams::default().quality(level).window_size(WINDOW_BITS);
        Self(BrotliEncoder::new(params))
    }
}

impl Codec for Brotli {
    fn reset(&mut self) -> bool {
        false
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        loop {
            let start = output.len();
            let end = output.capacity().min(start + PIECE);
            if start == end {
                return Ok(false);
            }
            // The encoder wants initialized memory: zeros, in pieces, so that an output with a
            // large capacity is not filled with zeros for a few bytes.
            output.resize(end, 0);
            let mut taken = PartialBuffer::new(*input);
            let mut written = WriteBuffer::new_initialized(&mut output[start..]);
            let done = match op {
                Op::Process => {
                    self.0.encode(&mut taken, &mut written).map(|()| taken.unwritten().is_empty())
                }
                Op::Flush => self.0.flush(&mut written),
                Op::Finish => self.0.finish(&mut written),
            };
            let (read, came) = (taken.written().len(), written.written_len());
            output.truncate(start + came);
            *input = &input[read..];
            if done.map_err(|_| CodecError)? {
                return Ok(true);
            }
            // No progress in either buffer: another turn would loop forever.
            if read == 0 && came == 0 {
                return Err(CodecError);
            }
        }
    }
}

/// async-compression re-exports the only codec of br that does not own its reader or writer.
pub(super) static BROTLI: CodecKind = CodecKind { new: |level| Ok(Box::new(Brotli::new(level))) };

const PIECE: usize = 8 * 1024;

/// A window of 512 KiB: with less than 2^17 the encoder allocates far more and is far slower from
/// quality 5 on.
const WINDOW_BITS: i32 = 19;
