use std::error::Error;
use std::fmt;

use super::deflate::{Gzip, Zlib};
use super::policy::Coding;

/// The state of one compression, which can be used again after a reset.
pub(super) trait Codec: Send + Sync {
    /// Makes it as good as new. False if it cannot be used again.
    fn reset(&mut self) -> bool;

    /// Asks for so many bytes that mean nothing, before anything else. Does nothing where the
    /// format has no place for them.
    fn pad(&mut self, _padding: u8) {}

    /// Takes from `input`, and appends to `output` what its spare capacity holds. True when `op`
    /// is done: all of the input taken, or all of it flushed, or the stream ended.
    fn encode(&mut self, input: &mut &[u8], output: &mut Vec<u8>, op: Op) -> Result<bool, Failed>;
}

/// What a codec is to do with the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Take it; what comes out, comes out.
    Process,
    /// Give out enough for the other side to decode all of it.
    Flush,
    /// End the stream.
    Finish,
}

/// A codec failed, which takes a failing allocator.
#[derive(Debug)]
pub(super) struct Failed;

pub(super) fn new(coding: Coding, level: u32) -> Result<Box<dyn Codec>, Failed> {
    Ok(match coding {
        Coding::Gzip => Box::new(Gzip::new(level)),
        Coding::Deflate => Box::new(Zlib::new(level)),
        #[cfg(feature = "compress-br")]
        Coding::Brotli => Box::new(super::brotli::Brotli::new(level)),
        #[cfg(feature = "compress-zstd")]
        Coding::Zstd => Box::new(super::zstd::Zstd::new(level)?),
    })
}

impl fmt::Debug for dyn Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").finish_non_exhaustive()
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("compression failed")
    }
}

impl Error for Failed {}
