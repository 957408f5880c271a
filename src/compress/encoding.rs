use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;

use super::codec::CodecKind;
use super::deflate;
use super::envelope::Envelope;
use crate::headers::coding::ContentCoding;

/// A content encoding that [`CompressLayer`](super::CompressLayer) can apply (RFC 9110 §8.4.1,
/// which calls it a content coding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[doc(alias = "Coding")]
#[doc(alias = "ContentEncoding")]
pub enum Encoding {
    /// `zstd`: Zstandard (RFC 8878). Levels 1 to 22.
    #[cfg(feature = "compress-zstd")]
    Zstd,
    /// `br`: Brotli (RFC 7932). Levels 0 to 11.
    #[cfg(feature = "compress-br")]
    Brotli,
    /// `gzip` (RFC 1952), which clients may also call `x-gzip`. Levels 1 to 9.
    Gzip,
    /// `deflate`: deflated data in the zlib format (RFC 1950). Levels 1 to 9.
    Deflate,
}

/// The content coding of a compressed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Encoding(Encoding),
    /// `dcz`: zstd with a dictionary that the client has (RFC 9842 §5).
    Dictionary,
}

/// The error of [`CompressLayer::level`](super::CompressLayer::level) for a level that the encoding
/// does not have.
#[derive(Clone, Copy, Debug)]
pub struct InvalidLevel {
    encoding: Encoding,
    level: u32,
}

/// The facts about an encoding.
struct Entry {
    encoding: Encoding,
    coding: ContentCoding,
    levels: RangeInclusive<u32>,
    default_level: u32,
    codec: &'static CodecKind,
    /// Creates the envelope of a stream, from its level and its padding, for an encoding in which a
    /// stream can go on with another codec.
    envelope: Option<fn(u32, u8) -> Envelope>,
}

/// The encodings whose feature is on, in the order in which they are preferred by default: by speed
/// at about the same size. The order is that of the enum, so that an encoding is the index of its
/// entry. gzip comes before deflate, since some clients expect deflated data without zlib's
/// envelope.
static TABLE: &[Entry] = &[
    #[cfg(feature = "compress-zstd")]
    Entry {
        encoding: Encoding::Zstd,
        coding: ContentCoding::Zstd,
        levels: 1..=22,
        default_level: 3,
        codec: &super::zstd::ZSTD,
        envelope: None,
    },
    #[cfg(feature = "compress-br")]
    Entry {
        encoding: Encoding::Brotli,
        coding: ContentCoding::Brotli,
        levels: 0..=11,
        default_level: 4,
        codec: &super::brotli::BROTLI,
        envelope: None,
    },
    Entry {
        encoding: Encoding::Gzip,
        coding: ContentCoding::Gzip,
        // Level 0 only stores, and zlib-rs 0.6.8 panics at the reset of some such streams.
        levels: 1..=9,
        default_level: 6,
        codec: &deflate::GZIP,
        envelope: Some(|_, padding| Envelope::gzip(padding)),
    },
    Entry {
        encoding: Encoding::Deflate,
        coding: ContentCoding::Deflate,
        levels: 1..=9,
        default_level: 6,
        codec: &deflate::ZLIB,
        envelope: Some(|level, _| Envelope::zlib(level)),
    },
];

impl Encoding {
    /// The number of encodings whose feature is on.
    pub(super) const COUNT: usize = TABLE.len();

    /// Returns the name of the encoding in `content-encoding` and in the label of the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.coding().as_str()
    }

    /// Returns all encodings in their default order of preference.
    pub(super) fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        TABLE.iter().map(|entry| entry.encoding)
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    pub(super) const fn coding(self) -> ContentCoding {
        TABLE[self.index()].coding
    }

    pub(super) fn default_level(self) -> u32 {
        TABLE[self.index()].default_level
    }

    /// Returns the kind of the codec of the encoding.
    pub(super) fn codec(self) -> &'static CodecKind {
        TABLE[self.index()].codec
    }

    /// Returns `true` if a stream in this encoding can go on with another codec.
    pub(super) fn is_resumable(self) -> bool {
        TABLE[self.index()].envelope.is_some()
    }

    /// Creates the envelope of a stream. Returns `None` if the encoding is not resumable.
    pub(super) fn envelope(self, level: u32, padding: u8) -> Option<Envelope> {
        TABLE[self.index()].envelope.map(|new| new(level, padding))
    }

    /// Returns `level` if the encoding has it.
    pub(super) fn check_level(self, level: u32) -> Result<u32, InvalidLevel> {
        let has_level = TABLE[self.index()].levels.contains(&level);
        has_level.then_some(level).ok_or(InvalidLevel { encoding: self, level })
    }
}

impl Coding {
    /// Returns the name of the coding in `content-encoding` and in the label of the metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Encoding(encoding) => encoding.as_str(),
            Self::Dictionary => DICTIONARY,
        }
    }
}

impl From<Encoding> for Coding {
    fn from(encoding: Encoding) -> Self {
        Self::Encoding(encoding)
    }
}

impl fmt::Display for InvalidLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encoding, level } = self;
        let levels = &TABLE[encoding.index()].levels;
        let (name, min, max) = (encoding.as_str(), levels.start(), levels.end());
        write!(f, "{name} has no level {level}: the levels are {min} to {max}")
    }
}

impl Error for InvalidLevel {}

/// The name of [`Coding::Dictionary`].
pub(super) const DICTIONARY: &str = "dcz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_the_indexes_of_their_entries() {
        for (index, encoding) in Encoding::all().enumerate() {
            assert_eq!(encoding.index(), index, "{encoding:?}");
            assert!(encoding.check_level(encoding.default_level()).is_ok());
        }
    }

    #[test]
    fn levels_outside_the_range_are_errors() {
        for (name, min, max) in [("gzip", 1, 9), ("deflate", 1, 9), ("br", 0, 11), ("zstd", 1, 22)]
        {
            let Some(encoding) = Encoding::all().find(|it| it.as_str() == name) else { continue };
            for level in [min, max, u32::wrapping_sub(min, 1), max + 1, u32::MAX] {
                let is_ok = encoding.check_level(level).is_ok();
                assert_eq!(is_ok, (min..=max).contains(&level), "{name} {level}");
            }
        }
        let error = Encoding::Gzip.check_level(10).unwrap_err();
        assert_eq!(error.to_string(), "gzip has no level 10: the levels are 1 to 9");
    }
}
