use flate2::{Decompress, FlushDecompress, Status};

use super::codec::{Codec, Step};
use super::decode::DecodeError;

/// gzip (RFC 1952), or the zlib format (RFC 1950), which is what HTTP calls `deflate`
/// (RFC 9110 §8.4.1.2).
pub(super) struct Inflate {
    state: Decompress,
    gzip: bool,
    /// A member has ended. Another one may follow in gzip.
    ended: bool,
    members: u64,
    read: u64,
}

impl Inflate {
    pub(super) fn gzip() -> Self {
        Self::new(Decompress::new_gzip(WINDOW_BITS), true)
    }

    pub(super) fn zlib() -> Self {
        Self::new(Decompress::new(true), false)
    }

    fn new(state: Decompress, gzip: bool) -> Self {
        Self { state, gzip, ended: false, members: 1, read: 0 }
    }

    /// What follows the end is another member (RFC 1952 §2.2) or garbage, which has no valid header.
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
        // Both are at most the length of a slice.
        let written = self.state.total_out() - written;
        Ok(Step { read: read as usize, written: written as usize })
    }

    fn is_complete(&self) -> bool {
        self.ended
    }
}

const WINDOW_BITS: u8 = 15;

/// A member costs a new state of 48 KiB: empty ones of 20 bytes each would cost far more than any
/// other input of their length.
const FREE_MEMBERS: u64 = 16;
const BYTES_PER_MEMBER: u64 = 256;
