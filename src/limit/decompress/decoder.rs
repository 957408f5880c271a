use std::fmt;

use bytes::{Buf, Bytes};

use super::codec::{Codec, DecodeError, SupportedCoding};
use super::codings::Codings;

/// A pull decoder that removes the content codings of a body.
///
/// The caller feeds one encoded frame, calls [`next`](Self::next) until it returns `None`, and feeds
/// the next frame.
pub(in crate::limit) struct Decoder {
    codings: Codings,
    max: u64,
    /// One stage per coding, the outermost first. The stages are created with the first input, so
    /// that a request without data allocates no decoder.
    stages: Vec<Stage>,
    input: Bytes,
    /// All input is decoded, and all output has been returned.
    hungry: bool,
    received_input: bool,
}

/// A codec and its output buffer.
struct Stage {
    codec: Box<dyn Codec>,
    output: Box<[u8]>,
    /// The range of `output` that the next stage has not consumed.
    start: usize,
    end: usize,
    /// The remaining number of bytes that the stage may produce.
    left: u64,
}

impl Decoder {
    /// Creates a decoder in which each coding may produce at most `max` bytes: the intermediate data
    /// between two codings may be huge although the final data is small.
    pub(in crate::limit) fn new(codings: Codings, max: u64) -> Self {
        Self {
            codings,
            max,
            stages: Vec::new(),
            input: Bytes::new(),
            hungry: true,
            received_input: false,
        }
    }

    /// Returns the next decoded bytes, or `None` if the decoder needs more input.
    ///
    /// # Errors
    ///
    /// If the input is not valid in its coding, or if a coding produces more than the limit.
    pub(in crate::limit) fn next(&mut self) -> Result<Option<Bytes>, DecodeError> {
        if self.hungry {
            return Ok(None);
        }
        if self.stages.is_empty() {
            let codings = self.codings.outermost_first();
            let stages = codings.map(|it| Stage::new(it, self.max));
            self.stages = stages.collect::<Result<_, _>>()?;
        }
        if !pull(&mut self.stages, &mut self.input)? {
            self.hungry = true;
            return Ok(None);
        }
        let last = self.stages.last_mut();
        Ok(last.map(|last| {
            // A copy of the exact size. Handing out the buffer would keep 16 KiB alive for each frame
            // that the inner service holds, however short.
            let bytes = Bytes::copy_from_slice(last.pending());
            last.start = last.end;
            bytes
        }))
    }

    /// Adds encoded bytes. [`next`](Self::next) must have returned `None` before.
    pub(in crate::limit) fn feed(&mut self, input: Bytes) {
        debug_assert!(self.hungry && self.input.is_empty(), "earlier input is not decoded yet");
        self.received_input |= !input.is_empty();
        self.hungry = false;
        self.input = input;
    }

    /// Returns `true` if the body may end here. A body without any bytes is complete in every coding.
    pub(in crate::limit) fn is_complete(&self) -> bool {
        !self.received_input
            || self.hungry && self.stages.iter().all(|stage| stage.codec.is_complete())
    }
}

impl Stage {
    fn new(supported: &SupportedCoding, max: u64) -> Result<Self, DecodeError> {
        let output = vec![0; CHUNK].into_boxed_slice();
        Ok(Self { codec: (supported.new_codec)()?, output, start: 0, end: 0, left: max })
    }

    fn pending(&self) -> &[u8] {
        &self.output[self.start..self.end]
    }
}

/// Makes the last stage produce output. Returns `false` if the input does not suffice.
fn pull(stages: &mut [Stage], input: &mut Bytes) -> Result<bool, DecodeError> {
    let Some((last, before)) = stages.split_last_mut() else { return Ok(false) };
    // The stage gets space for one byte over its limit, which reveals that the limit is exceeded.
    let space = usize::try_from(last.left.saturating_add(1)).map_or(CHUNK, |left| left.min(CHUNK));
    loop {
        let source = before.last().map_or(&input[..], Stage::pending);
        let step = last.codec.decode(source, &mut last.output[..space])?;
        // A codec that ignores input is at its end, and the input is trailing garbage.
        let stuck = step.read == 0 && step.written == 0;
        if stuck && !source.is_empty() {
            return Err(DecodeError::Malformed);
        }
        match before.last_mut() {
            Some(previous) => previous.start += step.read,
            None => input.advance(step.read),
        }
        if step.written > 0 {
            (last.start, last.end) = (0, step.written);
            let left = last.left.checked_sub(step.written as u64);
            last.left = left.ok_or(DecodeError::TooLarge)?;
            return Ok(true);
        }
        // The recursion is as deep as there are codings.
        if stuck && !pull(before, input)? {
            return Ok(false);
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("stages", &self.stages.len()).finish_non_exhaustive()
    }
}

/// The size of a stage's output buffer, in bytes.
const CHUNK: usize = 16 * 1024;
