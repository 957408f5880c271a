//! The part of zstd that knows dictionaries, alone, so that another encoder can take its place.
//!
//! `mzstd` is one in Rust: of JSON of 1 to 100 KiB at level 3, it makes as few bytes, in 1.3 to 1.6 of the
//! time of this one. It takes minutes to build, and wants a newer Rust than this crate.

use std::cell::Cell;

use bytes::Bytes;
use zstd_safe::{CCtx, CDict};

use super::super::codec::{Codec, CodecError, Op};
use super::super::zstd::Zstd;
use super::store::Dictionary;

/// A dictionary in the form that the encoder works with.
pub(super) struct PreparedDictionary(CDict<'static>);

/// An encoder of whole bodies, which each thread keeps.
struct Encoder {
    context: CCtx<'static>,
    output: Vec<u8>,
}

/// A codec of a stream in `dcz`, for one use.
struct StreamCodec {
    /// The header, until it is written.
    header: Option<[u8; HEADER_LEN]>,
    zstd: Zstd,
}

thread_local! {
    static ENCODER: Cell<Option<Box<Encoder>>> = const { Cell::new(None) };
}

impl PreparedDictionary {
    /// Prepares a dictionary. Returns `None` if the allocator fails.
    pub(super) fn new(bytes: &[u8], level: u32) -> Option<Self> {
        CDict::try_create(bytes, to_level(level)).map(Self)
    }

    /// Returns the size in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.sizeof()
    }
}

impl Encoder {
    fn new() -> Result<Self, CodecError> {
        let context = CCtx::try_create().ok_or(CodecError)?;
        Ok(Self { context, output: Vec::new() })
    }
}

impl StreamCodec {
    fn new(dictionary: &Dictionary, level: u32) -> Result<Self, CodecError> {
        let mut zstd = Zstd::new(level)?;
        // The context keeps a copy: a reference could not outlive the store's.
        zstd.0.load_dictionary(&dictionary.bytes).map_err(|_| CodecError)?;
        Ok(Self { header: Some(header(dictionary)), zstd })
    }
}

impl Codec for StreamCodec {
    fn reset(&mut self) -> bool {
        false
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        if let Some(header) = self.header.take() {
            output.extend_from_slice(&header);
        }
        self.zstd.encode(input, output, op)
    }
}

/// Compresses a whole body in `dcz` (RFC 9842 §5), by the prepared form of the dictionary if there
/// is one.
pub(super) fn compress(
    body: &[u8],
    dictionary: &Dictionary,
    prepared: Option<&PreparedDictionary>,
    level: u32,
) -> Result<Bytes, CodecError> {
    let mut encoder = match ENCODER.try_with(Cell::take).ok().flatten() {
        Some(encoder) => encoder,
        None => Box::new(Encoder::new()?),
    };
    let Encoder { context, output } = &mut *encoder;
    output.clear();
    output.reserve(zstd_safe::compress_bound(body.len()));
    // The frame names its size, so that its window is no larger than the body: far under the 8 MiB
    // that each client has to accept (RFC 9842 §5).
    let compressed = match prepared {
        Some(prepared) => context.compress_using_cdict(output, body, &prepared.0),
        None => context.compress_using_dict(output, body, &dictionary.bytes, to_level(level)),
    };
    // A context that has failed does not go back to the thread.
    compressed.map_err(|_| CodecError)?;
    let bytes = [&header(dictionary)[..], output].concat().into();
    let _ = ENCODER.try_with(|cell| cell.set(Some(encoder)));
    Ok(bytes)
}

/// Creates a codec for a stream in `dcz`.
pub(super) fn stream_codec(
    dictionary: &Dictionary,
    level: u32,
) -> Result<Box<dyn Codec>, CodecError> {
    Ok(Box::new(StreamCodec::new(dictionary, level)?))
}

/// Returns the header of a body in `dcz`: a frame that decoders of zstd skip, with the hash of the
/// dictionary (RFC 9842 §5).
fn header(dictionary: &Dictionary) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&[0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0]);
    header[8..].copy_from_slice(dictionary.hash());
    header
}

fn to_level(level: u32) -> i32 {
    i32::try_from(level).unwrap_or(i32::MAX)
}

/// The length of the header.
const HEADER_LEN: usize = 40;
