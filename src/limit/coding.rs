use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// A content coding that the layer can take off (RFC 9110 §8.4.1). Without the feature
/// `limit-decompress` there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    #[cfg(feature = "limit-decompress")]
    Gzip,
    #[cfg(feature = "limit-decompress")]
    Deflate,
    #[cfg(feature = "limit-decompress-br")]
    Brotli,
    #[cfg(feature = "limit-decompress-zstd")]
    Zstd,
}

/// The content codings of a body, in the order in which they were applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Codings([Option<Coding>; MAX_CODINGS]);

/// A coding that the layer does not know, or more of them than it takes off.
#[derive(Debug)]
pub(super) struct UnsupportedCoding;

impl Coding {
    fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // RFC 9110 §8.4.1.3: `x-gzip` is the same.
        let mut all = ALL.iter().copied();
        all.find(|coding| is(coding.as_str()) || coding.as_str() == "gzip" && is("x-gzip"))
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            #[cfg(feature = "limit-decompress")]
            Self::Gzip => "gzip",
            #[cfg(feature = "limit-decompress")]
            Self::Deflate => "deflate",
            #[cfg(feature = "limit-decompress-br")]
            Self::Brotli => "br",
            #[cfg(feature = "limit-decompress-zstd")]
            Self::Zstd => "zstd",
        }
    }
}

impl Codings {
    /// Parses the lines of `content-encoding`. `identity` is no coding, and empty members do not
    /// count (RFC 9110 §5.6.1.2).
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, UnsupportedCoding> {
        let mut codings = Self::default();
        let mut free = codings.0.iter_mut();
        let lines = headers.get_all(CONTENT_ENCODING).iter();
        for member in lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
            let name = member.trim_ascii();
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let coding = Coding::named(name).ok_or(UnsupportedCoding)?;
            *free.next().ok_or(UnsupportedCoding)? = Some(coding);
        }
        Ok(codings)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// Returns the codings in the order in which they are taken off.
    pub(super) fn outermost_first(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().rev().flatten()
    }
}

/// Returns the value of `accept-encoding` that names every coding (RFC 9110 §12.5.3).
pub(super) fn accept_encoding() -> HeaderValue {
    let names: Vec<_> = ALL.iter().map(|coding| coding.as_str()).collect();
    HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static("identity"))
}

/// Each takes a decoder with a window of its own. Nobody is known to send more than one.
const MAX_CODINGS: usize = 2;

const ALL: &[Coding] = &[
    #[cfg(feature = "limit-decompress")]
    Coding::Gzip,
    #[cfg(feature = "limit-decompress")]
    Coding::Deflate,
    #[cfg(feature = "limit-decompress-br")]
    Coding::Brotli,
    #[cfg(feature = "limit-decompress-zstd")]
    Coding::Zstd,
];

#[cfg(all(test, feature = "limit-decompress"))]
mod tests {
    use http::header::CONTENT_ENCODING;

    use super::*;

    #[test]
    fn codings_are_parsed_in_order() {
        const GZIP: Option<Coding> = Some(Coding::Gzip);
        const DEFLATE: Option<Coding> = Some(Coding::Deflate);
        type Row<'a> = (&'a [&'static str], Option<[Option<Coding>; 2]>);
        let table: &[Row<'_>] = &[
            (&[], Some([None, None])),
            (&[""], Some([None, None])),
            (&["identity"], Some([None, None])),
            (&["gzip"], Some([GZIP, None])),
            (&["X-GZip"], Some([GZIP, None])),
            (&[" , gzip\t,"], Some([GZIP, None])),
            (&["deflate, identity, gzip"], Some([DEFLATE, GZIP])),
            (&["deflate", "gzip"], Some([DEFLATE, GZIP])),
            (&["gzip, gzip"], Some([GZIP, GZIP])),
            (&["gzip, gzip, gzip"], None),
            (&["gzip", "gzip", "gzip"], None),
            (&["compress"], None),
            (&["gzip, unknown"], None),
            (&["gzip;q=1"], None),
            (&["gzip deflate"], None),
            (&["*"], None),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            let codings = Codings::parse(&headers).ok();
            assert_eq!(codings.map(|codings| codings.0), *expected, "{lines:?}");
        }
    }

    #[test]
    fn the_last_coding_is_taken_off_first() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("deflate, gzip"));
        let codings = Codings::parse(&headers).unwrap();
        let order: Vec<_> = codings.outermost_first().map(Coding::as_str).collect();
        assert_eq!(order, ["gzip", "deflate"]);
    }

    #[test]
    fn every_coding_is_named_to_clients() {
        let value = accept_encoding();
        assert!(value.to_str().unwrap().starts_with("gzip, deflate"), "{value:?}");
        for coding in ALL {
            assert_eq!(Coding::named(coding.as_str().as_bytes()), Some(*coding));
        }
    }
}
