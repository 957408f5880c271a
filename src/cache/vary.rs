//! Which requests a response answers: `vary` (RFC 9111 §4.1).

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, COOKIE, VARY,
};
use http::{HeaderMap, HeaderName};

use super::directive::members;
use super::hash::Hash64;
use crate::headers::qvalue::{record, weighted, well_formed};

/// What the request that a response answered had in the fields that its `vary` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    /// Sorted by name, without `accept-encoding` where that is told apart by `coding`.
    pub(crate) fields: Vec<(HeaderName, Option<Vec<u8>>)>,
    pub(crate) coding: Option<Negotiated>,
}

/// The outcome of a negotiation of codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// What the request weighed the heaviest.
    pub(crate) heaviest: Codings,
    /// What it was answered with: one, or none for identity.
    pub(crate) answer: Codings,
}

/// A set of those codings that HTTP services use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codings(pub(crate) u8);

/// `vary: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VariesByAll;

/// What a request says of codings (RFC 9110 §12.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepted {
    any: Codings,
    heaviest: Codings,
}

impl Variant {
    /// Of a response to a request with these fields. `by_all` is whether `*` is to be overlooked.
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
                Some(answer) if name == ACCEPT_ENCODING && is_plain(request) => {
                    let heaviest = Accepted::of(request).heaviest;
                    variant.coding = Some(Negotiated { heaviest, answer });
                }
                _ => {
                    let value = normal(&name, request);
                    variant.fields.push((name, value));
                }
            }
        }
        variant.fields.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        variant.fields.dedup_by(|(a, _), (b, _)| a == b);
        Ok(variant)
    }

    /// Tells requests apart by this header, too.
    pub(crate) fn vary_by(&mut self, name: &HeaderName, request: &HeaderMap) {
        if let Err(at) = self.fields.binary_search_by(|(of, _)| of.as_str().cmp(name.as_str())) {
            self.fields.insert(at, (name.clone(), normal(name, request)));
        }
    }

    /// Whether it answers every request.
    pub(crate) fn is_only(&self) -> bool {
        self.fields.is_empty() && self.coding.is_none()
    }

    /// Its id, or 0 if it has no need of one.
    pub(crate) fn class(&self) -> u64 {
        if self.is_only() { 0 } else { self.id() }
    }

    /// Whether it answers a request with these fields.
    pub(crate) fn answers(&self, request: &HeaderMap) -> bool {
        self.coding.is_none_or(|coding| coding.answers(Accepted::of(request)))
            && self.fields.iter().all(|(name, value)| normal(name, request) == *value)
    }

    /// Returns `true` if it tells requests apart by every header that the response's `vary` names.
    pub(crate) fn covers(&self, response: &HeaderMap, by_all: bool) -> bool {
        varied_by(response, by_all).all(|name| {
            let name = name.as_ref();
            let known = |name| self.fields.iter().any(|(of, _)| of == name);
            name.is_ok_and(|name| *name == ACCEPT_ENCODING && self.coding.is_some() || known(name))
        })
    }

    /// Whether both tell requests apart by the same fields.
    pub(crate) fn varies_like(&self, other: &Self) -> bool {
        let names = |variant: &Self| -> Vec<HeaderName> {
            variant.fields.iter().map(|(name, _)| name.clone()).collect()
        };
        self.coding.is_some() == other.coding.is_some() && names(self) == names(other)
    }

    /// What a request has in the same fields.
    pub(crate) fn like(&self, request: &HeaderMap) -> Self {
        let fields = self.fields.iter().map(|(name, _)| (name.clone(), normal(name, request)));
        let heaviest = || Accepted::of(request).heaviest;
        let coding = self.coding.map(|coding| Negotiated { heaviest: heaviest(), ..coding });
        Self { fields: fields.collect(), coding }
    }

    /// The same for all requests that are alike, in every process.
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
    /// A client that weighs other codings as heavily would get the same; one that weighs this one
    /// less might get another. Identity is what one gets who takes no more than that request did.
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

    /// From the number of a set, unless that has a coding that is not known.
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        (bits < 16).then_some(Self(bits))
    }

    fn named(name: &[u8]) -> Self {
        const NAMES: [(&str, u8); 5] =
            [("gzip", 1), ("x-gzip", 1), ("deflate", 2), ("br", 4), ("zstd", 8)];
        let found = NAMES.iter().find(|(of, _)| of.as_bytes().eq_ignore_ascii_case(name));
        Self(found.map_or(0, |(_, bit)| *bit))
    }

    fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl Accepted {
    fn of(request: &HeaderMap) -> Self {
        let mut weights = [None; 4];
        let (mut others, mut identity) = (None, None);
        let lines = request.get_all(ACCEPT_ENCODING).iter();
        for member in lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
            let Some((name, weight)) = weighted(member) else { continue };
            if name == b"*" {
                record(&mut others, weight);
            } else if name.eq_ignore_ascii_case(b"identity") {
                record(&mut identity, weight);
            } else if let found @ 1.. = Codings::named(name).0 {
                record(&mut weights[found.trailing_zeros() as usize], weight);
            }
        }
        let weights = weights.map(|weight| weight.or(others).unwrap_or(0));
        let most = weights.into_iter().max().unwrap_or(0);
        let of = |fits: &dyn Fn(u16) -> bool| {
            Codings((0..4).filter(|&at| fits(weights[at])).fold(0, |set, at| set | 1 << at))
        };
        let heavy = most > 0 && most >= identity.unwrap_or(0);
        Self { any: of(&|weight| weight > 0), heaviest: of(&|weight| heavy && weight == most) }
    }
}

