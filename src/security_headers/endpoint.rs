use http::HeaderValue;

use super::error::InvalidHeader;
use super::structured::{KEY, is_key};

/// A named URL that browsers send reports to, in `reporting-endpoints`
/// ([Reporting API §3.2](https://www.w3.org/TR/reporting-1/#header)).
///
/// A layer defines the endpoints that its headers report to, and those that are
/// [set](crate::SecurityHeadersLayer::set) on their own. The endpoint `default` receives the
/// reports that no header asks for.
///
/// ```
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Coop, Csp, Endpoint};
///
/// let reports = Endpoint::new("reports", "https://reports.example.com/")?;
/// let layer = SecurityHeadersLayer::new()
///     .set(Csp::helmet().report_to(&reports))?
///     .set(Coop::SAME_ORIGIN.report_to(&reports))?;
/// // reporting-endpoints: reports="https://reports.example.com/"
/// # Ok::<_, tower_kit::security_headers::InvalidHeader>(())
/// ```
#[doc(alias = "Reporting-Endpoints")]
#[doc(alias = "report-to")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
    url: String,
}

impl Endpoint {
    /// Returns an endpoint with this name and this URL.
    ///
    /// # Errors
    ///
    /// The name is not a key of RFC 9651 §3.1.2: the letters `a` to `z` and `*`, and after the
    /// first character also digits and `_-.`. Or the URL is neither an `https:` one nor a path of
    /// the same origin.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Result<Self, InvalidHeader> {
        let endpoint = Self::custom(name, url)?;
        let url = endpoint.url.as_str();
        // `//host/` is a URL of another origin, with the scheme of the page.
        let is_path = url.starts_with('/') && !url.starts_with("//");
        let is_secure = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        // `Uri` drops a fragment, and browsers send none with a report.
        let is_url = url.parse::<http::Uri>().is_ok() && !url.contains('#');
        if is_url && (is_path || is_secure) { Ok(endpoint) } else { Err(endpoint.refused()) }
    }

    /// Returns an endpoint with a URL that [`new`](Self::new) refuses, such as
    /// `http://localhost:3000/reports` for development.
    ///
    /// The URL is sent as it is. Browsers ignore a URL that they do not understand.
    ///
    /// # Errors
    ///
    /// The name is not a key, as in [`new`](Self::new). Or the URL is empty, or has a quote, a
    /// backslash, a space, or a character that is not visible ASCII.
    pub fn custom(name: impl Into<String>, url: impl Into<String>) -> Result<Self, InvalidHeader> {
        let endpoint = Self { name: name.into(), url: url.into() };
        if !is_key(endpoint.name.as_bytes()) {
            return Err(InvalidHeader::new(NAME, endpoint.name, KEY));
        }
        // A structured field could escape these characters, but no URL needs them.
        let is_quotable = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        let fits = !endpoint.url.is_empty() && endpoint.url.bytes().all(is_quotable);
        if fits { Ok(endpoint) } else { Err(endpoint.refused()) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Checks that no two endpoints share a name and differ in the URL.
    pub(super) fn check_unique<'a>(
        all: impl Iterator<Item = &'a Self>,
    ) -> Result<(), InvalidHeader> {
        let mut known: Vec<&Self> = Vec::new();
        for endpoint in all {
            if known.iter().any(|other| other.name == endpoint.name && other.url != endpoint.url) {
                let reason = "the name has another URL already";
                let error = InvalidHeader::new(NAME, endpoint.url.as_str(), reason);
                return Err(error.in_directive(endpoint.name.as_str()));
            }
            known.push(endpoint);
        }
        Ok(())
    }

    /// Returns the value of `reporting-endpoints`, or `None` without endpoints.
    pub(super) fn header_value<'a>(all: impl Iterator<Item = &'a Self>) -> Option<HeaderValue> {
        let mut members = Vec::new();
        for Self { name, url } in all {
            let member = format!("{name}=\"{url}\"");
            if !members.contains(&member) {
                members.push(member);
            }
        }
        // The constructors have checked names and URLs, so the conversion does not fail.
        let value = HeaderValue::try_from(members.join(", ")).ok()?;
        (!members.is_empty()).then_some(value)
    }

    fn refused(self) -> InvalidHeader {
        let reason = "not an https: URL, nor a path of the same origin";
        InvalidHeader::new(NAME, self.url, reason).in_directive(self.name)
    }
}

pub(super) const NAME: &str = "reporting-endpoints";
