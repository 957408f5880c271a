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
        for directive in directives(headers, name) {
            match directive {
                Directive::Named(name, argument) => control.set(name, argument),
                Directive::Malformed(text) => {
                    control.malformed = true;
                    control.apply_words(text);
                }
            }
        }
        control
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
            b"no-store" => self.no_store = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"max-age" => shortest(&mut self.max_age),
            b"s-maxage" => shortest(&mut self.s_maxage),
            b"stale-while-revalidate" => shortest(&mut self.stale_while_revalidate),
            b"stale-if-error" => shortest(&mut self.stale_if_error),
            _ => {
                known = false;
                self.apply_words(name);
            }
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
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::headers::test_headers::map;

    fn response(lines: &[&str]) -> ResponseControl {
        let fields: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        ResponseControl::parse(&map(&fields))
    }

    fn request(line: &str) -> RequestControl {
        RequestControl::parse(&map(&[("cache-control", line)]))
    }

    #[test]
    fn the_directives_of_a_response_are_read() {
        let none = ResponseControl::default;
        let fields = |names: &[&'static str]| {
            Some(Scope::Fields(names.iter().map(|name| HeaderName::from_static(name)).collect()))
        };
        let table: &[(&[&str], ResponseControl)] = &[
            (&[], none()),
            (&["max-age=60"], ResponseControl { max_age: Some(60), ..none() }),
            // RFC 9111 §5.2: names in any case, both forms of arguments.
            (
                &["Max-Age=60, PUBLIC"],
                ResponseControl { max_age: Some(60), public: true, ..none() },
            ),
            (&["max-age=\"60\""], ResponseControl { max_age: Some(60), ..none() }),
            (&["max-age = 60"], ResponseControl { max_age: Some(60), ..none() }),
            // §4.2.1: the shorter of two, and what is invalid is stale.
            (&["max-age=1, max-age=2"], ResponseControl { max_age: Some(1), ..none() }),
            (&["max-age=2", "max-age=1"], ResponseControl { max_age: Some(1), ..none() }),
            (&["max-age=2, max-age=-1"], ResponseControl { max_age: Some(0), ..none() }),
            (&["max-age"], ResponseControl { max_age: Some(0), ..none() }),
            (&["max-age=-1"], ResponseControl { max_age: Some(0), ..none() }),
            (&["max-age=1.5"], ResponseControl { max_age: Some(0), ..none() }),
            (&["max-age=+1"], ResponseControl { max_age: Some(0), ..none() }),
            (&["max-age='1'"], ResponseControl { max_age: Some(0), ..none() }),
            // §1.2.2.
            (
                &["s-maxage=99999999999999999999999"],
                ResponseControl { s_maxage: Some(MAX_SECONDS), ..none() },
            ),
            // A comma within quotes separates nothing.
            (&["x=\"a, no-store\", public"], ResponseControl { public: true, ..none() }),
            (&["x=\"\\\", no-store\""], none()),
            // §5.2.2.4, §5.2.2.7.
            (&["private"], ResponseControl { private: Some(Scope::Response), ..none() }),
            (
                &["private=\"set-cookie, X-User\""],
                ResponseControl { private: fields(&["set-cookie", "x-user"]), ..none() },
            ),
            (&["no-cache=\"\""], ResponseControl { no_cache: Some(Scope::Response), ..none() }),
            (&["no-cache=\"a b\""], ResponseControl { no_cache: Some(Scope::Response), ..none() }),
            (
                &["no-cache=a, no-cache"],
                ResponseControl { no_cache: Some(Scope::Response), ..none() },
            ),
            (
                &["no-cache, no-cache=a"],
                ResponseControl { no_cache: Some(Scope::Response), ..none() },
            ),
            (&[",, no-store ,"], ResponseControl { no_store: true, ..none() }),
        ];
        for (lines, expected) in table {
            assert_eq!(response(lines), *expected, "{lines:?}");
        }
    }

    #[test]
    fn misspelled_directives_still_forbid_storing() {
        const NO_STORE: [bool; 3] = [true, false, false];
        const PRIVATE: [bool; 3] = [false, true, false];
        const NO_CACHE: [bool; 3] = [false, false, true];
        let table: &[(&[&str], [bool; 3])] = &[
            (&["no-cache; no-store; must-revalidate"], [true, false, true]),
            (&["private; max-age=60"], PRIVATE),
            (&["max-age=60; private"], PRIVATE),
            (&["max-age=60 private"], PRIVATE),
            (&["max-age=60|private"], PRIVATE),
            (&["max-age=\"60, private\""], PRIVATE),
            (&["\"max-age=60, private\""], PRIVATE),
            (&["public", "max-age=60 private"], PRIVATE),
            (&["\"no-store\""], NO_STORE),
            (&["'no-store'"], NO_STORE),
            (&["no_store"], NO_STORE),
            (&["NoStore"], NO_STORE),
            (&["no\tstore"], NO_STORE),
            (&["no store"], NO_STORE),
            (&["no-storex"], NO_STORE),
            (&["no-store:"], NO_STORE),
            (&["no-store=1"], NO_STORE),
            (&["no-store=?0"], NO_STORE),
            (&["no-store=false"], NO_STORE),
            (&["no-store="], NO_STORE),
            (&["no-store/max-age=60"], NO_STORE),
            (&["no\u{2011}store"], NO_STORE),
            (&["no-store\u{a0}"], NO_STORE),
            (&["\u{201c}no-store\u{201d}"], NO_STORE),
            (&["cache-control: no-store"], NO_STORE),
            (&["x=\"no-store"], NO_STORE),
            (&["x=\"a, no-store", "public"], NO_STORE),
            (&["x=\"a, no-store, y=\"b\""], NO_STORE),
            (&["x=\"\\\", no-store"], NO_STORE),
            (&["private=1"], PRIVATE),
            (&["private=true"], PRIVATE),
            (&["private=set-cookie"], PRIVATE),
            (&["private=\"set-cookie"], PRIVATE),
            (&["private=\"set-cookie\"; x"], PRIVATE),
            (&["private:"], PRIVATE),
            (&["no_cache"], NO_CACHE),
            (&["no-cache=1"], NO_CACHE),
        ];
        for (lines, expected) in table {
            let control = response(lines);
            let says = [
                control.no_store,
                control.private == Some(Scope::Response),
                control.no_cache == Some(Scope::Response),
            ];
            assert_eq!(says, *expected, "{lines:?}");
        }
    }

    #[test]
    fn unreadable_members_are_noticed() {
        for (line, malformed) in [
            ("max-age=60, x=\"a b\", y=1, z", false),
            ("max-age=1.5, max-age=-1", false),
            ("", false),
            (",,", false),
            ("max-age=60;", true),
            ("max-age=60, &?", true),
            ("max-age:60", true),
            ("max-age=", true),
            ("\u{fe}\u{ff}", true),
            ("x=\"", true),
            ("{}", true),
        ] {
            assert_eq!(response(&[line]).malformed, malformed, "{line}");
        }
    }

    #[test]
    fn a_pragma_forbids_in_any_spelling() {
        for (line, forbids) in [
            ("no-cache", true),
            ("No_Cache; x", true),
            ("x, no-cache", true),
            ("no-store", true),
            ("private", true),
            ("public", false),
            ("", false),
        ] {
            assert_eq!(pragma_forbids(&map(&[("pragma", line)])), forbids, "{line}");
        }
    }

    #[test]
    fn the_directives_of_a_request_are_read() {
        let none = RequestControl::default;
        for (line, expected) in [
            ("no-cache", RequestControl { no_cache: true, ..none() }),
            ("NO-STORE", RequestControl { no_store: true, ..none() }),
            ("no-store; x", RequestControl { no_store: true, ..none() }),
            ("no-cache; x", RequestControl { no_cache: true, ..none() }),
            ("max-age=0", RequestControl { max_age: Some(0), ..none() }),
            ("max-age=x", RequestControl { max_age: Some(0), ..none() }),
            ("min-fresh=5", RequestControl { min_fresh: Some(5), ..none() }),
            ("max-stale", RequestControl { max_stale: Some(MAX_SECONDS), ..none() }),
            ("max-stale=5", RequestControl { max_stale: Some(5), ..none() }),
            ("max-stale=x", none()),
            ("only-if-cached", RequestControl { only_if_cached: true, ..none() }),
        ] {
            assert_eq!(request(line), expected, "{line}");
        }
        // RFC 9111 §5.4.
        assert!(RequestControl::parse(&map(&[("pragma", "x, No-Cache")])).no_cache);
        assert!(
            !RequestControl::parse(&map(&[("pragma", "no-cache"), ("cache-control", "a")]))
                .no_cache
        );
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers: HeaderMap =
                    [CACHE_CONTROL, PRAGMA].map(|name| (name, value.clone())).into_iter().collect();
                ResponseControl::parse(&headers);
                RequestControl::parse(&headers);
                pragma_forbids(&headers);
            }
        }
    }
}
