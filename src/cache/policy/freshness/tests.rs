use http::{HeaderMap, HeaderValue};

use super::super::super::hint::CacheHint;
use super::super::super::key::NO_KEY;
use super::*;

type TestHeaders<'a> = &'a [(&'static str, &'a str)];

/// Sun, 06 Nov 1994 08:49:37 GMT, in milliseconds.
const NOW: u64 = 784_111_777_000;
const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
const A_MINUTE_AGO: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:48:37 GMT");
const IN_A_MINUTE: (&str, &str) = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
/// The clock of ages, which the wall clock was set back from.
const CLOCK: u64 = NOW + 3_600_000;
/// 1000 s before [`DATE`].
const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:32:57 GMT");

/// A response with this status and these headers, received at [`NOW`], 2 s after its request was
/// sent.
struct Case<'a> {
    rules: Rules,
    status: u16,
    fields: TestHeaders<'a>,
    hint: Option<CacheHint>,
    is_targeted: bool,
    post: bool,
    random: f64,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            status: 200,
            fields: &[],
            hint: None,
            is_targeted: false,
            post: false,
            random: 0.0,
        }
    }
}

impl Case<'_> {
    fn decide(&self) -> Result<Freshness, NotStorable> {
        self.with_answer(|answer| {
            let control = ResponseControl::parse(answer.headers);
            let present = Present::of(&self.rules, answer.headers);
            let left_out = LeftOut::of(answer.headers, present, &control);
            let decided = freshness(&self.rules, answer, present, &left_out, self.is_targeted);
            let is_silent = is_silent(&self.rules, answer, present);
            assert!(decided == Err(NotStorable::Freshness) || !is_silent);
            decided
        })
    }

    fn with_answer<T>(&self, ask: impl FnOnce(&ResponseInfo<'_>) -> T) -> T {
        let fields = self.fields.iter();
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        ask(&ResponseInfo {
            reads: None,
            status: StatusCode::from_u16(self.status).unwrap(),
            headers: &headers,
            hint: self.hint.as_ref(),
            single_use: false,
            varies_by: None,
            key: &NO_KEY,
            request: &HeaderMap::new(),
            size: None,
            sent: NOW - 2000,
            received: NOW,
            clock: CLOCK,
            random: self.random,
            post: self.post,
        })
    }

    /// Returns the number of seconds for which the response is fresh after it was received.
    fn seconds(&self) -> Result<u64, NotStorable> {
        self.decide().map(|freshness| freshness.lifetime.saturating_sub(freshness.age) / 1000)
    }
}

