//! The decision over a response of the inner service: to store it, or not.

use std::collections::HashSet;

use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED, SET_COOKIE,
    VARY,
};
use http::{HeaderMap, HeaderName, StatusCode};

use super::super::entry::{Freshness, StoredResponse};
use super::super::hint::CacheHint;
use super::super::vary::Variant;
use super::cache_control::{ResponseControl, Scope};
use super::checks::{self, hop_by_hop};
use super::conditional::{has_validator, opaque_tag};
use super::date::{date, date_value};
use super::freshness::{freshness, initial_age, is_silent};
use super::request::RequestPolicy;
use super::rules::{Exception, Rules};
use crate::headers::{list, media_type};

/// The head of a response, and what else decides over its storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseInfo<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) hint: Option<&'a CacheHint>,
    /// The response has a part for this request alone, such as a nonce.
    pub(crate) for_one: bool,
    /// A request header on which the response depends, though `vary` does not name it.
    pub(crate) varies_by: Option<&'a HeaderName>,
    /// The headers of the request.
    pub(crate) request: &'a HeaderMap,
    /// The size of the body in bytes, if it is known.
    pub(crate) size: Option<u64>,
    /// The time of the request in milliseconds since 1970.
    pub(crate) sent: u64,
    /// The time of the response in milliseconds since 1970.
    pub(crate) received: u64,
    /// A number from 0 to 1, new each time.
    pub(crate) random: f64,
    /// The response to a POST, for which only a lifetime that it states counts (RFC 9110 §9.3.3).
    pub(crate) post: bool,
}

/// The parts of an entry that are known before the body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storable {
    pub(crate) headers: HeaderMap,
    pub(crate) freshness: Freshness,
    pub(crate) variant: Variant,
    pub(crate) tags: Vec<String>,
}

/// The outcome of a validation with a 304.
#[derive(Debug)]
pub(crate) struct Confirmed {
    /// The response for the client that asked: the stored one with the headers of the 304.
    pub(crate) response: StoredResponse,
    /// The response to store in its place.
    pub(crate) kept: Result<Box<StoredResponse>, NotStorable>,
}

/// The reasons for which a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStorable {
    /// The [`CacheHint`] of the handler forbids it.
    CacheHint,
    /// The response has a part for one request alone.
    ForOne,
    NoStore,
    Private,
    /// The directives cannot be parsed.
    Malformed,
    Authorization,
    /// The request has a `cookie`, and the lifetime is the layer's.
    Cookie,
    SetCookie,
    VaryAll,
    Status,
    /// The response states no lifetime, and the layer gives it none.
    Freshness,
    TooLarge,
    /// The response is an event stream, or gRPC.
    Stream,
    /// The 304 is about another response than the stored one.
    Validator,
}

/// Decides over a response (RFC 9111 §3).
pub(crate) fn storable(
    rules: &Rules,
    request: &RequestPolicy,
    response: &ResponseInfo<'_>,
) -> Result<Box<Storable>, NotStorable> {
    let headers = response.headers;
    let refuse = |exception, reason| {
        if rules.allows(exception) { Ok(()) } else { Err(reason) }
    };
    if response.hint.is_some_and(|hint| hint.no_store) {
        return Err(NotStorable::CacheHint);
    }
    if response.for_one {
        return Err(NotStorable::ForOne);
    }
    if !checks::is_whole(response.status) {
        return Err(NotStorable::Status);
    }
    if is_stream(headers) {
        return Err(NotStorable::Stream);
    }
    if response.size.is_some_and(|size| size > rules.entry_limit) {
        return Err(NotStorable::TooLarge);
    }
    // The response to a request with credentials is refused for them, so that the entry survives.
    if !request.authorized && is_silent(rules, response) {
        return Err(NotStorable::Freshness);
    }
    let (control, is_targeted) = checks::control(rules, response.status, headers)?;
    // §3.5.
    let shared = control.public || control.must_revalidate || control.s_maxage.is_some();
    if request.authorized && !shared {
        refuse(Exception::Authorization, NotStorable::Authorization)?;
    }
    if !is_chosen(rules, response) {
        return Err(NotStorable::Status);
    }
    if is_kept(headers, &control, &SET_COOKIE) {
        refuse(Exception::SetCookie, NotStorable::SetCookie)?;
    }
    let freshness = freshness(rules, response, &control, is_targeted)?;
    if request.cookie && !freshness.stated {
        return Err(NotStorable::Cookie);
    }
    let mut variant = Variant::of(headers, response.request, rules.allows(Exception::VaryAll))
        .map_err(|_| NotStorable::VaryAll)?;
    if let Some(name) = response.varies_by {
        variant.vary_by(name, response.request);
    }
    let shared = shared || rules.allows(Exception::Authorization);
    Ok(Box::new(Storable {
        freshness: Freshness { shared, ..freshness },
        variant,
        tags: tags(response),
        // The headers are copied last: most responses that are not stored have been refused by now.
        headers: kept_headers(rules, response, &control),
    }))
}

