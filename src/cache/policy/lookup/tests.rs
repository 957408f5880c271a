use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::super::super::entry::{Links, Watermark};
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
        links: Links::default(),
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
        (RequestControl { max_stale: Some(MAX_SECONDS), ..none() }, MINUTE, 999_999, Reuse::Stale),
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
    for (status, stands) in [(200, true), (301, true), (404, false), (410, false), (500, false)] {
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
