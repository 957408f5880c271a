//! The response bodies of the service, which its clients can compute too: a body begins with a
//! checksum of the request and of a version, and the rest is made from the checksum.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A body for this URL, in this language, as of this version.
pub(crate) fn body(url: &str, language: &str, version: u64) -> String {
    let sum = sum(url, language, version);
    let mut body = format!("{sum:016x} {version} {language} {url}\n");
    let length = if url.starts_with("/big/") { 200_000 + sum % 100_000 } else { sum % 6_000 };
    let mut line = sum;
    while (body.len() as u64) < length {
        line = line.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Half of it shrinks, and half of it does not.
        writeln!(body, "{line:016x} a line of text, as there are many").unwrap();
    }
    body
}

/// Returns the version of a body, if the body is right for this URL and this language.
pub(crate) fn check(body: &[u8], url: &str, language: &str) -> Result<u64, String> {
    let text = std::str::from_utf8(body).map_err(|error| format!("{url}: {error}"))?;
    let version = text.split(' ').nth(1).and_then(|version| version.parse().ok());
    let version = version.ok_or_else(|| format!("{url}: a body without a version: {text:.100}"))?;
    if text == self::body(url, language, version) {
        Ok(version)
    } else {
        Err(format!("{url} ({language}): {} bytes of {text:.100}", text.len()))
    }
}

fn sum(url: &str, language: &str, version: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (url, language, version).hash(&mut hasher);
    hasher.finish()
}

/// The number of items, each with a version that grows.
pub(crate) const ITEMS: u64 = 60;
/// The number of pages of an item.
pub(crate) const PAGES: u64 = 4;

/// The pages of an item that depend on the language.
pub(crate) fn language_of(item: u64, wanted: &'static str) -> &'static str {
    if item % 3 == 0 { wanted } else { "any" }
}
