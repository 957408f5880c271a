use std::fmt;

use bytes::{Buf, Bytes};

use super::codec::{self, Codec};
use super::coding::{Coding, Codings};

/// Takes the content codings off a body, and gives out no more than its limit.
pub(super) struct Decoder {
    codings: Codings,
    max: u64,
    /// The outermost coding first. Empty until there is input: a request that sends none holds no
    /// state.
    stages: Vec<Stage>,
    input: Bytes,
    /// All of the input is decoded, and all that it decodes to is given out.
    hungry: bool,
    /// There was input.
    fed: bool,
}

/// One coding, and what came out of it.
struct Stage {
    codec: Box<dyn Codec>,
    output: Box<[u8]>,
    /// The part of `output` that the next stage has not taken.
    start: usize,
    end: usize,
    /// How many more bytes may come out.
    left: u64,
}

/// The reason for which a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// The bytes are not of the coding, end in its middle, or go on after its end.
    Malformed,
    /// More than the limit comes out.
    TooLarge,
}

impl Decoder {
    /// `max` is the limit of what each coding may decode to: a body that is small in the end may be
    /// huge in between.
    pub(super) fn new(codings: Codings, max: u64) -> Self {
        Self { codings, max, stages: Vec::new(), input: Bytes::new(), hungry: true, fed: false }
    }

    /// Returns the next decoded bytes, or `None` if there is nothing to decode.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, DecodeError> {
        if self.hungry {
            return Ok(None);
        }
        if self.stages.is_empty() {
            let codings = self.codings.outermost_first();
            self.stages = codings.map(|it| Stage::new(it, self.max)).collect::<Result<_, _>>()?;
        }
        if !pull(&mut self.stages, &mut self.input)? {
            self.hungry = true;
            return Ok(None);
        }
        let last = self.stages.last_mut();
        Ok(last.map(|last| {
            let bytes = Bytes::copy_from_slice(last.pending());
            last.start = last.end;
            bytes
        }))
    }

    /// Adds encoded bytes, once there is nothing to decode.
    pub(super) fn feed(&mut self, input: Bytes) {
        debug_assert!(self.hungry && self.input.is_empty(), "there is something to decode");
        self.fed |= !input.is_empty();
        self.hungry = false;
        self.input = input;
    }

    /// Returns `true` if the body may end here. A body without a byte is as good as one without a
    /// coding.
    pub(super) fn is_complete(&self) -> bool {
        !self.fed || self.hungry && self.stages.iter().all(|stage| stage.codec.is_complete())
    }
}

impl Stage {
    fn new(coding: Coding, max: u64) -> Result<Self, DecodeError> {
        let output = vec![0; CHUNK].into_boxed_slice();
        Ok(Self { codec: codec::new(coding)?, output, start: 0, end: 0, left: max })
    }

    fn pending(&self) -> &[u8] {
        &self.output[self.start..self.end]
    }
}

/// Makes the last stage give out something. Returns `false` if the input does not suffice for it.
fn pull(stages: &mut [Stage], input: &mut Bytes) -> Result<bool, DecodeError> {
    let Some((last, before)) = stages.split_last_mut() else { return Ok(false) };
    // One byte more than may come out shows that it is too much.
    let room = usize::try_from(last.left.saturating_add(1)).map_or(CHUNK, |left| left.min(CHUNK));
    loop {
        let source = before.last().map_or(&input[..], Stage::pending);
        let step = last.codec.decode(source, &mut last.output[..room])?;
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

/// How much is decoded at a time.
const CHUNK: usize = 16 * 1024;
