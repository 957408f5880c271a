//! Decompression of request bodies within a limit.
//!
//! [`codings`] holds the table of the codings that the enabled features support; each coding is a
//! [`codec::Codec`] in a file of its own. Without the feature `limit-decompress` the table is empty.

mod codec;
mod codings;
mod decoder;

#[cfg(feature = "limit-decompress-br")]
mod brotli;
#[cfg(feature = "limit-decompress")]
mod inflate;
#[cfg(feature = "limit-decompress-zstd")]
mod zstd;

pub(super) use codec::DecodeError;
pub(super) use codings::{Codings, accept_encoding};
pub(super) use decoder::Decoder;
