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
    pub(super) if_error: Duration,
    pub(super) negative_ttl: Duration,
    /// The part of the lifetime after which a value is loaded again; 1 or more if none is.
    pub(super) refresh_after: f64,
    /// The time after a failure in which a stale value is returned without a load.
    pub(super) retry_delay: Duration,
    /// The time after a failure in which the failure is returned without a load.
    pub(super) failure_ttl: Duration,
    pub(super) soft_timeout: Option<Duration>,
    pub(super) hard_timeout: Option<Duration>,
    pub(super) coalesce_timeout: Duration,
    pub(super) max_refreshes: usize,
    /// The text that all names start with. It starts neither a URL nor another namespace.
    pub(super) namespace: String,
}

/// The use that the age of a value permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// The value is fresh, and due to be loaded again in the background.
    Due,
    /// The value may be used while it is loaded again (RFC 5861 §3).
    Stale,
    /// The value may be used if it cannot be loaded (RFC 5861 §4).
    IfError,
    Expired,
}

/// The last failure of a load, as a caller finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FailedBefore {
    /// The time of the failure, in milliseconds since 1970.
    pub(super) at: u64,
    /// The load failed after the caller had asked for the value.
    pub(super) is_awaited: bool,
}

/// The next step of a caller after its lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Return the value that was found.
    Return,
    /// Return the value that was found, and load a new one, unless another caller does.
    Refresh,
    /// Load a value, or wait for another caller that does. The value that was found may stand in.
    Load,
    /// Return the last failure.
    Fail,
}

impl Age {
    /// Returns `true` if the value needs no load.
    pub(super) const fn is_fresh(self) -> bool {
        matches!(self, Self::Fresh | Self::Due)
    }
}

impl Rules {
    /// Returns the name of a key, in the store and for purges, or `None` if the key is too long.
    pub(super) fn name(&self, key: &str) -> Option<Arc<str>> {
        let fits = self.namespace.len() + key.len() <= MAX_NAME_LENGTH;
        // `format!` would grow the string, and a hit allocates nothing else.
        fits.then(|| [&*self.namespace, key].concat().into())
    }

    /// Returns the name of a tag, or `None` if the tag is too long. No tag of a response starts with a
    /// namespace of values, and no other namespace has the tag.
    pub(super) fn tag(&self, tag: &str) -> Option<String> {
        (tag.len() <= MAX_TAG_LENGTH).then(|| format!("{}{tag}", self.namespace))
    }

    /// Returns the names of the tags of a value.
    pub(super) fn tags(&self, tags: &[String]) -> Vec<String> {
        tags.iter().map(|tag| format!("{}{tag}", self.namespace)).collect()
    }

    /// Returns the freshness of a value that was loaded at `now`. `random` is from 0 to 1.
    pub(super) fn freshness(
        &self,
        ttl: Option<Duration>,
        is_absent: bool,
        now: u64,
        random: f64,
    ) -> Freshness {
        let ttl = ttl.unwrap_or(self.ttl);
        let (ttl, while_revalidate, if_error) = match is_absent {
            // Programs seldom remove an absent value when it comes into being.
            true => (ttl.min(self.negative_ttl), Duration::ZERO, Duration::ZERO),
            false => (ttl, self.while_revalidate, self.if_error),
        };
        Freshness {
            received: now,
            lifetime: Freshness::shortened(in_millis(ttl), self.jitter * random),
            while_revalidate: in_millis(while_revalidate),
            if_error: in_millis(if_error),
            ..Freshness::default()
        }
    }

    /// Returns the use that the age of a value permits. `left` is the time until it is stale, in
    /// milliseconds.
    #[inline]
    pub(super) fn age(&self, freshness: &Freshness, left: i64) -> Age {
        let until = |time: u64| left.saturating_add(i64::try_from(time).unwrap_or(i64::MAX));
        if left > 0 {
            if self.is_due(freshness, left) { Age::Due } else { Age::Fresh }
        } else if until(freshness.while_revalidate) > 0 {
            Age::Stale
        } else if until(freshness.if_error) > 0 {
            Age::IfError
        } else {
            Age::Expired
        }
    }

    fn is_due(&self, freshness: &Freshness, left: i64) -> bool {
        if self.refresh_after >= 1.0 {
            return false;
        }
        let rest = Freshness::shortened(freshness.lifetime, self.refresh_after);
        left <= i64::try_from(rest).unwrap_or(i64::MAX)
    }

    /// Returns the next step of a caller that found a value of this age, at `now`. `failed` is the last
    /// failure of a load of the same key.
    pub(super) fn step(&self, age: Age, failed: Option<FailedBefore>, now: u64) -> Step {
        let within = |time: Duration| {
            // A clock that has gone back to before the failure does not lengthen the time.
            let since = failed.and_then(|failed| now.checked_sub(failed.at));
            since.is_some_and(|since| since < in_millis(time))
        };
        let is_awaited = failed.is_some_and(|failed| failed.is_awaited);
        match age {
            Age::Fresh => Step::Return,
            Age::Due | Age::Stale if within(self.retry_delay) => Step::Return,
            Age::Due | Age::Stale => Step::Refresh,
            Age::IfError if is_awaited || within(self.retry_delay) => Step::Return,
            Age::Expired if is_awaited || within(self.failure_ttl) => Step::Fail,
            Age::IfError | Age::Expired => Step::Load,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            jitter: 0.0,
            while_revalidate: Duration::ZERO,
            if_error: Duration::ZERO,
            negative_ttl: Duration::from_secs(60),
            refresh_after: 1.0,
            retry_delay: Duration::from_secs(1),
            failure_ttl: Duration::ZERO,
            soft_timeout: None,
            hard_timeout: None,
            coalesce_timeout: Duration::from_secs(10),
            max_refreshes: 64,
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

/// Returns `true` unless the tags of a value are too many or too long.
pub(super) fn tags_fit(tags: &[String]) -> bool {
    tags.len() <= MAX_TAGS && tags.iter().all(|tag| tag.len() <= MAX_TAG_LENGTH)
}

/// The maximum length of a name, in bytes.
const MAX_NAME_LENGTH: usize = 8 * 1024;

/// The maximum length of a tag, in bytes, without the namespace.
const MAX_TAG_LENGTH: usize = 1024;

/// The maximum number of tags of a value: each is compared with the purges of tags.
const MAX_TAGS: usize = 64;

#[cfg(test)]
mod tests;
