use std::collections::HashSet;
use std::time::Duration;

use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, LAST_MODIFIED,
    SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::control::{self, ResponseControl, Scope, opaque_tag};
use super::super::entry::{Freshness, Stored};
use super::super::hint::CacheHint;
use super::super::vary::Variant;
use super::before::Ask;
use super::conditional::has_validator;
use super::freshness::{self, freshness, is_silent};
use super::rules::{Exception, Rules};
use super::storable::{self, hop_by_hop};

/// The head of a response of the service, and what else bears on its being kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) hint: Option<&'a CacheHint>,
    /// Something in it is for this request alone, such as a nonce.
    pub(crate) for_one: bool,
    /// A request header that the response depends on, though `vary` does not name it.
    pub(crate) varies_by: Option<&'a HeaderName>,
    /// The fields of the request that it answers.
    pub(crate) request: &'a HeaderMap,
    /// In bytes, where it is known.
    pub(crate) size: Option<u64>,
    /// In milliseconds since 1970, as the next one.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// From 0 to 1, new each time.
    pub(crate) random: f64,
    /// To a POST: then only a freshness that it states itself counts (RFC 9110 §9.3.3).
    pub(crate) post: bool,
}

/// Whether a response is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum After {
    Keep(Box<Plan>),
    Refuse(Refusal),
}

/// What is kept beside the body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) headers: HeaderMap,
    pub(crate) freshness: Freshness,
    pub(crate) variant: Variant,
    pub(crate) tags: Vec<String>,
}

/// Why a response is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The handler's [`CacheHint`] says so.
    CacheHint,
    /// Something in it is for one request alone.
    ForOne,
    NoStore,
    Private,
    /// What it says of storing cannot be read.
    Malformed,
    Authorization,
    /// To a request with `cookie`, with no lifetime but the layer's.
    Cookie,
    SetCookie,
    VaryAll,
    Status,
    /// It has none, and no time that it is given here.
    Freshness,
    TooLarge,
    /// An event stream, or gRPC.
    Stream,
    /// A 304 of another response than what is kept.
    Validator,
}

/// Decides over a response (RFC 9111 §3).
pub(crate) fn after(rules: &Rules, ask: &Ask, answer: &Answer<'_>) -> After {
    match plan(rules, ask, answer) {
        Ok(plan) => After::Keep(Box::new(plan)),
        Err(refusal) => After::Refuse(refusal),
    }
}

/// The outcome of a validation with a 304.
#[derive(Debug)]
pub(crate) struct Confirmed {
    /// The response for the client that asked: the stored one with what the 304 says.
    pub(crate) response: Stored,
    /// The response to store in its place.
    pub(crate) kept: Result<Box<Stored>, Refusal>,
}

/// Applies a 304 to a stored response (RFC 9111 §3.2, §4.3.4).
pub(crate) fn confirm(rules: &Rules, ask: &Ask, stored: &Stored, answer: &Answer<'_>) -> Confirmed {
    if is_other(&stored.headers, answer.headers) {
        return Confirmed { response: stored.clone(), kept: Err(Refusal::Validator) };
    }
    let mut headers = updated(&stored.headers, answer);
    let answer = Answer { status: stored.status, headers: &headers, ..*answer };
    let plan = plan(rules, ask, &answer);
    let age = freshness::initial_age(&answer);
    let kept = plan.map(|mut plan| {
        // Which of them came from a hint is not known any more; to purge too much does no harm.
        let new: HashSet<_> = plan.tags.iter().map(String::as_str).collect();
        let old = stored.tags.iter().filter(|tag| !new.contains(tag.as_str()));
        let old: Vec<_> = old.cloned().collect();
        plan.tags.extend(old);
        if let Some(length) = stored.headers.get(CONTENT_LENGTH) {
            plan.headers.insert(CONTENT_LENGTH, length.clone());
        }
        // The entry still answers what it answered, unless the service varies by more now.
        if plan.variant.varies_like(&stored.variant) {
            plan.variant.clone_from(&stored.variant);
        }
        let Plan { headers, freshness, variant, tags } = plan;
        Box::new(Stored { headers, freshness, variant, tags, ..stored.clone() })
    });
    // The headers that `no-cache` and `private` name are for the client that asked, though they are
    // not stored.
    let freshness = Freshness { received: answer.received, age, ..stored.freshness };
    strip_tags(rules, &mut headers);
    Confirmed { response: Stored { headers, freshness, ..stored.clone() }, kept }
}

