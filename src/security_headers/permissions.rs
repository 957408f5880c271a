use super::csp::host_of;
use super::endpoint::Endpoint;
use super::error::{InvalidHeader, TWICE};
use super::feature::Feature;
use super::header::Header;
use super::structured::{is_string, is_token};

/// The header `permissions-policy`: the features that the page and its frames may use
/// ([Permissions Policy §5.2](https://www.w3.org/TR/permissions-policy/#permissions-policy-http-header-field)).
///
/// A feature that the policy does not name keeps the default of the browser.
///
/// ```
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Allowlist, Feature, PermissionsPolicy};
///
/// let policy = PermissionsPolicy::new()
///     .deny([Feature::CAMERA, Feature::MICROPHONE])
///     .allow(Feature::GEOLOCATION, Allowlist::SELF.origin("https://maps.example.com")?);
/// let layer = SecurityHeadersLayer::new().set(policy)?;
/// // permissions-policy: camera=(), microphone=(), geolocation=(self "https://maps.example.com")
/// # Ok::<_, tower_kit::security_headers::InvalidHeader>(())
/// ```
#[doc(alias = "Permissions-Policy")]
#[doc(alias = "Feature-Policy")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionsPolicy {
    features: Vec<(Feature, Allowlist)>,
    endpoints: Vec<(Feature, Endpoint)>,
}

/// The origins that may use a feature.
///
/// ```
/// use tower_kit::security_headers::Allowlist;
///
/// let maps = Allowlist::SELF.origin("https://maps.example.com")?;
/// // (self "https://maps.example.com")
/// # Ok::<_, tower_kit::security_headers::InvalidHeader>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Allowlist(Origins);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Origins {
    All,
    List {
        has_self: bool,
        /// Other members as they are written in the header.
        others: Vec<String>,
    },
}

impl PermissionsPolicy {
    /// Creates a policy that names no feature yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Denies these features to the page and to all frames.
    #[must_use]
    pub fn deny(self, features: impl IntoIterator<Item = Feature>) -> Self {
        features.into_iter().fold(self, |policy, feature| policy.allow(feature, Allowlist::NONE))
    }

    /// Allows a feature to the page, and to frames to which the page passes it on, if their origins
    /// are in the list.
    ///
    /// A second call for a feature replaces the first one.
    #[must_use]
    pub fn allow(mut self, feature: Feature, origins: Allowlist) -> Self {
        match self.features.iter_mut().find(|(found, _)| *found == feature) {
            Some((_, allowed)) => *allowed = origins,
            None => self.features.push((feature, origins)),
        }
        self
    }

    /// Reports denied uses of a feature to this endpoint.
    ///
    /// The policy has to [deny](Self::deny) the feature, or [allow](Self::allow) it to some, too:
    /// [`set`](crate::SecurityHeadersLayer::set) refuses a policy that only reports it.
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::{Endpoint, Feature, PermissionsPolicy};
    ///
    /// let reports = Endpoint::new("reports", "https://reports.example.com/")?;
    /// let policy = PermissionsPolicy::new()
    ///     .deny([Feature::CAMERA])
    ///     .report_to(Feature::CAMERA, &reports);
    /// let layer = SecurityHeadersLayer::new().set(policy)?;
    /// // permissions-policy: camera=();report-to=reports
    /// # Ok::<_, tower_kit::security_headers::InvalidHeader>(())
    /// ```
    #[must_use]
    pub fn report_to(mut self, feature: Feature, endpoint: &Endpoint) -> Self {
        self.endpoints.retain(|(other, _)| *other != feature);
        self.endpoints.push((feature, endpoint.clone()));
        self
    }

    fn endpoint(&self, feature: Feature) -> Option<&Endpoint> {
        self.endpoints.iter().find(|(other, _)| *other == feature).map(|(_, endpoint)| endpoint)
    }
}

impl Allowlist {
    /// Allows no origin: `()`.
    pub const NONE: Self = Self(Origins::List { has_self: false, others: Vec::new() });
    /// Allows the page's own origin: `(self)`.
    pub const SELF: Self = Self(Origins::List { has_self: true, others: Vec::new() });
    /// Allows every origin: `*`.
    pub const ANY: Self = Self(Origins::All);

