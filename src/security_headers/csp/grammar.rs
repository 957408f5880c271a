//! The grammar of content security policies ([CSP3 §2](https://www.w3.org/TR/CSP3/#framework)).
//!
//! All of it is `const fn`, so that the compiler and the running program use one parser. `const fn`
//! has neither iterators nor `?`, hence the loops over bytes.

use super::bytes::{
    eq, eq_ignore_case, hash, is_in, is_one_of, is_quoted, split, starts_with, trim, word,
};
use super::directive::{Directive, Syntax};
use super::expression::{NONCE_VALUE, QUOTES, check_quotes, check_source, is_keyword};
use crate::security_headers::error::{TWICE, VISIBLE};
use crate::security_headers::structured::{KEY, is_key};

/// The error of a policy: the directive, the value that is wrong, and the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParseError<'a> {
    pub(super) directive: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) reason: &'static str,
}

impl ParseError<'_> {
    /// Panics with the error, which fails the compilation of a `const` policy.
    pub(super) const fn panic(&self) -> ! {
        let mut message = Message { bytes: [0; 256], length: 0 };
        if !self.directive.is_empty() {
            message.push(self.directive);
            message.push(b": ");
        }
        message.push(self.value);
        message.push(b": ");
        message.push(self.reason.as_bytes());
        let text = message.bytes.split_at(message.length).0;
        match std::str::from_utf8(text) {
            Ok(text) => panic!("{}", text),
            Err(_) => panic!("{}", self.reason),
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

/// Checks a policy as text. All its directives must be known.
pub(super) const fn check_policy(text: &[u8]) -> Result<(), ParseError<'_>> {
    // A policy from a file ends with a line break.
    let mut rest = text.trim_ascii();
    let mut empty = true;
    while !rest.is_empty() {
        let (segment, after) = split(rest, b';');
        let (name, value) = word(segment);
        let value = trim(value);
        if !name.is_empty() {
            if let Err(error) = check_directive(name, value, after) {
                return Err(error);
            }
            empty = false;
        }
        rest = after;
    }
    if empty {
        return Err(ParseError { directive: b"", value: text, reason: "there is no directive" });
    }
    Ok(())
}

const fn check_directive<'a>(
    name: &'a [u8],
    value: &'a [u8],
    others: &'a [u8],
) -> Result<(), ParseError<'a>> {
    if let Err(reason) = check_characters(name) {
        return Err(ParseError { directive: b"", value: name, reason });
    }
    // Browsers take the first directive of a name (CSP3 §2.2.1), so the error names the later one.
    let mut rest = others;
    while !rest.is_empty() {
        let (segment, after) = split(rest, b';');
        let (other, ignored) = word(segment);
        if eq_ignore_case(other, name) {
            let reason = "the directive is there twice: browsers take the first only";
            return Err(ParseError { directive: name, value: trim(ignored), reason });
        }
        rest = after;
    }
    let mut at = 0;
    while at < Directive::KNOWN.len() {
        let known = Directive::KNOWN[at];
        if eq_ignore_case(name, known.name().as_bytes()) {
            return check_value(known.syntax(), name, value, &[]);
        }
        at += 1;
    }
    let reason = match is_one_of(name, &OBSOLETE) {
        true => "the directive is obsolete",
        false => "not a directive that is known",
    };
    Err(ParseError { directive: name, value, reason })
}

/// Checks the value of a directive. Of words in `custom` only the characters are checked.
pub(super) const fn check_value<'a>(
    syntax: Syntax,
    name: &'a [u8],
    text: &'a [u8],
    custom: &[&str],
) -> Result<(), ParseError<'a>> {
    let (mut count, mut none) = (0, false);
    // Words are compared only if their hashes collide: to compare each with each in a `const` takes
    // the compiler too long.
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
        let checked = match (check_characters(one), is_twice) {
            (Ok(()), true) => Err(TWICE),
            (Ok(()), false) if !is_one_of(one, custom) => check_word(syntax, one),
            (checked, _) => checked,
        };
        if let Err(reason) = checked {
            return Err(ParseError { directive: name, value: one, reason });
        }
        count += 1;
        none = none || eq_ignore_case(one, b"'none'");
        rest = after;
    }
    let reason = match (syntax, count) {
        (Syntax::Empty, 1..) => "the directive takes no value",
        (Syntax::Endpoint, 2..) => "the directive takes one value",
        (Syntax::Keyword(_), 2..) if custom.is_empty() => "the directive takes one value",
        (Syntax::Empty | Syntax::Sandbox | Syntax::TrustedTypes | Syntax::Custom, 0) => {
            return Ok(());
        }
        (Syntax::Sources | Syntax::Ancestors, 0) => "it has no value: 'none' allows nothing",
        (_, 0) => "it has no value",
        (_, 2..) if none => "'none' stands alone",
        _ => return Ok(()),
    };
    Err(ParseError { directive: name, value: text, reason })
}

/// Checks that no character ends the word, the directive or the policy.
pub(super) const fn check_characters(word: &[u8]) -> Result<(), &'static str> {
    // An empty source comes from a builder only; a text has no empty words.
    if word.is_empty() {
        return Err("it is empty");
    }
    let mut at = 0;
    while at < word.len() {
        match word[at] {
            b' ' | b'\t' => return Err("it is one value, and has a space"),
            b'\n' | b'\r' => return Err("it has a line break"),
            // A comma separates policies in a header, and lines of a header are joined by commas
            // (RFC 9110 §5.3).
            b';' | b',' => return Err("; and , end a policy: write %3B and %2C in addresses"),
            b'!'..=b'~' => {}
            _ => return Err(VISIBLE),
        }
        at += 1;
    }
    Ok(())
}

const fn check_word(syntax: Syntax, word: &[u8]) -> Result<(), &'static str> {
    let reason = match syntax {
        Syntax::Sources => return check_source(word),
        Syntax::Ancestors => match check_source(word) {
            Ok(()) if !is_quoted(word) || is_one_of(word, &["'self'", "'none'"]) => return Ok(()),
            Ok(()) => "frame-ancestors has hosts, schemes, 'self' and 'none' only",
            error => return error,
        },
        Syntax::Endpoint if is_key(word) => return Ok(()),
        Syntax::Endpoint => KEY,
        Syntax::Sandbox if is_one_of(word, &SANDBOX) => return Ok(()),
        Syntax::Sandbox => "not a flag that sandbox has",
        Syntax::TrustedTypes | Syntax::Uris if check_quotes(word).is_err() => {
            return check_quotes(word);
        }
        // This keyword is not in the list of sources' keywords, so `check_quotes` does not know it.
        Syntax::TrustedTypes if eq_ignore_case(word, b"allow-duplicates") => {
            return Err(QUOTES);
        }
        Syntax::TrustedTypes if is_type_name(word) || is_one_of(word, &TYPES) => return Ok(()),
        Syntax::TrustedTypes => "not the name of a policy for trusted types",
        Syntax::Keyword(words) if is_one_of(word, words) => return Ok(()),
        Syntax::Keyword(_) => "not a value of this directive",
        Syntax::Uris if is_quoted(word) => "not an address",
        // The values of unknown directives are free, except for a nonce that each response would
        // share.
        Syntax::Custom if starts_with(word, b"'nonce-") => NONCE_VALUE,
        Syntax::Uris | Syntax::Empty | Syntax::Custom => return Ok(()),
    };
    Err(reason)
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
        // The case of keywords does not count, that of paths and digests does.
        if eq(one, other) || is_keyword(one) && eq_ignore_case(one, other) {
            return true;
        }
        rest = after;
    }
}

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
