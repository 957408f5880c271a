use std::error::Error;
use std::fmt;

/// A content coding (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Coding {
    /// `gzip`, which is `x-gzip` too. Levels 1 to 9.
    Gzip,
    /// `deflate`: deflated data in the zlib format. Levels 1 to 9.
    Deflate,
    /// `br`. Levels 0 to 11.
    #[cfg(feature = "compress-br")]
    Brotli,
    /// `zstd`. Levels 1 to 22.
    #[cfg(feature = "compress-zstd")]
    Zstd,
}

/// A level that the coding does not have.
#[derive(Clone, Copy, Debug)]
pub struct InvalidLevel {
    coding: Coding,
    level: u32,
}

impl Coding {
    /// One more than the greatest index.
    pub(super) const COUNT: usize = 4;

    /// All of them, in the order in which they are preferred by default: by speed at about the same
    /// size. gzip before deflate, of which some clients take raw data.
    pub(super) const ALL: &[Self] = &[
        #[cfg(feature = "compress-zstd")]
        Self::Zstd,
        #[cfg(feature = "compress-br")]
        Self::Brotli,
        Self::Gzip,
        Self::Deflate,
    ];

    /// Returns `true` if a stream in this coding can go on with another codec.
    pub(super) const fn is_resumable(self) -> bool {
        matches!(self, Self::Gzip | Self::Deflate)
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Gzip => 0,
            Self::Deflate => 1,
            #[cfg(feature = "compress-br")]
            Self::Brotli => 2,
            #[cfg(feature = "compress-zstd")]
            Self::Zstd => 3,
        }
    }

    /// Returns the name that stands in `content-encoding`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            #[cfg(feature = "compress-br")]
            Self::Brotli => "br",
            #[cfg(feature = "compress-zstd")]
            Self::Zstd => "zstd",
        }
    }

    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            #[cfg(feature = "compress-br")]
            () if is("br") => Some(Self::Brotli),
            #[cfg(feature = "compress-zstd")]
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    pub(super) fn check(self, level: u32) -> Result<u32, InvalidLevel> {
        let levels = match self {
            // Level 0 only stores, and zlib-rs 0.6.8 panics at the reset of some such streams.
            Self::Gzip | Self::Deflate => 1..=9,
            #[cfg(feature = "compress-br")]
            Self::Brotli => 0..=11,
            #[cfg(feature = "compress-zstd")]
            Self::Zstd => 1..=22,
        };
        levels.contains(&level).then_some(level).ok_or(InvalidLevel { coding: self, level })
    }
}

impl fmt::Display for InvalidLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no level {}", self.coding.as_str(), self.level)
    }
}

impl Error for InvalidLevel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_that_the_coding_has() {
        for (coding, least, most) in [
            (Coding::Gzip, 1_u32, 9),
            (Coding::Deflate, 1, 9),
            #[cfg(feature = "compress-br")]
            (Coding::Brotli, 0, 11),
            #[cfg(feature = "compress-zstd")]
            (Coding::Zstd, 1, 22),
        ] {
            for level in [least, most, least.wrapping_sub(1), most + 1, u32::MAX] {
                let expected = (least..=most).contains(&level);
                assert_eq!(coding.check(level).is_ok(), expected, "{coding:?} {level}");
            }
        }
        let error = Coding::Gzip.check(10).unwrap_err();
        assert_eq!(error.to_string(), "gzip has no level 10");
    }
}
