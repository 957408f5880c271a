//! What `cache-control` and its like say: parsing only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{AGE, CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::directive::{Argument, Directive, LARGEST, delta, directives, letters, members};

/// A response's directives (RFC 9111 §5.2.2, RFC 5861). Of two lifetimes the shorter one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseControl {
    pub(crate) no_store: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) no_cache: Option<Scope>,
    pub(crate) private: Option<Scope>,
    /// In seconds, as all that follow.
    pub(crate) max_age: Option<u64>,
    pub(crate) s_maxage: Option<u64>,
    pub(crate) stale_while_revalidate: Option<u64>,
    pub(crate) stale_if_error: Option<u64>,
    /// Something in it cannot be read, or forbids storing in another spelling than its own:
    /// `must-understand` does not excuse that.
    pub(crate) malformed: bool,
}

/// What `no-cache` and `private` speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Response,
    Fields(Vec<HeaderName>),
}

/// A request's directives (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestControl {
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) only_if_cached: bool,
    /// In seconds, as all that follow.
    pub(crate) max_age: Option<u64>,
    pub(crate) min_fresh: Option<u64>,
    /// [`LARGEST`] if it names no bound.
    pub(crate) max_stale: Option<u64>,
}

/// A field that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl ResponseControl {
    /// Reads `cache-control`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self::read(headers, &CACHE_CONTROL)
    }

    /// Reads a header that has the form of `cache-control`, or is meant to.
    pub(crate) fn read(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut control = Self::default();
        for directive in directives(headers, name) {
            match directive {
                Directive::Named(name, argument) => control.set(name, argument),
                Directive::Malformed(text) => {
                    control.malformed = true;
                    control.heed_words(text);
                }
            }
        }
        control
    }

    pub(crate) fn set(&mut self, name: &[u8], argument: Argument<'_>) {
        // RFC 9111 §4.2.1: an invalid lifetime is over, and of two the response may be given the
        // shorter one.
        let shortest = |seconds: &mut Option<u64>| {
            let given = argument.seconds().unwrap_or(0);
            *seconds = Some(seconds.map_or(given, |before| before.min(given)));
        };
        let mut known = true;
        match &*name.to_ascii_lowercase() {
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
            name => {
                known = false;
                self.heed_words(name);
            }
        }
        match argument {
            Argument::Token(text) => self.heed_words(text),
            // A quoted argument of an extension is the extension's own affair (§5.2.3).
            Argument::Quoted(text) if known => self.heed_words(text),
            _ => {}
        }
    }

    /// Adds what another header says against storing. `other` was read though it is malformed, or
    /// is not meant for this cache.
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

    /// Forbids storing, as nothing in `cache-control` itself can excuse.
    pub(crate) fn forbid(&mut self) {
        self.no_store = true;
        self.malformed = true;
    }

    /// Heeds the words that forbid storing wherever they stand and however they are joined, as
    /// other caches do: a response that says `no-cache; no-store` means it.
    fn heed_words(&mut self, text: &[u8]) {
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
    /// The argument names header fields only in the quoted form that RFC 9111 §5.2.2.7 prescribes.
    /// Otherwise (`private=1`), or with a name that is none, the scope is the whole response.
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
    /// `pragma: no-cache` counts where there is no `cache-control` (RFC 9111 §5.4).
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            let mut lines = headers.get_all(PRAGMA).iter();
            control.no_cache = lines.any(|line| {
                members(line.as_bytes()).any(|member| member.eq_ignore_ascii_case(b"no-cache"))
            });
            return control;
        }
        for directive in directives(headers, &CACHE_CONTROL) {
            let (name, argument) = match directive {
                Directive::Named(name, argument) => (name, argument),
                Directive::Malformed(text) => {
                    let [no_store, _, no_cache] = words(text);
                    control.no_store |= no_store;
                    control.no_cache |= no_cache;
                    continue;
                }
            };
            let number = argument.seconds();
            match &*name.to_ascii_lowercase() {
                b"no-cache" => control.no_cache = true,
                b"no-store" => control.no_store = true,
                b"only-if-cached" => control.only_if_cached = true,
                b"max-age" => {
                    control.max_age.get_or_insert(number.unwrap_or(0));
                }
                b"min-fresh" => control.min_fresh = control.min_fresh.or(number),
                b"max-stale" if argument == Argument::None => {
                    control.max_stale.get_or_insert(LARGEST);
                }
                b"max-stale" => control.max_stale = control.max_stale.or(number),
                _ => {}
            }
        }
        control
    }
}

/// Returns whether a text says `no-store`, `private` and `no-cache`, whatever stands between the
/// letters.
fn words(text: &[u8]) -> [bool; 3] {
    let letters = letters(text);
    [&b"nostore"[..], b"private", b"nocache"]
        .map(|word| letters.windows(word.len()).any(|part| part == word))
}

/// Returns `true` if `pragma` says `no-cache`, or forbids storing, in any spelling. RFC 9111 §5.4
/// gives it no meaning in a response, but services that send nothing else mean one.
pub(crate) fn pragma_forbids(headers: &HeaderMap) -> bool {
    headers.get_all(PRAGMA).iter().any(|line| words(line.as_bytes()).contains(&true))
}

