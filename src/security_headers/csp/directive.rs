use std::fmt;

use crate::security_headers::error::InvalidHeader;

/// A directive of a content security policy
/// ([CSP3 §6](https://www.w3.org/TR/CSP3/#csp-directives)).
///
/// Obsolete directives are not offered: `block-all-mixed-content`, `plugin-types`, `prefetch-src`,
/// `navigate-to`, `require-sri-for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Directive {
    name: &'static str,
    syntax: Syntax,
}

/// The syntax of the value of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Syntax {
    Sources,
    /// Sources without keywords other than `'self'` and `'none'`.
    Ancestors,
    Endpoint,
    Uris,
    Sandbox,
    TrustedTypes,
    /// One of these words.
    Keyword(&'static [&'static str]),
    Empty,
    /// The value of a directive that this crate does not know.
    Custom,
}

impl Directive {
    /// `base-uri`: the URLs that `<base>` may name.
    pub const BASE_URI: Self = Self::new("base-uri", Syntax::Sources);
    /// `child-src`: frames and workers that have no directive of their own.
    pub const CHILD_SRC: Self = Self::new("child-src", Syntax::Sources);
    /// `connect-src`: the URLs that scripts may connect to.
    pub const CONNECT_SRC: Self = Self::new("connect-src", Syntax::Sources);
    /// `default-src`: all resources that have no directive of their own.
    pub const DEFAULT_SRC: Self = Self::new("default-src", Syntax::Sources);
    /// `fenced-frame-src`: the URLs of fenced frames.
    pub const FENCED_FRAME_SRC: Self = Self::new("fenced-frame-src", Syntax::Sources);
    /// `font-src`: the URLs of fonts.
    pub const FONT_SRC: Self = Self::new("font-src", Syntax::Sources);
    /// `form-action`: the URLs that forms may be sent to.
    pub const FORM_ACTION: Self = Self::new("form-action", Syntax::Sources);
    /// `frame-ancestors`: the pages that may frame the response. Its sources are hosts, schemes,
    /// `'self'` and `'none'` only.
    pub const FRAME_ANCESTORS: Self = Self::new("frame-ancestors", Syntax::Ancestors);
    /// `frame-src`: the URLs of frames.
    pub const FRAME_SRC: Self = Self::new("frame-src", Syntax::Sources);
    /// `img-src`: the URLs of images and icons.
    pub const IMG_SRC: Self = Self::new("img-src", Syntax::Sources);
    /// `manifest-src`: the URL of the web application manifest.
    pub const MANIFEST_SRC: Self = Self::new("manifest-src", Syntax::Sources);
    /// `media-src`: the URLs of audio, video and tracks.
    pub const MEDIA_SRC: Self = Self::new("media-src", Syntax::Sources);
    /// `object-src`: the URLs of `<object>` and `<embed>`.
    pub const OBJECT_SRC: Self = Self::new("object-src", Syntax::Sources);
    /// `report-to`: the endpoint for reports; see [`Csp::report_to`](super::Csp::report_to).
    pub const REPORT_TO: Self = Self::new("report-to", Syntax::Endpoint);
    /// `report-uri`: the URLs for reports, for browsers without `report-to`.
    pub const REPORT_URI: Self = Self::new("report-uri", Syntax::Uris);
    /// `require-trusted-types-for`: the sinks that need trusted types: `'script'`.
    pub const REQUIRE_TRUSTED_TYPES_FOR: Self =
        Self::new("require-trusted-types-for", Syntax::Keyword(&["'script'"]));
    /// `sandbox`: the rights of a sandboxed page, such as `allow-forms`.
    pub const SANDBOX: Self = Self::new("sandbox", Syntax::Sandbox);
    /// `script-src`: scripts of all kinds.
    pub const SCRIPT_SRC: Self = Self::new("script-src", Syntax::Sources);
    /// `script-src-attr`: event handlers in attributes.
    pub const SCRIPT_SRC_ATTR: Self = Self::new("script-src-attr", Syntax::Sources);
    /// `script-src-elem`: scripts in `<script>` elements.
    pub const SCRIPT_SRC_ELEM: Self = Self::new("script-src-elem", Syntax::Sources);
    /// `style-src`: styles of all kinds.
    pub const STYLE_SRC: Self = Self::new("style-src", Syntax::Sources);
    /// `style-src-attr`: styles in `style` attributes.
    pub const STYLE_SRC_ATTR: Self = Self::new("style-src-attr", Syntax::Sources);
    /// `style-src-elem`: styles in `<style>` and `<link rel=stylesheet>`.
    pub const STYLE_SRC_ELEM: Self = Self::new("style-src-elem", Syntax::Sources);
    /// `trusted-types`: the names of policies that scripts may create.
    pub const TRUSTED_TYPES: Self = Self::new("trusted-types", Syntax::TrustedTypes);
    /// `upgrade-insecure-requests`: requests `http:` URLs by HTTPS. It has no value.
    pub const UPGRADE_INSECURE_REQUESTS: Self =
        Self::new("upgrade-insecure-requests", Syntax::Empty);
    /// `webrtc`: WebRTC: `'allow'` or `'block'`.
    pub const WEBRTC: Self = Self::new("webrtc", Syntax::Keyword(&["'allow'", "'block'"]));
    /// `worker-src`: the URLs of workers.
    pub const WORKER_SRC: Self = Self::new("worker-src", Syntax::Sources);

