use std::time::Duration;

use super::error::InvalidField;
use super::field::Field;

/// `strict-transport-security` (RFC 6797): for how long browsers use HTTPS only.
///
/// ```
/// use std::time::Duration;
///
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::Hsts;
///
/// let two_years = Hsts::new(Duration::from_secs(63_072_000)).include_subdomains().preload();
/// let layer = SecurityHeadersLayer::new().set(two_years)?;
/// // Too short for the list.
/// let hour = Hsts::new(Duration::from_secs(3_600)).include_subdomains().preload();
/// assert!(SecurityHeadersLayer::new().set(hour).is_err());
/// # Ok::<_, tower_kit::security_headers::InvalidField>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    max_age: u64,
    include_subdomains: bool,
    preload: bool,
}

impl Hsts {
    /// Sets for how long, in whole seconds: a part of a second counts as one. Zero makes browsers
    /// forget the host (RFC 6797 §6.1.1).
    #[must_use]
    pub const fn new(max_age: Duration) -> Self {
        let more = if max_age.subsec_nanos() > 0 { 1 } else { 0 };
        let max_age = max_age.as_secs().saturating_add(more);
        Self { max_age, include_subdomains: false, preload: false }
    }

    /// For all subdomains too.
    #[must_use]
    pub const fn include_subdomains(self) -> Self {
        Self { include_subdomains: true, ..self }
    }

    /// Agrees to be in the [list](https://hstspreload.org) that browsers come with. That list
    /// wants all subdomains and at least 31,536,000 seconds; less is refused when it is set.
    #[must_use]
    pub const fn preload(self) -> Self {
        Self { preload: true, ..self }
    }
}

impl From<Hsts> for Field {
    fn from(hsts: Hsts) -> Self {
        let Hsts { max_age, include_subdomains, preload } = hsts;
        let mut value = format!("max-age={max_age}");
        let options = [(include_subdomains, "; includeSubDomains"), (preload, "; preload")];
        options.iter().filter(|(is, _)| *is).for_each(|(_, text)| value.push_str(text));
        let refuse = |why| Self::refused(InvalidField::new(NAME, value.as_str(), why));
        match preload {
            true if !include_subdomains => refuse("preload needs includeSubDomains"),
            true if max_age < YEAR => refuse("preload needs a max-age of 31536000 at least"),
            _ => Self::new(NAME, &value),
        }
    }
}

const NAME: &str = "strict-transport-security";
const YEAR: u64 = 31_536_000;
