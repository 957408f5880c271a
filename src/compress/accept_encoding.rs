use http::HeaderValue;

use super::encoding::Encoding;
use crate::headers::qvalue::{Weight, record, weighted};

/// The weights of the encodings that a client accepts, in thousandths (RFC 9110 §12.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AcceptEncoding {
    /// The weights by [`Encoding::index`]: 0 for an encoding that is not named.
    encodings: [Weight; Encoding::COUNT],
    /// `None` if identity is not named: it is acceptable, and any named encoding is preferred.
    identity: Option<Weight>,
}

impl AcceptEncoding {
    /// Parses the values of `accept-encoding`.
    pub(super) fn parse(lines: &[HeaderValue]) -> Self {
        let mut named = [None; Encoding::COUNT];
        let mut identity = None;
        let mut any = None;
        for line in lines {
            for member in line.as_bytes().split(|&byte| byte == b',') {
                let Some((name, weight)) = weighted(member) else { continue };
                if name.eq_ignore_ascii_case(b"identity") {
                    record(&mut identity, weight);
                } else if name == b"*" {
                    record(&mut any, weight);
                } else if let Some(encoding) = Encoding::from_name(name) {
                    record(&mut named[encoding.index()], weight);
                }
            }
        }
        Self {
            encodings: named.map(|weight| weight.or(any).unwrap_or(0)),
            // `*` includes identity, but a client that sends it does not prefer identity.
            identity: identity.or(any.filter(|weight| *weight == 0)),
        }
    }

    /// Returns the encoding with the highest weight, and among equals the first of `order`. `None`
    /// stands for identity, which is chosen if the client names it with a higher weight.
    pub(super) fn choose(
        &self,
        order: impl IntoIterator<Item = Encoding, IntoIter: DoubleEndedIterator>,
    ) -> Option<Encoding> {
        let weight = |encoding: &Encoding| self.encodings[encoding.index()];
        // Among equals, `max_by_key` returns the last.
        let best = order.into_iter().rev().max_by_key(weight)?;
        let weight = weight(&best);
        (weight > 0 && weight >= self.identity.unwrap_or(0)).then_some(best)
    }

    /// Returns `true` if the client does not accept an uncompressed response.
    pub(super) fn refuses_identity(&self) -> bool {
        self.identity == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(lines: &[&str]) -> AcceptEncoding {
        let lines = lines.iter().map(|line| HeaderValue::from_str(line).unwrap());
        AcceptEncoding::parse(&lines.collect::<Vec<_>>())
    }

    #[test]
    fn highest_weight_wins_then_the_order() {
        const GZIP: Option<Encoding> = Some(Encoding::Gzip);
        const DEFLATE: Option<Encoding> = Some(Encoding::Deflate);
        // RFC 9110 §12.5.3, and §12.4.2 for the weights.
        let table: &[(&[&str], Option<Encoding>)] = &[
            (&[], None),
            (&[""], None),
            (&["gzip"], GZIP),
            (&["x-gzip"], GZIP),
            (&["GZip"], GZIP),
            (&["deflate, gzip"], GZIP),
            (&["deflate", "gzip;q=0.5"], DEFLATE),
            (&["gzip;q=0.8, deflate;q=0.801"], DEFLATE),
            (&["gzip;q=1.000, deflate;q=0.999"], GZIP),
            (&["\tgzip ; q=0.5 ,deflate; Q=0.4"], GZIP),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000, deflate"], DEFLATE),
            (&["*"], GZIP),
            (&["*;q=0.1"], GZIP),
            (&["gzip;q=0, *"], DEFLATE),
            (&["*;q=0"], None),
            (&["*;q=0, deflate"], DEFLATE),
            (&["br, zstd, compress"], None),
            (&["identity"], None),
            (&["identity, gzip"], GZIP),
            (&["identity;q=1, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.8"], GZIP),
            (&["identity;q=0, gzip;q=0.1"], GZIP),
            // A malformed member refuses its name, and a refusal overrides other members.
            (&["gzip;q=2, deflate"], DEFLATE),
            (&["gzip;q=0.1234, deflate"], DEFLATE),
            (&["gzip;q=-1, deflate"], DEFLATE),
            (&["gzip;q=, deflate"], DEFLATE),
            (&["gzip;q=1.001, deflate"], DEFLATE),
            (&["gzip;level=9, deflate"], DEFLATE),
            (&["gzip;q=1;q=1, deflate"], DEFLATE),
            (&["gzip deflate, deflate"], DEFLATE),
            (&["gzip deflate"], None),
            (&["\"gzip\", deflate"], DEFLATE),
            (&[",, ,gzip,"], GZIP),
            (&["gzip;q=0, gzip"], None),
            (&["gzip, gzip;q=0"], None),
            (&["gzip;q=0.0000, *"], DEFLATE),
            (&["gzip;q=0.0000, deflate;q=0.0000, *"], None),
            (&["gzip;q=-0, deflate; q = 0, *"], None),
            (&["*, gzip q=0"], DEFLATE),
            (&["*;q=0.0000"], None),
            (&["gzip", "*;q=1, gzip;q=0.0000"], DEFLATE),
            (&["gzip;q=1."], GZIP),
        ];
        for (lines, expected) in table {
            let order = [Encoding::Gzip, Encoding::Deflate];
            assert_eq!(parse(lines).choose(order), *expected, "{lines:?}");
        }
        let both = parse(&["gzip, deflate"]);
        assert_eq!(both.choose([Encoding::Deflate, Encoding::Gzip]), DEFLATE);
        assert_eq!(both.choose([]), None);
    }

    #[test]
    fn identity_is_refused_by_name_or_star() {
        for (line, refused) in [
            ("gzip", false),
            ("gzip, identity;q=0", true),
            ("gzip, *;q=0", true),
            ("identity;q=0.1, *;q=0", false),
            ("*", false),
            ("gzip, identity;q=0.0000", true),
            ("gzip, *;q=0.0000", true),
        ] {
            assert_eq!(parse(&[line]).refuses_identity(), refused, "{line}");
        }
    }

    proptest! {
        #[test]
        fn only_named_encodings_are_chosen(
            line in prop::collection::vec(any::<u8>(), 0..60),
            likely in "(gzip|deflate|identity|\\*|br)?[ ;q=.0-9,a-z*]{0,20}",
        ) {
            for line in [&line[..], likely.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(line) else { continue };
                let chosen = AcceptEncoding::parse(&[value]);
                let chosen = chosen.choose([Encoding::Gzip, Encoding::Deflate]);
                let named = String::from_utf8_lossy(line).to_ascii_lowercase();
                if let Some(chosen) = chosen {
                    prop_assert!(named.contains(chosen.as_str()) || named.contains('*'));
                }
            }
        }
    }
}
