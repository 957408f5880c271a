//! The freshness of a response (RFC 9111 §4.2).

use std::time::Duration;

use http::StatusCode;
use http::header::{DATE, ETAG, EXPIRES, LAST_MODIFIED};

use super::super::entry::Freshness;
use super::cache_control::{ResponseControl, Scope};
use super::date::{self, in_millis, millis};
use super::response::{LeftOut, Lines, NotStorable, Present, ResponseInfo};
use super::rules::{Exception, Rules};

/// The times after its lifetime in which a response may be used, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct StaleTimes {
    while_revalidate: u64,
    if_error: u64,
}

/// Returns the freshness of a response (RFC 9111 §4.2).
///
/// # Errors
///
/// If the response has no lifetime, or nothing could ever use it.
pub(super) fn freshness(
    rules: &Rules,
    response: &ResponseInfo<'_>,
    present: Present<'_>,
    left_out: &LeftOut<'_>,
    is_targeted: bool,
) -> Result<Freshness, NotStorable> {
    let control = left_out.control;
    let date = if present.date { date_of(response) } else { response.received };
    let took = response.received.saturating_sub(response.sent);
    let age = age_by(response, date, present.age);
    let chosen = |ttl: Duration| age.saturating_add(in_millis(ttl));
    let by_status = rules.ttls.iter().find(|(status, _)| *status == response.status);
    let by_status = by_status.map(|(_, ttl)| *ttl);
    let aside = rules.aside.filter(|_| response.status == StatusCode::OK);
    let given = response.hint.and_then(|hint| hint.ttl).or(rules.aside.and(by_status)).or(aside);
    let stated = stated(response, control, is_targeted, date);
    let may_guess = control.public || HEURISTIC.contains(&response.status.as_u16());
    let guessed = || match date::date(response.headers, &LAST_MODIFIED) {
        Some(Ok(modified)) if may_guess => {
            Some((date.saturating_sub(millis(modified)) / 10).min(DAY))
        }
        _ => None,
    };
    // An error that states no lifetime may end with its cause: it has no default.
    let is_error = response.status.is_client_error() || response.status.is_server_error();
    let by_default = || rules.default_ttl.filter(|_| may_guess && !is_error).map(chosen);
    let validate = given.is_none() && control.no_cache == Some(Scope::Response);
    if response.post && stated.is_none() {
        return Err(NotStorable::Freshness);
    }
    let stated = given.map(chosen).or(stated);
    let own = stated.is_some() || by_status.is_none() && guessed().is_some();
    let lifetime = stated
        .or_else(|| by_status.map(chosen))
        .or_else(guessed)
        .or_else(by_default)
        .or(validate.then_some(0))
        .ok_or(NotStorable::Freshness)?;
    let times = stale_times(rules, response, control, lifetime > age);
    let StaleTimes { while_revalidate, if_error } = times.unwrap_or_default();
    let lifetime = Freshness::shortened(lifetime, rules.jitter * response.random);
    let is_kept = |name| response.headers.contains_key(name) && !left_out.has(name);
    let has_validator = || is_kept(&ETAG) || is_kept(&LAST_MODIFIED);
    // No request could ever use it.
    let usable = !validate && lifetime.saturating_add(while_revalidate) > age;
    if !usable && !has_validator() {
        return Err(NotStorable::Freshness);
    }
    Ok(Freshness {
        received: response.clock,
        age,
        lifetime,
        while_revalidate,
        if_error,
        soft_limit: response.hint.and_then(|hint| hint.revalidate_timeout).map(in_millis),
        took,
        validate,
        strict: times.is_none(),
        shared: false,
        // A response that is validated each time needs no lifetime from the layer.
        stated: own || validate,
    })
}

/// Returns the age of a response as it comes, in milliseconds (§4.2.3, `corrected_initial_age`).
pub(super) fn initial_age(response: &ResponseInfo<'_>) -> u64 {
    age_by(response, date_of(response), true)
}

/// Returns the age by the date of a response, and by its `age` if it `has_age`.
fn age_by(response: &ResponseInfo<'_>, date: u64, has_age: bool) -> u64 {
    let apparent = response.received.saturating_sub(date);
    let took = response.received.saturating_sub(response.sent);
    let stated = if has_age { date::age(response.headers) } else { 0 };
    apparent.max(stated * 1000 + took)
}

/// Returns the times in which a response may be used stale, or `None` if it forbids that. A hint
/// precedes the header, and that the layer.
fn stale_times(
    rules: &Rules,
    response: &ResponseInfo<'_>,
    control: &ResponseControl,
    comes_fresh: bool,
) -> Option<StaleTimes> {
    // §5.2.2.2, §5.2.2.8, §5.2.2.10. A hint of the handler does not override what it has said to all.
    let s_maxage = control.s_maxage.is_some() && !rules.allows(Exception::StaleSMaxAge);
    if control.must_revalidate || control.proxy_revalidate || s_maxage {
        return None;
    }
    let time = |hint: Option<Duration>, stated: Option<u64>, own: Duration| {
        let stated = || stated.map(|seconds| seconds * 1000);
        hint.map(in_millis).or_else(stated).unwrap_or_else(|| in_millis(own))
    };
    let hint = response.hint;
    let [while_revalidate, if_error] = [
        hint.and_then(|hint| hint.stale_while_revalidate),
        hint.and_then(|hint| hint.stale_if_error),
    ];
    // A response that is stale as it comes, such as one with `max-age=0`, wants to be validated.
    let own = if comes_fresh { rules.while_revalidate } else { Duration::ZERO };
    Some(StaleTimes {
        while_revalidate: time(while_revalidate, control.stale_while_revalidate, own),
        if_error: time(if_error, control.stale_if_error, rules.grace),
    })
}

/// Returns the `date` of a response, or else when it came, in milliseconds since 1970.
fn date_of(response: &ResponseInfo<'_>) -> u64 {
    match date::date(response.headers, &DATE) {
        Some(Ok(date)) => millis(date),
        _ => response.received,
    }
}

/// Returns `true` if neither the response nor the layer says anything of caching. Most responses that
/// are not stored are such, and need no further check.
pub(super) fn is_silent(rules: &Rules, response: &ResponseInfo<'_>, present: Present<'_>) -> bool {
    let Present { cache_control, expires, last_modified, set_cookie, targeted, .. } = present;
    let speaks = cache_control != Lines::None || expires || last_modified || set_cookie || targeted;
    !speaks && !rules.gives_lifetimes() && response.hint.is_none()
}

/// Returns the lifetime that the response states, in milliseconds (§4.2.1).
fn stated(
    response: &ResponseInfo<'_>,
    control: &ResponseControl,
    is_targeted: bool,
    date: u64,
) -> Option<u64> {
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return Some(seconds * 1000);
    }
    if is_targeted {
        return None;
    }
    // §5.3: an invalid date is in the past.
    let expires = date::date(response.headers, &EXPIRES)?;
    Some(expires.map_or(0, |expires| millis(expires).saturating_sub(date)))
}

/// The statuses with a heuristic lifetime (RFC 9110 §15.1), of those that are stored: not 206, 405, 414
/// and 501.
const HEURISTIC: [u16; 8] = [200, 203, 204, 300, 301, 308, 404, 410];

/// The maximum of a heuristic lifetime, in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests;
