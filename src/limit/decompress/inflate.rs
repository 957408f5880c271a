use flate2::{Decompress, FlushDecompress, Status};

use super::codec::{Codec, DecodeError, Step, SupportedCoding};
use crate::headers::coding::ContentCoding;

pub(super) const CODINGS: &[SupportedCoding] = &[
    SupportedCoding { coding: ContentCoding::Gzip, new_codec: || Ok(Box::new(Inflate::gzip())) },
    SupportedCoding { coding: ContentCoding::Deflate, new_codec: || Ok(Box::new(Inflate::zlib())) },
];

/// A decoder of gzip (RFC 1952) or of the zlib format (RFC 1950), which HTTP calls `deflate`
/// (RFC 9110 §8.4.1.2).
struct Inflate {
    state: Decompress,
    gzip: bool,
    /// The current member has ended; in gzip, another one may follow.
    ended: bool,
    members: u64,
    /// The number of encoded bytes read, over all members.
    read: u64,
}

impl Inflate {
    fn gzip() -> Self {
        Self::new(Decompress::new_gzip(WINDOW_BITS), true)
    }

    fn zlib() -> Self {
        Self::new(Decompress::new(true), false)
    }

    fn new(state: Decompress, gzip: bool) -> Self {
        Self { state, gzip, ended: false, members: 1, read: 0 }
    }

    /// Starts another gzip member (RFC 1952 §2.2). Trailing garbage then fails as its header.
    fn next_member(&mut self) -> Result<(), DecodeError> {
        self.members += 1;
        if !self.gzip || self.members > FREE_MEMBERS + self.read / BYTES_PER_MEMBER {
            return Err(DecodeError::Malformed);
        }
        self.state.reset(true);
        self.ended = false;
        Ok(())
    }
}

impl Codec for Inflate {
    fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, DecodeError> {
        if self.ended {
            if input.is_empty() {
                return Ok(Step::default());
            }
            self.next_member()?;
        }
        let (read, written) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(input, output, FlushDecompress::None);
        self.ended = status.map_err(|_| DecodeError::Malformed)? == Status::StreamEnd;
        let read = self.state.total_in() - read;
        self.read += read;
        // The casts are lossless: both counts are at most the length of a slice.
        let written = self.state.total_out() - written;
        Ok(Step { read: read as usize, written: written as usize })
    }

    fn is_complete(&self) -> bool {
        self.ended
    }
}

const WINDOW_BITS: u8 = 15;

// Each member resets a state of 48 KiB. Empty members of 20 bytes would cost far more than any other
// input of their length, so their number is limited in proportion to the input.
const FREE_MEMBERS: u64 = 16;
const BYTES_PER_MEMBER: u64 = 256;
