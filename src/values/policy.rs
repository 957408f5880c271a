use std::sync::Arc;
use std::time::Duration;

use crate::cache::entry::Freshness;
use crate::cache::policy::date::in_millis;

/// The settings that decide about values.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) ttl: Duration,
    pub(super) jitter: f64,
    pub(super) while_revalidate: Duration,
    pub(super) negative_ttl: Duration,
    /// The text that all names start with. It starts neither a URL nor another namespace.
    pub(super) namespace: String,
}

/// The use that the age of a value permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// The value may be used while it is fetched again.
    Stale,
    Expired,
}

impl Rules {
    /// Returns the name of a key, in the store and for purges, or `None` if the key is too long.
    pub(super) fn name(&self, key: &str) -> Option<Arc<str>> {
        let fits = self.namespace.len() + key.len() <= MAX_NAME_LENGTH;
        fits.then(|| format!("{}{key}", self.namespace).into())
    }

    /// Returns the freshness of a value that was fetched at `now`. `random` is from 0 to 1.
    pub(super) fn freshness(
        &self,
        ttl: Option<Duration>,
        json: &[u8],
        now: u64,
        random: f64,
    ) -> Freshness {
        let ttl = ttl.unwrap_or(self.ttl);
        let (ttl, stale) = match json {
            // Programs seldom remove an absent value when it comes into being.
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
            namespace: namespace(""),
        }
    }
}

/// Returns the text that the names of a namespace start with. No scheme of a URL has a `=`, and the
/// `:` is escaped within the name.
pub(super) fn namespace(name: &str) -> String {
    // The `%` comes first: it escapes the others.
    format!("value={}:", name.replace('%', "%25").replace(':', "%3A"))
}

/// Returns the use that the age of a value permits. `left` is the time until it is stale, in
/// milliseconds.
pub(super) fn age(freshness: &Freshness, left: i64) -> Age {
    let stale = i64::try_from(freshness.while_revalidate).unwrap_or(i64::MAX);
    if left > 0 {
        Age::Fresh
    } else if left.saturating_add(stale) > 0 {
        Age::Stale
    } else {
        Age::Expired
    }
}

/// The maximum length of a name, in bytes.
const MAX_NAME_LENGTH: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn absence_is_fresh_for_a_shorter_time() {
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
    fn jitter_shortens_by_a_fraction() {
        for (jitter, random, expected) in
            [(0.0, 1.0, 1000), (0.1, 1.0, 900), (0.1, 0.5, 950), (1.0, 1.0, 0)]
        {
            let rules = Rules { jitter, ..Rules::default() };
            assert_eq!(rules.freshness(Some(SECOND), b"1", 0, random).lifetime, expected);
        }
    }

    #[test]
    fn age_decides_about_use() {
        let freshness =
            Freshness { received: 100, lifetime: 10, while_revalidate: 5, ..Freshness::default() };
        for (now, expected) in [
            (0, Age::Fresh),
            (109, Age::Fresh),
            (110, Age::Stale),
            (114, Age::Stale),
            (115, Age::Expired),
            (u64::MAX, Age::Expired),
        ] {
            assert_eq!(age(&freshness, freshness.left(now)), expected, "{now}");
        }
    }

    #[test]
    fn namespaces_do_not_overlap() {
        let names = ["", "a", "ab", "a:", "a%", "a%3A", ":", "ä"];
        let namespaces = names.map(namespace);
        for (at, one) in namespaces.iter().enumerate() {
            for other in namespaces.iter().skip(at + 1) {
                assert!(!one.starts_with(other) && !other.starts_with(one), "{one} {other}");
            }
        }
    }

    #[test]
    fn long_key_has_no_name() {
        let rules = Rules::default();
        assert_eq!(rules.name("a:b").as_deref(), Some("value=:a:b"));
        let long = "a".repeat(MAX_NAME_LENGTH - rules.namespace.len());
        assert!(rules.name(&long).is_some());
        assert!(rules.name(&format!("{long}a")).is_none());
    }
}
