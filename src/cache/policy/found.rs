use super::super::entry::{Freshness, Stored};
use super::after::Refusal;
use super::before::Ask;
use super::rules::Rules;

/// What to do with an entry that was found for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Answer with it.
    Fresh,
    /// Answer with it, and ask the service for a newer one meanwhile.
    Refresh,
    /// Answer with it: the client takes it though it is stale.
    Stale,
    /// Ask the service whether it is still right; the client said so, or it is stale.
    Validate { asked: bool },
    /// It is not for this client, for that reason.
    Withheld(Refusal),
}

/// `random` is from 0 (excluded) to 1, and new each time.
pub(crate) fn found(
    rules: &Rules,
    ask: &Ask,
    stored: &Stored,
    now: u64,
    random: impl FnOnce() -> f64,
) -> Found {
    let freshness = &stored.freshness;
    if let Some(refusal) = withheld(ask, freshness) {
        return Found::Withheld(refusal);
    }
    if ask.control.no_cache {
        return Found::Validate { asked: true };
    }
    if freshness.validate {
        return Found::Validate { asked: false };
    }
    let left = freshness.left(now);
    let seconds =
        |value: Option<u64>| value.map(|value| i64::try_from(value * 1000).unwrap_or(i64::MAX));
    let age = i64::try_from(freshness.age(now)).unwrap_or(i64::MAX);
    // RFC 9111 §5.2.1.1 and §5.2.1.3.
    let too_old = seconds(ask.control.max_age).is_some_and(|most| age > most);
    let too_short = seconds(ask.control.min_fresh).is_some_and(|least| left < least);
    if left > 0 {
        return if too_old || too_short {
            Found::Validate { asked: true }
        } else if early(rules.early_refresh, freshness, left, random) {
            Found::Refresh
        } else {
            Found::Fresh
        };
    }
    let stale_by = left.unsigned_abs();
    // §5.2.1.1: a client that says max-age, and not max-stale, wants nothing stale.
    let wants_fresh = ask.control.max_age.is_some() && ask.control.max_stale.is_none();
    if freshness.strict || too_old || too_short || wants_fresh {
        return Found::Validate { asked: false };
    }
    if stale_by <= freshness.while_revalidate && freshness.while_revalidate > 0 {
        return Found::Refresh;
    }
    // §5.2.1.2.
    if ask.control.max_stale.is_some_and(|most| stale_by <= most * 1000) {
        return Found::Stale;
    }
    Found::Validate { asked: false }
}

/// Whether the entry may be the answer where the service failed (RFC 5861 §4, RFC 9111 §4.2.4).
pub(crate) fn may_stand_in(ask: &Ask, stored: &Stored, now: u64) -> bool {
    let freshness = &stored.freshness;
    // An error that was stored is no better than the one that it would hide.
    let is_error = stored.status.is_client_error() || stored.status.is_server_error();
    if is_error || freshness.strict || freshness.validate || withheld(ask, freshness).is_some() {
        return false;
    }
    let left = freshness.left(now);
    left > 0 || left.unsigned_abs() <= freshness.if_error
}

/// Returns why an entry is not for this client, if so.
fn withheld(ask: &Ask, freshness: &Freshness) -> Option<Refusal> {
    let authorization = ask.authorized && !freshness.shared;
    let cookie = ask.cookie && !freshness.stated;
    let refusal = if authorization { Refusal::Authorization } else { Refusal::Cookie };
    (authorization || cookie).then_some(refusal)
}

