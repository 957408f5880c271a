//! Bodies that tell what they are: whose resource, for which user, in which version.

use std::io::{self, Read};

/// The resource that a body is a version of, and the request that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) resource: usize,
    /// The user that the body is bound to, or 0.
    pub(crate) user: u64,
    /// The language that the body is written in, or 0.
    pub(crate) lang: u64,
    pub(crate) version: u64,
    /// The length of the body in bytes.
    pub(crate) size: usize,
}

impl Identity {
    /// Returns the body: a head line, text that can be compressed, and a checksum.
    pub(crate) fn text(&self) -> Vec<u8> {
        let Self { resource, user, lang, version, size } = self;
        let mut text = format!("{resource} {user} {lang} {version} {size}\n").into_bytes();
        let mut state = checksum(&text);
        while text.len() + SUM < *size {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            text.extend(format!("{:04x} of {version}; ", state >> 48).bytes());
        }
        text.truncate((*size).saturating_sub(SUM));
        text.extend(format!("{:016x}", checksum(&text)).bytes());
        text
    }

    /// Parses a body.
    ///
    /// # Errors
    ///
    /// If the body is not whole, or consists of parts of several.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [resource, user, lang, version, size] = numbers[..] else {
            return Err(format!("a body of {} bytes has no head: {line:.60}", text.len()));
        };
        let (resource, size) = (resource as usize, size as usize);
        let identity = Self { resource, user, lang, version, size };
        if identity.text() == text {
            Ok(identity)
        } else {
            Err(format!("{} bytes are not the body {identity:?}", text.len()))
        }
    }
}

/// Decodes a complete body. Bytes behind its end are an error too.
pub(crate) fn decode(coding: Option<&str>, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (mut decoded, mut rest) = (Vec::new(), bytes);
    let read = match coding {
        None => return Ok(bytes.to_vec()),
        Some("gzip") => {
            flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut decoded).map(|_| ())
        }
        Some("zstd") => zstd(&mut rest, &mut decoded),
        Some(other) => return Err(format!("nobody accepted {other}")),
    };
    read.map_err(|error| format!("{coding:?} of {} bytes: {error}", bytes.len()))?;
    if rest.is_empty() { Ok(decoded) } else { Err(format!("{} bytes too many", rest.len())) }
}

fn zstd(rest: &mut &[u8], decoded: &mut Vec<u8>) -> io::Result<()> {
    let failed = |code| io::Error::other(zstd_safe::get_error_name(code));
    let mut context = zstd_safe::DCtx::create();
    let mut buffer = vec![0; 16 * 1024];
    let mut input = zstd_safe::InBuffer::around(rest);
    loop {
        let mut output = zstd_safe::OutBuffer::around(&mut buffer[..]);
        let missing = context.decompress_stream(&mut output, &mut input).map_err(failed)?;
        let (read, written) = (input.pos(), output.pos());
        decoded.extend_from_slice(&buffer[..written]);
        if missing == 0 {
            *rest = &rest[read..];
            return Ok(());
        }
        if read == rest.len() && written < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// FNV-1a.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The size of the checksum at the end of a body, in bytes.
const SUM: usize = 16;
