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
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::super::super::entry::Watermark;
    use super::super::super::vary::Variant;
    use super::super::cache_control::RequestControl;
    use super::super::directive::MAX_SECONDS;
    use super::*;

    fn stored(freshness: Freshness) -> StoredResponse {
        StoredResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
            freshness,
            variant: Variant::default(),
            tags: Vec::new(),
            watermark: Watermark::default(),
        }
    }

    fn decide(control: RequestControl, freshness: Freshness, now: u64) -> Reuse {
        let request = RequestPolicy { control, ..RequestPolicy::default() };
        reuse(&Rules::default(), &request, &stored(freshness), now, || 1.0)
    }

    /// Received at 100 s at the age of 10 s, fresh for 60 s: until 150 s.
    const MINUTE: Freshness = Freshness {
        received: 100_000,
        age: 10_000,
        lifetime: 60_000,
        while_revalidate: 0,
        if_error: 0,
        soft_limit: None,
        took: 0,
        validate: false,
        strict: false,
        shared: false,
        stated: false,
    };

    #[test]
    fn entry_is_reused_by_freshness_and_request() {
        const STALE: Reuse = Reuse::Validate { asked: false };
        const ASKED: Reuse = Reuse::Validate { asked: true };
        let none = RequestControl::default;
        let swr = Freshness { while_revalidate: 5_000, ..MINUTE };
        let strict = Freshness { strict: true, ..swr };
        let table = [
            // RFC 9111 §4.2: fresh while the lifetime is greater than the age.
            (none(), MINUTE, 149_999, Reuse::Fresh),
            (none(), MINUTE, 150_000, STALE),
            // A clock that went back makes nothing fresher than it came.
            (none(), MINUTE, 0, Reuse::Fresh),
            // §5.2.2.4.
            (none(), Freshness { validate: true, ..MINUTE }, 100_000, STALE),
            // §5.2.1.4.
            (RequestControl { no_cache: true, ..none() }, MINUTE, 100_000, ASKED),
            // §5.2.1.1.
            (RequestControl { max_age: Some(10), ..none() }, MINUTE, 100_000, Reuse::Fresh),
            (RequestControl { max_age: Some(10), ..none() }, MINUTE, 100_001, ASKED),
            (RequestControl { max_age: Some(0), ..none() }, MINUTE, 100_000, ASKED),
            // §5.2.1.3.
            (RequestControl { min_fresh: Some(50), ..none() }, MINUTE, 100_000, Reuse::Fresh),
            (RequestControl { min_fresh: Some(50), ..none() }, MINUTE, 100_001, ASKED),
            // §5.2.1.2.
            (RequestControl { max_stale: Some(5), ..none() }, MINUTE, 155_000, Reuse::Stale),
            (RequestControl { max_stale: Some(5), ..none() }, MINUTE, 155_001, STALE),
            (
                RequestControl { max_stale: Some(MAX_SECONDS), ..none() },
                MINUTE,
                999_999,
                Reuse::Stale,
            ),
            (RequestControl { max_stale: Some(MAX_SECONDS), ..none() }, strict, 160_000, STALE),
            (
                RequestControl { max_stale: Some(99), max_age: Some(60), ..none() },
                MINUTE,
                155_000,
                STALE,
            ),
            // RFC 5861 §3.
            (none(), swr, 150_000, Reuse::Refresh),
            (none(), swr, 155_000, Reuse::Refresh),
            (none(), swr, 155_001, STALE),
            (none(), strict, 150_000, STALE),
            (RequestControl { max_age: Some(60), ..none() }, swr, 151_000, STALE),
            // §5.2.1.1: nothing stale without max-stale, however young.
            (RequestControl { max_age: Some(99), ..none() }, swr, 151_000, STALE),
            (
                RequestControl { max_age: Some(99), max_stale: Some(9), ..none() },
                swr,
                151_000,
                Reuse::Refresh,
            ),
        ];
        for (control, freshness, now, expected) in table {
            assert_eq!(decide(control, freshness, now), expected, "{control:?} at {now}");
        }
    }

    #[test]
    fn personal_entry_is_withheld_from_credentials() {
        let request = RequestPolicy { authorized: true, ..RequestPolicy::default() };
        let decide = |shared| {
            let stored = stored(Freshness { shared, ..MINUTE });
            reuse(&Rules::default(), &request, &stored, 100_000, || 1.0)
        };
        assert_eq!(decide(false), Reuse::Withhold(NotStorable::Authorization));
        assert_eq!(decide(true), Reuse::Fresh);
    }

    #[test]
    fn stale_entry_is_usable_on_error_for_a_while() {
        let request = RequestPolicy::default();
        let grace = Freshness { if_error: 5_000, ..MINUTE };
        let at = |freshness, now| is_usable_on_error(&request, &stored(freshness), now);
        assert!(at(grace, 155_000));
        assert!(!at(grace, 155_001));
        assert!(!at(Freshness { strict: true, ..grace }, 151_000));
        assert!(!at(Freshness { validate: true, ..grace }, 100_000));
        assert!(at(MINUTE, 149_999), "the client asked for a newer one, and there is none");
    }

    #[test]
    fn stored_error_is_not_usable_on_error() {
        let grace = Freshness { if_error: 600_000, ..MINUTE };
        for (status, stands) in [(200, true), (301, true), (404, false), (410, false), (500, false)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let stored = StoredResponse { status, ..stored(grace) };
            assert_eq!(
                is_usable_on_error(&RequestPolicy::default(), &stored, 160_000),
                stands,
                "{status}"
            );
        }
    }

    #[test]
    fn early_refresh_is_likelier_near_the_end() {
        let rules = Rules { early_refresh: 1.0, ..Rules::default() };
        let slow = stored(Freshness { took: 1_000, ..MINUTE });
        let at = |now, random: f64| reuse(&rules, &RequestPolicy::default(), &slow, now, || random);
        // -ln(0.5) is 0.69.
        assert_eq!(at(149_400, 0.5), Reuse::Refresh);
        assert_eq!(at(149_300, 0.5), Reuse::Fresh);
        assert_eq!(at(145_000, 0.001), Reuse::Refresh);
        assert_eq!(at(149_999, 1.0), Reuse::Fresh);
    }

    proptest! {
        #[test]
        fn freshness_never_grows_with_time(
            received in any::<u64>(), age in any::<u64>(), lifetime in any::<u64>(),
            now in any::<u64>(), later in any::<u64>(),
        ) {
            let freshness = Freshness { received, age, lifetime, ..Freshness::default() };
            let later = now.saturating_add(later);
            prop_assert!(freshness.left(later) <= freshness.left(now));
            let fresh = |now| decide(RequestControl::default(), freshness, now) == Reuse::Fresh;
            prop_assert!(fresh(now) || !fresh(later));
        }
    }
}
