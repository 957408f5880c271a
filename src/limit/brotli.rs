use async_compression::codecs::DecodeV2;
use async_compression::codecs::brotli::BrotliDecoder;
use async_compression::codecs::core::util::{PartialBuffer, WriteBuffer};

use super::codec::{Codec, Step};
use super::decode::DecodeError;

/// RFC 7932. The decoder takes no window over 16 MiB.
pub(super) struct Brotli {
    decoder: BrotliDecoder,
    ended: bool,
}

impl Brotli {
    pub(super) fn new() -> Self {
        Self { decoder: BrotliDecoder::new(), ended: false }
    }
}

impl Codec for Brotli {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        if self.ended {
            // Input after the end is refused where nothing comes of it.
            return Ok(Step::default());
        }
        let mut taken = PartialBuffer::new(input);
        let mut written = WriteBuffer::new_initialized(output);
        let ended = DecodeV2::decode(&mut self.decoder, &mut taken, &mut written);
        self.ended = ended.map_err(|_| DecodeError::Malformed)?;
        Ok(Step { read: taken.written_len(), written: written.written_len() })
    }

    fn is_complete(&self) -> bool {
        self.ended
    }
}
