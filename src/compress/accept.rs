use http::HeaderValue;

use super::encoding::Encoding;
use crate::headers::qvalue::{Weight, record, weighted};

/// The weights of the encodings that a client accepts, in thousandths (RFC 9110 §12.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// By [`Encoding::index`]. A encoding that is not named has the weight 0.
    encodings: [Weight; Encoding::COUNT],
    /// `None` if identity is not named: it is acceptable, and any named encoding is preferred.
    identity: Option<Weight>,
}

impl Accepted {
    /// Parses the lines of `accept-encoding`.
    pub(super) fn of(lines: &[HeaderValue]) -> Self {
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
            // `*` names identity too, but a client that sends `*` alone does not ask for it.
            identity: identity.or(any.filter(|weight| *weight == 0)),
        }
    }

    /// Returns the encoding to send: of the heaviest, the first in the server's order. `None` stands
    /// for identity, which wins only where the client says that it prefers it.
    pub(super) fn choose(&self, order: &[Encoding]) -> Option<Encoding> {
        let weight = |encoding: &Encoding| self.encodings[encoding.index()];
        // Of several maxima, `max_by_key` gives the last.
        let best = order.iter().rev().copied().max_by_key(weight)?;
        let weight = weight(&best);
        (weight > 0 && weight >= self.identity.unwrap_or(0)).then_some(best)
    }

    /// Returns `true` if the client does not take a response without a encoding.
    pub(super) fn refuses_identity(&self) -> bool {
        self.identity == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepted(lines: &[&str]) -> Accepted {
        let lines = lines.iter().map(|line| HeaderValue::from_str(line).unwrap());
        Accepted::of(&lines.collect::<Vec<_>>())
    }

    #[test]
    fn the_heaviest_coding_is_chosen_and_ties_go_to_the_server() {
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
            // Malformed members refuse what they name; of two equal names a refusal counts.
            (&["gzip;q=2, deflate"], DEFLATE),
            (&["gzip;q=0.1234, deflate"], DEFLATE),
            (&["gzip;q=-1, deflate"], DEFLATE),
            (&["gzip;q=, deflate"], DEFLATE),
            (&["gzip;q=1.001, deflate"], DEFLATE),
            (&["gzip;level=9, deflate"], DEFLATE),
            (&["gzip;q=1;q=1, deflate"], DEFLATE),
            (&["gzip deflate, deflate"], DEFLATE),
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
            assert_eq!(accepted(lines).choose(&order), *expected, "{lines:?}");
        }
        assert_eq!(
            accepted(&["gzip, deflate"]).choose(&[Encoding::Deflate, Encoding::Gzip]),
            DEFLATE
        );
        assert_eq!(accepted(&["gzip, deflate"]).choose(&[]), None);
    }

    #[test]
    fn identity_is_refused_by_name_or_by_a_star() {
        for (line, refused) in [
            ("gzip", false),
            ("gzip, identity;q=0", true),
            ("gzip, *;q=0", true),
            ("identity;q=0.1, *;q=0", false),
            ("*", false),
            ("gzip, identity;q=0.0000", true),
            ("gzip, *;q=0.0000", true),
        ] {
            assert_eq!(accepted(&[line]).refuses_identity(), refused, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic_or_choose_what_was_not_named(
            line in prop::collection::vec(any::<u8>(), 0..60),
            likely in "(gzip|deflate|identity|\\*|br)?[ ;q=.0-9,a-z*]{0,20}",
        ) {
            for line in [&line[..], likely.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(line) else { continue };
                let chosen = Accepted::of(&[value]).choose(&[Encoding::Gzip, Encoding::Deflate]);
                let named = String::from_utf8_lossy(line).to_ascii_lowercase();
                if let Some(chosen) = chosen {
                    prop_assert!(named.contains(chosen.as_str()) || named.contains('*'));
                }
            }
        }
    }
}