/// Applies a 304 to a stored response (RFC 9111 §3.2, §4.3.4).
pub(crate) fn confirm(
    rules: &Rules,
    request: &RequestPolicy,
    stored: &StoredResponse,
    response: &ResponseInfo<'_>,
) -> Confirmed {
    if is_other(&stored.headers, response.headers) {
        return Confirmed { response: stored.clone(), kept: Err(NotStorable::Validator) };
    }
    let mut headers = updated(&stored.headers, response);
    let response = ResponseInfo { status: stored.status, headers: &headers, ..*response };
    let kept = storable(rules, request, &response).map(|new| Box::new(replacing(*new, stored)));
    // Headers that `no-cache` and `private` name are for this client, though they are not stored.
    let freshness =
        Freshness { received: response.received, age: initial_age(&response), ..stored.freshness };
    strip_tags(rules, &mut headers);
    Confirmed { response: StoredResponse { headers, freshness, ..stored.clone() }, kept }
}

/// Removes the headers with tags from a response, if the user chose that.
pub(crate) fn strip_tags(rules: &Rules, headers: &mut HeaderMap) {
    if rules.strip_tags {
        TAGS.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// Returns `true` if a response is of use to the requests that waited for it: they need not validate
/// it.
pub(crate) fn is_shareable(freshness: &Freshness) -> bool {
    !freshness.validate && freshness.lifetime > freshness.age
}

/// Returns `true` if an entry survives though the response that would replace it is not stored. A
/// client that asks past a fresh entry, or has credentials or cookies, does not take it from others.
pub(crate) fn survives(stored: &StoredResponse, reason: NotStorable, now: u64) -> bool {
    let Freshness { validate, .. } = stored.freshness;
    let fresh = !validate && stored.freshness.left(now) > 0;
    matches!(reason, NotStorable::Authorization | NotStorable::Cookie)
        || fresh && reason != NotStorable::Validator
}

/// Returns `true` if a header is present, and is one of those that are stored.
pub(super) fn is_kept(headers: &HeaderMap, control: &ResponseControl, name: &HeaderName) -> bool {
    headers.contains_key(name) && !left_out(headers, control).contains(name)
}

/// Returns the response that a 304 makes of a stored one.
fn replacing(new: Storable, stored: &StoredResponse) -> StoredResponse {
    let Storable { mut headers, freshness, mut variant, mut tags } = new;
    // The tags of a hint are not known from those of headers. Purging too much does no harm.
    let old: Vec<_> = stored.tags.iter().filter(|tag| !tags.contains(tag)).cloned().collect();
    tags.extend(old);
    if let Some(length) = stored.headers.get(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.clone());
    }
    // The entry still answers what it answered, unless the service varies by more now.
    if variant.varies_like(&stored.variant) {
        variant.clone_from(&stored.variant);
    }
    StoredResponse { headers, freshness, variant, tags, ..stored.clone() }
}

/// Returns the headers of a stored response with those of a 304 (§3.2).
fn updated(stored: &HeaderMap, response: &ResponseInfo<'_>) -> HeaderMap {
    let mut headers = stored.clone();
    headers.remove(AGE);
    headers.insert(DATE, date_value(response.received));
    let mut news = response.headers.clone();
    for name in hop_by_hop(response.headers) {
        news.remove(name);
    }
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE] {
        news.remove(name);
    }
    // A weak tag stays: the stored bytes may differ from those that the strong one names.
    if headers.get(ETAG).is_some_and(|tag| tag.as_bytes().starts_with(b"W/")) {
        news.remove(ETAG);
    }
    // `vary` is added to, not replaced: a layer may name a header in a 200, and not in a 304.
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

/// Returns `true` if a 304 is about another response than the stored one: it has validators, and they
/// are not those of the stored one (§4.3.4). Tags are compared weakly: an inner layer that encodes
/// bodies weakens the tag of a 200, and not that of a 304. A 304 without validators can only be about
/// the one response that the service was asked about.
fn is_other(stored: &HeaderMap, confirming: &HeaderMap) -> bool {
    let differs = |name, same: fn(&[u8]) -> &[u8]| {
        let (old, new) = (stored.get(&name)?, confirming.get(&name)?);
        Some(same(old.as_bytes()) != same(new.as_bytes()))
    };
    // The tag decides where both have one, as in a request.
    let differs = differs(ETAG, opaque_tag).or_else(|| differs(LAST_MODIFIED, |date| date));
    differs.unwrap_or_else(|| has_validator(confirming))
}

/// Returns `true` if responses of this status are stored: by default, or because the user or the
/// handler gives them a lifetime.
fn is_chosen(rules: &Rules, response: &ResponseInfo<'_>) -> bool {
    checks::is_stored(response.status, rules.allows(Exception::AnyStatus))
        || rules.ttls.iter().any(|(status, _)| *status == response.status)
        || response.hint.is_some_and(|hint| hint.ttl.is_some())
}

/// Returns the names of the headers that are not stored: those of the connection, and those that
/// `no-cache` and `private` name, without which the rest may be stored (§5.2.2.4, §5.2.2.7).
fn left_out(headers: &HeaderMap, control: &ResponseControl) -> Vec<HeaderName> {
    let mut names = hop_by_hop(headers);
    for scope in [&control.no_cache, &control.private] {
        if let Some(Scope::Fields(named)) = scope {
            names.extend_from_slice(named);
        }
    }
    names
}

/// Returns the headers that are stored, with a `date`.
fn kept_headers(
    rules: &Rules,
    response: &ResponseInfo<'_>,
    control: &ResponseControl,
) -> HeaderMap {
    let mut kept = response.headers.clone();
    for name in left_out(response.headers, control) {
        kept.remove(name);
    }
    for name in [AGE, CONTENT_LENGTH, CACHE_STATUS] {
        kept.remove(name);
    }
    strip_tags(rules, &mut kept);
    if !matches!(date(&kept, &DATE), Some(Ok(_))) {
        kept.insert(DATE, date_value(response.received));
    }
    kept
}

/// Returns `true` for an event stream and for gRPC, whose bodies have no end to wait for.
fn is_stream(headers: &HeaderMap) -> bool {
    media_type::content_type(headers).is_some_and(|essence| {
        essence.is_event_stream() || essence.is_grpc() || essence.is_grpc_web()
    })
}

fn tags(response: &ResponseInfo<'_>) -> Vec<String> {
    let mut tags = response.hint.map_or_else(Vec::new, |hint| hint.tags.clone());
    let lines = response.headers.get_all(SURROGATE_KEY).iter();
    let keys = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b' '));
    let keys = keys.map(<[u8]>::trim_ascii).filter(|key| !key.is_empty());
    let lines = response.headers.get_all(CACHE_TAG).iter();
    let names = lines.flat_map(|line| list::split(line.as_bytes()));
    tags.extend(keys.chain(names).map(|name| String::from_utf8_lossy(name).into_owned()));
    tags
}

