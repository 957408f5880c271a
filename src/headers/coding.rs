//! Content codings that several layers know by name (RFC 9110 §8.4.1).

/// A content coding. Which of them a layer can encode or decode is a matter of its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl ContentCoding {
    pub(crate) const ALL: [Self; 4] = [Self::Gzip, Self::Deflate, Self::Brotli, Self::Zstd];

    /// Parses a name, in any case. `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let found = Self::ALL.into_iter().find(|coding| is(coding.as_str()));
        found.or_else(|| is("x-gzip").then_some(Self::Gzip))
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the position in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coding_is_known_by_its_name() {
        for (at, coding) in ContentCoding::ALL.into_iter().enumerate() {
            assert_eq!(coding.index(), at);
            assert_eq!(ContentCoding::parse(coding.as_str().as_bytes()), Some(coding));
            let upper = coding.as_str().to_ascii_uppercase();
            assert_eq!(ContentCoding::parse(upper.as_bytes()), Some(coding));
        }
        assert_eq!(ContentCoding::parse(b"X-GZip"), Some(ContentCoding::Gzip));
        for other in ["", "identity", "*", "gzi", "gzipp", "x-deflate", "brotli", "dcz"] {
            assert_eq!(ContentCoding::parse(other.as_bytes()), None, "{other}");
        }
    }
}