fn lasting(fields: TestHeaders<'_>) -> Case<'_> {
    Case { fields, ..Case::default() }
}

#[test]
fn most_responses_say_nothing_of_caching() {
    let ours = |rules| Case { rules, ..Case::default() };
    let ttl = Duration::from_secs(1);
    let table = [
        (lasting(&[]), true),
        (lasting(&[("content-type", "text/html"), ("etag", "\"a\""), DATE]), true),
        (lasting(&[("cache-control", "no-transform")]), false),
        (lasting(&[IN_A_MINUTE]), false),
        (lasting(&[MODIFIED]), false),
        (lasting(&[("set-cookie", "a=b")]), false),
        (lasting(&[("cdn-cache-control", "max-age=1")]), false),
        (Case { hint: Some(CacheHint::new().ttl(ttl)), ..Case::default() }, false),
        (ours(Rules { aside: Some(ttl), ..Rules::default() }), false),
        (ours(Rules { default_ttl: Some(ttl), ..Rules::default() }), false),
        (ours(Rules { ttls: vec![(StatusCode::OK, ttl)], ..Rules::default() }), false),
    ];
    for (case, silent) in table {
        let found = case.with_answer(|answer| {
            is_silent(&case.rules, answer, Present::of(&case.rules, answer.headers))
        });
        assert_eq!(found, silent, "{:?}", case.fields);
    }
}

#[test]
fn first_lifetime_counts() {
    const NONE: Result<u64, NotStorable> = Err(NotStorable::Freshness);
    let (s_maxage, max_age) = (("cache-control", "s-maxage=12"), ("cache-control", "max-age=22"));
    // RFC 9111 §4.2.1, in this order; 2 s of each are gone when it comes.
    let table: &[(TestHeaders<'_>, Result<u64, NotStorable>)] = &[
        (&[max_age, s_maxage, IN_A_MINUTE, DATE, MODIFIED], Ok(10)),
        (&[max_age, IN_A_MINUTE, DATE, MODIFIED], Ok(20)),
        (&[IN_A_MINUTE, DATE, MODIFIED], Ok(58)),
        // §4.2.2: a tenth.
        (&[DATE, MODIFIED], Ok(98)),
        (&[MODIFIED], Ok(98)),
        (&[DATE], NONE),
        (&[], NONE),
        // §5.3: the difference to `date`, or else to when it came.
        (&[IN_A_MINUTE], Ok(58)),
        (&[IN_A_MINUTE, ("date", "junk")], Ok(58)),
        (&[IN_A_MINUTE, A_MINUTE_AGO], Ok(60)),
        (&[("expires", "0"), MODIFIED], Ok(0)),
        (&[("expires", "0")], NONE),
        (&[IN_A_MINUTE, IN_A_MINUTE], NONE),
        (&[("expires", DATE.1), A_MINUTE_AGO], NONE),
        // §4.2.1: what is invalid is stale.
        (&[("cache-control", "max-age=x"), IN_A_MINUTE], NONE),
        // §5.2.2.4: it may be kept, to be validated.
        (&[("cache-control", "no-cache"), ("etag", "\"a\"")], Ok(0)),
        (&[("cache-control", "no-cache")], NONE),
        (&[("cache-control", "max-age=0"), ("etag", "\"a\"")], Ok(0)),
        (&[("cache-control", "max-age=0, stale-while-revalidate=9")], Ok(0)),
        (&[("cache-control", "max-age=0, stale-while-revalidate=0")], NONE),
    ];
    for (fields, expected) in table {
        assert_eq!(lasting(fields).seconds(), *expected, "{fields:?}");
    }
    // RFC 9213 §2.1: a targeted field takes the place of `expires` too.
    let targeted = |fields| Case { is_targeted: true, ..lasting(fields) };
    assert_eq!(targeted(&[IN_A_MINUTE]).seconds(), NONE);
    assert_eq!(targeted(&[IN_A_MINUTE, MODIFIED]).seconds(), Ok(98));
    assert_eq!(targeted(&[max_age]).seconds(), Ok(20));
}

#[test]
fn configured_lifetimes_have_their_place() {
    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }
    type Edit = fn(&mut Rules);
    let rules = |edit: Edit| {
        let mut rules = Rules { default_ttl: Some(secs(5)), ..Rules::default() };
        edit(&mut rules);
        rules
    };
    let ttl: Edit = |rules: &mut Rules| {
        rules.ttls = vec![(StatusCode::OK, secs(7)), (StatusCode::IM_A_TEAPOT, secs(8))];
    };
    let aside: Edit = |rules: &mut Rules| rules.aside = Some(secs(9));
    let both: Edit = |rules: &mut Rules| {
        rules.aside = Some(secs(9));
        rules.ttls = vec![(StatusCode::OK, secs(7)), (StatusCode::IM_A_TEAPOT, secs(8))];
    };
    let max_age: TestHeaders<'_> = &[("cache-control", "max-age=22")];
    type Row<'a> = (Edit, u16, TestHeaders<'a>, Option<u64>, Result<u64, NotStorable>);
    let table: &[Row<'_>] = &[
        // The defaults come last, and for statuses of RFC 9110 §15.1 or `public` ones only.
        (|_| {}, 200, &[], None, Ok(5)),
        (|_| {}, 200, &[MODIFIED], None, Ok(98)),
        (|_| {}, 200, max_age, None, Ok(20)),
        (|_| {}, 418, &[], None, Err(NotStorable::Freshness)),
        (|_| {}, 418, &[("cache-control", "public")], None, Err(NotStorable::Freshness)),
        (|_| {}, 302, &[("cache-control", "public")], None, Ok(5)),
        (|_| {}, 418, &[("cache-control", "public"), MODIFIED], None, Ok(98)),
        (|_| {}, 418, &[MODIFIED], None, Err(NotStorable::Freshness)),
        // By status: before a guess, behind what is stated.
        (ttl, 200, &[MODIFIED], None, Ok(7)),
        (ttl, 200, max_age, None, Ok(20)),
        (ttl, 418, &[], None, Ok(8)),
        (ttl, 203, &[], None, Ok(5)),
        // Errors have no default.
        (|_| {}, 404, &[], None, Err(NotStorable::Freshness)),
        (|_| {}, 410, &[], None, Err(NotStorable::Freshness)),
        (|_| {}, 404, &[MODIFIED], None, Ok(98)),
        (|_| {}, 404, max_age, None, Ok(20)),
        // Aside: before what is stated, for 200 and the chosen statuses.
        (aside, 200, max_age, None, Ok(9)),
        (aside, 200, &[("expires", "0")], None, Ok(9)),
        (aside, 404, max_age, None, Ok(20)),
        (both, 200, max_age, None, Ok(7)),
        (both, 418, max_age, None, Ok(8)),
        // A hint: before all.
        (both, 200, max_age, Some(3), Ok(3)),
        (|_| {}, 418, &[], Some(3), Ok(3)),
        (|_| {}, 200, &[("cache-control", "no-cache")], Some(3), Ok(3)),
        (|_| {}, 200, max_age, Some(0), Err(NotStorable::Freshness)),
    ];
    for (edit, status, fields, hint, expected) in table {
        let case = Case {
            rules: rules(*edit),
            status: *status,
            hint: hint.map(|seconds| CacheHint::new().ttl(secs(seconds))),
            ..lasting(fields)
        };
        assert_eq!(case.seconds(), *expected, "{status} {fields:?} {hint:?}");
    }
}

