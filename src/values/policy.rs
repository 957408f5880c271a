use std::sync::Arc;
use std::time::Duration;

use crate::cache::entry::Freshness;
use crate::cache::policy::date::in_millis;

/// What the user chose.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) ttl: Duration,
    pub(super) jitter: f64,
    pub(super) while_revalidate: Duration,
    pub(super) negative_ttl: Duration,
    /// What all names begin with. It is no URL's beginning, and no other space's.
    pub(super) space: String,
}

/// What a value may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// While it is refreshed.
    Stale,
    Ended,
}

impl Rules {
    /// The name of a key in the store, and for purges. None is for keys that are too long.
    pub(super) fn name(&self, key: &str) -> Option<Arc<str>> {
        let fits = self.space.len() + key.len() <= LONGEST_NAME;
        fits.then(|| format!("{}{key}", self.space).into())
    }

    /// Of a value that came at `now`; `random` is from 0 to 1.
    pub(super) fn freshness(
        &self,
        ttl: Option<Duration>,
        json: &[u8],
        now: u64,
        random: f64,
    ) -> Freshness {
        let ttl = ttl.unwrap_or(self.ttl);
        let (ttl, stale) = match json {
            // What was not there may come, and nobody would think of dropping it then.
            b"null" => (ttl.min(self.negative_ttl), Duration::ZERO),
            _ => (ttl, self.while_revalidate),
        };
        Freshness {
            received: now,
            lifetime: Freshness::shortened(in_millis(ttl), self.jitter * random),
            while_revalidate: in_millis(stale),
            ..Freshness::default()
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            jitter: 0.0,
            while_revalidate: Duration::ZERO,
            negative_ttl: Duration::from_secs(60),
            space: space(""),
        }
    }
}

/// What the names in a name space begin with: `=` is in no scheme of a URL, and a `:` within the
/// space's own name is escaped.
pub(super) fn space(name: &str) -> String {
    format!("value={}:", name.replace('%', "%25").replace(':', "%3A"))
}

pub(super) fn age(freshness: &Freshness, now: u64) -> Age {
    let left = freshness.left(now);
    let stale = i64::try_from(freshness.while_revalidate).unwrap_or(i64::MAX);
    if left > 0 {
        Age::Fresh
    } else if left.saturating_add(stale) > 0 {
        Age::Stale
    } else {
        Age::Ended
    }
}

/// In bytes.
const LONGEST_NAME: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_value_is_fresh_for_its_ttl_and_an_absence_for_less() {
        let rules = Rules { while_revalidate: 5 * SECOND, ..Rules::default() };
        for (ttl, json, lifetime, stale) in [
            (None, "1", 3_600_000, 5000),
            (Some(SECOND), "1", 1000, 5000),
            (Some(Duration::ZERO), "1", 0, 5000),
            (Some(Duration::MAX), "1", (1 << 31) * 1000, 5000),
            (None, "\"null\"", 3_600_000, 5000),
            (None, "null", 60_000, 0),
            (Some(SECOND), "null", 1000, 0),
        ] {
            let freshness = rules.freshness(ttl, json.as_bytes(), 7, 1.0);
            let expected = Freshness {
                received: 7,
                lifetime,
                while_revalidate: stale,
                ..Freshness::default()
            };
            assert_eq!(freshness, expected, "{ttl:?} {json}");
        }
    }

    #[test]
    fn jitter_shortens_by_a_part() {
        for (jitter, random, expected) in
            [(0.0, 1.0, 1000), (0.1, 1.0, 900), (0.1, 0.5, 950), (1.0, 1.0, 0)]
        {
            let rules = Rules { jitter, ..Rules::default() };
            assert_eq!(rules.freshness(Some(SECOND), b"1", 0, random).lifetime, expected);
        }
    }

    #[test]
    fn a_value_ages() {
        let freshness =
            Freshness { received: 100, lifetime: 10, while_revalidate: 5, ..Freshness::default() };
        for (now, expected) in [
            (0, Age::Fresh),
            (109, Age::Fresh),
            (110, Age::Stale),
            (114, Age::Stale),
            (115, Age::Ended),
            (u64::MAX, Age::Ended),
        ] {
            assert_eq!(age(&freshness, now), expected, "{now}");
        }
    }

    #[test]
    fn spaces_do_not_meet() {
        let names = ["", "a", "ab", "a:", "a%", "a%3A", ":", "ä"];
        let spaces = names.map(space);
        for (at, one) in spaces.iter().enumerate() {
            for other in spaces.iter().skip(at + 1) {
                assert!(!one.starts_with(other) && !other.starts_with(one), "{one} {other}");
            }
        }
    }

    #[test]
    fn a_key_that_is_too_long_has_no_name() {
        let rules = Rules::default();
        assert_eq!(rules.name("a:b").as_deref(), Some("value=:a:b"));
        let long = "a".repeat(LONGEST_NAME - rules.space.len());
        assert!(rules.name(&long).is_some());
        assert!(rules.name(&format!("{long}a")).is_none());
    }
}