    /// The directives above, which the parser of texts knows.
    pub(super) const KNOWN: [Self; 27] = [
        Self::BASE_URI,
        Self::CHILD_SRC,
        Self::CONNECT_SRC,
        Self::DEFAULT_SRC,
        Self::FENCED_FRAME_SRC,
        Self::FONT_SRC,
        Self::FORM_ACTION,
        Self::FRAME_ANCESTORS,
        Self::FRAME_SRC,
        Self::IMG_SRC,
        Self::MANIFEST_SRC,
        Self::MEDIA_SRC,
        Self::OBJECT_SRC,
        Self::REPORT_TO,
        Self::REPORT_URI,
        Self::REQUIRE_TRUSTED_TYPES_FOR,
        Self::SANDBOX,
        Self::SCRIPT_SRC,
        Self::SCRIPT_SRC_ATTR,
        Self::SCRIPT_SRC_ELEM,
        Self::STYLE_SRC,
        Self::STYLE_SRC_ATTR,
        Self::STYLE_SRC_ELEM,
        Self::TRUSTED_TYPES,
        Self::UPGRADE_INSECURE_REQUESTS,
        Self::WEBRTC,
        Self::WORKER_SRC,
    ];

    /// Returns the directive with this name, which this crate need not know. Of the value of an
    /// unknown directive only the characters are checked.
    ///
    /// # Errors
    ///
    /// The name is empty, or has other characters than lower-case letters, digits and `-`.
    pub fn custom(name: &'static str) -> Result<Self, InvalidHeader> {
        let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if name.is_empty() || !name.bytes().all(is_name) {
            let reason = "not the name of a directive: a to z, 0 to 9 and -";
            let error = InvalidHeader::new("content-security-policy", name, reason);
            return Err(error.in_directive(name));
        }
        Ok(Self::find(name).unwrap_or(Self::new(name, Syntax::Custom)))
    }

    /// Returns the name of the directive, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Returns the known directive with this name, in any case of letters.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::KNOWN.into_iter().find(|known| known.name.eq_ignore_ascii_case(name))
    }

    pub(super) const fn syntax(self) -> Syntax {
        self.syntax
    }

    /// Returns the directives that apply where this one is missing: the first of them that the
    /// policy has (CSP3 §6.8.3).
    pub(super) fn fallbacks(self) -> &'static [Self] {
        match self {
            Self::SCRIPT_SRC_ATTR | Self::SCRIPT_SRC_ELEM => &[Self::SCRIPT_SRC, Self::DEFAULT_SRC],
            Self::STYLE_SRC_ATTR | Self::STYLE_SRC_ELEM => &[Self::STYLE_SRC, Self::DEFAULT_SRC],
            Self::WORKER_SRC => &[Self::CHILD_SRC, Self::SCRIPT_SRC, Self::DEFAULT_SRC],
            Self::FRAME_SRC => &[Self::CHILD_SRC, Self::DEFAULT_SRC],
            Self::FENCED_FRAME_SRC => &[Self::FRAME_SRC, Self::CHILD_SRC, Self::DEFAULT_SRC],
            Self::CHILD_SRC
            | Self::CONNECT_SRC
            | Self::FONT_SRC
            | Self::IMG_SRC
            | Self::MANIFEST_SRC
            | Self::MEDIA_SRC
            | Self::OBJECT_SRC
            | Self::SCRIPT_SRC
            | Self::STYLE_SRC => &[Self::DEFAULT_SRC],
            _ => &[],
        }
    }

    const fn new(name: &'static str, syntax: Syntax) -> Self {
        Self { name, syntax }
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_knows_every_directive() {
        let constants = include_str!("directive.rs").matches("Self::new(\"").count();
        assert_eq!(constants, Directive::KNOWN.len());
        for (at, directive) in Directive::KNOWN.into_iter().enumerate() {
            assert!(!Directive::KNOWN[..at].contains(&directive), "{directive}");
        }
    }
}
