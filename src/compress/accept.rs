use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::policy::Coding;

/// What a client accepts, as weights in thousandths (RFC 9110 §12.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// By [`Coding::index`]. Not named is 0.
    codings: [Weight; Coding::COUNT],
    /// `None` if it is not named: then it is acceptable, and anything that is named is preferred.
    identity: Option<Weight>,
}

type Weight = u16;

impl Accepted {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut named = [None; Coding::COUNT];
        let mut identity = None;
        let mut any = None;
        for line in headers.get_all(ACCEPT_ENCODING) {
            for member in line.as_bytes().split(|&byte| byte == b',') {
                let Some((name, weight)) = member_of(member) else { continue };
                if name.eq_ignore_ascii_case(b"identity") {
                    identity.get_or_insert(weight);
                } else if name == b"*" {
                    any.get_or_insert(weight);
                } else if let Some(coding) = Coding::named(name) {
                    named[coding.index()].get_or_insert(weight);
                }
            }
        }
        Self {
            codings: named.map(|weight| weight.or(any).unwrap_or(0)),
            // `*` names identity too, but a client that sends `*` alone does not ask for it.
            identity: identity.or(any.filter(|weight| *weight == 0)),
        }
    }

    /// The coding to send: of the heaviest, the first in the server's order. `None` for identity,
    /// which wins only where the client says that it prefers it.
    pub(super) fn choose(&self, order: &[Coding]) -> Option<Coding> {
        let weight = |coding: &Coding| self.codings[coding.index()];
        // Of several maxima, `max_by_key` gives the last.
        let best = order.iter().rev().copied().max_by_key(weight)?;
        let weight = weight(&best);
        (weight > 0 && weight >= self.identity.unwrap_or(0)).then_some(best)
    }

    /// Whether the client says that it does not take an answer without a coding.
    pub(super) fn refuses_identity(&self) -> bool {
        self.identity == Some(0)
    }
}

/// A coding's name and weight, or `None` if the member is malformed.
fn member_of(member: &[u8]) -> Option<(&[u8], Weight)> {
    let mut parts = member.split(|&byte| byte == b';');
    let name = parts.next()?.trim_ascii();
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => match parameter.trim_ascii() {
            [b'q' | b'Q', b'=', value @ ..] => weight_of(value)?,
            _ => return None,
        },
    };
    (!name.is_empty() && parts.next().is_none()).then_some((name, weight))
}

/// `0`, `1`, and up to three digits behind the point (RFC 9110 §12.4.2).
fn weight_of(value: &[u8]) -> Option<Weight> {
    let (whole, digits) = match value {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => 1,
        _ => return None,
    };
    for at in 0..3 {
        let digit = digits.get(at).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        weight = weight * 10 + Weight::from(digit - b'0');
    }
    (weight <= 1000).then_some(weight)
}