#[test]
fn only_some_statuses_have_a_guessed_lifetime() {
    // RFC 9110 §15.1.
    for status in 200..600 {
        let guessed = [200, 203, 204, 300, 301, 308, 404, 410].contains(&status);
        let case = Case { status, ..lasting(&[MODIFIED]) };
        assert_eq!(case.seconds().is_ok(), guessed, "{status}");
    }
    let long_ago = [("last-modified", "Sun, 06 Nov 1984 08:49:37 GMT")];
    assert_eq!(lasting(&long_ago).seconds(), Err(NotStorable::Freshness), "it was a Tuesday");
    let long_ago = [("last-modified", "Tue, 06 Nov 1984 08:49:37 GMT")];
    assert_eq!(lasting(&long_ago).seconds(), Ok(86_398), "a day at most");
}

#[test]
fn a_post_has_only_the_lifetime_that_it_states() {
    // RFC 9110 §9.3.3.
    let post = |fields, hint: Option<Duration>| {
        let rules = Rules {
            aside: Some(Duration::from_secs(9)),
            default_ttl: Some(Duration::from_secs(9)),
            ..Rules::default()
        };
        let hint = hint.map(|ttl| CacheHint::new().ttl(ttl));
        Case { post: true, hint, rules, ..lasting(fields) }.seconds().is_ok()
    };
    assert!(!post(&[], None));
    assert!(!post(&[MODIFIED], None));
    assert!(!post(&[], Some(Duration::from_secs(9))));
    assert!(post(&[IN_A_MINUTE], None));
    assert!(post(&[("cache-control", "max-age=9")], None));
}