/// Returns the names in `vary`, or an error for `*`, for what is no name, and for more of them than
/// can be compared for every request.
fn varied_by(
    response: &HeaderMap,
    by_all: bool,
) -> impl Iterator<Item = Result<HeaderName, VariesByAll>> {
    let names = response.get_all(VARY).iter().flat_map(|line| members(line.as_bytes()));
    let names = names.filter(move |name| !(by_all && *name == b"*"));
    let name = |(at, name): (usize, &[u8])| {
        let name = HeaderName::from_bytes(name).ok().filter(|name| at < MOST_NAMES && name != "*");
        name.ok_or(VariesByAll)
    };
    names.take(MOST_NAMES + 1).enumerate().map(name)
}

/// Returns `true` if every service reads the request's `accept-encoding` as this cache does. Of a
/// response to any other one it is not known what it was negotiated from: it answers only requests
/// that have the same.
fn is_plain(request: &HeaderMap) -> bool {
    let lines = request.get_all(ACCEPT_ENCODING).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    members.all(|member| {
        member.trim_ascii().is_empty()
            || well_formed(member).is_some_and(|name| {
                name.eq_ignore_ascii_case(b"identity") || name == b"*" || is_registered(name)
            })
    })
}

/// Returns `true` for the names in IANA's HTTP Content Coding Registry.
fn is_registered(name: &[u8]) -> bool {
    REGISTERED.iter().any(|of| of.as_bytes().eq_ignore_ascii_case(name))
}

/// The coding of a response, none for identity; `None` if it is several, or a rare one.
fn answered_with(response: &HeaderMap) -> Option<Codings> {
    let mut lines = response.get_all(CONTENT_ENCODING).iter();
    let Some(line) = lines.next() else { return Some(Codings::NONE) };
    let name = line.as_bytes().trim_ascii();
    if lines.next().is_some() {
        return None;
    }
    let coding = Codings::named(name);
    let identity = name.eq_ignore_ascii_case(b"identity");
    (identity || coding != Codings::NONE).then_some(coding)
}

/// All lines of a field in one (RFC 9110 §5.3). Only of those that are known to be lists, and to
/// have no case, another spelling is the same: a service may see others as another value.
fn normal(name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
    let lines = request.get_all(name);
    lines.iter().next()?;
    let has_no_case = [ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE].contains(name);
    if !has_no_case && *name != ACCEPT {
        // Cookies are no list; nothing in a line is a `\n`.
        let between = if *name == COOKIE { &b"\n"[..] } else { b", " };
        return Some(lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>().join(between));
    }
    let members: Vec<_> = lines.iter().flat_map(|line| members(line.as_bytes())).collect();
    let mut value = members.join(&b',');
    if has_no_case {
        value.make_ascii_lowercase();
    }
    Some(value)
}

