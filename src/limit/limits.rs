use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::size::Size;
use crate::drain::{DEFAULT_MAX, DrainLimit};
use crate::headers::media_type::essence;
use crate::media_type::MediaType;
use crate::{KIB, MIB};

/// The limits that apply to a request.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// The limits of bodies by media type, in order of precedence.
    // A linear search is fast for the few entries of a real service, and patterns cannot be hashed.
    media_types: Vec<(MediaType, Size)>,
    pub(super) default_body: Size,
    pub(super) uri: Size,
    pub(super) header_bytes: Size,
    pub(super) header_count: Size,
    /// The maximum number of bytes to drain; `None` for the default of [`Self::drain`].
    pub(super) max_drain: Option<Size>,
    pub(super) decompress: bool,
    pub(super) min_data_rate: Option<MinDataRate>,
}

/// The minimum rate at which a request body must arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinDataRate {
    pub(super) bytes_per_second: u64,
    pub(super) grace: Duration,
}

impl Limits {
    // Two entries: axum's `Json` accepts `+json` types as well, and another limit for them would be a
    // way around this one.
    pub(super) fn json(&mut self, size: Size) {
        self.media_type(MediaType::Exact("application/json".into()), size);
        self.media_type(MediaType::Suffix("json".into()), size);
    }

    pub(super) fn form(&mut self, size: Size) {
        self.media_type(MediaType::Exact("application/x-www-form-urlencoded".into()), size);
    }

    pub(super) fn multipart(&mut self, size: Size) {
        self.media_type(MediaType::Exact("multipart/form-data".into()), size);
    }

    pub(super) fn media_type(&mut self, media_type: MediaType, size: Size) {
        match self.media_types.binary_search_by(|(at, _)| at.cmp(&media_type)) {
            Ok(at) => self.media_types[at].1 = size,
            Err(at) => self.media_types.insert(at, (media_type, size)),
        }
    }

    /// Returns the limit of the body, by the request's `content-type`.
    pub(super) fn body(&self, headers: &HeaderMap) -> Size {
        // Services differ in which of several lines they read, so the lowest limit applies.
        let lines = headers.get_all(CONTENT_TYPE).iter();
        lines.map(|line| self.body_of_type(line.as_bytes())).min().unwrap_or(self.default_body)
    }

    fn body_of_type(&self, content_type: &[u8]) -> Size {
        // A malformed type gets the default limit instead of an error: the service may not need it.
        let found = essence(content_type).and_then(|essence| {
            self.media_types.iter().find(|(media_type, _)| media_type.matches(essence))
        });
        found.map_or(self.default_body, |(_, size)| *size)
    }

    /// Returns the number of bytes to drain from a rejected body of `declared` bytes whose limit is
    /// `max_body`. The default grows with the limit, because clients that are allowed large uploads
    /// send large ones by mistake.
    pub(super) fn drain(&self, max_body: Size, declared: Option<u64>) -> DrainLimit {
        let max = match self.max_drain {
            Some(max) => max.get(),
            None if max_body == Size::UNLIMITED => DEFAULT_MAX,
            None => max_body.get().max(DEFAULT_MAX),
        };
        DrainLimit::new(max, declared)
    }
}

impl Default for Limits {
    fn default() -> Self {
        let mut limits = Self {
            media_types: Vec::new(),
            default_body: DEFAULT_BODY,
            uri: DEFAULT_URI,
            header_bytes: DEFAULT_HEADER_BYTES,
            header_count: DEFAULT_HEADER_COUNT,
            max_drain: None,
            decompress: false,
            min_data_rate: None,
        };
        limits.json(DEFAULT_JSON);
        limits.form(DEFAULT_FORM);
        limits
    }
}

impl MinDataRate {
    /// Returns the new wait budget after `bytes` have arrived, given the `budget` that was left.
    ///
    /// Each byte adds the time that it takes at the minimum rate. The budget never exceeds the grace
    /// period, so that a fast start does not pay for a long pause.
    pub(super) fn refill(&self, budget: Duration, bytes: u64) -> Duration {
        if self.bytes_per_second == 0 {
            return self.grace;
        }
        let added = u128::from(bytes) * NANOS_PER_SECOND / u128::from(self.bytes_per_second);
        // Saturates at 584 years.
        let added = Duration::from_nanos(u64::try_from(added).unwrap_or(u64::MAX));
        budget.saturating_add(added).min(self.grace)
    }
}

const DEFAULT_JSON: Size = Size::new(10 * KIB);
const DEFAULT_FORM: Size = Size::new(10 * KIB);
const DEFAULT_BODY: Size = Size::new(2 * MIB);
const DEFAULT_URI: Size = Size::new(8 * KIB);
const DEFAULT_HEADER_BYTES: Size = Size::new(16 * KIB);
const DEFAULT_HEADER_COUNT: Size = Size::new(100);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests;
