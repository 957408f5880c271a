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
mod tests;
