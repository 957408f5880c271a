use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::bytes::starts;
use super::expression::{NONCE_VALUE, host_of, is_keyword, is_scheme};

/// A word of a directive's value: mostly where something may come from
/// ([CSP3 §2.3.1](https://www.w3.org/TR/CSP3/#framework-directive-source-list)).
///
/// Text becomes one too: `"https://images.example.com"`, `"'self'"`, `"allow-forms"`. It is checked
/// when the policy is [set](crate::SecurityHeadersLayer::set), since what a word may be depends on
/// the directive. Where text comes from elsewhere and is to be a host and nothing else, use
/// [`host`](Self::host).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    text: Cow<'static, str>,
    fault: Option<&'static str>,
    /// The grammar of the directive does not know this word, and need not.
    is_custom: bool,
}

impl Source {
    /// `'self'`: the page's own origin.
    pub const SELF: Self = Self::known("'self'");
    /// `'none'`: nothing at all. It stands alone.
    pub const NONE: Self = Self::known("'none'");
    /// `*`: any host, by the schemes of the network.
    pub const ANY: Self = Self::known("*");
    /// The response's own [`Nonce`](crate::security_headers::Nonce). In text, `'nonce'`.
    pub const NONCE: Self = Self::known("'nonce'");
    /// `'strict-dynamic'`: scripts may load scripts, and hosts count no more.
    pub const STRICT_DYNAMIC: Self = Self::known("'strict-dynamic'");
    /// `'unsafe-inline'`: inline scripts or styles, unless there is a nonce or a hash.
    pub const UNSAFE_INLINE: Self = Self::known("'unsafe-inline'");
    /// `'unsafe-eval'`: `eval` and the like.
    pub const UNSAFE_EVAL: Self = Self::known("'unsafe-eval'");
    /// `'wasm-unsafe-eval'`: WebAssembly.
    pub const WASM_UNSAFE_EVAL: Self = Self::known("'wasm-unsafe-eval'");
    /// `'unsafe-hashes'`: hashes count for attributes too.
    pub const UNSAFE_HASHES: Self = Self::known("'unsafe-hashes'");
    /// `'inline-speculation-rules'`: inline `<script type=speculationrules>`.
    pub const INLINE_SPECULATION_RULES: Self = Self::known("'inline-speculation-rules'");
    /// `'report-sample'`: reports have the start of what was blocked.
    pub const REPORT_SAMPLE: Self = Self::known("'report-sample'");
    /// `https:`: anything by HTTPS.
    pub const HTTPS: Self = Self::known("https:");
    /// `data:`: data in addresses.
    pub const DATA: Self = Self::known("data:");
    /// `blob:`: what scripts have made.
    pub const BLOB: Self = Self::known("blob:");

    /// A host, such as `example.com`, `*.example.com`, `https://example.com:8443` or
    /// `https://example.com/scripts/`.
    #[must_use]
    pub fn host(host: impl Into<Cow<'static, str>>) -> Self {
        let text = host.into();
        let fits = host_of(text.as_bytes()).is_some_and(|host| host != b"*");
        let fault = (!fits).then_some("not a host, with or without a scheme and a port");
        Self { text, fault, is_custom: false }
    }

    /// A scheme, such as `wss`.
    #[must_use]
    pub fn scheme(name: &str) -> Self {
        let text = format!("{name}:");
        let fault = (!is_scheme(text.as_bytes())).then_some("not a scheme");
        Self { text: text.into(), fault, is_custom: false }
    }

    /// The SHA-256 digest of an inline script or style.
    #[must_use]
    pub fn sha256(digest: [u8; 32]) -> Self {
        Self::hash("sha256", &digest)
    }

    /// The SHA-384 digest of an inline script or style.
    #[must_use]
    pub fn sha384(digest: [u8; 48]) -> Self {
        Self::hash("sha384", &digest)
    }

    /// The SHA-512 digest of an inline script or style.
    #[must_use]
    pub fn sha512(digest: [u8; 64]) -> Self {
        Self::hash("sha512", &digest)
    }

    /// Returns a word that is sent as it is, for what this crate does not know yet: a new keyword,
    /// or a flag of [`Sandbox`](super::Directive::Sandbox).
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::{Csp, Directive, Source};
    ///
    /// let policy = Csp::helmet().append(Directive::ScriptSrc, [Source::custom("'new-keyword'")]);
    /// let layer = SecurityHeadersLayer::new().set(policy)?;
    /// // A typing error is not found. What would end the word or the directive is.
    /// let policy = Csp::helmet().append(Directive::ScriptSrc, [Source::custom("'x'; img-src *")]);
    /// assert!(SecurityHeadersLayer::new().set(policy).is_err());
    /// # Ok::<_, tower_kit::security_headers::InvalidField>(())
    /// ```
    ///
    /// Spaces, `;`, `,`, control characters and all that is not visible ASCII are refused when the
    /// policy is set. So is anything that begins with `'nonce`: a nonce is [`NONCE`](Self::NONCE).
    #[must_use]
    pub fn custom(word: impl Into<String>) -> Self {
        let source = Self::from(word.into());
        let word = source.text.as_bytes();
        let fault = starts(word, b"'nonce").then_some(NONCE_VALUE);
        // A keyword that is known counts as itself, so that `'none'` still stands alone.
        Self { is_custom: !is_keyword(word), fault, ..source }
    }

    /// As it is in the field, but for the nonce, which is `'nonce'` here.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn is_custom(&self) -> bool {
        self.is_custom
    }

    pub(super) fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    fn hash(algorithm: &str, digest: &[u8]) -> Self {
        Self::from(format!("'{algorithm}-{}'", STANDARD.encode(digest)))
    }

    const fn known(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), fault: None, is_custom: false }
    }
}

impl From<&str> for Source {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Source {
    fn from(mut text: String) -> Self {
        // Their case does not count.
        if is_keyword(text.as_bytes()) {
            text.make_ascii_lowercase();
        }
        Self { text: Cow::Owned(text), fault: None, is_custom: false }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
