use std::time::Duration;

use http::StatusCode;
use http::header::{DATE, ETAG, EXPIRES, HeaderMap, LAST_MODIFIED};

use super::super::control::{self, ResponseControl, Scope, millis};
use super::super::entry::Freshness;
use super::after::{Answer, Refusal};
use super::rules::Rules;

/// RFC 9111 §4.2.
pub(super) fn freshness(
    rules: &Rules,
    answer: &Answer<'_>,
    control: &ResponseControl,
    is_targeted: bool,
    kept: &HeaderMap,
) -> Result<Freshness, Refusal> {
    let date = match control::date(answer.headers, &DATE) {
        Some(Ok(date)) => millis(date),
        _ => answer.received,
    };
    let took = answer.received.saturating_sub(answer.sent);
    // §4.2.3.
    let apparent = answer.received.saturating_sub(date);
    let age = apparent.max(control::age(answer.headers) * 1000 + took);
    let chosen = |ttl: Duration| age.saturating_add(in_millis(ttl));
    let by_status = rules.ttls.iter().find(|(status, _)| *status == answer.status);
    let by_status = by_status.map(|(_, ttl)| *ttl);
    let aside = rules.aside.filter(|_| answer.status == StatusCode::OK);
    let given = answer.hint.and_then(|hint| hint.ttl).or(rules.aside.and(by_status)).or(aside);
    let stated = stated(answer, control, is_targeted, date);
    let may_guess = control.public || HEURISTIC.contains(&answer.status.as_u16());
    let guessed = || match control::date(answer.headers, &LAST_MODIFIED) {
        Some(Ok(modified)) if may_guess => {
            Some((date.saturating_sub(millis(modified)) / 10).min(DAY))
        }
        _ => None,
    };
    let by_default = || rules.default_ttl.filter(|_| may_guess).map(chosen);
    let validate = given.is_none() && control.no_cache == Some(Scope::Response);
    if answer.post && stated.is_none() {
        return Err(Refusal::Freshness);
    }
    let lifetime = given
        .map(chosen)
        .or(stated)
        .or_else(|| by_status.map(chosen))
        .or_else(guessed)
        .or_else(by_default)
        .or(validate.then_some(0))
        .ok_or(Refusal::Freshness)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a part of a time, not below 0"
    )]
    let lifetime = lifetime - (lifetime as f64 * rules.jitter * answer.random) as u64;
    // §5.2.2.2, §5.2.2.8, §5.2.2.10.
    let strict = control.must_revalidate || control.proxy_revalidate || control.s_maxage.is_some();
    let stale = |seconds: Option<u64>| seconds.filter(|_| !strict).map(|seconds| seconds * 1000);
    let while_revalidate = stale(control.stale_while_revalidate).unwrap_or(0);
    let grace = if strict { 0 } else { in_millis(rules.grace) };
    let if_error = stale(control.stale_if_error).unwrap_or(grace);
    let has_validator = kept.contains_key(ETAG) || kept.contains_key(LAST_MODIFIED);
    // Nothing that it could ever be used for.
    if (validate || lifetime <= age) && !has_validator && while_revalidate == 0 {
        return Err(Refusal::Freshness);
    }
    Ok(Freshness {
        received: answer.received,
        age,
        lifetime,
        while_revalidate,
        if_error,
        took,
        validate,
        strict,
        shared: false,
    })
}

/// The lifetime that the response states (§4.2.1), in milliseconds.
fn stated(
    answer: &Answer<'_>,
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
    // §5.3: what is no date is in the past.
    let expires = control::date(answer.headers, &EXPIRES)?;
    Some(expires.map_or(0, |expires| millis(expires).saturating_sub(date)))
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(control::LARGEST * 1000)
}

/// RFC 9110 §15.1, without 206.
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// The most that is guessed, in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;