/// A tag without what makes it weak: two that are the same match weakly (RFC 9110 §8.8.3.2).
pub(crate) fn opaque_tag(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// In seconds: the first member of `age` (RFC 9111 §5.1), 0 if it is no number.
pub(crate) fn age(headers: &HeaderMap) -> u64 {
    let first = headers.get(AGE).and_then(|line| members(line.as_bytes()).next());
    first.and_then(delta).unwrap_or(0)
}

/// A date in one of HTTP's three formats (RFC 9110 §5.6.7), alone in its field.
pub(crate) fn date(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Option<Result<SystemTime, Malformed>> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return Some(Err(Malformed));
    }
    Some(parse_date(line))
}

pub(crate) fn parse_date(value: &HeaderValue) -> Result<SystemTime, Malformed> {
    let text = value.to_str().map_err(|_| Malformed)?;
    // RFC 9111 §4.2: a cache reads it in any case.
    exact_date(text).or_else(|| exact_date(&in_case(text))).ok_or(Malformed)
}

fn exact_date(text: &str) -> Option<SystemTime> {
    // `httpdate` takes a day of one digit too.
    let exact = |date: &SystemTime| {
        !text.ends_with("GMT") || text.contains('-') || httpdate::fmt_http_date(*date) == text
    };
    httpdate::parse_http_date(text).ok().filter(exact)
}

/// The words of a date in their own case: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn in_case(text: &str) -> String {
    let mut within = false;
    let letter = |of: char| {
        let first = !std::mem::replace(&mut within, of.is_ascii_alphabetic());
        if first { of.to_ascii_uppercase() } else { of.to_ascii_lowercase() }
    };
    text.chars().map(letter).collect::<String>().replace("Gmt", "GMT")
}

/// Milliseconds since 1970; before it is 0.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// In milliseconds, of [`LARGEST`] at most.
pub(crate) fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(LARGEST * 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::headers::test_headers::map;

    fn response(lines: &[&str]) -> ResponseControl {
        let fields: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        ResponseControl::of(&map(&fields))
    }

    fn request(line: &str) -> RequestControl {
        RequestControl::of(&map(&[("cache-control", line)]))
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
                ResponseControl { s_maxage: Some(LARGEST), ..none() },
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
            ("max-stale", RequestControl { max_stale: Some(LARGEST), ..none() }),
            ("max-stale=5", RequestControl { max_stale: Some(5), ..none() }),
            ("max-stale=x", none()),
            ("only-if-cached", RequestControl { only_if_cached: true, ..none() }),
        ] {
            assert_eq!(request(line), expected, "{line}");
        }
        // RFC 9111 §5.4.
        assert!(RequestControl::of(&map(&[("pragma", "x, No-Cache")])).no_cache);
        assert!(
            !RequestControl::of(&map(&[("pragma", "no-cache"), ("cache-control", "a")])).no_cache
        );
    }

    #[test]
    fn an_age_is_the_first_number_of_the_list() {
        for (lines, expected) in [
            (&[][..], 0),
            (&["10"], 10),
            (&["10, 20"], 10),
            (&["10", "20"], 10),
            (&["-1"], 0),
            (&["x, 5"], 0),
            (&["1.5"], 0),
            (&["99999999999999999999"], LARGEST),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("age", *line)).collect();
            assert_eq!(age(&map(&fields)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_date_has_one_of_three_formats() {
        // RFC 9110 §5.6.7.
        let table = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sunday, 06-Nov-94 08:49:37 GMT", true),
            ("Sun Nov  6 08:49:37 1994", true),
            // RFC 9111 §4.2.
            ("sUN, 06 nov 1994 08:49:37 gmt", true),
            ("SUNDAY, 06-NOV-94 08:49:37 GMT", true),
            ("sun nov  6 08:49:37 1994", true),
            ("Sun, 06 Nov 1994 08:49:37 UTC", false),
            ("Sun, 06 Nov 1994 08:49:37 +0000", false),
            ("Sun, 06 Nov 94 08:49:37 GMT", false),
            ("Sun, 6 Nov 1994 08:49:37 GMT", false),
            ("Sun, 06 Nov 1994 8:49:37 GMT", false),
            ("Sun, 06 Nov 1994 08:49:37", false),
            ("0", false),
            ("", false),
        ];
        for (text, good) in table {
            let date = parse_date(&HeaderValue::from_str(text).unwrap()).map(millis);
            assert_eq!(date, if good { Ok(784_111_777_000) } else { Err(Malformed) }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers: HeaderMap =
                    [CACHE_CONTROL, AGE, http::header::EXPIRES].map(|name| (name, value.clone())).into_iter().collect();
                ResponseControl::of(&headers);
                RequestControl::of(&headers);
                prop_assert!(age(&headers) <= LARGEST);
                prop_assert!(date(&headers, &http::header::EXPIRES).is_some());
            }
        }
    }

    proptest! {
        #[test]
        fn dates_and_numbers_are_read_as_they_are_written(
            seconds in 0..253_402_300_800_u64,
            number in any::<u64>(),
        ) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let text = httpdate::fmt_http_date(time);
            for text in [text.to_lowercase(), text.to_uppercase(), text] {
                prop_assert_eq!(parse_date(&HeaderValue::try_from(text).unwrap()), Ok(time));
            }
            prop_assert_eq!(delta(number.to_string().as_bytes()), Some(number.min(LARGEST)));
        }
    }
}
