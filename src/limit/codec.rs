use super::coding::Coding;
use super::decode::DecodeError;

/// The state of one decompression.
pub(super) trait Codec: Send + Sync {
    /// Decodes from `input` into `output`, which is not empty. Without input, gives out what is
    /// left of the input before.
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError>;

    /// Returns `true` if the input may end here.
    fn is_complete(&self) -> bool;
}

/// The numbers of bytes that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
}

pub(super) fn new(coding: Coding) -> Result<Box<dyn Codec>, DecodeError> {
    match coding {
        #[cfg(feature = "limit-decompress")]
        Coding::Gzip => Ok(Box::new(super::inflate::Inflate::gzip())),
        #[cfg(feature = "limit-decompress")]
        Coding::Deflate => Ok(Box::new(super::inflate::Inflate::zlib())),
        #[cfg(feature = "limit-decompress-br")]
        Coding::Brotli => Ok(Box::new(super::brotli::Brotli::new())),
        #[cfg(feature = "limit-decompress-zstd")]
        Coding::Zstd => Ok(Box::new(super::zstd::Zstd::new()?)),
    }
}
