//! All directives of a content security policy that the crate knows.

use tower_kit::security_headers::Directive;

pub(crate) const DIRECTIVES: [Directive; 27] = [
    Directive::BASE_URI,
    Directive::CHILD_SRC,
    Directive::CONNECT_SRC,
    Directive::DEFAULT_SRC,
    Directive::FENCED_FRAME_SRC,
    Directive::FONT_SRC,
    Directive::FORM_ACTION,
    Directive::FRAME_ANCESTORS,
    Directive::FRAME_SRC,
    Directive::IMG_SRC,
    Directive::MANIFEST_SRC,
    Directive::MEDIA_SRC,
    Directive::OBJECT_SRC,
    Directive::REPORT_TO,
    Directive::REPORT_URI,
    Directive::REQUIRE_TRUSTED_TYPES_FOR,
    Directive::SANDBOX,
    Directive::SCRIPT_SRC,
    Directive::SCRIPT_SRC_ATTR,
    Directive::SCRIPT_SRC_ELEM,
    Directive::STYLE_SRC,
    Directive::STYLE_SRC_ATTR,
    Directive::STYLE_SRC_ELEM,
    Directive::TRUSTED_TYPES,
    Directive::UPGRADE_INSECURE_REQUESTS,
    Directive::WEBRTC,
    Directive::WORKER_SRC,
];
