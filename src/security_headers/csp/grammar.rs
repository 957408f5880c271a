//! The grammar of content security policies ([CSP3 §2](https://www.w3.org/TR/CSP3/#framework)),
//! in `const fn`, so that one checker serves the compiler and the running program. That is why
//! there are loops over bytes here and neither iterators nor `?`.

use super::bytes::{exactly, hash, is_in, is_one_of, is_quoted, same, split, starts, trim, word};
use super::directive::{DIRECTIVES, Kind};
use super::expression::{NONCE_VALUE, QUOTES, bare, is_keyword, source};
use crate::security_headers::error::{TWICE, VISIBLE};

/// What is wrong with which value of which directive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault<'a> {
    pub(super) directive: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) why: &'static str,
}

impl Fault<'_> {
    /// Refuses a policy where it is compiled.
    pub(super) const fn panic(&self) -> ! {
        let mut message = Message { bytes: [0; 256], length: 0 };
        if !self.directive.is_empty() {
            message.push(self.directive);
            message.push(b": ");
        }
        message.push(self.value);
        message.push(b": ");
        message.push(self.why.as_bytes());
        let text = message.bytes.split_at(message.length).0;
        match std::str::from_utf8(text) {
            Ok(text) => panic!("{}", text),
            Err(_) => panic!("{}", self.why),
        }
    }
}

struct Message {
    bytes: [u8; 256],
    length: usize,
}

impl Message {
    const fn push(&mut self, text: &[u8]) {
        let mut at = 0;
        while at < text.len() && self.length < self.bytes.len() {
            self.bytes[self.length] = text[at];
            self.length += 1;
            at += 1;
        }
    }
}

/// A policy as text, of directives that are known.
pub(super) const fn policy(text: &[u8]) -> Option<Fault<'_>> {
    // A file ends with a line break.
    let mut rest = text.trim_ascii();
    let mut empty = true;
    while !rest.is_empty() {
        let (segment, after) = split(rest, b';');
        let (name, value) = word(segment);
        let value = trim(value);
        if !name.is_empty() {
            if let Some(fault) = directive(name, value, after) {
                return Some(fault);
            }
            empty = false;
        }
        rest = after;
    }
    if empty {
        return Some(Fault { directive: b"", value: text, why: "there is no directive" });
    }
    None
}

const fn directive<'a>(name: &'a [u8], of: &'a [u8], others: &'a [u8]) -> Option<Fault<'a>> {
    if let Some(why) = characters(name) {
        return Some(Fault { directive: b"", value: name, why });
    }
    let mut rest = others;
    while !rest.is_empty() {
        let (segment, after) = split(rest, b';');
        let (other, ignored) = word(segment);
        if same(other, name) {
            let why = "the directive is there twice: browsers take the first only";
            return Some(Fault { directive: name, value: trim(ignored), why });
        }
        rest = after;
    }
    let mut at = 0;
    while at < DIRECTIVES.len() {
        let (_, known, kind) = &DIRECTIVES[at];
        if same(known.as_bytes(), name) {
            return value(*kind, name, of, &[]);
        }
        at += 1;
    }
    let why = match is_one_of(name, &OBSOLETE) {
        true => "the directive is obsolete",
        false => "not a directive that is known",
    };
    Some(Fault { directive: name, value: of, why })
}

/// Checks the words of a directive. Of those in `custom` only the characters are checked.
pub(super) const fn value<'a>(
    kind: Kind,
    name: &'a [u8],
    text: &'a [u8],
    custom: &[&str],
) -> Option<Fault<'a>> {
    let (mut count, mut none) = (0, false);
    // By their hashes: to compare each word with each takes the compiler too long.
    let mut seen = [false; 1024];
    let mut rest = text;
    loop {
        let (one, after) = word(rest);
        if one.is_empty() {
            break;
        }
        let slot = hash(one) % seen.len();
        let is_twice = seen[slot] && is_among(one, text.split_at(text.len() - rest.len()).0);
        seen[slot] = true;
        let fault = match (characters(one), is_twice) {
            (Some(why), _) => Some(why),
            (None, true) => Some(TWICE),
            (None, false) if is_one_of(one, custom) => None,
            (None, false) => word_of(kind, one),
        };
        if let Some(why) = fault {
            return Some(Fault { directive: name, value: one, why });
        }
        count += 1;
        none = none || same(one, b"'none'");
        rest = after;
    }
    let why = match (kind, count) {
        (Kind::Nothing, 1..) => "the directive takes no value",
        (Kind::Endpoint, 2..) => "the directive takes one value",
        (Kind::Words(_), 2..) if custom.is_empty() => "the directive takes one value",
        (Kind::Nothing | Kind::Sandbox | Kind::Types | Kind::Anything, 0) => return None,
        (Kind::Sources | Kind::Ancestors, 0) => "it has no value: 'none' allows nothing",
        (_, 0) => "it has no value",
        (_, 2..) if none => "'none' stands alone",
        _ => return None,
    };
    Some(Fault { directive: name, value: text, why })
}