#[test]
fn initial_age_is_the_larger_one() {
    // RFC 9111 §4.2.3.
    let table: &[(TestHeaders<'_>, u64)] = &[
        (&[], 2),
        (&[("age", "10")], 12),
        (&[("age", "junk")], 2),
        (&[A_MINUTE_AGO], 60),
        (&[A_MINUTE_AGO, ("age", "10")], 60),
        (&[A_MINUTE_AGO, ("age", "59")], 61),
        (&[("date", "Sun, 06 Nov 1994 08:59:37 GMT")], 2),
        (&[("date", "junk")], 2),
        (&[A_MINUTE_AGO, A_MINUTE_AGO], 2),
    ];
    for (fields, age) in table {
        let fields: Vec<_> =
            [("cache-control", "max-age=99")].iter().chain(*fields).copied().collect();
        let freshness = lasting(&fields).decide().unwrap();
        assert_eq!(freshness.age, age * 1000, "{fields:?}");
        assert_eq!((freshness.lifetime, freshness.received), (99_000, CLOCK));
        assert_eq!(freshness.took, 2000);
    }
    // What came too old for its lifetime is of use only if it can be validated.
    assert!(lasting(&[("cache-control", "max-age=60"), A_MINUTE_AGO]).decide().is_err());
    let tagged = [("cache-control", "max-age=60"), A_MINUTE_AGO, ("etag", "\"a\"")];
    assert!(lasting(&tagged).decide().is_ok());
}

#[test]
fn stale_times_are_stated_chosen_or_forbidden() {
    // RFC 5861 §3 and §4; RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10.
    for (control, expected) in [
        ("max-age=9", (0, 600, false)),
        ("max-age=9, stale-while-revalidate=5", (5, 600, false)),
        ("max-age=9, stale-if-error=5", (0, 5, false)),
        ("max-age=9, stale-if-error=0", (0, 0, false)),
        ("max-age=9, stale-if-error=5, stale-while-revalidate=5, must-revalidate", (0, 0, true)),
        ("max-age=9, stale-if-error=5, stale-while-revalidate=5, proxy-revalidate", (0, 0, true)),
        ("s-maxage=9, stale-if-error=5, stale-while-revalidate=5", (0, 0, true)),
    ] {
        let fields = [("cache-control", control)];
        let freshness = lasting(&fields).decide().unwrap();
        let Freshness { while_revalidate, if_error, strict, .. } = freshness;
        assert_eq!((while_revalidate / 1000, if_error / 1000, strict), expected, "{control}");
    }
}

#[test]
fn stale_times_have_an_order() {
    // The hint, the header, the layer; see the table of the guide on storage.
    let secs = Duration::from_secs;
    let hint = || CacheHint::new().stale_while_revalidate(secs(1)).stale_if_error(secs(2));
    let off = || CacheHint::new().stale_while_revalidate(secs(0)).stale_if_error(secs(0));
    const BOTH: &str = "max-age=9, stale-while-revalidate=3, stale-if-error=4";
    type Row<'a> = (Option<CacheHint>, &'a str, Option<(u64, u64)>);
    let table: [Row<'_>; 18] = [
        (Some(hint()), BOTH, Some((1, 2))),
        (Some(hint()), "max-age=9", Some((1, 2))),
        (Some(off()), BOTH, Some((0, 0))),
        (Some(CacheHint::new()), BOTH, Some((3, 4))),
        (Some(CacheHint::new().stale_if_error(secs(2))), BOTH, Some((3, 2))),
        (None, BOTH, Some((3, 4))),
        (None, "max-age=9, stale-while-revalidate=0, stale-if-error=0", Some((0, 0))),
        (None, "max-age=9", Some((5, 6))),
        (Some(CacheHint::new()), "max-age=9", Some((5, 6))),
        // Malformed: the shortest time, and not the layer's.
        (None, "max-age=9, stale-while-revalidate=x, stale-if-error=-1", Some((0, 0))),
        // What comes stale gets no time of the layer, unless it says so.
        (None, "max-age=0", Some((0, 6))),
        (None, "max-age=1", Some((0, 6))),
        (None, "max-age=0, stale-while-revalidate=3", Some((3, 6))),
        (Some(hint()), "max-age=0", Some((1, 2))),
        // Forbidden, whoever sets it.
        (Some(hint()), "max-age=9, must-revalidate, stale-if-error=4", None),
        (Some(hint()), "max-age=9, proxy-revalidate", None),
        (Some(hint()), "s-maxage=9, stale-while-revalidate=3", None),
        (Some(hint().ttl(secs(7))), "max-age=9, must-revalidate", None),
    ];
    let rules = || Rules { while_revalidate: secs(5), grace: secs(6), ..Rules::default() };
    for (hint, control, expected) in table {
        let fields = [("cache-control", control), ("etag", "\"a\"")];
        let case = Case { rules: rules(), hint: hint.clone(), ..lasting(&fields) };
        let Freshness { while_revalidate, if_error, strict, .. } = case.decide().unwrap();
        let found = (!strict).then_some((while_revalidate / 1000, if_error / 1000));
        assert_eq!(found, expected, "{hint:?} {control}");
    }
}

