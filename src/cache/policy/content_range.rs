//! The range that a part states: `content-range` (RFC 9110 §14.4).

use http::HeaderMap;
use http::header::{CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED};

use super::super::entry::StoredResponse;
use super::super::hash::Hash64;
use super::conditional::{ByteRange, Conditional};
use super::date::{date, millis};
use super::rules::Rules;

/// The bytes of a part, of a representation whose length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    first: u64,
    end: u64,
    total: u64,
}

/// The representation that parts belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Representation {
    /// A hash of the strong validator.
    validator: u64,
    /// The length in bytes.
    total: u64,
}

impl ContentRange {
    /// Parses the `content-range` of a part. Anything but the usual spelling may mean something else
    /// to a client.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(CONTENT_RANGE).iter();
        let line = lines.next().filter(|_| lines.next().is_none())?;
        let (range, total) = line.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        // A number has one spelling: no sign, no zero in front, none that is too large.
        let number =
            |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        // §14.4: a recipient must not take another range for a part. This also bounds `last + 1`.
        (first <= last && last < total).then(|| Self { first, end: last + 1, total })
    }

    pub(crate) const fn size(self) -> u64 {
        self.end - self.first
    }

    /// Returns the length of the representation in bytes.
    pub(super) const fn total(self) -> u64 {
        self.total
    }

    pub(super) const fn is_whole(self) -> bool {
        self.size() == self.total
    }

    /// Returns `true` if a request asks for these bytes and no others.
    pub(super) fn is_asked(self, range: ByteRange) -> bool {
        self.is(&range.of_size(self.total))
    }

    /// Returns `true` if the outcome of a request is a 206 with these bytes.
    pub(super) fn is(self, outcome: &Conditional) -> bool {
        *outcome == Conditional::Partial(self.first..self.end)
    }
}

impl Representation {
    /// Returns the representation that a stored part belongs to.
    pub(crate) fn of(stored: &StoredResponse) -> Option<Self> {
        Self::new(&stored.headers, None, ContentRange::of(&stored.headers)?)
    }

    /// Returns `true` if all of it fits into an entry.
    pub(crate) const fn fits(self, rules: &Rules) -> bool {
        self.total <= rules.entry_limit
    }

    /// `received` stands for a missing `date`, in milliseconds since 1970.
    pub(super) fn new(
        headers: &HeaderMap,
        received: Option<u64>,
        range: ContentRange,
    ) -> Option<Self> {
        let validator = strong_validator(headers, received)?;
        let mut hasher = Hash64::default();
        hasher.part(validator);
        Some(Self { validator: hasher.finish(), total: range.total })
    }
}

/// Returns the validator of a response if it is a strong one: a tag, or a date by which the response
/// was not made within the same second (RFC 9110 §8.8.1 and §8.8.2.2).
fn strong_validator(headers: &HeaderMap, received: Option<u64>) -> Option<&[u8]> {
    let mut tags = headers.get_all(ETAG).iter();
    if let Some(tag) = tags.next() {
        let tag = tag.as_bytes();
        // A weak tag is not made up for by a date: it says that the bytes may differ.
        let is_strong = tag.len() > 1 && tag.starts_with(b"\"") && tag.ends_with(b"\"");
        return Some(tag).filter(|_| is_strong && tags.next().is_none());
    }
    let Some(Ok(modified)) = date(headers, &LAST_MODIFIED) else { return None };
    let made = match date(headers, &DATE) {
        Some(Ok(made)) => millis(made),
        _ => received?,
    };
    let is_strong = made.saturating_sub(millis(modified)) >= 1000;
    headers.get(LAST_MODIFIED).filter(|_| is_strong).map(|modified| modified.as_bytes())
}

#[cfg(test)]
mod tests;
