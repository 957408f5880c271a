use std::time::Duration;

/// The times of a stored response, in milliseconds, and what they permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// The time of receipt, since 1970.
    pub(crate) received: u64,
    /// The age at that time (RFC 9111 §4.2.3, `corrected_initial_age`).
    pub(crate) age: u64,
    pub(crate) lifetime: u64,
    /// The time after `lifetime` in which the response may be used while it is revalidated (RFC 5861
    /// §3).
    pub(crate) while_revalidate: u64,
    /// The time after `lifetime` in which the response may be used if the inner service fails (RFC
    /// 5861 §4).
    pub(crate) if_error: u64,
    /// The time that a request waits for the inner service while the response may be used stale, if
    /// the handler sets one.
    pub(crate) soft_limit: Option<u64>,
    /// The time that the inner service took.
    pub(crate) took: u64,
    /// The response is revalidated before each use (RFC 9111 §5.2.2.4).
    pub(crate) validate: bool,
    /// The response is not used stale, whatever the client accepts (§5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub(crate) strict: bool,
    /// The response may be used for requests with `authorization` (§3.5).
    pub(crate) shared: bool,
    /// The response may be used for requests with `cookie`: its lifetime comes from the response or
    /// its handler, and not from the configuration of the layer.
    pub(crate) stated: bool,
}

impl Freshness {
    /// Returns the age in milliseconds (RFC 9111 §4.2.3, `current_age`).
    pub(crate) fn age(&self, now: u64) -> u64 {
        // Saturating: the numbers may come from a store, and the clock may have gone back.
        self.age.saturating_add(now.saturating_sub(self.received))
    }

    /// Returns the milliseconds of the lifetime that are left; negative if the response is stale.
    pub(crate) fn left(&self, now: u64) -> i64 {
        let millis = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        millis(self.lifetime).saturating_sub(millis(self.age(now)))
    }

    /// Returns a lifetime without `part` of it, from 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a part of a time, not below 0"
    )]
    pub(crate) fn shortened(lifetime: u64, part: f64) -> u64 {
        lifetime.saturating_sub((lifetime as f64 * part) as u64)
    }

    /// Returns the time for which the response may be of use, from its receipt on. `validates` tells
    /// that it has a validator.
    pub(crate) fn keep(&self, validates: bool) -> Duration {
        let stale = self.while_revalidate.max(self.if_error);
        let stale = stale.max(if validates { KEPT_TO_VALIDATE } else { 0 });
        Duration::from_millis(self.lifetime.saturating_sub(self.age).saturating_add(stale))
    }
}

/// The time for which a stale response is kept to be validated, in milliseconds.
const KEPT_TO_VALIDATE: u64 = 60 * 60 * 1000;
