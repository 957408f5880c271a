use http::header::{ETAG, Entry, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};

use super::encoding::{Coding, DICTIONARY, Encoding};
use crate::headers::coding::ContentCoding;

/// The treatment of the strong entity tag of a compressed response.
///
/// A strong tag identifies bytes (RFC 9110 §8.8.1), and the compressed bytes differ from those that
/// the service has tagged. Weak tags are true of every encoding, and stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EtagMode {
    /// Appends the encoding: `"v1"` becomes `"v1--gzip"`, and the service sees `"v1"` again in
    /// `if-match` and `if-none-match`. Optimistic locking (`if-match` with the tag of a GET) works,
    /// and no cache confuses the bytes of two encodings.
    ///
    /// The service cannot send a range of the compressed bytes: if `if-range` names such a tag, the
    /// request loses `range` and `if-range`, and gets the whole response (RFC 9110 §13.1.5).
    ///
    /// A tag of the service that already ends in such a suffix becomes `"v1--gzip--identity"` in an
    /// uncompressed response, so that it returns to the service unchanged.
    #[default]
    Suffix,
    /// Makes the tag weak: `"v1"` becomes `W/"v1"`. `if-none-match` compares weakly, and matches as
    /// before; `if-match` compares strongly, and never matches.
    Weaken,
    /// Keeps the tag. `if-match` works, but one tag identifies several byte sequences: a cache, or
    /// a client that resumes a download, can mix them up. A request with a tag in `if-range` loses
    /// `range` and `if-range` if the client accepts an encoding; a `range` alone is not guarded.
    Keep,
}

impl EtagMode {
    /// Returns the tag of a response in this coding, or in none; `None` if the tag stays as it is.
    pub(super) fn etag(self, tag: &HeaderValue, coding: Option<Coding>) -> Option<HeaderValue> {
        let Tag { weak, opaque } = Tag::parse(tag.as_bytes())?;
        match (self, coding) {
            (Self::Suffix, Some(coding)) if !weak => with_suffix(tag, coding.as_str()),
            // Without this, a tag of the service that ends in a suffix would lose it on its way
            // back.
            (Self::Suffix, _) if suffix(opaque).is_some() => with_suffix(tag, IDENTITY),
            (Self::Weaken, Some(_)) if !weak => {
                HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()
            }
            _ => None,
        }
    }

    /// Returns the tag of a 304 to which the service gave `tag`; `None` if the tag stays as it is.
    ///
    /// The 304 has the tag of the 200 (RFC 9110 §15.4.5), but it does not tell whether the 200
    /// would have been compressed. So the tag that the client has sent takes precedence: by that
    /// alone the client finds the response that the 304 freshens (RFC 9111 §4.3.4). `coding`,
    /// which the 200 would have if it were compressed, decides if the client has sent no such tag.
    pub(super) fn match_client_etag(
        self,
        tag: &HeaderValue,
        if_none_match: &[HeaderValue],
        coding: Option<Coding>,
    ) -> Option<HeaderValue> {
        let own = Tag::parse(tag.as_bytes())?;
        let expected = self.etag(tag, coding).unwrap_or_else(|| tag.clone());
        let sent = || if_none_match.iter().flat_map(|line| Tag::parse_all(line.as_bytes()));
        match self {
            Self::Keep => None,
            Self::Weaken => {
                let is_weakened = |sent: Tag<'_>| sent.weak && sent.opaque == own.opaque;
                let has_weakened = !own.weak && sent().any(is_weakened);
                if has_weakened {
                    self.etag(tag, Some(Encoding::Gzip.into()))
                } else {
                    Some(expected)
                }
            }
            Self::Suffix => {
                let expected_tag = Tag::parse(expected.as_bytes());
                if sent().any(|sent| Some(sent) == expected_tag) {
                    return Some(expected);
                }
                let matching = sent().find(|sent| without_suffix(sent.opaque) == own.opaque);
                Some(matching.and_then(Tag::to_value).unwrap_or(expected))
            }
        }
    }

