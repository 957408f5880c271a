//! The decision over a stored response that a lookup found.

use super::super::entry::{Freshness, StoredResponse};
use super::request::RequestPolicy;
use super::response::NotStorable;
use super::rules::Rules;

/// The use of a stored response for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Serves the response, which is fresh.
    Fresh,
    /// Serves the response, and refreshes it in the background.
    Refresh,
    /// Serves the response, which is stale: the client accepts that.
    Stale,
    /// Validates the response first. `asked` is `true` if that is for the request alone, and the
    /// response is fresh.
    Validate { asked: bool },
    /// Does not use the response, which is not for this client.
    Withhold(NotStorable),
}

/// Decides how a stored response is used for a request (RFC 9111 §4). `now` is in milliseconds since
/// 1970. `random` returns a new number from 0 (excluded) to 1 each time.
pub(crate) fn reuse(
    rules: &Rules,
    request: &RequestPolicy,
    stored: &StoredResponse,
    now: u64,
    random: impl FnOnce() -> f64,
) -> Reuse {
    let freshness = &stored.freshness;
    if let Some(reason) = withheld(request, freshness) {
        return Reuse::Withhold(reason);
    }
    let control = &request.control;
    if control.no_cache {
        return Reuse::Validate { asked: true };
    }
    if freshness.validate {
        return Reuse::Validate { asked: false };
    }
    let left = stored.left(now);
    let seconds =
        |value: Option<u64>| value.map(|value| i64::try_from(value * 1000).unwrap_or(i64::MAX));
    let age = i64::try_from(freshness.age(now)).unwrap_or(i64::MAX);
    // RFC 9111 §5.2.1.1 and §5.2.1.3.
    let too_old = seconds(control.max_age).is_some_and(|max| age > max);
    let too_short = seconds(control.min_fresh).is_some_and(|min| left < min);
    if left > 0 {
        return if too_old || too_short {
            Reuse::Validate { asked: true }
        } else if refreshes_early(rules.early_refresh, freshness, left, random) {
            Reuse::Refresh
        } else {
            Reuse::Fresh
        };
    }
    let stale_by = left.unsigned_abs();
    // §5.2.1.1: a client that says max-age does not want a stale response unless it says max-stale.
    let wants_fresh = control.max_age.is_some() && control.max_stale.is_none();
    if freshness.strict || too_old || too_short || wants_fresh {
        return Reuse::Validate { asked: false };
    }
    if stale_by <= freshness.while_revalidate && freshness.while_revalidate > 0 {
        return Reuse::Refresh;
    }
    // §5.2.1.2.
    if control.max_stale.is_some_and(|max| stale_by <= max * 1000) {
        return Reuse::Stale;
    }
    Reuse::Validate { asked: false }
}

/// Returns `true` if a stored response may be served because the service failed (RFC 5861 §4, RFC 9111
/// §4.2.4).
pub(crate) fn is_usable_on_error(
    request: &RequestPolicy,
    stored: &StoredResponse,
    now: u64,
) -> bool {
    let freshness = &stored.freshness;
    // A stored error would hide the error of now behind an older one.
    let is_error = stored.status.is_client_error() || stored.status.is_server_error();
    if is_error || freshness.strict || freshness.validate || withheld(request, freshness).is_some()
    {
        return false;
    }
    let left = stored.left(now);
    left > 0 || freshness.if_error > 0 && left.unsigned_abs() <= freshness.if_error
}

/// Returns the reason for which a stored response is not for this client.
fn withheld(request: &RequestPolicy, freshness: &Freshness) -> Option<NotStorable> {
    let authorization = request.authorized && !freshness.shared;
    let cookie = request.cookie && !freshness.stated;
    let reason = if authorization { NotStorable::Authorization } else { NotStorable::Cookie };
    (authorization || cookie).then_some(reason)
}

/// Returns `true` if an entry is refreshed before it is stale: the likelier, the nearer its end and
/// the slower the service (XFetch, Vattani and others, 2015).
fn refreshes_early(
    beta: f64,
    freshness: &Freshness,
    left: i64,
    random: impl FnOnce() -> f64,
) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "times of 285,000 years")]
    let (took, left) = (freshness.took as f64, left as f64);
    beta > 0.0 && -random().ln() * took * beta >= left
}

#[cfg(test)]
mod tests;
