use async_compression::codecs::DecodeV2;
use async_compression::codecs::brotli::BrotliDecoder;
use async_compression::codecs::core::util::{PartialBuffer, WriteBuffer};

use super::codec::{Codec, DecodeError, Step, SupportedCoding};
use crate::headers::coding::ContentCoding;

pub(super) const CODINGS: &[SupportedCoding] =
    &[SupportedCoding { coding: ContentCoding::Brotli, new_codec: || Ok(Box::new(Brotli::new())) }];

/// A decoder of brotli (RFC 7932), whose window is at most 16 MiB.
struct Brotli {
    decoder: BrotliDecoder,
    started: bool,
    ended: bool,
}

impl Brotli {
    fn new() -> Self {
        Self { decoder: BrotliDecoder::new(), started: false, ended: false }
    }
}

impl Codec for Brotli {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        if self.ended {
            // The caller treats input without progress as malformed.
            return Ok(Step::default());
        }
        if let Some(first) = input.first().filter(|_| !self.started) {
            self.started = true;
            // The decoder accepts "large window brotli", with a window of up to 1 GiB, but these
            // bits are invalid by RFC 7932 §9.1.
            if first & WINDOW_MASK == LARGE_WINDOW {
                return Err(DecodeError::Malformed);
            }
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

/// The bits of the first byte that encode the window size.
const WINDOW_MASK: u8 = 0x7f;
const LARGE_WINDOW: u8 = 0x11;
