use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::codec::{Codec, Step};
use super::decode::DecodeError;

/// RFC 8878. Frames may follow each other, and be skippable.
pub(super) struct Zstd {
    context: DCtx<'static>,
    /// The input is at the end of a frame.
    ended: bool,
}

impl Zstd {
    pub(super) fn new() -> Result<Self, DecodeError> {
        // That an allocation fails is no fault of the body; but it cannot be decoded.
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

/// 8 MiB, the largest that a sender may use (RFC 9659 §3).
const MAX_WINDOW_LOG: u32 = 23;
