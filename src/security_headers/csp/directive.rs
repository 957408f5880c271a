use std::fmt;

/// A directive of a content security policy
/// ([CSP3 §6](https://www.w3.org/TR/CSP3/#csp-directives)). What is obsolete is not here:
/// `block-all-mixed-content`, `plugin-types`, `prefetch-src`, `navigate-to`, `require-sri-for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Directive {
    /// `base-uri`: what `<base>` may say.
    BaseUri,
    /// `child-src`: frames and workers, where these have no directive of their own.
    ChildSrc,
    /// `connect-src`: what scripts may connect to.
    ConnectSrc,
    /// `default-src`: whatever is fetched and has no directive of its own.
    DefaultSrc,
    /// `fenced-frame-src`: fenced frames.
    FencedFrameSrc,
    /// `font-src`: fonts.
    FontSrc,
    /// `form-action`: where forms may be sent.
    FormAction,
    /// `frame-ancestors`: what may frame the page. Its sources are hosts, schemes, `'self'` and
    /// `'none'` only.
    FrameAncestors,
    /// `frame-src`: frames of the page.
    FrameSrc,
    /// `img-src`: images and icons.
    ImgSrc,
    /// `manifest-src`: the manifest of a web application.
    ManifestSrc,
    /// `media-src`: audio, video and tracks.
    MediaSrc,
    /// `object-src`: `<object>` and `<embed>`.
    ObjectSrc,
    /// `report-to`: see [`Csp::report_to`](super::Csp::report_to).
    ReportTo,
    /// `report-uri`: where violations are reported, for browsers without `report-to`.
    ReportUri,
    /// `require-trusted-types-for`: `'script'`.
    RequireTrustedTypesFor,
    /// `sandbox`: what a sandboxed page may do nevertheless, such as `allow-forms`.
    Sandbox,
    /// `script-src`: scripts.
    ScriptSrc,
    /// `script-src-attr`: event handlers in attributes.
    ScriptSrcAttr,
    /// `script-src-elem`: `<script>`.
    ScriptSrcElem,
    /// `style-src`: style sheets.
    StyleSrc,
    /// `style-src-attr`: `style` attributes.
    StyleSrcAttr,
    /// `style-src-elem`: `<style>` and `<link rel=stylesheet>`.
    StyleSrcElem,
    /// `trusted-types`: the names of policies that may be made.
    TrustedTypes,
    /// `upgrade-insecure-requests`: asks for `http:` addresses by HTTPS. It has no value.
    UpgradeInsecureRequests,
    /// `webrtc`: `'allow'` or `'block'`.
    Webrtc,
    /// `worker-src`: workers.
    WorkerSrc,
    /// One that is not in this list. Its name and the characters of its value are checked, not
    /// what it says.
    Custom(&'static str),
}

/// What the value of a directive consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sources,
    Ancestors,
    Endpoint,
    Uris,
    Sandbox,
    Types,
    /// One of these words.
    Words(&'static [&'static str]),
    Nothing,
    Anything,
}

impl Directive {
    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Custom(name) => name,
            known => {
                let found = DIRECTIVES.iter().find(|(directive, ..)| *directive == known);
                found.map_or("", |(_, name, _)| name)
            }
        }
    }

    pub(super) fn known(name: &str) -> Option<Self> {
        let found = DIRECTIVES.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(directive, ..)| *directive)
    }

    pub(super) fn kind(self) -> Kind {
        let found = DIRECTIVES.iter().find(|(directive, ..)| *directive == self);
        found.map_or(Kind::Anything, |(.., kind)| *kind)
    }

    /// Which directives hold, the first of them that there is, where this one is missing
    /// (CSP3 §6.8.3).
    pub(super) const fn fallbacks(self) -> &'static [Self] {
        match self {
            Self::ScriptSrcAttr | Self::ScriptSrcElem => &[Self::ScriptSrc, Self::DefaultSrc],
            Self::StyleSrcAttr | Self::StyleSrcElem => &[Self::StyleSrc, Self::DefaultSrc],
            Self::WorkerSrc => &[Self::ChildSrc, Self::ScriptSrc, Self::DefaultSrc],
            Self::FrameSrc => &[Self::ChildSrc, Self::DefaultSrc],
            Self::FencedFrameSrc => &[Self::FrameSrc, Self::ChildSrc, Self::DefaultSrc],
            Self::ChildSrc
            | Self::ConnectSrc
            | Self::FontSrc
            | Self::ImgSrc
            | Self::ManifestSrc
            | Self::MediaSrc
            | Self::ObjectSrc
            | Self::ScriptSrc
            | Self::StyleSrc => &[Self::DefaultSrc],
            _ => &[],
        }
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

pub(super) const DIRECTIVES: [(Directive, &str, Kind); 27] = [
    (Directive::BaseUri, "base-uri", Kind::Sources),
    (Directive::ChildSrc, "child-src", Kind::Sources),
    (Directive::ConnectSrc, "connect-src", Kind::Sources),
    (Directive::DefaultSrc, "default-src", Kind::Sources),
    (Directive::FencedFrameSrc, "fenced-frame-src", Kind::Sources),
    (Directive::FontSrc, "font-src", Kind::Sources),
    (Directive::FormAction, "form-action", Kind::Sources),
    (Directive::FrameAncestors, "frame-ancestors", Kind::Ancestors),
    (Directive::FrameSrc, "frame-src", Kind::Sources),
    (Directive::ImgSrc, "img-src", Kind::Sources),
    (Directive::ManifestSrc, "manifest-src", Kind::Sources),
    (Directive::MediaSrc, "media-src", Kind::Sources),
    (Directive::ObjectSrc, "object-src", Kind::Sources),
    (Directive::ReportTo, "report-to", Kind::Endpoint),
    (Directive::ReportUri, "report-uri", Kind::Uris),
    (Directive::RequireTrustedTypesFor, "require-trusted-types-for", Kind::Words(&["'script'"])),
    (Directive::Sandbox, "sandbox", Kind::Sandbox),
    (Directive::ScriptSrc, "script-src", Kind::Sources),
    (Directive::ScriptSrcAttr, "script-src-attr", Kind::Sources),
    (Directive::ScriptSrcElem, "script-src-elem", Kind::Sources),
    (Directive::StyleSrc, "style-src", Kind::Sources),
    (Directive::StyleSrcAttr, "style-src-attr", Kind::Sources),
    (Directive::StyleSrcElem, "style-src-elem", Kind::Sources),
    (Directive::TrustedTypes, "trusted-types", Kind::Types),
    (Directive::UpgradeInsecureRequests, "upgrade-insecure-requests", Kind::Nothing),
    (Directive::Webrtc, "webrtc", Kind::Words(&["'allow'", "'block'"])),
    (Directive::WorkerSrc, "worker-src", Kind::Sources),
];
