//! The decision to store a response of the inner service.

use http::header::{CONTENT_LENGTH, DATE, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::super::entry::{Added, Freshness, Links, StoredResponse, copy_headers};
use super::super::vary::Variant;
use super::cache_control::ResponseControl;
use super::checks;
use super::date::date;
use super::freshness::{freshness, is_silent};
use super::groups::{CACHE_GROUPS, group_tags, user_tag};
use super::request::RequestPolicy;
use super::response::{
    CACHE_TAG, LeftOut, NotStorable, Present, ResponseInfo, SURROGATE_KEY, Storable, TAGS,
};
use super::rules::{Exception, Rules};
use crate::headers::list;

/// A response that may be stored, if what it varies by permits that.
struct Checked<'a> {
    present: Present<'a>,
    control: ResponseControl,
    freshness: Freshness,
}

/// Decides over a response (RFC 9111 §3).
pub(crate) fn storable(
    rules: &Rules,
    request: &RequestPolicy,
    response: &ResponseInfo<'_>,
) -> Result<Box<Storable>, NotStorable> {
    let Checked { present, control, freshness } = check(rules, request, response)?;
    let headers = response.headers;
    let mut variant = Variant::default();
    if present.vary {
        variant = Variant::of(headers, response.request, rules.allows(Exception::VaryAll))
            .map_err(|_| NotStorable::VaryAll)?;
    }
    if let Some(name) = response.varies_by {
        variant.vary_by(name, response.request);
    }
    let left_out = LeftOut::of(headers, present, &control);
    Ok(Box::new(Storable {
        freshness,
        variant,
        tags: tags(response, present)?,
        links: links(response)?,
        // The headers are copied last: most responses that are not stored have been refused by now.
        headers: kept_headers(rules, response, &left_out, present),
    }))
}

/// Returns the reason for which a response is not stored, except for what it varies by.
pub(crate) fn refusal(
    rules: &Rules,
    request: &RequestPolicy,
    response: &ResponseInfo<'_>,
) -> Option<NotStorable> {
    check(rules, request, response).err()
}

fn check<'a>(
    rules: &Rules,
    request: &RequestPolicy,
    response: &ResponseInfo<'a>,
) -> Result<Checked<'a>, NotStorable> {
    let headers = response.headers;
    let refuse = |exception, reason| {
        if rules.allows(exception) { Ok(()) } else { Err(reason) }
    };
    if response.hint.is_some_and(|hint| hint.no_store) {
        return Err(NotStorable::CacheHint);
    }
    if response.single_use {
        return Err(NotStorable::SingleUse);
    }
    if !checks::is_whole(response.status) {
        return Err(NotStorable::Status);
    }
    let present = Present::of(rules, headers);
    if present.stream {
        return Err(NotStorable::Stream);
    }
    if response.size.is_some_and(|size| size > rules.entry_limit) {
        return Err(NotStorable::TooLarge);
    }
    // The response to a request with credentials is refused for them, so that the entry survives.
    if !request.authorized && is_silent(rules, response, present) {
        return Err(NotStorable::Freshness);
    }
    let (control, is_targeted) = checks::control(rules, response.status, headers, present)?;
    // §3.5.
    let shared = control.public || control.must_revalidate || control.s_maxage.is_some();
    if request.authorized && !shared {
        refuse(Exception::Authorization, NotStorable::Authorization)?;
    }
    if !is_chosen(rules, response) {
        return Err(NotStorable::Status);
    }
    let left_out = LeftOut::of(headers, present, &control);
    if present.set_cookie && !left_out.has(&SET_COOKIE) {
        refuse(Exception::SetCookie, NotStorable::SetCookie)?;
    }
    let freshness = freshness(rules, response, present, &left_out, is_targeted)?;
    if request.cookie && !freshness.stated {
        return Err(NotStorable::Cookie);
    }
    let shared = shared || rules.allows(Exception::Authorization);
    let freshness = Freshness { shared, ..freshness };
    Ok(Checked { present, control, freshness: of_values(response, freshness)? })
}

/// Returns the freshness of a response that is made of values.
fn of_values(response: &ResponseInfo<'_>, freshness: Freshness) -> Result<Freshness, NotStorable> {
    let Some(reads) = response.reads else { return Ok(freshness) };
    let took = response.received.saturating_sub(response.sent);
    reads.shorten(freshness, took).ok_or(NotStorable::StaleValue)
}

fn links(response: &ResponseInfo<'_>) -> Result<Links, NotStorable> {
    let Some(reads) = response.reads else { return Ok(Links::default()) };
    reads.links().ok_or(NotStorable::Values)
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
    let fresh = !validate && stored.left(now) > 0;
    matches!(reason, NotStorable::Authorization | NotStorable::Cookie)
        || fresh && reason != NotStorable::Validator
}

/// Returns `true` if responses of this status are stored: by default, or because the user or the
/// handler gives them a lifetime.
fn is_chosen(rules: &Rules, response: &ResponseInfo<'_>) -> bool {
    checks::is_stored(response.status, rules.allows(Exception::AnyStatus))
        || rules.ttls.iter().any(|(status, _)| *status == response.status)
        || response.hint.is_some_and(|hint| hint.ttl.is_some())
}

/// Returns the headers that are stored, with a `date`, and with the length of the body if that is known,
/// in memory of their own.
fn kept_headers(
    rules: &Rules,
    response: &ResponseInfo<'_>,
    left_out: &LeftOut<'_>,
    present: Present<'_>,
) -> HeaderMap {
    let is_valid = || matches!(date(response.headers, &DATE), Some(Ok(_)));
    let has_date = present.date && is_valid() && !left_out.has(&DATE);
    let is_kept = |name: &HeaderName| {
        let is_replaced = *name == DATE && !has_date;
        let is_tag = rules.strip_tags && TAGS.contains(name);
        *name != CONTENT_LENGTH && !is_replaced && !is_tag && !left_out.has(name)
    };
    let added = Added {
        date: (!has_date).then_some(response.received),
        // RFC 9110 §8.6: a 204 has none.
        length: response.size.filter(|_| response.status != StatusCode::NO_CONTENT),
    };
    copy_headers(response.headers, &is_kept, added)
}

fn tags(response: &ResponseInfo<'_>, present: Present<'_>) -> Result<Vec<String>, NotStorable> {
    let hint = response.hint.iter().flat_map(|hint| &hint.tags);
    let mut tags = Vec::new();
    tags.extend(hint.map(|tag| user_tag(tag).into_owned()));
    if !present.tags {
        return Ok(tags);
    }
    let headers = response.headers;
    let lines = headers.get_all(SURROGATE_KEY).iter();
    let keys = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b' '));
    let keys = keys.map(<[u8]>::trim_ascii).filter(|key| !key.is_empty());
    let lines = headers.get_all(CACHE_TAG).iter();
    let names = keys.chain(lines.flat_map(|line| list::split(line.as_bytes())));
    tags.extend(names.map(|name| user_tag(&String::from_utf8_lossy(name)).into_owned()));
    if headers.contains_key(CACHE_GROUPS) {
        let groups = group_tags(headers, || response.key.origin());
        tags.extend(groups.map_err(|_| NotStorable::Groups)?);
    }
    Ok(tags)
}

#[cfg(test)]
mod tests;
