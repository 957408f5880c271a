use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

use super::codec::SupportedCoding;
use crate::headers::coding::ContentCoding;
use crate::headers::list;

/// The content codings of a body, in the order in which the sender applied them.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::limit) struct Codings([Option<&'static SupportedCoding>; MAX_CODINGS]);

/// An error for a `content-encoding` with an unsupported coding, or with more than
/// [`MAX_CODINGS`].
#[derive(Debug)]
pub(in crate::limit) struct UnsupportedCodings;

impl Codings {
    /// Parses all `content-encoding` lines, and skips `identity`.
    ///
    /// # Errors
    ///
    /// If a coding is not supported, or if there are more than [`MAX_CODINGS`].
    pub(in crate::limit) fn parse(headers: &HeaderMap) -> Result<Self, UnsupportedCodings> {
        let mut codings = Self::default();
        let mut free = codings.0.iter_mut();
        for name in list::members(headers, &CONTENT_ENCODING) {
            // RFC 9110 §8.4.1 reserves `identity` for `accept-encoding`, but clients send it.
            if name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let coding = find(name).ok_or(UnsupportedCodings)?;
            *free.next().ok_or(UnsupportedCodings)? = Some(coding);
        }
        Ok(codings)
    }

    pub(in crate::limit) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// Returns the codings in the order in which they must be decoded.
    pub(super) fn outermost_first(self) -> impl Iterator<Item = &'static SupportedCoding> {
        self.0.into_iter().rev().flatten()
    }
}

/// Returns the `accept-encoding` value of a 415 response: all supported codings
/// (RFC 9110 §12.5.3).
pub(in crate::limit) fn accept_encoding() -> HeaderValue {
    let names: Vec<_> = supported().map(|it| it.coding.as_str()).collect();
    HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static("identity"))
}

fn find(name: &[u8]) -> Option<&'static SupportedCoding> {
    let coding = ContentCoding::parse(name)?;
    supported().find(|it| it.coding == coding)
}

fn supported() -> impl Iterator<Item = &'static SupportedCoding> {
    SUPPORTED.iter().copied().flatten()
}

/// Each coding costs a decoder with a window of its own, and real clients apply one.
const MAX_CODINGS: usize = 2;

/// The supported codings, grouped by the module that decodes them.
const SUPPORTED: &[&[SupportedCoding]] = &[
    #[cfg(feature = "limit-decompress")]
    super::inflate::CODINGS,
    #[cfg(feature = "limit-decompress-br")]
    super::brotli::CODINGS,
    #[cfg(feature = "limit-decompress-zstd")]
    super::zstd::CODINGS,
];

#[cfg(test)]
mod tests;