/// The most names that a response may vary by.
const MOST_NAMES: usize = 64;

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
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::headers::test_headers::{TestHeaders, map};

    fn answers(response: TestHeaders<'_>, first: TestHeaders<'_>, second: TestHeaders<'_>) -> bool {
        Variant::of(&map(response), &map(first), false).unwrap().answers(&map(second))
    }

    #[test]
    fn a_response_answers_requests_that_are_alike_in_what_it_varies_by() {
        // RFC 9111 §4.1. The response, the request that it answered, another, whether it fits.
        let language: TestHeaders<'_> = &[("vary", "Accept-Language")];
        let two: TestHeaders<'_> = &[("vary", "x-a"), ("vary", "X-B, x-a")];
        let table: &[(TestHeaders<'_>, TestHeaders<'_>, TestHeaders<'_>, bool)] = &[
            (&[], &[("x-a", "1")], &[("x-a", "2")], true),
            (language, &[("accept-language", "de")], &[("accept-language", "de")], true),
            (language, &[("accept-language", "de")], &[("accept-language", "DE")], true),
            (language, &[("accept-language", "de, en")], &[("accept-language", "de,  en")], true),
            (
                language,
                &[("accept-language", "de, en")],
                &[("accept-language", "de"), ("accept-language", "en")],
                true,
            ),
            (language, &[("accept-language", "de")], &[("accept-language", "en")], false),
            (language, &[("accept-language", "de")], &[], false),
            (language, &[], &[("accept-language", "")], false),
            (language, &[], &[], true),
            (two, &[("x-a", "1"), ("x-b", "2")], &[("x-b", "2"), ("x-a", "1")], true),
            (two, &[("x-a", "1"), ("x-b", "2")], &[("x-a", "1")], false),
            (two, &[("x-a", "a")], &[("x-a", "A")], false),
        ];
        for (response, first, second, expected) in table {
            assert_eq!(answers(response, first, second), *expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn clients_that_take_the_same_coding_get_the_same_copy() {
        let gzip: TestHeaders<'_> = &[("vary", "accept-encoding"), ("content-encoding", "gzip")];
        let plain: TestHeaders<'_> = &[("vary", "accept-encoding")];
        let rare: TestHeaders<'_> = &[("vary", "accept-encoding"), ("content-encoding", "dcb")];
        // RFC 9110 §12.5.3 for what a client accepts.
        let table: &[(TestHeaders<'_>, &str, &str, bool)] = &[
            (gzip, "gzip, deflate, br", "gzip;q=1.0, *;q=0", true),
            (gzip, "gzip;q=1.0, *;q=0", "gzip, deflate, br, zstd", true),
            (gzip, "gzip", "x-gzip", true),
            (gzip, "gzip", "*", true),
            (gzip, "gzip", "br, gzip;q=0.5", false),
            (gzip, "br, gzip;q=0.5", "br, gzip;q=0.4", true),
            (gzip, "br, gzip;q=0.5", "br", false),
            (gzip, "gzip", "", false),
            (gzip, "gzip", "gzip;q=0", false),
            (gzip, "gzip", "gzip;q=0.5, identity", false),
            (plain, "", "", true),
            (plain, "", "identity", true),
            (plain, "", "gzip", false),
            (plain, "gzip", "gzip", true),
            (plain, "gzip, br", "gzip", true),
            (plain, "gzip", "gzip, br", false),
            (plain, "gzip", "", true),
            (rare, "dcb, gzip", "DCB,gzip", true),
            (rare, "dcb, gzip", "gzip", false),
        ];
        for (response, first, second, expected) in table {
            let (first, second) = ([("accept-encoding", *first)], [("accept-encoding", *second)]);
            assert_eq!(answers(response, &first, &second), *expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn an_odd_accept_encoding_answers_only_its_like() {
        let gzip: TestHeaders<'_> = &[("vary", "accept-encoding"), ("content-encoding", "gzip")];
        for odd in ["gzip, <script>", "gzip;q=2", "gzip;level=9", "gzip; q=0.1234", "gzip br"] {
            let (odd, plain) = ([("accept-encoding", odd)], [("accept-encoding", "gzip")]);
            assert!(!answers(gzip, &odd, &plain), "{odd:?}");
            assert!(answers(gzip, &odd, &odd), "{odd:?}");
        }
        let browser = [("accept-encoding", "gzip, deflate, br, zstd, dcb, dcz")];
        assert!(answers(gzip, &browser, &[("accept-encoding", "gzip")]));
    }

    #[test]
    fn a_variant_covers_what_its_response_varies_by() {
        let request = map(&[("accept-encoding", "gzip, odd"), ("x-a", "1")]);
        for vary in ["x-a", "X-A, x-b", "accept-encoding", ""] {
            let response = map(&[("vary", vary)]);
            for request in [&request, &HeaderMap::new()] {
                let variant = Variant::of(&response, request, false).unwrap();
                assert!(variant.covers(&response, false), "{vary}");
                assert!(!variant.covers(&map(&[("vary", "x-a, x-b, accept-encoding")]), false));
            }
        }
        let (all, none) = (map(&[("vary", "*")]), Variant::default());
        assert!(!none.covers(&all, false));
        assert!(none.covers(&all, true));
    }

    #[test]
    fn what_varies_by_all_answers_nobody() {
        let many = |most: usize| (0..most).map(|at| format!("x-{at}")).collect::<Vec<_>>();
        let most = map(&[("vary", &many(MOST_NAMES).join(","))]);
        assert!(Variant::of(&most, &HeaderMap::new(), false).is_ok());
        for vary in ["*", "accept, *", "a b", "accept;x", "\"accept\"", &many(20_000).join(", ")] {
            let response = map(&[("vary", vary)]);
            assert_eq!(Variant::of(&response, &HeaderMap::new(), false), Err(VariesByAll));
        }
        let variant = Variant::of(&map(&[("vary", "*")]), &HeaderMap::new(), true).unwrap();
        assert!(variant.is_only());
    }

    #[test]
    fn requests_that_are_alike_have_one_id() {
        let response = map(&[("vary", "x-a, x-b")]);
        let id = |fields| Variant::of(&response, &map(fields), false).unwrap().id();
        assert_eq!(id(&[("x-a", "1"), ("x-b", "2")]), id(&[("x-b", "2"), ("x-a", "1")]));
        assert_ne!(id(&[("x-a", "1")]), id(&[("x-b", "1")]));
        assert_ne!(id(&[("x-a", "12")]), id(&[("x-a", "1"), ("x-b", "2")]));
    }

    proptest! {
        #[test]
        fn a_variant_is_like_the_request_that_it_answered(
            vary in prop::collection::vec("(accept(-encoding|-language|-charset)?|cookie|x-a|[*,\" ]){0,3}", 0..3),
            coding in prop::option::of("gzip|br|x-gzip|identity|rare|gzip, br"),
            request in prop::collection::vec((0..6_usize, prop_oneof![
                prop::collection::vec(any::<u8>(), 0..30),
                "((gzip|br|\\*|identity|de)(;q=[01](\\.[0-9]{0,4})?)?[, ]{0,2}){0,4}".prop_map(String::into_bytes),
            ]), 0..6),
        ) {
            let names = [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_CHARSET, COOKIE, HeaderName::from_static("x-a")];
            let mut response = HeaderMap::new();
            for vary in vary {
                response.append(VARY, HeaderValue::try_from(vary).unwrap());
            }
            if let Some(coding) = coding {
                response.append(CONTENT_ENCODING, HeaderValue::try_from(coding).unwrap());
            }
            let mut headers = HeaderMap::new();
            for (name, value) in request {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(&names[name], value);
                }
            }
            let Ok(variant) = Variant::of(&response, &headers, false) else { return Ok(()) };
            prop_assert_eq!(&variant.like(&headers), &variant);
            prop_assert!(variant.varies_like(&variant.like(&HeaderMap::new())));
            // Where a service does not heed what is accepted, it is asked again.
            let heeded = variant.coding.is_none_or(|coding| coding.heaviest.has(coding.answer));
            prop_assert!(!heeded || variant.answers(&headers));
        }
    }
}
