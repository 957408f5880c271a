//! Variants of a response: `vary` (RFC 9111 §4.1).

use std::cell::LazyCell;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderName};

use super::hash::Hash64;
use super::vary_value::{selects, value_of};
use crate::headers::accept_encoding::AcceptEncoding;
use crate::headers::coding::ContentCoding;
use crate::headers::list;
use crate::headers::qvalue::{QValue, parse_member};

/// The headers that the `vary` of a response names, as its request had them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    /// The headers by name, each with its [value](value_of), without `accept-encoding` if `coding` is
    /// present.
    pub(crate) fields: Vec<(HeaderName, Option<Vec<u8>>)>,
    pub(crate) coding: Option<Negotiated>,
}

/// The outcome of a negotiation of content codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// The codings with the highest weight in the request.
    pub(crate) heaviest: Codings,
    /// The coding of the response, or none for identity.
    pub(crate) answer: Codings,
}

/// A set of [`ContentCoding`]s, as entries have it: one bit by [`ContentCoding::index`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codings(pub(crate) u8);

/// The error of a response that varies by more than its request's headers, as `vary: *` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VariesByAll;

/// The codings that a request accepts (RFC 9110 §12.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepted {
    any: Codings,
    heaviest: Codings,
}

impl Variant {
    /// Returns the variant of a response to a request. `by_all` ignores `vary: *`.
    ///
    /// # Errors
    ///
    /// If `vary` has `*`, an invalid name, or more than 64 names.
    pub(crate) fn of(
        response: &HeaderMap,
        request: &HeaderMap,
        by_all: bool,
    ) -> Result<Self, VariesByAll> {
        let mut variant = Self::default();
        let coding = answered_with(response);
        for name in varied_by(response, by_all) {
            let name = name?;
            match coding {
                // The outcome of the negotiation stands for the header: browsers send many lists of
                // codings, and get few different responses.
                Some(answer) if name == ACCEPT_ENCODING && is_plain(request) => {
                    let heaviest = Accepted::of(request).heaviest;
                    variant.coding = Some(Negotiated { heaviest, answer });
                }
                _ => {
                    let value = value_of(&name, request);
                    variant.fields.push((name, value));
                }
            }
        }
        variant.fields.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        variant.fields.dedup_by(|(a, _), (b, _)| a == b);
        Ok(variant)
    }

    /// Adds a request header to those that select the variant.
    pub(crate) fn vary_by(&mut self, name: &HeaderName, request: &HeaderMap) {
        if let Err(at) = self.fields.binary_search_by(|(of, _)| of.as_str().cmp(name.as_str())) {
            self.fields.insert(at, (name.clone(), value_of(name, request)));
        }
    }

    /// Returns `true` if the response does not vary: it answers every request.
    pub(crate) fn is_only(&self) -> bool {
        self.fields.is_empty() && self.coding.is_none()
    }

    /// Returns the id, or 0 if the response does not vary.
    pub(crate) fn class(&self) -> u64 {
        if self.is_only() { 0 } else { self.id() }
    }

    /// Returns `true` if the response answers a request with these headers.
    #[inline]
    pub(crate) fn answers(&self, request: &HeaderMap) -> bool {
        self.is_for(request, || Accepted::of(request))
    }

    /// Returns the index of the newest variant that answers a request. An older one may answer the
    /// same requests by an older `vary`.
    pub(crate) fn newest(variants: &[Self], request: &HeaderMap) -> Option<usize> {
        let accepted = LazyCell::new(|| Accepted::of(request));
        variants.iter().rposition(|variant| variant.is_for(request, || *accepted))
    }

    fn is_for(&self, request: &HeaderMap, accepted: impl FnOnce() -> Accepted) -> bool {
        self.coding.is_none_or(|coding| coding.answers(accepted()))
            && self.fields.iter().all(|(name, value)| selects(name, value.as_deref(), request))
    }

    /// Returns `true` if every header that the `vary` of the response names selects the variant.
    pub(crate) fn covers(&self, response: &HeaderMap, by_all: bool) -> bool {
        varied_by(response, by_all).all(|name| {
            let name = name.as_ref();
            let known = |name| self.fields.iter().any(|(of, _)| of == name);
            name.is_ok_and(|name| *name == ACCEPT_ENCODING && self.coding.is_some() || known(name))
        })
    }

    /// Returns `true` if the same headers select both variants.
    pub(crate) fn varies_like(&self, other: &Self) -> bool {
        let names = |variant: &Self| -> Vec<HeaderName> {
            variant.fields.iter().map(|(name, _)| name.clone()).collect()
        };
        self.coding.is_some() == other.coding.is_some() && names(self) == names(other)
    }

    /// Returns the variant of a request by the same headers.
    pub(crate) fn like(&self, request: &HeaderMap) -> Self {
        let fields = self.fields.iter().map(|(name, _)| (name.clone(), value_of(name, request)));
        let heaviest = || Accepted::of(request).heaviest;
        let coding = self.coding.map(|coding| Negotiated { heaviest: heaviest(), ..coding });
        Self { fields: fields.collect(), coding }
    }

