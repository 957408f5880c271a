use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::bytes::starts_with;
use super::expression::{NONCE_VALUE, check_source, host_of, is_keyword, is_scheme};
use super::grammar::check_characters;
use crate::security_headers::error::InvalidHeader;

/// A word in the value of a directive: mostly a source that a page may load from
/// ([CSP3 §2.3.1](https://www.w3.org/TR/CSP3/#framework-directive-source-list)).
///
/// Text converts to a source: `"https://images.example.com"`, `"'self'"`, `"allow-forms"`. The
/// valid words depend on the directive, so the text is checked when the policy is
/// [set](crate::SecurityHeadersLayer::set). Use [`host`](Self::host) for a text from outside that
/// must be a host and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    text: Cow<'static, str>,
    /// The grammar of the directive does not have to know the word.
    is_custom: bool,
}

impl Source {
    /// `'self'`: the page's own origin.
    pub const SELF: Self = Self::known("'self'");
    /// `'none'`: no source. It stands alone.
    pub const NONE: Self = Self::known("'none'");
    /// `*`: every host, by the schemes of the network.
    pub const ANY: Self = Self::known("*");
    /// The [`Nonce`](crate::security_headers::Nonce) of each response; `'nonce'` in a text.
    pub const NONCE: Self = Self::known("'nonce'");
    /// `'strict-dynamic'`: trusted scripts may load others, and hosts are ignored.
    pub const STRICT_DYNAMIC: Self = Self::known("'strict-dynamic'");
    /// `'unsafe-inline'`: inline scripts or styles, unless there is a nonce or a hash.
    pub const UNSAFE_INLINE: Self = Self::known("'unsafe-inline'");
    /// `'unsafe-eval'`: scripts may call `eval` and similar functions.
    pub const UNSAFE_EVAL: Self = Self::known("'unsafe-eval'");
    /// `'wasm-unsafe-eval'`: scripts may compile WebAssembly.
    pub const WASM_UNSAFE_EVAL: Self = Self::known("'wasm-unsafe-eval'");
    /// `'unsafe-hashes'`: hashes apply to attributes too.
    pub const UNSAFE_HASHES: Self = Self::known("'unsafe-hashes'");
    /// `'inline-speculation-rules'`: inline `<script type=speculationrules>`.
    pub const INLINE_SPECULATION_RULES: Self = Self::known("'inline-speculation-rules'");
    /// `'report-sample'`: reports quote the start of the blocked code.
    pub const REPORT_SAMPLE: Self = Self::known("'report-sample'");
    /// `https:`: every host by HTTPS.
    pub const HTTPS: Self = Self::known("https:");
    /// `data:`: data in the URL itself.
    pub const DATA: Self = Self::known("data:");
    /// `blob:`: objects that scripts have created.
    pub const BLOB: Self = Self::known("blob:");

    /// Parses a host, such as `example.com`, `*.example.com`, `https://example.com:8443` or
    /// `https://example.com/scripts/`.
    ///
    /// # Errors
    ///
    /// The text is not a host, with or without a scheme, a port and a path, or it is `*`, or the name
    /// of a scheme or a keyword, such as `http` or `self`.
    pub fn host(host: impl Into<Cow<'static, str>>) -> Result<Self, InvalidHeader> {
        let text = host.into();
        // A configuration that is to name a host must not open the page to all hosts.
        if host_of(text.as_bytes()).is_none_or(|host| host == b"*") {
            return Err(refused(&text, "not a host, with or without a scheme and a port"));
        }
        // A policy would take `http` or `self` for a misspelled scheme or keyword.
        match check_source(text.as_bytes()) {
            Ok(()) => Ok(Self { text, is_custom: false }),
            Err(reason) => Err(refused(&text, reason)),
        }
    }

    /// Parses the name of a scheme, such as `wss`.
    ///
    /// # Errors
    ///
    /// The text is not a scheme (RFC 3986 §3.1).
    pub fn scheme(name: &str) -> Result<Self, InvalidHeader> {
        let text = format!("{name}:");
        if is_scheme(text.as_bytes()) {
            return Ok(Self { text: text.into(), is_custom: false });
        }
        Err(refused(name, "not a scheme"))
    }

    /// Returns the hash of an inline script or style: its SHA-256 digest.
    #[must_use]
    pub fn sha256(digest: [u8; 32]) -> Self {
        Self::hash("sha256", &digest)
    }

    /// Returns the hash of an inline script or style: its SHA-384 digest.
    #[must_use]
    pub fn sha384(digest: [u8; 48]) -> Self {
        Self::hash("sha384", &digest)
    }

    /// Returns the hash of an inline script or style: its SHA-512 digest.
    #[must_use]
    pub fn sha512(digest: [u8; 64]) -> Self {
        Self::hash("sha512", &digest)
    }

    /// Returns a word that this crate does not know, sent as it is: a new keyword, or a flag of
    /// [`SANDBOX`](super::Directive::SANDBOX).
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::{Csp, Directive, Source};
    ///
    /// let keyword = Source::custom("'new-keyword'")?;
    /// let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [keyword]);
    /// let layer = SecurityHeadersLayer::new().set(policy)?;
    /// // A word that would end the directive is refused. A typing error is not.
    /// assert!(Source::custom("'x'; img-src *").is_err());
    /// # Ok::<_, tower_kit::security_headers::InvalidHeader>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The word is empty, has a space, `;`, `,` or a character that is not visible ASCII, or starts
    /// with `'nonce`: a nonce is [`NONCE`](Self::NONCE).
    pub fn custom(word: impl Into<String>) -> Result<Self, InvalidHeader> {
        let word = word.into();
        check_characters(word.as_bytes()).map_err(|reason| refused(&word, reason))?;
        if starts_with(word.as_bytes(), b"'nonce") {
            return Err(refused(&word, NONCE_VALUE));
        }
        // The rules for known keywords still apply, so that `'none'` stands alone.
        let is_custom = !is_keyword(word.as_bytes());
        Ok(Self { is_custom, ..Self::from(word) })
    }

    /// Returns the source as the header has it, but with `'nonce'` for the nonce.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn is_custom(&self) -> bool {
        self.is_custom
    }

    fn hash(algorithm: &str, digest: &[u8]) -> Self {
        Self::from(format!("'{algorithm}-{}'", STANDARD.encode(digest)))
    }

    const fn known(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), is_custom: false }
    }
}

impl From<&str> for Source {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Source {
    fn from(mut text: String) -> Self {
        // Browsers ignore the case of keywords. One spelling makes them comparable.
        if is_keyword(text.as_bytes()) {
            text.make_ascii_lowercase();
        }
        Self { text: Cow::Owned(text), is_custom: false }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn refused(value: &str, reason: &'static str) -> InvalidHeader {
    InvalidHeader::new("content-security-policy", value, reason)
}