/// Returns the headers of a stored response with those of a 304 (§3.2).
fn updated(stored: &HeaderMap, answer: &Answer<'_>) -> HeaderMap {
    let mut headers = stored.clone();
    headers.remove(AGE);
    headers.insert(DATE, date_of(answer.received));
    let mut news = answer.headers.clone();
    for name in hop_by_hop(answer.headers) {
        news.remove(name);
    }
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE] {
        news.remove(name);
    }
    // A tag that is weak stays so: what is kept may differ in its bytes from what the strong one names.
    if headers.get(ETAG).is_some_and(|tag| tag.as_bytes().starts_with(b"W/")) {
        news.remove(ETAG);
    }
    // What a layer adds to a response with a body may not be added to a 304.
    let varies: HashSet<_> = headers.get_all(VARY).iter().cloned().collect();
    for name in news.keys().filter(|name| *name != VARY) {
        headers.remove(name);
    }
    for (name, value) in &news {
        if *name != VARY || !varies.contains(value) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Takes off the fields that name tags, where the user wants that.
pub(crate) fn strip_tags(rules: &Rules, headers: &mut HeaderMap) {
    if rules.strip_tags {
        TAGS.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// Returns `true` if a 304 is about another response than the stored one: it has validators, and
/// they are not those of the stored one (§4.3.4). Tags are compared weakly: an inner layer that
/// encodes bodies weakens the tag of a 200, and does not see the 304 as one of those. A 304 without
/// validators can only be about the one response that the service was asked about.
fn is_other(stored: &HeaderMap, confirming: &HeaderMap) -> bool {
    let differs = |name, same: fn(&[u8]) -> &[u8]| {
        let (old, new) = (stored.get(&name)?, confirming.get(&name)?);
        Some(same(old.as_bytes()) != same(new.as_bytes()))
    };
    // The tag decides where both have one, as in a request.
    let differs = differs(ETAG, opaque_tag).or_else(|| differs(LAST_MODIFIED, |date| date));
    differs.unwrap_or_else(|| has_validator(confirming))
}

/// Whether those who waited for a response may use it too, and not only validate it.
pub(crate) fn shareable(freshness: &Freshness) -> bool {
    !freshness.validate && freshness.lifetime > freshness.age
}

/// Whether an entry stays though what was to take its place is not kept: what one client gets that
/// asks past a fresh entry, or has credentials or cookies, does not take it from all others.
pub(crate) fn outlives(stored: &Stored, refusal: Refusal, now: u64) -> bool {
    let Freshness { validate, .. } = stored.freshness;
    let fresh = !validate && stored.freshness.left(now) > 0;
    matches!(refusal, Refusal::Authorization | Refusal::Cookie)
        || fresh && refusal != Refusal::Validator
}

fn plan(rules: &Rules, ask: &Ask, answer: &Answer<'_>) -> Result<Plan, Refusal> {
    let headers = answer.headers;
    let refuse = |exception, refusal| {
        if rules.allows(exception) { Ok(()) } else { Err(refusal) }
    };
    if answer.hint.is_some_and(|hint| hint.no_store) {
        return Err(Refusal::CacheHint);
    }
    if answer.for_one {
        return Err(Refusal::ForOne);
    }
    if !storable::is_whole(answer.status) {
        return Err(Refusal::Status);
    }
    if is_stream(headers) {
        return Err(Refusal::Stream);
    }
    if answer.size.is_some_and(|size| size > rules.entry_limit) {
        return Err(Refusal::TooLarge);
    }
    // One with credentials is refused for them, which leaves what is kept.
    if !ask.authorized && is_silent(rules, answer) {
        return Err(Refusal::Freshness);
    }
    let (control, is_targeted) = storable::control(rules, answer.status, headers)?;
    // §3.5.
    let shared = control.public || control.must_revalidate || control.s_maxage.is_some();
    if ask.authorized && !shared {
        refuse(Exception::Authorization, Refusal::Authorization)?;
    }
    if !is_chosen(rules, answer) {
        return Err(Refusal::Status);
    }
    if is_kept(headers, &control, &SET_COOKIE) {
        refuse(Exception::SetCookie, Refusal::SetCookie)?;
    }
    let freshness = freshness(rules, answer, &control, is_targeted)?;
    if ask.cookie && !freshness.stated {
        return Err(Refusal::Cookie);
    }
    let mut variant = Variant::of(headers, answer.request, rules.allows(Exception::VaryAll))
        .map_err(|_| Refusal::VaryAll)?;
    if let Some(name) = answer.varies_by {
        variant.vary_by(name, answer.request);
    }
    let shared = shared || rules.allows(Exception::Authorization);
    Ok(Plan {
        freshness: Freshness { shared, ..freshness },
        variant,
        tags: tags(answer),
        // Last: most responses that are not kept are copied for nothing otherwise.
        headers: kept_fields(rules, answer, &control),
    })
}

/// Returns `true` if responses of this status are stored, by default or because the user or the
/// handler gives them a lifetime.
fn is_chosen(rules: &Rules, answer: &Answer<'_>) -> bool {
    storable::is_stored(answer.status, rules.allows(Exception::AnyStatus))
        || rules.ttls.iter().any(|(status, _)| *status == answer.status)
        || answer.hint.is_some_and(|hint| hint.ttl.is_some())
}

/// Whether there is such a field, and it is one of those that are kept.
pub(super) fn is_kept(headers: &HeaderMap, control: &ResponseControl, name: &HeaderName) -> bool {
    headers.contains_key(name) && !left_out(headers, control).contains(name)
}

/// The fields that are not kept, by what the response says: those of the connection, and those that
/// `no-cache` and `private` name (§5.2.2.4 and §5.2.2.7), without which the rest may be kept.
fn left_out(headers: &HeaderMap, control: &ResponseControl) -> Vec<HeaderName> {
    let mut names = hop_by_hop(headers);
    for scope in [&control.no_cache, &control.private] {
        if let Some(Scope::Fields(named)) = scope {
            names.extend_from_slice(named);
        }
    }
    names
}

/// What is kept of the fields, with a `date`.
fn kept_fields(rules: &Rules, answer: &Answer<'_>, control: &ResponseControl) -> HeaderMap {
    let mut kept = answer.headers.clone();
    for name in left_out(answer.headers, control) {
        kept.remove(name);
    }
    for name in [AGE, CONTENT_LENGTH, CACHE_STATUS] {
        kept.remove(name);
    }
    strip_tags(rules, &mut kept);
    if !matches!(control::date(&kept, &DATE), Some(Ok(_))) {
        kept.insert(DATE, date_of(answer.received));
    }
    kept
}

/// An event stream, or gRPC.
fn is_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let starts =
        |name: &[u8]| value.get(..name.len()).is_some_and(|of| of.eq_ignore_ascii_case(name));
    starts(b"text/event-stream") || starts(b"application/grpc")
}

fn tags(answer: &Answer<'_>) -> Vec<String> {
    let mut tags = answer.hint.map_or_else(Vec::new, |hint| hint.tags.clone());
    for (name, separator) in [(SURROGATE_KEY, b' '), (CACHE_TAG, b',')] {
        for line in answer.headers.get_all(name) {
            let names = line.as_bytes().split(|&byte| byte == separator).map(<[u8]>::trim_ascii);
            let names = names.filter(|name| !name.is_empty());
            tags.extend(names.map(|name| String::from_utf8_lossy(name).into_owned()));
        }
    }
    tags
}

fn date_of(millis: u64) -> HeaderValue {
    // `httpdate` has no dates after the year 9999.
    let time = std::time::UNIX_EPOCH + Duration::from_millis(millis.min(253_402_300_799_000));
    HeaderValue::try_from(httpdate::fmt_http_date(time)).unwrap_or(HeaderValue::from_static(""))
}

/// RFC 9211.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Where tags come from.
const TAGS: [HeaderName; 2] = [SURROGATE_KEY, CACHE_TAG];

#[cfg(test)]
mod tests {
    use super::super::super::entry::Watermark;
    use super::*;
    use crate::headers::test_headers::{TestHeaders, map};

    /// Sun, 06 Nov 1994 08:49:37 GMT, in milliseconds.
    const NOW: u64 = 784_111_777_000;
    const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

    fn answer<'a>(status: u16, headers: &'a HeaderMap, request: &'a HeaderMap) -> Answer<'a> {
        let status = StatusCode::from_u16(status).unwrap();
        let (sent, received) = (NOW, NOW);
        let (hint, for_one, size, random, post) = (None, false, None, 0.0, false);
        let varies_by = None;
        Answer {
            status,
            headers,
            hint,
            for_one,
            varies_by,
            request,
            size,
            sent,
            received,
            random,
            post,
        }
    }

    fn decide(
        rules: &Rules,
        ask: &Ask,
        status: u16,
        fields: TestHeaders<'_>,
    ) -> Result<Plan, Refusal> {
        plan(rules, ask, &answer(status, &map(fields), &HeaderMap::new()))
    }

    fn plain(status: u16, fields: TestHeaders<'_>) -> Result<Plan, Refusal> {
        decide(&Rules::default(), &Ask::default(), status, fields)
    }

    #[test]
    fn what_is_for_one_request_alone_is_not_kept() {
        let (headers, none) = (map(&[MINUTE]), HeaderMap::new());
        let answer = Answer { for_one: true, ..answer(200, &headers, &none) };
        let after = after(&Rules::default(), &Ask::default(), &answer);
        assert_eq!(after, After::Refuse(Refusal::ForOne));
    }

    #[test]
    fn a_response_is_kept_unless_something_is_against_it() {
        let control = |control| [("cache-control", control)];
        let table: &[(u16, TestHeaders<'_>, Option<Refusal>)] = &[
            // RFC 9111 §3.
            (200, &[MINUTE], None),
            (200, &[], Some(Refusal::Freshness)),
            (302, &[MINUTE], None),
            (404, &[MINUTE], None),
            // Errors are often caused by parts of a request that no key has.
            (299, &[MINUTE], Some(Refusal::Status)),
            (400, &[MINUTE], Some(Refusal::Status)),
            (418, &[MINUTE], Some(Refusal::Status)),
            (429, &[MINUTE], Some(Refusal::Status)),
            (503, &[MINUTE], Some(Refusal::Status)),
            (599, &[MINUTE], Some(Refusal::Status)),
            (103, &[MINUTE], Some(Refusal::Status)),
            (600, &[MINUTE], Some(Refusal::Status)),
            // §3.3 and §3.4: parts are not combined here.
            (206, &[MINUTE], Some(Refusal::Status)),
            (304, &[MINUTE], Some(Refusal::Status)),
            // §5.2.2.5.
            (200, &control("max-age=60, no-store"), Some(Refusal::NoStore)),
            // §5.2.2.7.
            (200, &control("max-age=60, private"), Some(Refusal::Private)),
            (200, &control("max-age=60; private"), Some(Refusal::Private)),
            (200, &control("max-age=60; no-store"), Some(Refusal::NoStore)),
            (200, &control("max-age=60; public"), Some(Refusal::Malformed)),
            (200, &control("max-age=60, private=\"x-a\""), None),
            (200, &control("max-age=60, private=\"x-a\", private"), Some(Refusal::Private)),
            // §5.2.2.3.
            (200, &control("max-age=60, must-understand, no-store"), None),
            (200, &control("max-age=60, must-understand, private"), Some(Refusal::Private)),
            (200, &control("max-age=60, must-understand, no_store"), Some(Refusal::NoStore)),
            (418, &control("max-age=60, must-understand, no-store"), Some(Refusal::Status)),
            (299, &control("max-age=60, must-understand"), Some(Refusal::Status)),
            // §4.1.
            (200, &[MINUTE, ("vary", "accept, *")], Some(Refusal::VaryAll)),
            (200, &[MINUTE, ("vary", "accept, a b")], Some(Refusal::VaryAll)),
            (200, &[MINUTE, ("vary", "accept")], None),
            // §7.3.
            (200, &[MINUTE, ("set-cookie", "a=b")], Some(Refusal::SetCookie)),
            (
                200,
                &[("cache-control", "max-age=60, no-cache=\"set-cookie\""), ("set-cookie", "a")],
                None,
            ),
            (
                200,
                &[("cache-control", "max-age=60, private=\"set-cookie\""), ("set-cookie", "a")],
                None,
            ),
            // What has no end that can be waited for.
            (200, &[MINUTE, ("content-type", "text/event-stream")], Some(Refusal::Stream)),
            (
                200,
                &[MINUTE, ("content-type", "Text/Event-Stream; charset=x")],
                Some(Refusal::Stream),
            ),
            (200, &[MINUTE, ("content-type", "application/grpc-web")], Some(Refusal::Stream)),
            (200, &[MINUTE, ("content-type", "text/event")], None),
            // RFC 9213 §2.1: the targeted field alone counts.
            (200, &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], None),
            (200, &[("cdn-cache-control", "no-store"), MINUTE], Some(Refusal::NoStore)),
            (200, &[("cdn-cache-control", "&"), MINUTE], None),
            (200, &[("cdn-cache-control", "public"), MINUTE], Some(Refusal::Freshness)),
        ];
        for (status, fields, expected) in table {
            assert_eq!(plain(*status, fields).err(), *expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn a_response_to_credentials_has_to_be_for_all() {
        // RFC 9111 §3.5.
        let authorized = Ask { authorized: true, ..Ask::default() };
        let allowing = Rules { exceptions: vec![Exception::Authorization], ..Rules::default() };
        for (control, shared) in [
            ("max-age=60", false),
            ("max-age=60, proxy-revalidate", false),
            ("max-age=60, public", true),
            ("max-age=60, must-revalidate", true),
            ("s-maxage=60", true),
        ] {
            let fields = [("cache-control", control)];
            let plan = decide(&Rules::default(), &authorized, 200, &fields);
            assert_eq!(
                plan.as_ref().err(),
                (!shared).then_some(&Refusal::Authorization),
                "{control}"
            );
            // What was kept for one without is given to those with only if it is for all, too.
            assert_eq!(plain(200, &fields).unwrap().freshness.shared, shared, "{control}");
            assert!(decide(&allowing, &authorized, 200, &fields).unwrap().freshness.shared);
        }
        let silent = |rules: &Rules| decide(rules, &authorized, 200, &[]).err();
        assert_eq!(silent(&Rules::default()), Some(Refusal::Authorization));
        assert_eq!(silent(&allowing), Some(Refusal::Freshness));
    }

    #[test]
    fn each_exception_excuses_one_thing() {
        let table: [(Exception, TestHeaders<'_>); 4] = [
            (Exception::SetCookie, &[MINUTE, ("set-cookie", "a=b")]),
            (Exception::Private, &[("cache-control", "max-age=60, private")]),
            (Exception::NoStore, &[("cache-control", "max-age=60, no-store")]),
            (Exception::VaryAll, &[MINUTE, ("vary", "*")]),
        ];
        for (exception, _) in table {
            let rules = Rules { exceptions: vec![exception], ..Rules::default() };
            for (other, fields) in table {
                let decided = decide(&rules, &Ask::default(), 200, fields);
                assert_eq!(decided.is_ok(), exception == other, "{exception:?} {fields:?}");
            }
        }
    }

    #[test]
    fn a_lifetime_for_a_status_lets_it_be_stored() {
        let second = Duration::from_secs(1);
        let (headers, none) = (map(&[MINUTE]), HeaderMap::new());
        for (status, possible) in
            [(206, false), (304, false), (103, false), (429, true), (503, true)]
        {
            let code = StatusCode::from_u16(status).unwrap();
            let rules = Rules { ttls: vec![(code, second)], ..Rules::default() };
            assert_eq!(decide(&rules, &Ask::default(), status, &[MINUTE]).is_ok(), possible);
            let hint = CacheHint::new().ttl(second);
            let answer = Answer { hint: Some(&hint), ..answer(status, &headers, &none) };
            assert_eq!(plan(&Rules::default(), &Ask::default(), &answer).is_ok(), possible);
        }
    }

    #[test]
    fn the_handler_and_the_size_count() {
        let (headers, none) = (map(&[MINUTE]), HeaderMap::new());
        let decide = |hint: Option<&CacheHint>, size| {
            let answer = Answer { hint, size, ..answer(200, &headers, &none) };
            plan(&Rules::default(), &Ask::default(), &answer).err()
        };
        assert_eq!(decide(Some(&CacheHint::no_store()), None), Some(Refusal::CacheHint));
        assert_eq!(
            decide(Some(&CacheHint::no_store().ttl(Duration::MAX)), None),
            Some(Refusal::CacheHint)
        );
        assert_eq!(decide(Some(&CacheHint::new()), None), None);
        assert_eq!(decide(None, Some(1024 * 1024)), None);
        assert_eq!(decide(None, Some(1024 * 1024 + 1)), Some(Refusal::TooLarge));
    }

    #[test]
    fn what_is_of_one_connection_or_one_client_is_not_kept() {
        // RFC 9111 §3.1, §5.2.2.4 and §5.2.2.7; RFC 9110 §7.6.1.
        let kept = plain(
            200,
            &[
                ("cache-control", "max-age=60, no-cache=\"x-one\", private=\"X-Two, x-three\""),
                ("connection", "close, X-Hop"),
                ("keep-alive", "1"),
                ("proxy-connection", "1"),
                ("proxy-authenticate", "1"),
                ("proxy-authentication-info", "1"),
                ("proxy-authorization", "1"),
                ("te", "1"),
                ("trailer", "1"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "1"),
                ("x-hop", "1"),
                ("x-one", "1"),
                ("x-two", "1"),
                ("x-three", "1"),
                ("age", "1"),
                ("content-length", "1"),
                ("cache-status", "inner; hit"),
                ("x-end", "1"),
                ("x-end", "2"),
            ],
        );
        let mut expected = map(&[("x-end", "1"), ("x-end", "2")]);
        expected.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        let mut kept = kept.unwrap().headers;
        kept.remove("cache-control");
        assert_eq!(kept, expected);
    }

    #[test]
    fn what_is_kept_has_a_date() {
        // RFC 9110 §6.6.1.
        const OWN: &str = "Sun, 06 Nov 1994 08:49:30 GMT";
        let table: &[(TestHeaders<'_>, &str)] = &[
            (&[MINUTE], "Sun, 06 Nov 1994 08:49:37 GMT"),
            (&[MINUTE, ("date", "junk")], "Sun, 06 Nov 1994 08:49:37 GMT"),
            (&[MINUTE, ("date", OWN), ("date", OWN)], "Sun, 06 Nov 1994 08:49:37 GMT"),
            (&[MINUTE, ("date", OWN)], OWN),
        ];
        for (fields, date) in table {
            let headers = plain(200, fields).unwrap().headers;
            assert_eq!(headers.get_all(DATE).iter().collect::<Vec<_>>(), [date], "{fields:?}");
        }
        assert_eq!(date_of(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn tags_come_from_the_hint_and_two_fields() {
        let headers = map(&[
            MINUTE,
            ("surrogate-key", " b  c "),
            ("surrogate-key", "d"),
            ("cache-tag", "e,f g , ,"),
        ]);
        let none = HeaderMap::new();
        let hint = CacheHint::new().tag("a");
        let answer = Answer { hint: Some(&hint), ..answer(200, &headers, &none) };
        for strip_tags in [false, true] {
            let rules = Rules { strip_tags, ..Rules::default() };
            let plan = plan(&rules, &Ask::default(), &answer).unwrap();
            assert_eq!(plan.tags, ["a", "b", "c", "d", "e", "f g"]);
            for name in TAGS {
                assert_eq!(plan.headers.contains_key(name), !strip_tags);
            }
        }
    }

    fn confirmed(stored: TestHeaders<'_>, confirming: TestHeaders<'_>) -> Confirmed {
        let rules = Rules::default();
        let first = plan(&rules, &Ask::default(), &answer(200, &map(stored), &HeaderMap::new()));
        let Plan { mut headers, freshness, variant, tags } = first.unwrap();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("8"));
        let stored = Stored {
            status: StatusCode::OK,
            headers,
            body: bytes::Bytes::from_static(b"the body"),
            freshness,
            variant,
            tags,
            watermark: Watermark::default(),
        };
        let (headers, none) = (map(confirming), HeaderMap::new());
        let later =
            Answer { sent: NOW + 90_000, received: NOW + 90_000, ..answer(304, &headers, &none) };
        confirm(&rules, &Ask::default(), &stored, &later)
    }

    #[test]
    fn a_304_freshens_what_is_kept() {
        // RFC 9111 §3.2 and §4.3.4.
        let stored = [MINUTE, ("etag", "\"a\""), ("x-a", "1"), ("x-a", "2"), ("x-b", "3")];
        let Confirmed { response, kept } = confirmed(
            &stored,
            &[
                ("cache-control", "max-age=30"),
                ("x-a", "4"),
                ("content-length", "0"),
                ("content-encoding", "br"),
                ("content-range", "bytes 0-0/1"),
                ("connection", "x-hop"),
                ("x-hop", "5"),
                ("keep-alive", "6"),
                ("age", "7"),
            ],
        );
        let plan = kept.unwrap();
        assert_eq!((plan.freshness.lifetime, plan.freshness.age), (30_000, 7_000));
        assert_eq!(plan.freshness.received, NOW + 90_000);
        let expected = map(&[
            ("cache-control", "max-age=30"),
            ("etag", "\"a\""),
            ("x-a", "4"),
            ("x-b", "3"),
            ("content-length", "8"),
            ("date", "Sun, 06 Nov 1994 08:51:07 GMT"),
        ]);
        assert_eq!(plan.headers, expected);
        assert_eq!(response.headers.get("x-hop"), None);
        // Without fields of its own it says that all are right still.
        let plan = confirmed(&stored, &[]).kept.unwrap();
        assert_eq!((plan.freshness.lifetime, plan.freshness.age), (60_000, 0));
    }

    #[test]
    fn a_304_may_say_that_it_is_kept_no_more() {
        for (confirming, refusal) in [
            (&[("cache-control", "no-store")][..], Refusal::NoStore),
            (&[("cache-control", "private")], Refusal::Private),
            (&[("set-cookie", "a=b")], Refusal::SetCookie),
            (&[("vary", "*")], Refusal::VaryAll),
        ] {
            let old = [MINUTE, ("etag", "\"a\""), ("age", "7")];
            let Confirmed { response, kept } = confirmed(&old, confirming);
            assert_eq!(kept.err(), Some(refusal));
            let (name, value) = confirming[0];
            assert_eq!(response.headers[name], value, "its client gets what it says");
            let age = response.freshness.age(NOW + 90_000);
            assert_eq!(age, 0, "it was validated just now");
        }
    }

    #[test]
    fn a_304_gives_its_client_what_is_not_stored() {
        // RFC 9111 §5.2.2.4 and §5.2.2.7.
        for control in ["max-age=60, private=\"x-one\"", "max-age=60, no-cache=\"x-one\""] {
            let stored = [("cache-control", control), ("etag", "\"a\""), ("x-one", "1")];
            let Confirmed { response, kept } = confirmed(&stored, &[("x-one", "2")]);
            assert_eq!(response.headers["x-one"], "2");
            assert_eq!(kept.unwrap().headers.get("x-one"), None);
        }
    }

    #[test]
    fn a_304_of_other_validators_confirms_nothing() {
        // RFC 9111 §4.3.4.
        const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
        let table: &[(TestHeaders<'_>, TestHeaders<'_>, bool)] = &[
            (&[("etag", "\"a\"")], &[("etag", "\"a\"")], true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            (&[("etag", "\"a\"")], &[("etag", "W/\"b\"")], false),
            (&[("etag", "W/\"a\"")], &[("etag", "W/\"b\"")], false),
            // A layer inside has weakened the stored one.
            (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], true),
            (&[("last-modified", OLD)], &[("last-modified", OLD)], true),
            (&[("last-modified", OLD)], &[("last-modified", NEW)], false),
            (
                &[("etag", "\"a\""), ("last-modified", OLD)],
                &[("etag", "\"a\""), ("last-modified", NEW)],
                true,
            ),
            (
                &[("etag", "\"a\""), ("last-modified", OLD)],
                &[("etag", "\"b\""), ("last-modified", OLD)],
                false,
            ),
            (&[("etag", "\"a\""), ("last-modified", OLD)], &[("last-modified", NEW)], false),
            (&[("etag", "\"a\"")], &[("last-modified", NEW)], false),
            (&[("last-modified", OLD)], &[("etag", "\"a\"")], false),
            (&[("last-modified", OLD)], &[("etag", "\"a\""), ("last-modified", OLD)], true),
            (&[("last-modified", OLD)], &[("etag", "\"a\""), ("last-modified", NEW)], false),
            (&[("etag", "\"a\"")], &[], true),
        ];
        for (stored, confirming, same) in table {
            let stored: Vec<_> = [MINUTE].iter().chain(*stored).copied().collect();
            let refused = confirmed(&stored, confirming).kept.err();
            assert_eq!(refused, (!same).then_some(Refusal::Validator), "{stored:?} {confirming:?}");
        }
    }

    #[test]
    fn a_304_adds_to_what_is_varied_by() {
        let stored = [MINUTE, ("etag", "\"a\""), ("vary", "accept-encoding")];
        for (vary, expected) in [
            ("origin", &["accept-encoding", "origin"][..]),
            ("accept-encoding", &["accept-encoding"]),
        ] {
            let headers = confirmed(&stored, &[("vary", vary)]).response.headers;
            assert!(headers.get_all("vary").iter().eq(expected), "{headers:?}");
        }
    }

    #[test]
    fn a_304_keeps_the_tags_and_adds_its_own() {
        let more: TestHeaders<'_> = &[("surrogate-key", "c")];
        for (confirming, tags) in [(&[][..], &["a", "b"][..]), (more, &["c", "a", "b"])] {
            let stored = [MINUTE, ("etag", "\"a\""), ("surrogate-key", "a b")];
            assert_eq!(confirmed(&stored, confirming).kept.unwrap().tags, tags);
        }
    }

    #[test]
    fn only_what_is_fresh_is_shared_with_those_who_waited() {
        let fresh = Freshness { age: 1, lifetime: 2, ..Freshness::default() };
        assert!(shareable(&fresh));
        assert!(!shareable(&Freshness { validate: true, ..fresh }));
        assert!(!shareable(&Freshness { age: 2, ..fresh }));
    }
}