    /// Returns what the key of the variant has behind that of its URL.
    pub(crate) fn suffix(&self) -> String {
        format!("\nvary={:016x}", self.id())
    }

    /// Returns the same number for the same variant in every process.
    pub(crate) fn id(&self) -> u64 {
        let mut hasher = Hash64::default();
        for (name, value) in &self.fields {
            hasher.part(name.as_str().as_bytes());
            // An empty value is another one than none.
            hasher.part(if value.is_some() { b"=" } else { b"" });
            hasher.part(value.as_deref().unwrap_or_default());
        }
        let coding = self.coding.map(|coding| [coding.heaviest.0]);
        hasher.part(coding.as_ref().map_or(&[], |heaviest| &heaviest[..]));
        hasher.finish()
    }
}

impl Negotiated {
    /// Returns `true` if the service would choose the same coding for a request. A client that gives
    /// the coding a lower weight than another one might get that. A client that accepts no more than
    /// the first request would get identity, too.
    fn answers(self, accepted: Accepted) -> bool {
        let alike = self.heaviest == accepted.heaviest;
        if self.answer == Codings::NONE {
            return self.heaviest.has(accepted.heaviest);
        }
        accepted.any.has(self.answer) && (alike || accepted.heaviest.has(self.answer))
    }
}

impl Codings {
    const NONE: Self = Self(0);

    /// Returns the set with these bits, or `None` if a bit is of no known coding.
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        (bits < 16).then_some(Self(bits))
    }

    fn of(codings: impl Iterator<Item = ContentCoding>) -> Self {
        Self(codings.fold(0, |set, coding| set | 1 << coding.index()))
    }

    fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl Accepted {
    fn of(request: &HeaderMap) -> Self {
        let accepted = AcceptEncoding::parse(request.get_all(ACCEPT_ENCODING));
        let weights = ContentCoding::ALL.map(|coding| (coding, accepted.weight(coding)));
        let max = weights.into_iter().map(|(_, weight)| weight).max().unwrap_or(0);
        let of = |fits: &dyn Fn(QValue) -> bool| {
            Codings::of(weights.into_iter().filter(|(_, weight)| fits(*weight)).map(|(of, _)| of))
        };
        let heavy = max > 0 && max >= accepted.identity();
        Self { any: of(&|weight| weight > 0), heaviest: of(&|weight| heavy && weight == max) }
    }
}

/// Returns the names in `vary`, and an error for `*`, for an invalid name, and for a name after the
/// maximum, since each of them costs a comparison in every lookup.
fn varied_by(
    response: &HeaderMap,
    by_all: bool,
) -> impl Iterator<Item = Result<HeaderName, VariesByAll>> {
    let names = list::members(response, &VARY);
    let names = names.filter(move |name| !(by_all && *name == b"*"));
    let name = |(at, name): (usize, &[u8])| {
        let name = HeaderName::from_bytes(name).ok().filter(|name| at < MAX_NAMES && name != "*");
        name.ok_or(VariesByAll)
    };
    names.take(MAX_NAMES + 1).enumerate().map(name)
}

/// Returns `true` if every service reads the `accept-encoding` of a request as this cache does. If not,
/// the response may be negotiated from another reading: it answers only requests with the same value.
fn is_plain(request: &HeaderMap) -> bool {
    list::members(request, &ACCEPT_ENCODING).all(|member| match parse_member(member) {
        Some((name, Some(_))) => {
            name.eq_ignore_ascii_case(b"identity") || name == b"*" || is_registered(name)
        }
        Some((_, None)) | None => false,
    })
}

/// Returns `true` for the names in IANA's HTTP Content Coding Registry.
fn is_registered(name: &[u8]) -> bool {
    REGISTERED.iter().any(|of| of.as_bytes().eq_ignore_ascii_case(name))
}

/// Returns the coding of a response, none for identity. Returns `None` for several codings, and for one
/// that is not a [`ContentCoding`].
fn answered_with(response: &HeaderMap) -> Option<Codings> {
    let mut lines = response.get_all(CONTENT_ENCODING).iter();
    let Some(line) = lines.next() else { return Some(Codings::NONE) };
    let name = line.as_bytes().trim_ascii();
    if lines.next().is_some() {
        return None;
    }
    if name.eq_ignore_ascii_case(b"identity") {
        return Some(Codings::NONE);
    }
    ContentCoding::parse(name).map(|coding| Codings::of([coding].into_iter()))
}

/// The maximum number of names in `vary`. Each costs a comparison in every lookup of the URL.
const MAX_NAMES: usize = 64;

const REGISTERED: [&str; 12] = [
    "aes128gcm",
    "br",
    "compress",
    "dcb",
    "dcz",
    "deflate",
    "exi",
    "gzip",
    "pack200-gzip",
    "x-compress",
    "x-gzip",
    "zstd",
];

#[cfg(test)]
mod tests;