/// What can be in no value: it would end the word, the directive or the policy.
pub(super) const fn characters(word: &[u8]) -> Option<&'static str> {
    if word.is_empty() {
        return Some("it is empty");
    }
    let mut at = 0;
    while at < word.len() {
        match word[at] {
            b' ' | b'\t' => return Some("it is one value, and has a space"),
            b'\n' | b'\r' => return Some("it has a line break"),
            b';' | b',' => return Some("; and , end a policy: write %3B and %2C in addresses"),
            b'!'..=b'~' => {}
            _ => return Some(VISIBLE),
        }
        at += 1;
    }
    None
}

const fn word_of(kind: Kind, word: &[u8]) -> Option<&'static str> {
    let why = match kind {
        Kind::Sources => return source(word),
        Kind::Ancestors => match source(word) {
            None if !is_quoted(word) || is_one_of(word, &["'self'", "'none'"]) => return None,
            None => "frame-ancestors has hosts, schemes, 'self' and 'none' only",
            fault => return fault,
        },
        Kind::Endpoint if is_key(word) => return None,
        Kind::Endpoint => KEY,
        Kind::Sandbox if is_one_of(word, &SANDBOX) => return None,
        Kind::Sandbox => "not a flag that sandbox has",
        Kind::Types | Kind::Uris if bare(word).is_some() => return bare(word),
        Kind::Types if same(word, b"allow-duplicates") => return Some(QUOTES),
        Kind::Types if is_type_name(word) || is_one_of(word, &TYPES) => return None,
        Kind::Types => "not the name of a policy for trusted types",
        Kind::Words(words) if is_one_of(word, words) => return None,
        Kind::Words(_) => "not a value of this directive",
        Kind::Uris if is_quoted(word) => "not an address",
        Kind::Anything if starts(word, b"'nonce-") => NONCE_VALUE,
        Kind::Uris | Kind::Nothing | Kind::Anything => return None,
    };
    Some(why)
}

/// A key of a structured field (RFC 9651 §3.1.2), which the name of an endpoint is.
pub(in crate::security_headers) const fn is_key(word: &[u8]) -> bool {
    let mut at = 0;
    while at < word.len() {
        let starts = word[at].is_ascii_lowercase() || word[at] == b'*';
        if !(starts || at > 0 && (word[at].is_ascii_digit() || is_in(word[at], b"_-."))) {
            return false;
        }
        at += 1;
    }
    at > 0
}

/// A token of a structured field (RFC 9651 §3.3.4).
pub(in crate::security_headers) const fn is_token(word: &[u8]) -> bool {
    let mut at = 0;
    while at < word.len() {
        let starts = word[at].is_ascii_alphabetic() || word[at] == b'*';
        let follows = word[at].is_ascii_digit() || is_in(word[at], b"!#$%&'+-.^_`|~:/");
        if !(starts || at > 0 && follows) {
            return false;
        }
        at += 1;
    }
    at > 0
}

/// The name of a directive that is not known here.
pub(super) fn is_custom(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.bytes().all(allowed)
        && !DIRECTIVES.iter().any(|(_, known, _)| *known == name)
}

const fn is_type_name(word: &[u8]) -> bool {
    let mut at = 0;
    while at < word.len() {
        if !(word[at].is_ascii_alphanumeric() || is_in(word[at], b"-#=_/@.%")) {
            return false;
        }
        at += 1;
    }
    at > 0
}

const fn is_among(one: &[u8], words: &[u8]) -> bool {
    let mut rest = words;
    loop {
        let (other, after) = word(rest);
        if other.is_empty() {
            return false;
        }
        if exactly(one, other) || is_keyword(one) && same(one, other) {
            return true;
        }
        rest = after;
    }
}

pub(in crate::security_headers) const KEY: &str =
    "not the name of an endpoint: a to z and *, and after the first also 0 to 9 and _ - .";

const TYPES: [&str; 3] = ["*", "'none'", "'allow-duplicates'"];

const SANDBOX: [&str; 14] = [
    "allow-downloads",
    "allow-forms",
    "allow-modals",
    "allow-orientation-lock",
    "allow-pointer-lock",
    "allow-popups",
    "allow-popups-to-escape-sandbox",
    "allow-presentation",
    "allow-same-origin",
    "allow-scripts",
    "allow-storage-access-by-user-activation",
    "allow-top-navigation",
    "allow-top-navigation-by-user-activation",
    "allow-top-navigation-to-custom-protocols",
];

const OBSOLETE: [&str; 7] = [
    "block-all-mixed-content",
    "navigate-to",
    "plugin-types",
    "prefetch-src",
    "referrer",
    "reflected-xss",
    "require-sri-for",
];
