use http::HeaderValue;

use super::csp::{KEY, is_key};
use super::error::InvalidField;
use super::field::Field;

/// Where browsers send reports: a name and an address of
/// [`reporting-endpoints`](https://www.w3.org/TR/reporting-1/#header).
///
/// A layer defines the endpoints that its fields report to, and those that are set on their own,
/// such as `default`, which gets the reports that no field asks for.
///
/// ```
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Coop, Csp, Endpoint};
///
/// let reports = Endpoint::new("reports", "https://reports.example.com/");
/// let layer = SecurityHeadersLayer::new()
///     .set(Csp::helmet().report_to(&reports))?
///     .set(Coop::SAME_ORIGIN.report_to(&reports))?;
/// // reporting-endpoints: reports="https://reports.example.com/"
/// # Ok::<_, tower_kit::security_headers::InvalidField>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
    url: String,
    any_url: bool,
}

impl Endpoint {
    /// The name is of the letters a to z and `*`, and after the first also of digits and `_-.` (RFC
    /// 9651 §3.1.2). The address is an `https:` one, or a path of the same origin.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { name: name.into(), url: url.into(), any_url: false }
    }

    /// Returns an endpoint with an address that [`new`](Self::new) would refuse, such as
    /// `http://localhost:3000/reports` for development. It is sent as it is: browsers ignore what
    /// they do not understand. A quote, a backslash, spaces, control characters and what is not
    /// visible ASCII are refused when it is set.
    #[must_use]
    pub fn custom(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { any_url: true, ..Self::new(name, url) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn check(&self) -> Result<(), InvalidField> {
        if !is_key(self.name.as_bytes()) {
            return Err(InvalidField::new(NAME, self.name.as_str(), KEY));
        }
        let is_text = self.url.bytes().all(|byte| byte.is_ascii_graphic());
        let is_quotable = is_text && !self.url.contains(['"', '\\']);
        if self.any_url && is_quotable && !self.url.is_empty() {
            return Ok(());
        }
        let is_fragment = self.url.contains('#');
        let is_here = self.url.starts_with('/') && !self.url.starts_with("//");
        let is_secure = self.url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        let is_url = self.url.parse::<http::Uri>().is_ok();
        if is_quotable && !is_fragment && is_url && (is_here || is_secure) {
            return Ok(());
        }
        let why = "not an https: address, nor a path of the same origin";
        Err(InvalidField::new(NAME, self.url.as_str(), why).directive_of(self.name.as_str()))
    }

    /// That no two of these have the same name and different addresses.
    pub(super) fn agree<'a>(all: impl Iterator<Item = &'a Self>) -> Result<(), InvalidField> {
        let mut known: Vec<&Self> = Vec::new();
        for endpoint in all {
            if known.iter().any(|other| other.name == endpoint.name && other.url != endpoint.url) {
                let why = "the name has another address already";
                let error = InvalidField::new(NAME, endpoint.url.as_str(), why);
                return Err(error.directive_of(endpoint.name.as_str()));
            }
            known.push(endpoint);
        }
        Ok(())
    }

    /// The field that defines these.
    pub(super) fn list<'a>(all: impl Iterator<Item = &'a Self>) -> Option<HeaderValue> {
        let mut members = Vec::new();
        for Self { name, url, .. } in all {
            let member = format!("{name}=\"{url}\"");
            if !members.contains(&member) {
                members.push(member);
            }
        }
        // They have been checked: it can be sent.
        let list = HeaderValue::try_from(members.join(", ")).ok()?;
        (!members.is_empty()).then_some(list)
    }
}

impl From<Endpoint> for Field {
    fn from(endpoint: Endpoint) -> Self {
        Self::endpoint(endpoint)
    }
}

impl From<&Endpoint> for Field {
    fn from(endpoint: &Endpoint) -> Self {
        Self::endpoint(endpoint.clone())
    }
}

pub(super) const NAME: &str = "reporting-endpoints";