/// RFC 9211.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The headers that tags come from.
const TAGS: [HeaderName; 2] = [SURROGATE_KEY, CACHE_TAG];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::super::super::entry::Watermark;
    use super::*;
    use crate::headers::test_headers::{TestHeaders, map};

    /// Sun, 06 Nov 1994 08:49:37 GMT, in milliseconds.
    const NOW: u64 = 784_111_777_000;
    const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

    fn answer<'a>(status: u16, headers: &'a HeaderMap, request: &'a HeaderMap) -> ResponseInfo<'a> {
        let status = StatusCode::from_u16(status).unwrap();
        let (sent, received) = (NOW, NOW);
        let (hint, for_one, size, random, post) = (None, false, None, 0.0, false);
        let varies_by = None;
        ResponseInfo {
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
        ask: &RequestPolicy,
        status: u16,
        fields: TestHeaders<'_>,
    ) -> Result<Box<Storable>, NotStorable> {
        storable(rules, ask, &answer(status, &map(fields), &HeaderMap::new()))
    }

    fn plain(status: u16, fields: TestHeaders<'_>) -> Result<Box<Storable>, NotStorable> {
        decide(&Rules::default(), &RequestPolicy::default(), status, fields)
    }

    #[test]
    fn what_is_for_one_request_alone_is_not_kept() {
        let (headers, none) = (map(&[MINUTE]), HeaderMap::new());
        let answer = ResponseInfo { for_one: true, ..answer(200, &headers, &none) };
        let decided = storable(&Rules::default(), &RequestPolicy::default(), &answer);
        assert_eq!(decided, Err(NotStorable::ForOne));
    }

    #[test]
    fn a_response_is_kept_unless_something_is_against_it() {
        let control = |control| [("cache-control", control)];
        let table: &[(u16, TestHeaders<'_>, Option<NotStorable>)] = &[
            // RFC 9111 §3.
            (200, &[MINUTE], None),
            (200, &[], Some(NotStorable::Freshness)),
            (302, &[MINUTE], None),
            (404, &[MINUTE], None),
            // Errors are often caused by parts of a request that no key has.
            (299, &[MINUTE], Some(NotStorable::Status)),
            (400, &[MINUTE], Some(NotStorable::Status)),
            (418, &[MINUTE], Some(NotStorable::Status)),
            (429, &[MINUTE], Some(NotStorable::Status)),
            (503, &[MINUTE], Some(NotStorable::Status)),
            (599, &[MINUTE], Some(NotStorable::Status)),
            (103, &[MINUTE], Some(NotStorable::Status)),
            (600, &[MINUTE], Some(NotStorable::Status)),
            // §3.3 and §3.4: parts are not combined here.
            (206, &[MINUTE], Some(NotStorable::Status)),
            (304, &[MINUTE], Some(NotStorable::Status)),
            // §5.2.2.5.
            (200, &control("max-age=60, no-store"), Some(NotStorable::NoStore)),
            // §5.2.2.7.
            (200, &control("max-age=60, private"), Some(NotStorable::Private)),
            (200, &control("max-age=60; private"), Some(NotStorable::Private)),
            (200, &control("max-age=60; no-store"), Some(NotStorable::NoStore)),
            (200, &control("max-age=60; public"), Some(NotStorable::Malformed)),
            (200, &control("max-age=60, private=\"x-a\""), None),
            (200, &control("max-age=60, private=\"x-a\", private"), Some(NotStorable::Private)),
            // §5.2.2.3.
            (200, &control("max-age=60, must-understand, no-store"), None),
            (200, &control("max-age=60, must-understand, private"), Some(NotStorable::Private)),
            (200, &control("max-age=60, must-understand, no_store"), Some(NotStorable::NoStore)),
            (418, &control("max-age=60, must-understand, no-store"), Some(NotStorable::Status)),
            (299, &control("max-age=60, must-understand"), Some(NotStorable::Status)),
            // §4.1.
            (200, &[MINUTE, ("vary", "accept, *")], Some(NotStorable::VaryAll)),
            (200, &[MINUTE, ("vary", "accept, a b")], Some(NotStorable::VaryAll)),
            (200, &[MINUTE, ("vary", "accept")], None),
            // §7.3.
            (200, &[MINUTE, ("set-cookie", "a=b")], Some(NotStorable::SetCookie)),
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
            (200, &[MINUTE, ("content-type", "text/event-stream")], Some(NotStorable::Stream)),
            (
                200,
                &[MINUTE, ("content-type", "Text/Event-Stream; charset=x")],
                Some(NotStorable::Stream),
            ),
            (200, &[MINUTE, ("content-type", "application/grpc-web")], Some(NotStorable::Stream)),
            (200, &[MINUTE, ("content-type", "text/event")], None),
            // RFC 9213 §2.1: the targeted field alone counts.
            (200, &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], None),
            (200, &[("cdn-cache-control", "no-store"), MINUTE], Some(NotStorable::NoStore)),
            (200, &[("cdn-cache-control", "&"), MINUTE], None),
            (200, &[("cdn-cache-control", "public"), MINUTE], Some(NotStorable::Freshness)),
        ];
        for (status, fields, expected) in table {
            assert_eq!(plain(*status, fields).err(), *expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn a_response_to_credentials_has_to_be_for_all() {
        // RFC 9111 §3.5.
        let authorized = RequestPolicy { authorized: true, ..RequestPolicy::default() };
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
                (!shared).then_some(&NotStorable::Authorization),
                "{control}"
            );
            // What was kept for one without is given to those with only if it is for all, too.
            assert_eq!(plain(200, &fields).unwrap().freshness.shared, shared, "{control}");
            assert!(decide(&allowing, &authorized, 200, &fields).unwrap().freshness.shared);
        }
        let silent = |rules: &Rules| decide(rules, &authorized, 200, &[]).err();
        assert_eq!(silent(&Rules::default()), Some(NotStorable::Authorization));
        assert_eq!(silent(&allowing), Some(NotStorable::Freshness));
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
                let decided = decide(&rules, &RequestPolicy::default(), 200, fields);
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
            assert_eq!(
                decide(&rules, &RequestPolicy::default(), status, &[MINUTE]).is_ok(),
                possible
            );
            let hint = CacheHint::new().ttl(second);
            let answer = ResponseInfo { hint: Some(&hint), ..answer(status, &headers, &none) };
            assert_eq!(
                storable(&Rules::default(), &RequestPolicy::default(), &answer).is_ok(),
                possible
            );
        }
    }

    #[test]
    fn the_handler_and_the_size_count() {
        let (headers, none) = (map(&[MINUTE]), HeaderMap::new());
        let decide = |hint: Option<&CacheHint>, size| {
            let answer = ResponseInfo { hint, size, ..answer(200, &headers, &none) };
            storable(&Rules::default(), &RequestPolicy::default(), &answer).err()
        };
        assert_eq!(decide(Some(&CacheHint::no_store()), None), Some(NotStorable::CacheHint));
        assert_eq!(
            decide(Some(&CacheHint::no_store().ttl(Duration::MAX)), None),
            Some(NotStorable::CacheHint)
        );
        assert_eq!(decide(Some(&CacheHint::new()), None), None);
        assert_eq!(decide(None, Some(1024 * 1024)), None);
        assert_eq!(decide(None, Some(1024 * 1024 + 1)), Some(NotStorable::TooLarge));
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
        let answer = ResponseInfo { hint: Some(&hint), ..answer(200, &headers, &none) };
        for strip_tags in [false, true] {
            let rules = Rules { strip_tags, ..Rules::default() };
            let plan = storable(&rules, &RequestPolicy::default(), &answer).unwrap();
            assert_eq!(plan.tags, ["a", "b", "c", "d", "e", "f g"]);
            for name in TAGS {
                assert_eq!(plan.headers.contains_key(name), !strip_tags);
            }
        }
    }

    fn confirmed(stored: TestHeaders<'_>, confirming: TestHeaders<'_>) -> Confirmed {
        let rules = Rules::default();
        let first = storable(
            &rules,
            &RequestPolicy::default(),
            &answer(200, &map(stored), &HeaderMap::new()),
        );
        let Storable { mut headers, freshness, variant, tags } = *first.unwrap();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("8"));
        let stored = StoredResponse {
            status: StatusCode::OK,
            headers,
            body: bytes::Bytes::from_static(b"the body"),
            freshness,
            variant,
            tags,
            watermark: Watermark::default(),
        };
        let (headers, none) = (map(confirming), HeaderMap::new());
        let later = ResponseInfo {
            sent: NOW + 90_000,
            received: NOW + 90_000,
            ..answer(304, &headers, &none)
        };
        confirm(&rules, &RequestPolicy::default(), &stored, &later)
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
            (&[("cache-control", "no-store")][..], NotStorable::NoStore),
            (&[("cache-control", "private")], NotStorable::Private),
            (&[("set-cookie", "a=b")], NotStorable::SetCookie),
            (&[("vary", "*")], NotStorable::VaryAll),
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
            assert_eq!(
                refused,
                (!same).then_some(NotStorable::Validator),
                "{stored:?} {confirming:?}"
            );
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
        assert!(is_shareable(&fresh));
        assert!(!is_shareable(&Freshness { validate: true, ..fresh }));
        assert!(!is_shareable(&Freshness { age: 2, ..fresh }));
    }
}
