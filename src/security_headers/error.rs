use std::convert::Infallible;
use std::error::Error;
use std::fmt;

/// The error of a header that browsers would not understand as meant, or that must not be sent.
///
/// It names the header and the part of it that is wrong.
///
/// ```
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Csp, Directive};
///
/// let policy = Csp::helmet().append(Directive::SCRIPT_SRC, ["self"]);
/// let error = SecurityHeadersLayer::new().set(policy).unwrap_err();
/// assert_eq!(error.header(), "content-security-policy");
/// assert_eq!(error.directive(), Some("script-src"));
/// assert_eq!(error.value(), "self");
/// assert_eq!(
///     error.to_string(),
///     r#"content-security-policy: script-src: "self": a keyword is written in single quotes"#,
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHeader {
    header: String,
    directive: Option<String>,
    value: String,
    reason: &'static str,
}

impl InvalidHeader {
    pub(super) fn new(header: &str, value: impl Into<String>, reason: &'static str) -> Self {
        Self { header: header.to_owned(), directive: None, value: value.into(), reason }
    }

    pub(super) fn in_directive(self, directive: impl Into<String>) -> Self {
        Self { directive: Some(directive.into()), ..self }
    }

    /// Returns the name of the header.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Returns the part of the header that the value belongs to, if it is known: a directive of a
    /// content security policy, a feature of a permissions policy, or the name of an endpoint.
    #[must_use]
    pub fn directive(&self) -> Option<&str> {
        self.directive.as_deref()
    }

    /// Returns the text that is wrong, as it was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [Some(&self.header), self.directive.as_ref()].into_iter().flatten() {
            // Names may come from outside. Without control characters no name starts a new line in
            // a log.
            part.split(char::is_control).try_for_each(|text| f.write_str(text))?;
            f.write_str(": ")?;
        }
        write!(f, "{:?}: {}", self.value, self.reason)
    }
}

impl Error for InvalidHeader {}

/// Lets [`set`](crate::SecurityHeadersLayer::set) take values whose conversion cannot fail.
impl From<Infallible> for InvalidHeader {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Returns the value of `known` that equals `given`.
pub(super) fn parse_keyword(
    header: &str,
    given: &str,
    known: &[&'static str],
) -> Result<&'static str, InvalidHeader> {
    let found = known.iter().copied().find(|known| *known == given);
    found.ok_or_else(|| InvalidHeader::new(header, given, "not a value of this header"))
}

pub(super) const TWICE: &str = "it is there twice";
pub(super) const VISIBLE: &str = "only visible ASCII can be sent";
