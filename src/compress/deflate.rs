use std::mem;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::codec::{Codec, CodecError, Op};

/// RFC 1952: a header, deflated data, and a trailer. The header is ours, since it may be padded.
pub(super) struct Gzip {
    deflate: Deflate,
    crc: Crc,
    stage: Stage,
}

/// RFC 1950, which is what HTTP calls `deflate` (RFC 9110 §8.4.1.2).
pub(super) struct Zlib(Deflate);

/// RFC 1951: deflated data alone.
pub(super) struct Raw(Deflate);

enum Stage {
    Header { padding: u8 },
    Data,
    Trailer,
    Ended,
}

struct Deflate {
    state: Compress,
    level: u32,
    /// How much of the window old bodies may have left something in.
    dirty: usize,
    /// How much of the window the history takes.
    history: usize,
    /// The stream is at its end: all that came out is given out.
    ended: bool,
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

    fn prepare(&mut self, padding: u8, size: Option<usize>) -> bool {
        self.stage = Stage::Header { padding };
        self.deflate.prepare(size)
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
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

    fn prepare(&mut self, _padding: u8, size: Option<usize>) -> bool {
        self.0.prepare(size)
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        self.0.encode(input, output, op)
    }
}

impl Raw {
    pub(super) fn new(level: u32) -> Self {
        Self(Deflate::new(level, false))
    }
}

impl Codec for Raw {
    fn reset(&mut self) -> bool {
        self.0.reset()
    }

    fn prepare(&mut self, _padding: u8, size: Option<usize>) -> bool {
        self.0.prepare(size)
    }

    fn set_history(&mut self, history: &[u8]) -> Result<(), CodecError> {
        self.0.state.set_dictionary(history).map_err(|_| CodecError)?;
        self.0.history = history.len();
        Ok(())
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        self.0.encode(input, output, op)
    }
}

impl Deflate {
    fn new(level: u32, zlib: bool) -> Self {
        Self {
            state: Compress::new(Compression::new(level), zlib),
            level,
            dirty: 0,
            history: 0,
            ended: false,
        }
    }

    fn reset(&mut self) -> bool {
        // At level 9 the links between old matches stay, and change what comes out.
        if self.level == 9 {
            return false;
        }
        let used = usize::try_from(self.state.total_in()).unwrap_or(usize::MAX);
        let used = used.saturating_add(mem::take(&mut self.history));
        self.dirty = self.dirty.max(used.min(ZEROS.len()));
        let ended = mem::take(&mut self.ended) || self.state.total_in() == 0;
        self.state.reset();
        // A proper end mends what else the reset forgets: that a block is open, at level 1; and in
        // a stream that was not ended, where in its buffer the rest of the output stood. The next
        // output goes behind that, and zlib-rs panics when there is no room left.
        ended && self.level != 1 || self.scrub(FlushCompress::Finish)
    }

    /// Makes the state as good as new, to the byte, for a body of so many bytes.
    ///
    /// The reset of zlib-rs 0.6 leaves old bodies in the window, and the search for matches looks a
    /// few bytes past the end of the input. A body that is as long as they were covers them; after
    /// any other one, what comes out would tell of what may be somebody else's.
    fn prepare(&mut self, size: Option<usize>) -> bool {
        let covers = size.is_some_and(|size| size >= self.dirty);
        covers || self.dirty == 0 || self.scrub(FlushCompress::None)
    }

    /// Compresses zeros over what is left in the window.
    fn scrub(&mut self, flush: FlushCompress) -> bool {
        let mut zeros = &ZEROS[..self.dirty];
        let mut sink = [0; 512];
        loop {
            let before = self.state.total_in();
            let Ok(status) = self.state.compress(zeros, &mut sink, flush) else { return false };
            zeros = &zeros[(self.state.total_in() - before) as usize..];
            let taken = flush == FlushCompress::None && zeros.is_empty();
            if taken || status == Status::StreamEnd {
                self.state.reset();
                self.dirty = 0;
                return true;
            }
        }
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
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
            let status = self.state.compress_vec(input, output, flush).map_err(|_| CodecError)?;
            // At most the length of the input, which is a `usize`.
            *input = &input[(self.state.total_in() - before) as usize..];
            match op {
                Op::Flush if output.len() < output.capacity() => return Ok(true),
                Op::Finish if status == Status::StreamEnd => {
                    self.ended = true;
                    return Ok(true);
                }
                _ => {}
            }
        }
    }
}

/// RFC 1952 §2.3: no time, unknown operating system, and padding as the name of the file.
pub(super) fn write_header(padding: u8, output: &mut Vec<u8>) {
    const FNAME: u8 = 1 << 3;
    let flags = if padding > 0 { FNAME } else { 0 };
    output.extend_from_slice(&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255]);
    if padding > 0 {
        output.resize(output.len() + usize::from(padding), b'p');
        output.push(0);
    }
}

/// The window that zlib-rs keeps: twice the largest one of the format.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

pub(super) const TRAILER_LEN: usize = 8;
