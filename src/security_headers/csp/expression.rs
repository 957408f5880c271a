//! Source expressions ([CSP3 §2.3.1](https://www.w3.org/TR/CSP3/#framework-directive-source-list)).

use super::bytes::{eq_ignore_case, is_in, is_one_of, is_quoted, split, starts_with};

/// Checks a source expression (CSP3 §2.3.1). `'nonce'` stands for the nonce of each response.
pub(super) const fn check_source(word: &[u8]) -> Result<(), &'static str> {
    if is_quoted(word) {
        return check_quoted(word);
    }
    if let Err(reason) = check_quotes(word) {
        return Err(reason);
    }
    // Browsers would take such a word as the name of a host.
    if is_one_of(word, &SCHEMES) {
        return Err("a scheme ends with a colon");
    }
    if is_scheme(word) || host_of(word).is_some() { Ok(()) } else { Err(HOST) }
}

/// Checks that a word does not lack the single quotes of a keyword, a nonce or a hash.
pub(super) const fn check_quotes(word: &[u8]) -> Result<(), &'static str> {
    if is_quoted_inside(word, &KEYWORDS) {
        return Err(QUOTES);
    }
    let mut at = 0;
    while at < VALUES.len() {
        if starts_with(word, VALUES[at].as_bytes()) {
            return Err("nonces and hashes are written in single quotes");
        }
        at += 1;
    }
    Ok(())
}

/// Returns `true` for a keyword in single quotes, in any case of letters.
pub(super) const fn is_keyword(word: &[u8]) -> bool {
    is_one_of(word, &KEYWORDS)
}

const fn check_quoted(word: &[u8]) -> Result<(), &'static str> {
    if starts_with(word, b"'nonce-") {
        return Err(NONCE_VALUE);
    }
    if is_keyword(word) {
        return Ok(());
    }
    // A hash is that of a script's URL, of a text for `eval`, or of an inline script.
    let before = match () {
        () if starts_with(word, b"'url-sha") => 5,
        () if starts_with(word, b"'eval-sha") => 6,
        () => 1,
    };
    let hash = word.split_at(before).1;
    let length = match () {
        () if starts_with(hash, b"sha256-") => 44,
        () if starts_with(hash, b"sha384-") => 64,
        () if starts_with(hash, b"sha512-") => 88,
        () => return Err("not a keyword that is known: Source::custom takes others"),
    };
    let digest = hash.split_at(7).1;
    if digest.len() == length + 1 && digest[length] == b'\'' && is_base64(digest, length) {
        return Ok(());
    }
    Err("not a digest in base64, with its padding, of the length that the hash has")
}

/// Returns `true` if the first bytes of a word are padded base64, of either alphabet.
const fn is_base64(word: &[u8], end: usize) -> bool {
    // The padding that digests of 32, 48 and 64 bytes have.
    let padding = match end {
        44 => 1,
        64 => 0,
        _ => 2,
    };
    let mut at = 0;
    while at < end {
        let fits = match word[at] {
            b'=' => at >= end - padding,
            // Browsers take both alphabets (CSP3 §2.3.1, base64-value).
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

/// Returns `true` for a scheme and a colon (RFC 3986 §3.1).
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

/// Returns the host of a word that is a host with an optional scheme, port and path.
pub(in crate::security_headers) const fn host_of(word: &[u8]) -> Option<&[u8]> {
    let mut rest = word;
    let (scheme, after) = split(word, b':');
    // Without `//` the colon separates the port.
    if starts_with(after, b"//") {
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
    if eq_ignore_case(host, b"*") {
        return true;
    }
    let name = if starts_with(host, b"*.") { host.split_at(2).1 } else { host };
    let (mut at, mut label) = (0, 0);
    while at < name.len() {
        match name[at] {
            b'.' if label == 0 => return false,
            // The name may end with the dot of the root (CSP3 §2.3.1).
            b'.' if at + 1 == name.len() => return true,
            b'.' => label = 0,
            b'-' => label += 1,
            // CSP3 §2.3.1 has neither `_` nor IPv6 addresses in host-part.
            byte if byte.is_ascii_alphanumeric() => label += 1,
            _ => return false,
        }
        at += 1;
    }
    label > 0
}

const fn is_port(port: &[u8]) -> bool {
    if eq_ignore_case(port, b"*") {
        return true;
    }
    let (mut at, mut number) = (0, 0);
    while at < port.len() {
        // The bound keeps the next step from overflowing on a long run of digits.
        if !port[at].is_ascii_digit() || number > 6553 {
            return false;
        }
        number = 10 * number + (port[at] - b'0') as u32;
        at += 1;
    }
    at > 0 && number <= 65535
}

/// Returns `true` for a path of `pchar` and slashes (RFC 3986 §3.3). CSP3 §6.7.2.10 compares paths
/// only, so a source with a query or a fragment matches nothing.
const fn is_path(path: &[u8]) -> bool {
    // `path-absolute` does not start with `//` (RFC 3986 §3.3).
    if starts_with(path, b"//") {
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

/// Returns `true` if a word in single quotes is one of `words`.
const fn is_quoted_inside(one: &[u8], words: &[&str]) -> bool {
    let mut at = 0;
    while at < words.len() {
        let inside = words[at].as_bytes().split_at(1).1.split_at(words[at].len() - 2).0;
        if eq_ignore_case(one, inside) {
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

/// Names that people mean as schemes, though without a colon they are hosts.
const SCHEMES: [&str; 8] =
    ["http", "https", "ws", "wss", "data", "blob", "filesystem", "mediastream"];