/// XFetch (Vattani and others, 2015): the nearer the end and the slower the service, the likelier.
fn early(beta: f64, freshness: &Freshness, left: i64, random: impl FnOnce() -> f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "times of 285,000 years")]
    let (took, left) = (freshness.took as f64, left as f64);
    beta > 0.0 && -random().ln() * took * beta >= left
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::super::super::control::RequestControl;
    use super::super::super::directive::LARGEST;
    use super::super::super::entry::Watermark;
    use super::super::super::vary::Variant;
    use super::*;

    fn stored(freshness: Freshness) -> Stored {
        Stored {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
            freshness,
            variant: Variant::default(),
            tags: Vec::new(),
            watermark: Watermark::default(),
        }
    }

    fn decide(control: RequestControl, freshness: Freshness, now: u64) -> Found {
        let ask = Ask { control, ..Ask::default() };
        found(&Rules::default(), &ask, &stored(freshness), now, || 1.0)
    }

    /// Received at 100 s at the age of 10 s, fresh for 60 s: until 150 s.
    const MINUTE: Freshness = Freshness {
        received: 100_000,
        age: 10_000,
        lifetime: 60_000,
        while_revalidate: 0,
        if_error: 0,
        took: 0,
        validate: false,
        strict: false,
        shared: false,
        stated: false,
    };

    #[test]
    fn an_entry_is_used_as_its_freshness_and_the_request_say() {
        const STALE: Found = Found::Validate { asked: false };
        const ASKED: Found = Found::Validate { asked: true };
        let none = RequestControl::default;
        let swr = Freshness { while_revalidate: 5_000, ..MINUTE };
        let strict = Freshness { strict: true, ..swr };
        let table = [
            // RFC 9111 §4.2: fresh while the lifetime is greater than the age.
            (none(), MINUTE, 149_999, Found::Fresh),
            (none(), MINUTE, 150_000, STALE),
            // A clock that went back makes nothing fresher than it came.
            (none(), MINUTE, 0, Found::Fresh),
            // §5.2.2.4.
            (none(), Freshness { validate: true, ..MINUTE }, 100_000, STALE),
            // §5.2.1.4.
            (RequestControl { no_cache: true, ..none() }, MINUTE, 100_000, ASKED),
            // §5.2.1.1.
            (RequestControl { max_age: Some(10), ..none() }, MINUTE, 100_000, Found::Fresh),
            (RequestControl { max_age: Some(10), ..none() }, MINUTE, 100_001, ASKED),
            (RequestControl { max_age: Some(0), ..none() }, MINUTE, 100_000, ASKED),
            // §5.2.1.3.
            (RequestControl { min_fresh: Some(50), ..none() }, MINUTE, 100_000, Found::Fresh),
            (RequestControl { min_fresh: Some(50), ..none() }, MINUTE, 100_001, ASKED),
            // §5.2.1.2.
            (RequestControl { max_stale: Some(5), ..none() }, MINUTE, 155_000, Found::Stale),
            (RequestControl { max_stale: Some(5), ..none() }, MINUTE, 155_001, STALE),
            (RequestControl { max_stale: Some(LARGEST), ..none() }, MINUTE, 999_999, Found::Stale),
            (RequestControl { max_stale: Some(LARGEST), ..none() }, strict, 160_000, STALE),
            (
                RequestControl { max_stale: Some(99), max_age: Some(60), ..none() },
                MINUTE,
                155_000,
                STALE,
            ),
            // RFC 5861 §3.
            (none(), swr, 150_000, Found::Refresh),
            (none(), swr, 155_000, Found::Refresh),
            (none(), swr, 155_001, STALE),
            (none(), strict, 150_000, STALE),
            (RequestControl { max_age: Some(60), ..none() }, swr, 151_000, STALE),
            // §5.2.1.1: nothing stale without max-stale, however young.
            (RequestControl { max_age: Some(99), ..none() }, swr, 151_000, STALE),
            (
                RequestControl { max_age: Some(99), max_stale: Some(9), ..none() },
                swr,
                151_000,
                Found::Refresh,
            ),
        ];
        for (control, freshness, now, expected) in table {
            assert_eq!(decide(control, freshness, now), expected, "{control:?} at {now}");
        }
    }

    #[test]
    fn what_is_not_for_all_is_withheld_from_the_authorized() {
        let ask = Ask { authorized: true, ..Ask::default() };
        let decide = |shared| {
            let stored = stored(Freshness { shared, ..MINUTE });
            found(&Rules::default(), &ask, &stored, 100_000, || 1.0)
        };
        assert_eq!(decide(false), Found::Withheld(Refusal::Authorization));
        assert_eq!(decide(true), Found::Fresh);
    }

    #[test]
    fn an_entry_stands_in_for_a_service_that_fails_for_a_while() {
        let ask = Ask::default();
        let grace = Freshness { if_error: 5_000, ..MINUTE };
        let at = |freshness, now| may_stand_in(&ask, &stored(freshness), now);
        assert!(at(grace, 155_000));
        assert!(!at(grace, 155_001));
        assert!(!at(Freshness { strict: true, ..grace }, 151_000));
        assert!(!at(Freshness { validate: true, ..grace }, 100_000));
        assert!(at(MINUTE, 149_999), "the client asked for a newer one, and there is none");
    }

    #[test]
    fn a_stored_error_stands_in_for_nothing() {
        let grace = Freshness { if_error: 600_000, ..MINUTE };
        for (status, stands) in [(200, true), (301, true), (404, false), (410, false), (500, false)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let stored = Stored { status, ..stored(grace) };
            assert_eq!(may_stand_in(&Ask::default(), &stored, 160_000), stands, "{status}");
        }
    }

    #[test]
    fn an_early_refresh_is_the_likelier_the_nearer_the_end() {
        let rules = Rules { early_refresh: 1.0, ..Rules::default() };
        let slow = stored(Freshness { took: 1_000, ..MINUTE });
        let at = |now, random: f64| found(&rules, &Ask::default(), &slow, now, || random);
        // -ln(0.5) is 0.69.
        assert_eq!(at(149_400, 0.5), Found::Refresh);
        assert_eq!(at(149_300, 0.5), Found::Fresh);
        assert_eq!(at(145_000, 0.001), Found::Refresh);
        assert_eq!(at(149_999, 1.0), Found::Fresh);
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
            let fresh = |now| decide(RequestControl::default(), freshness, now) == Found::Fresh;
            prop_assert!(fresh(now) || !fresh(later));
        }
    }
}
