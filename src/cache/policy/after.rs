use std::time::Duration;

use http::header::{
    AGE, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::control::{self, ResponseControl, Scope, members};
use super::super::entry::{Freshness, Stored};
use super::super::hint::Hint;
use super::super::targeted::targeted;
use super::super::vary::Variant;
use super::before::Ask;
use super::freshness::freshness;
use super::rules::{Exception, Rules};

/// The head of a response of the service, and what else bears on its being kept.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Answer<'a> {
    pub(in super::super) status: StatusCode,
    pub(in super::super) headers: &'a HeaderMap,
    pub(in super::super) hint: Option<&'a Hint>,
    /// The fields of the request that it answers.
    pub(in super::super) request: &'a HeaderMap,
    /// In bytes, where it is known.
    pub(in super::super) size: Option<u64>,
    /// In milliseconds since 1970, as the next one.
    pub(in super::super) sent: u64,
    pub(in super::super) received: u64,
    /// From 0 to 1, new each time.
    pub(in super::super) random: f64,
    /// To a POST: then only a freshness that it states itself counts (RFC 9110 §9.3.3).
    pub(in super::super) post: bool,
}

/// Whether a response is kept.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum After {
    Keep(Box<Plan>),
    Refuse(Refusal),
}

/// What is kept beside the body.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Plan {
    pub(in super::super) headers: HeaderMap,
    pub(in super::super) freshness: Freshness,
    pub(in super::super) variant: Variant,
    pub(in super::super) tags: Vec<String>,
}

/// Why a response is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Refusal {
    /// The handler's [`Hint`] says so.
    Hint,
    NoStore,
    Private,
    Authorization,
    SetCookie,
    VaryAll,
    Status,
    /// It has none, and no time that it is given here.
    Freshness,
    TooLarge,
    /// An event stream, or gRPC.
    Stream,
}

/// Decides over a response (RFC 9111 §3).
pub(in super::super) fn after(rules: &Rules, ask: &Ask, answer: &Answer<'_>) -> After {
    match plan(rules, ask, answer) {
        Ok(plan) => After::Keep(Box::new(plan)),
        Err(refusal) => After::Refuse(refusal),
    }
}

/// Applies a 304 to what is kept (RFC 9111 §3.2, §4.3.4): the fields of the answer now, and whether
/// it is kept on.
pub(in super::super) fn freshen(
    rules: &Rules,
    ask: &Ask,
    stored: &Stored,
    answer: &Answer<'_>,
) -> (HeaderMap, After) {
    let mut headers = stored.headers.clone();
    let gone = hop_by_hop(answer.headers);
    let kept = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE];
    headers.remove(AGE);
    headers.insert(DATE, date_of(answer.received));
    for name in answer.headers.keys().filter(|name| !gone.contains(name) && !kept.contains(name)) {
        headers.remove(name);
        for value in answer.headers.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let answer = Answer { status: stored.status, headers: &headers, ..*answer };
    let mut after = after(rules, ask, &answer);
    if let After::Keep(plan) = &mut after {
        if plan.tags.is_empty() {
            plan.tags.clone_from(&stored.tags);
        }
        if let Some(length) = stored.headers.get(CONTENT_LENGTH) {
            plan.headers.insert(CONTENT_LENGTH, length.clone());
        }
    }
    (headers, after)
}

/// Whether those who waited for a response may use it too, and not only validate it.
pub(in super::super) fn shareable(freshness: &Freshness) -> bool {
    !freshness.validate && freshness.lifetime > freshness.age
}

/// What speaks of one connection only (RFC 9110 §7.6.1, RFC 9111 §3.1).
pub(in super::super) fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(CONNECTION).iter();
    let named = lines.flat_map(|line| members(line.as_bytes()));
    let mut names: Vec<_> = named.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    names.extend(HOP_BY_HOP);
    names
}

fn plan(rules: &Rules, ask: &Ask, answer: &Answer<'_>) -> Result<Plan, Refusal> {
    let headers = answer.headers;
    let refuse = |exception, refusal| {
        if rules.allows(exception) { Ok(()) } else { Err(refusal) }
    };
    if answer.hint.is_some_and(|hint| hint.no_store) {
        return Err(Refusal::Hint);
    }
    let status = answer.status.as_u16();
    if !(200..600).contains(&status) || status == 206 || status == 304 {
        return Err(Refusal::Status);
    }
    if is_stream(headers) {
        return Err(Refusal::Stream);
    }
    if answer.size.is_some_and(|size| size > rules.entry_limit) {
        return Err(Refusal::TooLarge);
    }
    let targeted = targeted(headers, &rules.targeted);
    let is_targeted = targeted.is_some();
    let control = targeted.unwrap_or_else(|| ResponseControl::of(headers));
    // §5.2.2.3: it takes the place of no-store where the status is understood.
    let understood = control.must_understand && UNDERSTOOD.contains(&status);
    if control.must_understand && !understood {
        return Err(Refusal::Status);
    }
    if control.no_store && !understood {
        refuse(Exception::NoStore, Refusal::NoStore)?;
    }
    if control.private == Some(Scope::Response) {
        refuse(Exception::Private, Refusal::Private)?;
    }
    // §3.5.
    let shared = control.public || control.must_revalidate || control.s_maxage.is_some();
    if ask.authorized && !shared {
        refuse(Exception::Authorization, Refusal::Authorization)?;
    }
    let kept = kept_fields(rules, answer, &control);
    if kept.contains_key(SET_COOKIE) {
        refuse(Exception::SetCookie, Refusal::SetCookie)?;
    }
    let variant = Variant::of(headers, answer.request, rules.allows(Exception::VaryAll))
        .map_err(|_| Refusal::VaryAll)?;
    let freshness = freshness(rules, answer, &control, is_targeted, &kept)?;
    let shared = shared || rules.allows(Exception::Authorization);
    Ok(Plan {
        freshness: Freshness { shared, ..freshness },
        variant,
        tags: tags(answer),
        headers: kept,
    })
}

/// What is kept of the fields, with a `date`.
fn kept_fields(rules: &Rules, answer: &Answer<'_>, control: &ResponseControl) -> HeaderMap {
    let mut kept = answer.headers.clone();
    for name in hop_by_hop(answer.headers) {
        kept.remove(name);
    }
    // §5.2.2.4 and §5.2.2.7: without these fields the rest may be kept.
    for scope in [&control.no_cache, &control.private] {
        if let Some(Scope::Fields(names)) = scope {
            for name in names {
                kept.remove(name);
            }
        }
    }
    for name in [AGE, CONTENT_LENGTH, CACHE_STATUS] {
        kept.remove(name);
    }
    if rules.strip_tags {
        for name in TAGS {
            kept.remove(name);
        }
    }
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

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Where tags come from.
pub(in super::super) const TAGS: [HeaderName; 2] = [SURROGATE_KEY, CACHE_TAG];

const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whose requirements on caches are met (RFC 9110 §15).
const UNDERSTOOD: [u16; 38] = [
    200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406,
    407, 408, 409, 410, 411, 412, 413, 414, 415, 417, 421, 422, 426, 500, 501, 502, 503, 504, 505,
];
