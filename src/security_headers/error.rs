use std::error::Error;
use std::fmt;

/// A field that no browser would understand as it was meant, or that must not be sent: which one,
/// and the part of it that is wrong.
///
/// ```
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Csp, Directive};
///
/// let policy = Csp::helmet().append(Directive::ScriptSrc, ["self"]);
/// let error = SecurityHeadersLayer::new().set(policy).unwrap_err();
/// assert_eq!(error.field(), "content-security-policy");
/// assert_eq!(error.directive(), Some("script-src"));
/// assert_eq!(error.value(), "self");
/// assert_eq!(
///     error.to_string(),
///     r#"content-security-policy: script-src: "self": a keyword is written in single quotes"#,
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    field: String,
    directive: Option<String>,
    value: String,
    why: &'static str,
}

impl InvalidField {
    pub(super) fn new(field: &str, value: impl Into<String>, why: &'static str) -> Self {
        Self { field: field.to_owned(), directive: None, value: value.into(), why }
    }

    pub(super) fn directive_of(self, directive: impl Into<String>) -> Self {
        Self { directive: Some(directive.into()), ..self }
    }

    /// The name of the field.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The part of the field that the value belongs to, where it has parts: a directive of a
    /// content security policy, a feature of a permissions policy, the name of an endpoint.
    #[must_use]
    pub fn directive(&self) -> Option<&str> {
        self.directive.as_deref()
    }

    /// What is wrong, as it was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [Some(&self.field), self.directive.as_ref()].into_iter().flatten() {
            // Names come from outside, too: no log gets a line that somebody else has written.
            part.split(char::is_control).try_for_each(|text| f.write_str(text))?;
            f.write_str(": ")?;
        }
        write!(f, "{:?}: {}", self.value, self.why)
    }
}

impl Error for InvalidField {}

/// The one of `known` that is `given`.
pub(super) fn one_of(
    field: &str,
    given: &str,
    known: &[&'static str],
) -> Result<&'static str, InvalidField> {
    let found = known.iter().copied().find(|known| *known == given);
    found.ok_or_else(|| InvalidField::new(field, given, "not a value of this field"))
}

pub(super) const TOKEN: &str =
    "not a token: a letter or *, then letters, digits and !#$%&'*+-.^_`|~:/";
pub(super) const TWICE: &str = "it is there twice";
pub(super) const VISIBLE: &str = "only visible ASCII can be sent";
