use crate::headers::coding::ContentCoding;

/// A content coding that the layer can decode.
#[derive(Debug)]
pub(super) struct SupportedCoding {
    pub(super) coding: ContentCoding,
    pub(super) new_codec: fn() -> Result<Box<dyn Codec>, DecodeError>,
}

/// The state of decoding one body.
// A trait object instead of an enum: the features are named where the table lists the codecs, and
// nowhere else. The dispatch costs nothing beside the decoding of a buffer.
pub(super) trait Codec: Send + Sync {
    /// Decodes bytes from `input` into `output`, which is not empty. With an empty `input`, writes
    /// the output that earlier input still produces.
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError>;

    /// Returns `true` if the encoded data may end after the bytes read so far.
    fn is_complete(&self) -> bool;
}

/// The progress of one call of [`Codec::decode`], in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
}

/// The reason why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::limit) enum DecodeError {
    /// The data is corrupt, truncated, or followed by further bytes.
    Malformed,
    /// The decoded data exceeds the limit.
    TooLarge,
}
