use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::codec::{Codec, Failed, Op};

/// RFC 1952: a header, deflated data, and a trailer. The header is ours, since it may be padded.
pub(super) struct Gzip {
    deflate: Deflate,
    crc: Crc,
    stage: Stage,
}

/// RFC 1950, which is what HTTP calls `deflate` (RFC 9110 §8.4.1.2).
pub(super) struct Zlib(Deflate);

enum Stage {
    Header { padding: u8 },
    Data,
    Trailer,
    Ended,
}

struct Deflate {
    state: Compress,
    level: u32,
}

impl Gzip {
    pub(super) fn new(level: u32) -> Self {
        Self {
            deflate: Deflate::new(level, false),
            crc: Crc::new(),
            stage: Stage::Header { padding: 0 },
        }
    }
}

impl Codec for Gzip {
    fn reset(&mut self) -> bool {
        self.crc.reset();
        self.stage = Stage::Header { padding: 0 };
        self.deflate.reset()
    }

    fn pad(&mut self, padding: u8) {
        self.stage = Stage::Header { padding };
    }

    fn encode(&mut self, input: &mut &[u8], output: &mut Vec<u8>, op: Op) -> Result<bool, Failed> {
        loop {
            match self.stage {
                Stage::Header { padding } => {
                    write_header(padding, output);
                    self.stage = Stage::Data;
                }
                Stage::Data => {
                    let before = *input;
                    let done = self.deflate.encode(input, output, op)?;
                    self.crc.update(&before[..before.len() - input.len()]);
                    if !(done && op == Op::Finish) {
                        return Ok(done);
                    }
                    self.stage = Stage::Trailer;
                }
                Stage::Trailer if output.capacity() - output.len() < TRAILER_LEN => {
                    return Ok(false);
                }
                Stage::Trailer => {
                    output.extend_from_slice(&self.crc.sum().to_le_bytes());
                    output.extend_from_slice(&self.crc.amount().to_le_bytes());
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Ok(true),
            }
        }
    }
}

impl Zlib {
    pub(super) fn new(level: u32) -> Self {
        Self(Deflate::new(level, true))
    }
}

impl Codec for Zlib {
    fn reset(&mut self) -> bool {
        self.0.reset()
    }

    fn encode(&mut self, input: &mut &[u8], output: &mut Vec<u8>, op: Op) -> Result<bool, Failed> {
        self.0.encode(input, output, op)
    }
}

impl Deflate {
    fn new(level: u32, zlib: bool) -> Self {
        Self { state: Compress::new(Compression::new(level), zlib), level }
    }

    /// Makes the state as good as new, to the byte.
    ///
    /// The reset of zlib-rs 0.6 alone does not: it leaves the last body in the window, where the
    /// search for matches looks a few bytes past the end of the input, so that the next body would
    /// tell of one that may be somebody else's; and at level 1 it forgets that a block is open.
    /// Compressing zeros to their end mends both. At level 9 the links between old matches stay.
    fn reset(&mut self) -> bool {
        if self.level == 9 {
            return false;
        }
        let used = usize::try_from(self.state.total_in()).unwrap_or(usize::MAX);
        self.state.reset();
        if used > 0 {
            let mut zeros = &ZEROS[..used.min(ZEROS.len())];
            let mut sink = [0; 512];
            loop {
                let before = self.state.total_in();
                let Ok(status) = self.state.compress(zeros, &mut sink, FlushCompress::Finish)
                else {
                    return false;
                };
                zeros = &zeros[(self.state.total_in() - before) as usize..];
                if status == Status::StreamEnd {
                    break;
                }
            }
            self.state.reset();
        }
        true
    }

    fn encode(&mut self, input: &mut &[u8], output: &mut Vec<u8>, op: Op) -> Result<bool, Failed> {
        let flush = match op {
            Op::Process => FlushCompress::None,
            Op::Flush => FlushCompress::Sync,
            Op::Finish => FlushCompress::Finish,
        };
        loop {
            if op == Op::Process && input.is_empty() {
                return Ok(true);
            }
            if output.len() == output.capacity() {
                return Ok(false);
            }
            let before = self.state.total_in();
            let status = self.state.compress_vec(input, output, flush).map_err(|_| Failed)?;
            // At most the length of the input, which is a `usize`.
            *input = &input[(self.state.total_in() - before) as usize..];
            match op {
                Op::Flush if output.len() < output.capacity() => return Ok(true),
                Op::Finish if status == Status::StreamEnd => return Ok(true),
                _ => {}
            }
        }
    }
}

/// RFC 1952 §2.3: no time, unknown operating system, and padding as the name of the file.
fn write_header(padding: u8, output: &mut Vec<u8>) {
    const FNAME: u8 = 1 << 3;
    let flags = if padding > 0 { FNAME } else { 0 };
    output.extend_from_slice(&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255]);
    if padding > 0 {
        output.resize(output.len() + usize::from(padding), b'p');
        output.push(0);
    }
}

/// Twice the largest window of the format.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

const TRAILER_LEN: usize = 8;
