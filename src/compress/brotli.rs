use async_compression::codecs::EncodeV2;
use async_compression::codecs::brotli::BrotliEncoder;
use async_compression::codecs::brotli::params::EncoderParams;
use async_compression::codecs::core::Level;
use async_compression::codecs::core::util::{PartialBuffer, WriteBuffer};

use super::codec::{Codec, CodecError, Op};

/// RFC 7932. The encoder cannot be reset, so that it is made anew each time.
pub(super) struct Brotli(BrotliEncoder);

impl Brotli {
    pub(super) fn new(level: u32) -> Self {
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
            // It wants a buffer of zeros, and makes only as much of it as it may fill.
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
            if read == 0 && came == 0 {
                return Err(CodecError);
            }
        }
    }
}

const PIECE: usize = 8 * 1024;

/// 512 KiB: below 2^17 the encoder allocates far more and is far slower from quality 5 on.
const WINDOW_BITS: i32 = 19;
