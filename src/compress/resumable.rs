use super::codec::{CodecError, Op};
use super::deflate;
use super::encoding::Encoding;
use super::envelope::Envelope;
use super::pool::{Key, Pooled};

/// A gzip or zlib stream that can give its codec back whenever it is flushed, and goes on with
/// another one.
///
/// The state of deflate takes 380 KB, too much for a stream that waits for its next event. After a
/// flush the output ends at a byte, and the data of any other state may follow, as long as it
/// refers to nothing that the decoder has not seen (RFC 1951 §3.2). So only the checksum is kept,
/// and the last few KiB of the input as the dictionary of the next state. The client sees one
/// stream with one header and one trailer: browsers and curl stop, or fail, at a second gzip
/// member.
pub(super) struct Resumable {
    envelope: Envelope,
    data: Data,
}

/// Deflated data whose codec comes and goes.
struct Data {
    level: u32,
    /// `None` before the first data, while the stream is paused, and after its end.
    codec: Option<Pooled>,
    /// The end of the input so far, up to [`HISTORY`].
    history: Vec<u8>,
}

impl Resumable {
    /// Creates a stream. Returns `None` if the encoding cannot be resumed.
    pub(super) fn new(encoding: Encoding, level: u32, padding: u8) -> Option<Self> {
        let envelope = encoding.envelope(level, padding)?;
        Some(Self { envelope, data: Data { level, codec: None, history: Vec::new() } })
    }

    /// Returns `true` if the stream holds a codec.
    pub(super) const fn is_active(&self) -> bool {
        self.data.codec.is_some()
    }

    /// Gives the codec back. Input since the last flush is lost.
    pub(super) fn pause(&mut self) {
        self.data.codec = None;
    }

    /// Encodes as [`Codec::encode`](super::codec::Codec::encode) does.
    pub(super) fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        let Self { envelope, data } = self;
        envelope.encode(input, output, op, |input, output| data.encode(input, output, op))
    }
}

impl Data {
    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        let codec = match &mut self.codec {
            Some(codec) => codec,
            // A stream that has nothing to compress takes no codec to end or to flush.
            None if input.is_empty() => return Ok(op != Op::Finish || write_end(output)),
            slot @ None => {
                let key = Key { kind: &deflate::RAW, level: self.level };
                // The size is unknown: the codec is scrubbed of earlier bodies.
                let mut codec = Pooled::take(key, 0, None)?;
                if !self.history.is_empty() {
                    codec.set_history(&self.history)?;
                }
                slot.insert(codec)
            }
        };
        let before = *input;
        let done = codec.encode(input, output, op)?;
        self.remember(&before[..before.len() - input.len()]);
        if done && op == Op::Finish {
            self.codec = None;
        }
        Ok(done)
    }

    fn remember(&mut self, taken: &[u8]) {
        let tail = &taken[taken.len().saturating_sub(HISTORY)..];
        let over = (self.history.len() + tail.len()).saturating_sub(HISTORY);
        self.history.drain(..over);
        self.history.extend_from_slice(tail);
    }
}

/// Ends deflated data between two blocks with an empty last block (RFC 1951 §3.2.6). Returns
/// `false` if it does not fit.
fn write_end(output: &mut Vec<u8>) -> bool {
    let fits = output.capacity() - output.len() >= END.len();
    if fits {
        output.extend_from_slice(&END);
    }
    fits
}

/// The number of bytes of input that a paused stream keeps. Events resemble each other, so that the
/// last few of them are worth most of what a whole window is worth.
const HISTORY: usize = 8 * 1024;

const END: [u8; 2] = [0x03, 0x00];

#[cfg(test)]
mod tests;
