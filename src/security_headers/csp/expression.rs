//! Source expressions ([CSP3 §2.3.1](https://www.w3.org/TR/CSP3/#framework-directive-source-list)).

use super::bytes::{is_in, is_one_of, is_quoted, same, split, starts};

/// A source expression (CSP3 §2.3.1), with `'nonce'` for the one of each response.
pub(super) const fn source(word: &[u8]) -> Option<&'static str> {
    if is_quoted(word) {
        return quoted(word);
    }
    if let Some(why) = bare(word) {
        return Some(why);
    }
    if is_one_of(word, &SCHEMES) {
        return Some("a scheme ends with a colon");
    }
    if is_scheme(word) || is_host(word) { None } else { Some(HOST) }
}

/// What is meant to be a keyword, a nonce or a hash, and is none without its quotes.
pub(super) const fn bare(word: &[u8]) -> Option<&'static str> {
    if is_quoted_inside(word, &KEYWORDS) {
        return Some(QUOTES);
    }
    let mut at = 0;
    while at < VALUES.len() {
        if starts(word, VALUES[at].as_bytes()) {
            return Some("nonces and hashes are written in single quotes");
        }
        at += 1;
    }
    None
}

/// In quotes, in upper or lower case.
pub(super) const fn is_keyword(word: &[u8]) -> bool {
    is_one_of(word, &KEYWORDS)
}

const fn quoted(word: &[u8]) -> Option<&'static str> {
    if starts(word, b"'nonce-") {
        return Some(NONCE_VALUE);
    }
    if is_keyword(word) {
        return None;
    }
    // Of an inline script; of the address of a script; of a text that `eval` gets.
    let before = match () {
        () if starts(word, b"'url-sha") => 5,
        () if starts(word, b"'eval-sha") => 6,
        () => 1,
    };
    let hash = word.split_at(before).1;
    let length = match () {
        () if starts(hash, b"sha256-") => 44,
        () if starts(hash, b"sha384-") => 64,
        () if starts(hash, b"sha512-") => 88,
        () => return Some("not a keyword that is known: Source::custom takes others"),
    };
    let digest = hash.split_at(7).1;
    if digest.len() == length + 1 && digest[length] == b'\'' && is_base64(digest, length) {
        return None;
    }
    Some("not a digest in base64, with its padding, of the length that the hash has")
}

/// Base64 with padding, of either alphabet, in the first bytes of a word.
const fn is_base64(word: &[u8], end: usize) -> bool {
    let padding = match end {
        44 => 1,
        64 => 0,
        _ => 2,
    };
    let mut at = 0;
    while at < end {
        let fits = match word[at] {
            b'=' => at >= end - padding,
            b'+' | b'/' | b'-' | b'_' => at < end - padding,
            byte => byte.is_ascii_alphanumeric() && at < end - padding,
        };
        if !fits {
            return false;
        }
        at += 1;
    }
    true
}

/// A scheme and a colon (RFC 3986 §3.1).
pub(super) const fn is_scheme(word: &[u8]) -> bool {
    let (name, after) = split(word, b':');
    after.is_empty() && name.len() + 1 == word.len() && is_scheme_name(name)
}

const fn is_scheme_name(name: &[u8]) -> bool {
    if name.is_empty() || !name[0].is_ascii_alphabetic() {
        return false;
    }
    let mut at = 0;
    while at < name.len() {
        if !(name[at].is_ascii_alphanumeric() || is_in(name[at], b"+-.")) {
            return false;
        }
        at += 1;
    }
    true
}

/// `*`, or a host with what may be around it: a scheme, a port, a path.
const fn is_host(word: &[u8]) -> bool {
    host_of(word).is_some()
}

/// The host in a host with what may be around it.
pub(in crate::security_headers) const fn host_of(word: &[u8]) -> Option<&[u8]> {
    let mut rest = word;
    let (scheme, after) = split(word, b':');
    if starts(after, b"//") {
        if !is_scheme_name(scheme) {
            return None;
        }
        rest = after.split_at(2).1;
    }
    let (authority, path) = rest.split_at(split(rest, b'/').0.len());
    let (host, port) = split(authority, b':');
    let has_port = host.len() < authority.len();
    if is_host_name(host) && (!has_port || is_port(port)) && is_path(path) {
        return Some(host);
    }
    None
}

const fn is_host_name(host: &[u8]) -> bool {
    if same(host, b"*") {
        return true;
    }
    let name = if starts(host, b"*.") { host.split_at(2).1 } else { host };
    let (mut at, mut label) = (0, 0);
    while at < name.len() {
        match name[at] {
            b'.' if label == 0 => return false,
            // The dot of the root.
            b'.' if at + 1 == name.len() => return true,
            b'.' => label = 0,
            b'-' => label += 1,
            byte if byte.is_ascii_alphanumeric() => label += 1,
            _ => return false,
        }
        at += 1;
    }
    label > 0
}

const fn is_port(port: &[u8]) -> bool {
    if same(port, b"*") {
        return true;
    }
    let (mut at, mut number) = (0, 0);
    while at < port.len() {
        if !port[at].is_ascii_digit() || number > 6553 {
            return false;
        }
        number = 10 * number + (port[at] - b'0') as u32;
        at += 1;
    }
    at > 0 && number <= 65535
}

/// Of `pchar` and slashes (RFC 3986 §3.3): a query or fragment never matches.
const fn is_path(path: &[u8]) -> bool {
    if starts(path, b"//") {
        return false;
    }
    let mut at = 0;
    while at < path.len() {
        if !(path[at].is_ascii_alphanumeric() || is_in(path[at], b"-._~!$&'()*+=:@%/")) {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether it would be one of these words, if it had quotes around it.
const fn is_quoted_inside(one: &[u8], words: &[&str]) -> bool {
    let mut at = 0;
    while at < words.len() {
        let inside = words[at].as_bytes().split_at(1).1.split_at(words[at].len() - 2).0;
        if same(one, inside) {
            return true;
        }
        at += 1;
    }
    false
}

pub(super) const QUOTES: &str = "a keyword is written in single quotes";
const HOST: &str = "not a source: a keyword in quotes, a scheme with a colon, or a host, with a \
                    scheme, a port and a path where these matter";

pub(super) const NONCE_VALUE: &str =
    "a nonce is for one response: 'nonce', Source::NONCE, stands for it";

const VALUES: [&str; 10] = [
    "nonce-",
    "sha256-",
    "sha384-",
    "sha512-",
    "url-sha256-",
    "url-sha384-",
    "url-sha512-",
    "eval-sha256-",
    "eval-sha384-",
    "eval-sha512-",
];

const KEYWORDS: [&str; 16] = [
    "'none'",
    "'nonce'",
    "'self'",
    "'unsafe-inline'",
    "'unsafe-eval'",
    "'unsafe-hashes'",
    "'strict-dynamic'",
    "'strict-dynamic-url'",
    "'report-sample'",
    "'wasm-unsafe-eval'",
    "'inline-speculation-rules'",
    "'trusted-types-eval'",
    "'unsafe-webtransport-hashes'",
    "'report-sha256'",
    "'report-sha384'",
    "'report-sha512'",
];

/// Those that are meant as schemes where they stand alone.
const SCHEMES: [&str; 8] =
    ["http", "https", "ws", "wss", "data", "blob", "filesystem", "mediastream"];