#[test]
fn an_exception_makes_s_maxage_a_lifetime() {
    let secs = Duration::from_secs;
    let rules = || Rules {
        exceptions: vec![Exception::StaleSMaxAge],
        while_revalidate: secs(5),
        grace: secs(6),
        ..Rules::default()
    };
    for (control, expected) in [
        ("s-maxage=9, stale-while-revalidate=3, stale-if-error=4", Some((3, 4))),
        ("s-maxage=9, stale-while-revalidate=3", Some((3, 6))),
        ("s-maxage=9", Some((5, 6))),
        ("s-maxage=9, must-revalidate, stale-while-revalidate=3", None),
        ("s-maxage=9, proxy-revalidate, stale-while-revalidate=3", None),
    ] {
        let fields = [("cache-control", control)];
        let freshness = Case { rules: rules(), ..lasting(&fields) }.decide().unwrap();
        let Freshness { while_revalidate, if_error, strict, lifetime, .. } = freshness;
        let found = (!strict).then_some((while_revalidate / 1000, if_error / 1000));
        assert_eq!((found, lifetime), (expected, 9000), "{control}");
    }
}

#[test]
fn entries_that_nobody_could_use_are_refused() {
    let secs = Duration::from_secs;
    let rules = || Rules { while_revalidate: secs(60), ..Rules::default() };
    for (control, stored) in [
        ("max-age=9", true),
        ("max-age=0", false),
        ("max-age=0, stale-while-revalidate=3", true),
        // The response is 2 s old as it comes.
        ("max-age=0, stale-while-revalidate=1", false),
        ("no-cache", false),
        ("no-cache, stale-while-revalidate=9", false),
    ] {
        let fields = [("cache-control", control)];
        let decided = Case { rules: rules(), ..lasting(&fields) }.decide();
        assert_eq!(decided.is_ok(), stored, "{control}");
    }
}

#[test]
fn jitter_takes_a_part_of_the_lifetime() {
    let rules = Rules { jitter: 0.5, ..Rules::default() };
    let fields = [("cache-control", "max-age=100")];
    for (random, lifetime) in [(0.0, 100_000), (0.5, 75_000), (1.0, 50_000)] {
        let case = Case { rules: rules.clone(), random, ..lasting(&fields) };
        assert_eq!(case.decide().unwrap().lifetime, lifetime);
    }
}

#[test]
fn no_time_is_too_long() {
    let hint = CacheHint::new().ttl(Duration::MAX).revalidate_timeout(Duration::MAX);
    let hint = Some(hint.stale_while_revalidate(Duration::MAX));
    let rules = Rules { grace: Duration::MAX, ..Rules::default() };
    let case = Case { hint, rules, ..lasting(&[("age", "99999999999999")]) };
    let freshness = case.decide().unwrap();
    assert!(freshness.lifetime > freshness.age);
    assert_eq!(freshness.if_error, super::super::directive::MAX_SECONDS * 1000);
    assert_eq!(freshness.while_revalidate, freshness.if_error);
    assert_eq!(freshness.soft_limit, Some(freshness.if_error));
}