    /// Adds an origin, such as `https://example.com` or `https://*.example.com`.
    ///
    /// # Errors
    ///
    /// The text is not an origin, the list has it already, or the list is [`ANY`](Self::ANY).
    pub fn origin(self, origin: impl AsRef<str>) -> Result<Self, InvalidHeader> {
        let origin = origin.as_ref();
        if is_origin(origin) {
            return self.with(format!("\"{origin}\""));
        }
        let reason = "not an origin, such as https://example.com: Allowlist::SELF and ANY are the \
                      keywords, and Allowlist::custom takes tokens and quoted texts";
        Err(InvalidHeader::new(NAME, origin, reason))
    }

    /// Adds a member that this crate does not know, sent as it is: a token, such as `src`, or a
    /// text in double quotes, such as `"\"wss://example.com\""`.
    ///
    /// # Errors
    ///
    /// The text is neither (RFC 9651 §3.3), the list has it already, or `*` does not stand alone.
    pub fn custom(self, member: impl Into<String>) -> Result<Self, InvalidHeader> {
        let member = member.into();
        if !is_token(&member) && !is_string(&member) {
            let reason = "neither a token nor a text in double quotes";
            return Err(InvalidHeader::new(NAME, member, reason));
        }
        match member.as_str() {
            // `*` is a token too, and allows all origins only if it stands alone.
            "*" if self == Self::NONE => Ok(Self::ANY),
            "*" => Err(InvalidHeader::new(NAME, "*", ALONE)),
            _ => self.with(member),
        }
    }

    fn with(mut self, member: String) -> Result<Self, InvalidHeader> {
        match &mut self.0 {
            Origins::All => Err(InvalidHeader::new(NAME, "*", ALONE)),
            Origins::List { has_self, others } => {
                let is_self = member == "self";
                if (is_self && *has_self) || others.contains(&member) {
                    return Err(InvalidHeader::new(NAME, member, TWICE));
                }
                *has_self |= is_self;
                if !is_self {
                    others.push(member);
                }
                Ok(self)
            }
        }
    }

    fn to_text(&self) -> String {
        match &self.0 {
            Origins::All => "*".to_owned(),
            Origins::List { has_self, others } => {
                let own = has_self.then_some("self");
                let members: Vec<_> =
                    own.into_iter().chain(others.iter().map(String::as_str)).collect();
                format!("({})", members.join(" "))
            }
        }
    }
}

impl TryFrom<PermissionsPolicy> for Header {
    type Error = InvalidHeader;

    fn try_from(policy: PermissionsPolicy) -> Result<Self, Self::Error> {
        if policy.features.is_empty() {
            return Err(InvalidHeader::new(NAME, "", "it names no feature"));
        }
        let is_named = |feature| policy.features.iter().any(|(named, _)| *named == feature);
        if let Some((feature, _)) = policy.endpoints.iter().find(|(other, _)| !is_named(*other)) {
            let reason = "the feature is reported, but neither denied nor allowed";
            let error = InvalidHeader::new(NAME, feature.name(), reason);
            return Err(error.in_directive("report-to"));
        }
        let member = |(feature, origins): &(Feature, Allowlist)| {
            let member = format!("{feature}={}", origins.to_text());
            match policy.endpoint(*feature) {
                Some(endpoint) => format!("{member};report-to={}", endpoint.name()),
                None => member,
            }
        };
        let members: Vec<_> = policy.features.iter().map(member).collect();
        let header = Self::parse(NAME, &members.join(", "))?;
        Ok(header.reporting_to(policy.endpoints.into_iter().map(|(_, endpoint)| endpoint)))
    }
}

fn is_origin(text: &str) -> bool {
    // `http:` is allowed for servers of the local network and for development. A path would make
    // the text a URL, which matches no origin.
    let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    let host = rest.and_then(|rest| host_of(rest.as_bytes()));
    host.is_some_and(|host| host != b"*") && rest.is_some_and(|rest| !rest.contains('/'))
}

const NAME: &str = "permissions-policy";
const ALONE: &str = "* stands alone";
