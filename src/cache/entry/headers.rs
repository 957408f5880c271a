use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use http::header::{AGE, CACHE_STATUS, CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use httpdate::HttpDate;

use super::super::vary::Variant;
use super::links::Links;

/// The headers that a stored response has beside those that it came with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Added {
    /// The value of `date`, in milliseconds since 1970.
    pub(crate) date: Option<u64>,
    /// The value of `content-length`.
    pub(crate) length: Option<u64>,
}

/// Returns a copy of the headers that `is_kept` chooses, and of `added`, in memory of its own, behind
/// [`PLACES`].
///
/// A value that was read from a connection is a slice of its buffer, and would keep all of it alive. The
/// values of the copy are slices of one buffer, so that there is one allocation for all of them.
pub(crate) fn copy_headers(
    headers: &HeaderMap,
    is_kept: &dyn Fn(&HeaderName) -> bool,
    added: Added,
) -> HeaderMap {
    let mut kept = Vec::with_capacity(headers.len());
    kept.extend(headers.iter().filter(|(name, _)| !PLACES.contains(name) && is_kept(name)));
    let bytes: usize = kept.iter().map(|(_, value)| value.len()).sum();
    let Added { date, length } = added;
    let digits = length.map_or(0, |length| length.checked_ilog10().unwrap_or(0) as usize + 1);
    let more = date.map_or(0, |_| DATE_LENGTH) + digits;
    let mut values = BytesMut::with_capacity(bytes + more);
    kept.iter().for_each(|(_, value)| values.extend_from_slice(value.as_bytes()));
    if let Some(millis) = date {
        values.extend_from_slice(&date_text(millis));
    }
    if let Some(length) = length {
        // Not `write`, which costs several times as much.
        let start = values.len();
        values.put_bytes(b'0', digits);
        let digits = values[start..].iter_mut().rev();
        let _left = digits.fold(length, |left, digit| {
            *digit += (left % 10) as u8;
            left / 10
        });
    }
    let mut values = values.freeze();
    let mut copied = HeaderMap::with_capacity(PLACES.len() + kept.len() + ADDED);
    if !headers.is_empty() {
        add_places(&mut copied);
    }
    for (name, value) in kept {
        if let Ok(mut copy) = HeaderValue::from_maybe_shared(values.split_to(value.len())) {
            copy.set_sensitive(value.is_sensitive());
            copied.append(name, copy);
        }
    }
    let after_date = values.split_off(date.map_or(0, |_| DATE_LENGTH));
    let added = [(DATE, values), (CONTENT_LENGTH, after_date)];
    for (name, value) in added.into_iter().filter(|(_, value)| !value.is_empty()) {
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            copied.insert(name, value);
        }
    }
    copied
}

/// Returns a time in milliseconds since 1970 as a date of HTTP.
pub(crate) fn http_date(millis: u64) -> HttpDate {
    HttpDate::from(UNIX_EPOCH + Duration::from_millis(millis.min(LAST_DATE)))
}

/// Returns a time in milliseconds since 1970 as the text of a `date`.
fn date_text(millis: u64) -> [u8; DATE_LENGTH] {
    thread_local! {
        /// A second, and its text: mostly, the response before came in the same second.
        static LAST: Cell<(u64, [u8; DATE_LENGTH])> = const { Cell::new((u64::MAX, [0; DATE_LENGTH])) };
    }
    let (last, known) = LAST.get();
    if last == millis / 1000 {
        return known;
    }
    let mut text = [0; DATE_LENGTH];
    // A date has this length, and fits.
    let _written = write!(&mut text[..], "{}", http_date(millis));
    LAST.set((millis / 1000, text));
    text
}

/// Adds empty values in [`PLACES`]. Only a response has headers; other users of a store have none.
pub(super) fn add_places(headers: &mut HeaderMap) {
    // `extend` costs twice as much.
    for name in PLACES {
        headers.insert(name, HeaderValue::from_static(""));
    }
}

/// Returns about how many bytes of memory the head of a stored response takes.
pub(crate) fn head_size(
    headers: &HeaderMap,
    variant: &Variant,
    tags: &[String],
    links: &Links,
) -> usize {
    let line =
        |(name, value): (&HeaderName, &HeaderValue)| LINE + name.as_str().len() + value.len();
    // A map has more places than headers, and those take memory too.
    let places = headers.capacity() * PLACE + (headers.len() - headers.keys_len()) * PLACE;
    let lines: usize = places + headers.iter().map(line).sum::<usize>();
    lines + tags_size(tags) + links.size() + variant_size(variant)
}

pub(super) fn tags_size(tags: &[String]) -> usize {
    tags.iter().map(|tag| ALLOCATION + tag.capacity()).sum()
}

pub(super) fn variant_size(variant: &Variant) -> usize {
    let field = |(name, value): &(HeaderName, Option<Vec<u8>>)| {
        // Counted as a name that is not a standard one, which has an allocation.
        ALLOCATION
            + name.as_str().len()
            + value.as_ref().map_or(0, |value| ALLOCATION + value.capacity())
    };
    let fields = variant.fields.capacity() * size_of::<(HeaderName, Option<Vec<u8>>)>();
    size_of::<Variant>() + fields + variant.fields.iter().map(field).sum::<usize>()
}

/// The headers that each response from an entry sets. An entry has empty values in their places: the
/// copy of a map has no space for more headers, so that an insertion would move all of them.
pub(super) const PLACES: [HeaderName; 2] = [AGE, CACHE_STATUS];

/// The memory of a place for a header in a map, in bytes. Like those below it is what
/// `benches/cache_memory.rs` measures.
const PLACE: usize = 110;

/// The memory of a header beside its place, its name and its value: often an allocation, in bytes.
const LINE: usize = 34;

/// The overhead of an allocation, in bytes.
const ALLOCATION: usize = 48;

/// The number of headers that are added when the body is known: `content-length`, `etag`, and `date`.
const ADDED: usize = 3;

/// The length of a `date` in bytes.
const DATE_LENGTH: usize = 29;

/// The last second of the year 9999, in milliseconds since 1970: `HttpDate` panics for later ones.
const LAST_DATE: u64 = 253_402_300_799_000;
