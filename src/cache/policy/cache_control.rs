//! The directives of `cache-control` and of headers with its syntax (RFC 9111 §5.2).

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

use super::directive::{Argument, Directive, MAX_SECONDS, directives, letters};
use crate::headers::list;

/// The directives of a response (RFC 9111 §5.2.2, RFC 5861). The shorter of two lifetimes counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseControl {
    pub(crate) no_store: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) no_cache: Option<Scope>,
    pub(crate) private: Option<Scope>,
    /// The number of seconds, as in the fields that follow.
    pub(crate) max_age: Option<u64>,
    pub(crate) s_maxage: Option<u64>,
    pub(crate) stale_while_revalidate: Option<u64>,
    pub(crate) stale_if_error: Option<u64>,
    /// A directive is unreadable, or forbids storing in a spelling that is not its own. Unlike
    /// `no_store`, this holds with `must-understand` too.
    pub(crate) malformed: bool,
}

/// The part of a response that `no-cache` or `private` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Response,
    Fields(Vec<HeaderName>),
}

/// The directives of a request (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestControl {
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) only_if_cached: bool,
    /// The number of seconds, as in the fields that follow.
    pub(crate) max_age: Option<u64>,
    pub(crate) min_fresh: Option<u64>,
    /// [`MAX_SECONDS`] for a `max-stale` without a number.
    pub(crate) max_stale: Option<u64>,
}

impl ResponseControl {
    /// Parses `cache-control`.
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        Self::parse_header(headers, &CACHE_CONTROL)
    }

    /// Parses a header that has the syntax of `cache-control`, or was meant to have it.
    pub(crate) fn parse_header(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut control = Self::default();
        headers.get_all(name).iter().for_each(|line| control.read(line.as_bytes()));
        control
    }

    /// Parses the only line of `cache-control`.
    pub(crate) fn parse_line(line: &[u8]) -> Self {
        let mut control = Self::default();
        control.read(line);
        control
    }

    /// Applies the directives of a line.
    fn read(&mut self, line: &[u8]) {
        for member in list::split(line) {
            // Most members are a name in lower case alone, and need no parsing.
            if let Some(flag) = self.flag(member) {
                *flag = true;
                continue;
            }
            match Directive::parse(member) {
                Directive::Named(name, argument) => self.set(name, argument),
                Directive::Malformed(text) => {
                    self.malformed = true;
                    self.apply_words(text);
                }
            }
        }
    }

    /// Returns the flag of a directive that has no argument. `name` is in lower case.
    fn flag(&mut self, name: &[u8]) -> Option<&mut bool> {
        match name {
            b"no-store" => Some(&mut self.no_store),
            b"public" => Some(&mut self.public),
            b"must-revalidate" => Some(&mut self.must_revalidate),
            b"proxy-revalidate" => Some(&mut self.proxy_revalidate),
            b"must-understand" => Some(&mut self.must_understand),
            _ => None,
        }
    }

    /// Applies one directive.
    pub(crate) fn set(&mut self, name: &[u8], argument: Argument<'_>) {
        // RFC 9111 §4.2.1 encourages caches to take an invalid lifetime for one that is over, and the
        // most restrictive of two directives that conflict.
        let shortest = |seconds: &mut Option<u64>| {
            let given = argument.seconds().unwrap_or(0);
            *seconds = Some(seconds.map_or(given, |before| before.min(given)));
        };
        let mut known = true;
        match Name::of(name).as_bytes() {
            b"no-cache" => return Scope::widen(&mut self.no_cache, argument),
            b"private" => return Scope::widen(&mut self.private, argument),
            b"max-age" => shortest(&mut self.max_age),
            b"s-maxage" => shortest(&mut self.s_maxage),
            b"stale-while-revalidate" => shortest(&mut self.stale_while_revalidate),
            b"stale-if-error" => shortest(&mut self.stale_if_error),
            lower => match self.flag(lower) {
                Some(flag) => *flag = true,
                None => {
                    known = false;
                    self.apply_words(name);
                }
            },
        }
        match argument {
            Argument::Token(text) => self.apply_words(text),
            // A quoted argument belongs to its extension (§5.2.3), whatever words it has.
            Argument::Quoted(text) if known => self.apply_words(text),
            _ => {}
        }
    }

    /// Adds what another header says against storing: a header that is malformed, or that is meant
    /// for other caches.
    pub(crate) fn tighten(&mut self, other: &Self) {
        if other.no_store {
            self.forbid();
        }
        for (scope, of) in
            [(&mut self.private, &other.private), (&mut self.no_cache, &other.no_cache)]
        {
            if of.is_some() {
                *scope = Some(Scope::Response);
            }
        }
    }

    /// Forbids storing, whatever `must-understand` says.
    pub(crate) fn forbid(&mut self) {
        self.no_store = true;
        self.malformed = true;
    }

    /// Applies the words that forbid storing, wherever they stand in an unreadable text: a response
    /// that says `no-cache; no-store` means it, and other caches take it so.
    fn apply_words(&mut self, text: &[u8]) {
        let [no_store, private, no_cache] = words(text);
        if no_store {
            self.forbid();
        }
        if private {
            self.private = Some(Scope::Response);
        }
        if no_cache {
            self.no_cache = Some(Scope::Response);
        }
    }
}

