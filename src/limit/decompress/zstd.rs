use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::codec::{Codec, DecodeError, Step, SupportedCoding};
use crate::headers::coding::ContentCoding;

pub(super) const CODINGS: &[SupportedCoding] =
    &[SupportedCoding { coding: ContentCoding::Zstd, new_codec: || Ok(Box::new(Zstd::new()?)) }];

/// A decoder of Zstandard (RFC 8878). A body may hold several frames, skippable ones included.
struct Zstd {
    context: DCtx<'static>,
    /// The input read so far ends with a complete frame.
    ended: bool,
}

impl Zstd {
    fn new() -> Result<Self, DecodeError> {
        // A failed allocation is not the client's fault, but the body cannot be decoded either way.
        let mut context = DCtx::try_create().ok_or(DecodeError::Malformed)?;
        let window = context.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG));
        window.map_err(|_| DecodeError::Malformed)?;
        Ok(Self { context, ended: false })
    }
}

impl Codec for Zstd {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        if self.ended && input.is_empty() {
            return Ok(Step::default());
        }
        let mut taken = InBuffer::around(input);
        let mut written = OutBuffer::around(output);
        let left = self.context.decompress_stream(&mut written, &mut taken);
        self.ended = left.map_err(|_| DecodeError::Malformed)? == 0;
        Ok(Step { read: taken.pos, written: written.pos() })
    }

    fn is_complete(&self) -> bool {
        self.ended
    }
}

/// The logarithm of 8 MiB, the largest window that a sender may use (RFC 9659 §3).
const MAX_WINDOW_LOG: u32 = 23;
