use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use super::codec::{Codec, CodecError, CodecKind, Op};

/// A codec of zstd (RFC 8878). zstd-safe is used directly, since the codecs of `compression-codecs`
/// cannot be reset, and so cannot be pooled.
pub(super) struct Zstd(pub(super) CCtx<'static>);

impl Zstd {
    pub(super) fn new(level: u32) -> Result<Self, CodecError> {
        let mut context = CCtx::try_create().ok_or(CodecError)?;
        let level = i32::try_from(level).unwrap_or(i32::MAX);
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(WINDOW_LOG),
            // Clients then detect a corrupt body, as with the checksum of gzip.
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

pub(super) static ZSTD: CodecKind = CodecKind { new: |level| Ok(Box::new(Zstd::new(level)?)) };

/// A window of 512 KiB, well under the 8 MiB that every client has to accept (RFC 9659).
const WINDOW_LOG: u32 = 19;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::tests::{check_full_outputs, check_reset, story};
    use super::*;

    fn decode(bytes: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::with_capacity(1 << 20);
        zstd_safe::decompress(&mut decoded, bytes).unwrap();
        decoded
    }

    #[test]
    fn codecs_survive_full_outputs() {
        check_full_outputs(&ZSTD);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]

        #[test]
        fn used_codecs_equal_new_ones(story in story()) {
            check_reset(&ZSTD, decode, &story);
        }
    }
}
