//! `accept-encoding` (RFC 9110 §12.5.3).

use http::HeaderValue;

use super::coding::ContentCoding;
use super::list;
use super::qvalue::{QValue, parse_member};

/// The codings that a client accepts, by weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptEncoding {
    /// The weights by [`ContentCoding::index`], `*` included. A coding that is not named has the
    /// weight 0.
    weights: [QValue; ContentCoding::ALL.len()],
    /// The weight of identity, by its name or by `*;q=0`. `None` if neither stands there: identity
    /// is acceptable then, and any coding that is named is preferred.
    identity: Option<QValue>,
}

impl AcceptEncoding {
    /// Parses the lines of the header. A malformed member refuses the coding that it names, and so
    /// does one of several members of one name.
    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut named = [None; ContentCoding::ALL.len()];
        let (mut identity, mut any) = (None, None);
        for member in lines.into_iter().flat_map(|line| list::split(line.as_bytes())) {
            let Some((name, weight)) = parse_member(member) else { continue };
            let weight = weight.unwrap_or(0);
            if let Some(coding) = ContentCoding::parse(name) {
                record(&mut named[coding.index()], weight);
            } else if name == b"*" {
                record(&mut any, weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                record(&mut identity, weight);
            }
        }
        Self {
            weights: named.map(|weight| weight.or(any).unwrap_or(0)),
            // `*` names identity, too, but a client that sends `*` alone does not ask for it.
            identity: identity.or(any.filter(|weight| *weight == 0)),
        }
    }

    #[inline]
    pub(crate) fn weight(&self, coding: ContentCoding) -> QValue {
        self.weights[coding.index()]
    }

    /// Returns the weight of identity, 0 if the client has not named it.
    pub(crate) fn identity(&self) -> QValue {
        self.identity.unwrap_or(0)
    }

    /// Returns `true` if the client does not accept a response without a coding.
    pub(crate) fn refuses_identity(&self) -> bool {
        self.identity == Some(0)
    }
}

/// Records the weight of a name. The first of several weights counts, unless another one is 0: a
/// client that has refused a coding once may not be able to read it.
fn record(slot: &mut Option<QValue>, weight: QValue) {
    if slot.is_none() || weight == 0 {
        *slot = Some(weight);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(lines: &[&str]) -> AcceptEncoding {
        let lines: Vec<_> = lines.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect();
        AcceptEncoding::parse(&lines)
    }

    /// Expects the weights of gzip, deflate and identity.
    fn assert_weights(lines: &[&str], gzip: QValue, deflate: QValue, identity: Option<QValue>) {
        let read = parse(lines);
        let found = (read.weight(ContentCoding::Gzip), read.weight(ContentCoding::Deflate));
        assert_eq!((found, read.identity), ((gzip, deflate), identity), "{lines:?}");
    }

    #[test]
    fn weights_are_those_of_the_client() {
        let rows: &[(&[&str], QValue, QValue, Option<QValue>)] = &[
            (&[], 0, 0, None),
            (&[""], 0, 0, None),
            (&["gzip"], 1000, 0, None),
            (&["X-GZip"], 1000, 0, None),
            (&["deflate", "gzip;q=0.5"], 500, 1000, None),
            (&["\tgzip ; q=0.5 ,deflate; Q=0.4"], 500, 400, None),
            (&["*"], 1000, 1000, None),
            (&["gzip;q=0, *;q=0.1"], 0, 100, None),
            (&["*;q=0, deflate"], 0, 1000, Some(0)),
            (&["identity;q=0.1, *;q=0"], 0, 0, Some(100)),
            (&["identity, gzip"], 1000, 0, Some(1000)),
            (&["br, zstd, compress"], 0, 0, None),
            (&[",, ,gzip,"], 1000, 0, None),
        ];
        for (lines, gzip, deflate, identity) in rows {
            assert_weights(lines, *gzip, *deflate, *identity);
        }
    }

    #[test]
    fn malformed_or_repeated_members_refuse() {
        let rows: &[(&[&str], QValue, QValue, Option<QValue>)] = &[
            (&["gzip;q=2, deflate"], 0, 1000, None),
            (&["gzip;q=0.1234, deflate"], 0, 1000, None),
            (&["gzip;level=9, deflate"], 0, 1000, None),
            (&["gzip deflate, deflate"], 0, 1000, None),
            (&["gzip;q=0, gzip"], 0, 0, None),
            (&["gzip, gzip;q=0"], 0, 0, None),
            (&["gzip;q=0.5, gzip"], 500, 0, None),
            (&["gzip;q=0.0000, *"], 0, 1000, None),
            (&["*;q=0.0000"], 0, 0, Some(0)),
            (&["gzip", "*;q=1, gzip;q=0.0000"], 0, 1000, None),
        ];
        for (lines, gzip, deflate, identity) in rows {
            assert_weights(lines, *gzip, *deflate, *identity);
        }
    }

    proptest! {
        #[test]
        fn only_named_codings_have_a_weight(
            line in prop::collection::vec(any::<u8>(), 0..60),
            likely in "(gzip|deflate|identity|\\*|br)?[ ;q=.0-9,a-z*\"]{0,20}",
        ) {
            for line in [&line[..], likely.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(line) else { continue };
                let read = AcceptEncoding::parse([&value]);
                let named = String::from_utf8_lossy(line).to_ascii_lowercase();
                for coding in ContentCoding::ALL {
                    let weight = read.weight(coding);
                    prop_assert!(weight <= 1000);
                    let is_named = named.contains(coding.as_str()) || named.contains('*');
                    prop_assert!(weight == 0 || is_named);
                }
            }
        }
    }
}
