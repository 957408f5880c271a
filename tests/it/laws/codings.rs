//! Decoders that know whether a body was complete.

use std::io::{self, Read};

use async_compression::codecs::DecodeV2;
use async_compression::codecs::brotli::BrotliDecoder;
use async_compression::codecs::core::util::{PartialBuffer, WriteBuffer};

/// Decodes a complete body; bytes behind its end are an error too.
pub(super) fn decode(coding: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::new();
    let mut rest = bytes;
    let read = match coding {
        "gzip" => flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut decoded).map(|_| ()),
        "deflate" => {
            flate2::bufread::ZlibDecoder::new(&mut rest).read_to_end(&mut decoded).map(|_| ())
        }
        "br" => brotli(&mut rest, &mut decoded),
        "zstd" => zstd(&mut rest, &mut decoded),
        _ => return Err(format!("no decoder for {coding}")),
    };
    read.map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(decoded) } else { Err(format!("{} bytes too many", rest.len())) }
}

fn brotli(rest: &mut &[u8], decoded: &mut Vec<u8>) -> io::Result<()> {
    let mut decoder = BrotliDecoder::new();
    let mut buffer = vec![0; MAX_DECODED];
    let mut input = PartialBuffer::new(*rest);
    let mut output = WriteBuffer::new_initialized(&mut buffer[..]);
    let is_whole = DecodeV2::decode(&mut decoder, &mut input, &mut output)?;
    let written = output.written_len();
    *rest = &rest[input.written_len()..];
    decoded.extend_from_slice(&buffer[..written]);
    if is_whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn zstd(rest: &mut &[u8], decoded: &mut Vec<u8>) -> io::Result<()> {
    let failed = |code| io::Error::other(zstd_safe::get_error_name(code));
    let mut context = zstd_safe::DCtx::create();
    let mut buffer = vec![0; MAX_DECODED];
    let mut input = zstd_safe::InBuffer::around(rest);
    let mut output = zstd_safe::OutBuffer::around(&mut buffer[..]);
    let mut missing = 1;
    while missing > 0 && input.pos() < rest.len() {
        missing = context.decompress_stream(&mut output, &mut input).map_err(failed)?;
    }
    let (read, written) = (input.pos(), output.pos());
    *rest = &rest[read..];
    decoded.extend_from_slice(&buffer[..written]);
    if missing == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// More than any body of these tests.
const MAX_DECODED: usize = 1 << 20;