    /// Rewrites the preconditions of a request to the tags that the service knows. `negotiates`
    /// returns `true` if the client accepts an encoding.
    pub(super) fn restore(self, headers: &mut HeaderMap, negotiates: impl FnOnce() -> bool) {
        if self == Self::Suffix {
            for name in [IF_MATCH, IF_NONE_MATCH] {
                if let Entry::Occupied(mut lines) = headers.entry(name) {
                    for line in lines.iter_mut() {
                        if let Some(restored) = without_suffixes(line) {
                            *line = restored;
                        }
                    }
                }
            }
        }
        if !headers.contains_key(IF_RANGE) {
            return;
        }
        // `if-range` compares strongly (RFC 9110 §13.1.5): a weak tag matches nothing, and the tag
        // of a compressed body is the tag of bytes that the service cannot send a range of.
        let lines = || headers.get_all(IF_RANGE).iter();
        let mut tags = lines().filter_map(|line| Tag::parse(line.as_bytes()));
        let never_matches = match self {
            Self::Suffix => {
                tags.any(|tag| tag.weak || suffix(tag.opaque).is_some_and(|it| it != IDENTITY))
            }
            Self::Weaken => tags.any(|tag| tag.weak),
            // The client may hold the bytes of any encoding under this tag.
            Self::Keep => tags.next().is_some() && negotiates(),
        };
        // Without `range`, the client gets the whole response, as if the tag had not matched.
        if never_matches {
            headers.remove(RANGE);
            headers.remove(IF_RANGE);
        } else if self == Self::Suffix {
            if let Some(restored) = headers.get(IF_RANGE).and_then(without_suffixes) {
                headers.insert(IF_RANGE, restored);
            }
        }
    }

    /// Edits the tag of a response in this coding, or in none.
    pub(super) fn apply(self, headers: &mut HeaderMap, coding: Option<Coding>) {
        if let Some(tag) = headers.get(ETAG).and_then(|tag| self.etag(tag, coding)) {
            headers.insert(ETAG, tag);
        }
    }
}

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag<'a> {
    weak: bool,
    /// The tag without its quotes.
    opaque: &'a [u8],
}

impl<'a> Tag<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (weak, quoted) = match value.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, value),
        };
        let opaque = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        (!opaque.contains(&b'"')).then_some(Self { weak, opaque })
    }

    /// Parses a list by its quotes, since a tag may contain commas.
    fn parse_all(list: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut parts = list.split(|&byte| byte == b'"');
        std::iter::from_fn(move || {
            let before = parts.next()?;
            let opaque = parts.next()?;
            Some(Self { weak: before.ends_with(b"W/"), opaque })
        })
    }

    fn to_value(self) -> Option<HeaderValue> {
        let prefix: &[u8] = if self.weak { b"W/\"" } else { b"\"" };
        HeaderValue::from_bytes(&[prefix, self.opaque, b"\""].concat()).ok()
    }
}

/// Returns the coding, or `identity`, that a tag ends in. Codings whose feature is off count too: a
/// client may have the tag from another build.
fn suffix(opaque: &[u8]) -> Option<&'static str> {
    let names =
        ContentCoding::ALL.into_iter().map(ContentCoding::as_str).chain([DICTIONARY, IDENTITY]);
    names.into_iter().find(|name| {
        let rest = opaque.strip_suffix(name.as_bytes());
        rest.is_some_and(|rest| rest.ends_with(SEPARATOR.as_bytes()))
    })
}

fn without_suffix(opaque: &[u8]) -> &[u8] {
    let length = suffix(opaque).map_or(0, |name| name.len() + SEPARATOR.len());
    &opaque[..opaque.len() - length]
}

/// Inserts a suffix before the last quote of a tag.
fn with_suffix(tag: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let open = tag.as_bytes().trim_ascii().strip_suffix(b"\"")?;
    HeaderValue::from_bytes(&[open, SEPARATOR.as_bytes(), name.as_bytes(), b"\""].concat()).ok()
}

/// Removes the suffixes from all tags of a line. Returns `None` if no tag has one.
fn without_suffixes(line: &HeaderValue) -> Option<HeaderValue> {
    // Every second part is within quotes. The rest of the line stays as it is.
    let parts = || line.as_bytes().split(|&byte| byte == b'"').enumerate();
    let tags = |(at, _): &(usize, &[u8])| at % 2 == 1;
    if !parts().filter(tags).any(|(_, opaque)| suffix(opaque).is_some()) {
        return None;
    }
    let restored = parts().map(|(at, part)| if at % 2 == 1 { without_suffix(part) } else { part });
    HeaderValue::from_bytes(&restored.collect::<Vec<_>>().join(&b'"')).ok()
}

/// The separator of Jetty. Apache and Caddy append `-gzip`, which the tags of services behind them
/// have too.
const SEPARATOR: &str = "--";

const IDENTITY: &str = "identity";

#[cfg(test)]
mod tests;
