use std::time::Duration;

use super::error::InvalidHeader;
use super::header::Header;

/// The header `strict-transport-security` (RFC 6797): for a period of time, browsers reach the host
/// by HTTPS only.
///
/// ```
/// use std::time::Duration;
///
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::Hsts;
///
/// let two_years = Hsts::new(Duration::from_secs(63_072_000)).include_subdomains().preload();
/// let layer = SecurityHeadersLayer::new().set(two_years)?;
/// // The preload list wants a year.
/// let hour = Hsts::new(Duration::from_secs(3_600)).include_subdomains().preload();
/// assert!(SecurityHeadersLayer::new().set(hour).is_err());
/// # Ok::<_, tower_kit::security_headers::InvalidHeader>(())
/// ```
#[doc(alias = "Strict-Transport-Security")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    max_age: u64,
    include_subdomains: bool,
    preload: bool,
}

impl Hsts {
    /// Sets `max-age`, in seconds; a fraction is rounded up.
    ///
    /// Zero makes browsers forget the host (RFC 6797 §6.1.1).
    #[must_use]
    pub const fn new(max_age: Duration) -> Self {
        // Rounded up, because a fraction that became zero would make browsers forget the host.
        let more = if max_age.subsec_nanos() > 0 { 1 } else { 0 };
        let max_age = max_age.as_secs().saturating_add(more);
        Self { max_age, include_subdomains: false, preload: false }
    }

    /// Sends `includeSubDomains`: the header holds for all subdomains too.
    #[must_use]
    pub const fn include_subdomains(self) -> Self {
        Self { include_subdomains: true, ..self }
    }

    /// Sends `preload`, which agrees to be in the [list](https://hstspreload.org) that browsers
    /// ship with.
    ///
    /// The list wants `includeSubDomains` and a `max-age` of at least 31,536,000 seconds.
    /// [`set`](crate::SecurityHeadersLayer::set) refuses less.
    #[must_use]
    pub const fn preload(self) -> Self {
        Self { preload: true, ..self }
    }
}

impl TryFrom<Hsts> for Header {
    type Error = InvalidHeader;

    fn try_from(hsts: Hsts) -> Result<Self, Self::Error> {
        let Hsts { max_age, include_subdomains, preload } = hsts;
        let mut value = format!("max-age={max_age}");
        let options = [(include_subdomains, "; includeSubDomains"), (preload, "; preload")];
        options.iter().filter(|(is, _)| *is).for_each(|(_, text)| value.push_str(text));
        let refused = |reason| Err(InvalidHeader::new(NAME, value.as_str(), reason));
        match preload {
            true if !include_subdomains => refused("preload needs includeSubDomains"),
            true if max_age < YEAR => refused("preload needs a max-age of 31536000 at least"),
            _ => Self::parse(NAME, &value),
        }
    }
}

const NAME: &str = "strict-transport-security";
const YEAR: u64 = 31_536_000;
