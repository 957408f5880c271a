use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use super::codec::{Codec, CodecError, Op};

/// RFC 8878, with a window well under the 8 MiB that RFC 9659 allows.
pub(super) struct Zstd(CCtx<'static>);

impl Zstd {
    pub(super) fn new(level: u32) -> Result<Self, CodecError> {
        let mut context = CCtx::try_create().ok_or(CodecError)?;
        let level = i32::try_from(level).unwrap_or(i32::MAX);
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(WINDOW_LOG),
            CParameter::ChecksumFlag(true),
        ] {
            context.set_parameter(parameter).map_err(|_| CodecError)?;
        }
        Ok(Self(context))
    }
}

impl Codec for Zstd {
    fn reset(&mut self) -> bool {
        self.0.reset(ResetDirective::SessionOnly).is_ok()
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        let start = output.len();
        let mut taken = InBuffer::around(input);
        let mut written = OutBuffer::around_pos(output, start);
        let done = match op {
            Op::Process => {
                self.0.compress_stream(&mut written, &mut taken).map(|_| taken.pos == input.len())
            }
            Op::Flush => self.0.flush_stream(&mut written).map(|left| left == 0),
            Op::Finish => self.0.end_stream(&mut written).map(|left| left == 0),
        };
        *input = &input[taken.pos..];
        done.map_err(|_| CodecError)
    }
}

/// 512 KiB.
const WINDOW_LOG: u32 = 19;
