use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::codec::{Codec, Failed, Op};

/// RFC 1952: a header, deflated data, and a trailer. The header is ours, since it may be padded.
pub(super) struct Gzip {
    deflate: Compress,
    crc: Crc,
    stage: Stage,
}

/// RFC 1950, which is what HTTP calls `deflate` (RFC 9110 §8.4.1.2).
pub(super) struct Zlib(Compress);

enum Stage {
    Header { padding: u8 },
    Data,
    Trailer,
    Ended,
}

impl Gzip {
    pub(super) fn new(level: u32) -> Self {
        Self {
            deflate: Compress::new(Compression::new(level), false),
            crc: Crc::new(),
            stage: Stage::Header { padding: 0 },
        }
    }
}

impl Codec for Gzip {
    fn reset(&mut self) -> bool {
        self.deflate.reset();
        self.crc.reset();
        self.stage = Stage::Header { padding: 0 };
        true
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
                    let done = deflate(&mut self.deflate, input, output, op)?;
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
        Self(Compress::new(Compression::new(level), true))
    }
}

impl Codec for Zlib {
    fn reset(&mut self) -> bool {
        self.0.reset();
        true
    }

    fn encode(&mut self, input: &mut &[u8], output: &mut Vec<u8>, op: Op) -> Result<bool, Failed> {
        deflate(&mut self.0, input, output, op)
    }
}

fn deflate(
    deflate: &mut Compress,
    input: &mut &[u8],
    output: &mut Vec<u8>,
    op: Op,
) -> Result<bool, Failed> {
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
        let before = deflate.total_in();
        let status = deflate.compress_vec(input, output, flush).map_err(|_| Failed)?;
        // At most the length of the input, which is a `usize`.
        *input = &input[(deflate.total_in() - before) as usize..];
        let room_left = output.len() < output.capacity();
        match op {
            Op::Flush if room_left => return Ok(true),
            Op::Finish if status == Status::StreamEnd => return Ok(true),
            _ => {}
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

const TRAILER_LEN: usize = 8;