impl Scope {
    /// Adds the scope of one more directive. Its argument names headers only in the quoted form that
    /// RFC 9111 §5.2.2.7 prescribes. Any other argument (`private=1`) is about the whole response, as
    /// is a quoted one with an invalid name.
    fn widen(scope: &mut Option<Self>, argument: Argument<'_>) {
        let names = match argument {
            Argument::Quoted(names) => {
                let names = names.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                names.map(HeaderName::from_bytes).collect::<Result<Vec<_>, _>>().ok()
            }
            Argument::None | Argument::Token(_) => None,
        };
        *scope = match (scope.take(), names) {
            (None, Some(names)) => Some(Self::Fields(names)),
            (Some(Self::Fields(mut before)), Some(names)) => {
                before.extend(names);
                Some(Self::Fields(before))
            }
            _ => Some(Self::Response),
        };
    }
}

impl RequestControl {
    /// Parses `cache-control`, or else `pragma` (RFC 9111 §5.4).
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            let mut members = list::members(headers, &PRAGMA);
            control.no_cache = members.any(|member| member.eq_ignore_ascii_case(b"no-cache"));
            return control;
        }
        for directive in directives(headers, &CACHE_CONTROL) {
            let (name, argument) = match directive {
                Directive::Named(name, argument) => (name, argument),
                Directive::Malformed(text) => {
                    // A client that asks for privacy in another spelling gets it.
                    let [no_store, _, no_cache] = words(text);
                    control.no_store |= no_store;
                    control.no_cache |= no_cache;
                    continue;
                }
            };
            let number = argument.seconds();
            match Name::of(name).as_bytes() {
                b"no-cache" => control.no_cache = true,
                b"no-store" => control.no_store = true,
                b"only-if-cached" => control.only_if_cached = true,
                b"max-age" => {
                    control.max_age.get_or_insert(number.unwrap_or(0));
                }
                b"min-fresh" => control.min_fresh = control.min_fresh.or(number),
                b"max-stale" if argument == Argument::None => {
                    control.max_stale.get_or_insert(MAX_SECONDS);
                }
                b"max-stale" => control.max_stale = control.max_stale.or(number),
                _ => {}
            }
        }
        control
    }
}

/// The name of a directive in lower case, on the stack: each response has some. A name that is too long
/// for one that is known is empty.
struct Name {
    bytes: [u8; LONGEST_NAME],
    len: usize,
}

impl Name {
    fn of(name: &[u8]) -> Self {
        let mut bytes = [0; LONGEST_NAME];
        let len = bytes.get_mut(..name.len()).map_or(0, |lower| {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            name.len()
        });
        Self { bytes, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Returns the presence of `no-store`, `private` and `no-cache` in a text, whatever stands between
/// their letters.
fn words(text: &[u8]) -> [bool; 3] {
    // Most arguments are numbers, and shorter than a word.
    if text.len() < WORDS[0].len() {
        return [false; 3];
    }
    let letters = letters(text);
    WORDS.map(|word| letters.windows(word.len()).any(|part| part == word))
}

/// Returns `true` if `pragma` says `no-cache`, or forbids storing, in any spelling. It has no meaning
/// in a response by RFC 9111 §5.4, but a service that sends it alone means not to be cached.
pub(crate) fn pragma_forbids(headers: &HeaderMap) -> bool {
    headers.get_all(PRAGMA).iter().any(|line| words(line.as_bytes()).contains(&true))
}

/// The letters of the words, which are all of one length.
const WORDS: [&[u8; 7]; 3] = [b"nostore", b"private", b"nocache"];

/// The length of `stale-while-revalidate`.
const LONGEST_NAME: usize = 22;

#[cfg(test)]
mod tests;
