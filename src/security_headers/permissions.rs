use std::borrow::Cow;

use super::csp::{host_of, is_key, is_token};
use super::error::{InvalidField, TWICE};
use super::feature::Feature;
use super::field::Field;
use super::reporting::Endpoint;

/// `permissions-policy`: which features the page and its frames may use
/// ([Permissions Policy §5.2](https://www.w3.org/TR/permissions-policy/#permissions-policy-http-header-field)).
/// Features that it does not name are as the browser has them.
///
/// ```
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Allow, Feature, PermissionsPolicy};
///
/// let policy = PermissionsPolicy::new()
///     .deny([Feature::Camera, Feature::Microphone])
///     .allow(Feature::Geolocation, [Allow::SELF, "https://maps.example.com".into()]);
/// let layer = SecurityHeadersLayer::new().set(policy)?;
/// // permissions-policy: camera=(), microphone=(), geolocation=(self "https://maps.example.com")
/// # Ok::<_, tower_kit::security_headers::InvalidField>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionsPolicy {
    features: Vec<(Feature, Vec<Allow>)>,
    endpoints: Vec<(Feature, Endpoint)>,
}

/// Who may use a feature: an origin, such as `https://example.com` or `https://*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Allow(Who);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Own,
    Any,
    Origin(String),
    Custom(String),
}

impl PermissionsPolicy {
    /// Names no feature yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nobody may use these.
    #[must_use]
    pub fn deny(self, features: impl IntoIterator<Item = Feature>) -> Self {
        features.into_iter().fold(self, |policy, feature| policy.allow(feature, []))
    }

    /// The page, and frames of the page to which it passes the feature on, may use it if they are
    /// of these origins.
    #[must_use]
    pub fn allow(mut self, feature: Feature, who: impl IntoIterator<Item = Allow>) -> Self {
        let who = who.into_iter().collect();
        match self.features.iter_mut().find(|(found, _)| *found == feature) {
            Some((_, allowed)) => *allowed = who,
            None => self.features.push((feature, who)),
        }
        self
    }

    /// Reports uses of this feature that the policy forbids to this endpoint. The feature has to be
    /// [denied](Self::deny) or [allowed](Self::allow) to some too.
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::{Endpoint, Feature, PermissionsPolicy};
    ///
    /// let reports = Endpoint::new("reports", "https://reports.example.com/");
    /// let policy = PermissionsPolicy::new()
    ///     .deny([Feature::Camera, Feature::Geolocation])
    ///     .report_to(Feature::Geolocation, &reports);
    /// let layer = SecurityHeadersLayer::new().set(policy)?;
    /// // permissions-policy: camera=(), geolocation=();report-to=reports
    /// # Ok::<_, tower_kit::security_headers::InvalidField>(())
    /// ```
    #[must_use]
    pub fn report_to(mut self, feature: Feature, endpoint: &Endpoint) -> Self {
        self.endpoints.retain(|(other, _)| *other != feature);
        self.endpoints.push((feature, endpoint.clone()));
        self
    }
}

impl Allow {
    /// The page's own origin.
    pub const SELF: Self = Self(Who::Own);
    /// Anyone. It stands alone.
    pub const ANY: Self = Self(Who::Any);

    /// Returns a member of the list that this crate does not know, sent as it is: a token, such as
    /// `src`, or a text in double quotes, such as `"\"wss://example.com\""`. What is neither
    /// (RFC 9651 §3.3) is refused when the policy is set.
    #[must_use]
    pub fn custom(member: impl Into<String>) -> Self {
        Self(Who::Custom(member.into()))
    }

    /// As it is in the list of the feature.
    fn member(&self) -> Result<Cow<'static, str>, &str> {
        match &self.0 {
            Who::Own => Ok("self".into()),
            Who::Any => Ok("*".into()),
            Who::Origin(origin) if is_origin(origin) => Ok(format!("\"{origin}\"").into()),
            Who::Custom(member) if is_token(member.as_bytes()) || is_string(member) => {
                Ok(member.clone().into())
            }
            Who::Origin(other) | Who::Custom(other) => Err(other),
        }
    }
}

impl From<&str> for Allow {
    fn from(origin: &str) -> Self {
        Self::from(origin.to_owned())
    }
}

impl From<String> for Allow {
    fn from(origin: String) -> Self {
        Self(Who::Origin(origin))
    }
}

impl From<PermissionsPolicy> for Field {
    fn from(policy: PermissionsPolicy) -> Self {
        if policy.features.is_empty() {
            return Self::refused(InvalidField::new(NAME, "", "it names no feature"));
        }
        let is_named = |feature| policy.features.iter().any(|(named, _)| *named == feature);
        if let Some((feature, _)) = policy.endpoints.iter().find(|(other, _)| !is_named(*other)) {
            let why = "the feature is reported, but neither denied nor allowed";
            let error = InvalidField::new(NAME, feature.name(), why);
            return Self::refused(error.directive_of("report-to"));
        }
        let one = |(feature, who): &(Feature, Vec<Allow>)| {
            let mut value = value_of(*feature, who)?;
            if let Some((_, endpoint)) = policy.endpoints.iter().find(|(other, _)| other == feature)
            {
                value.extend([";report-to=", endpoint.name()]);
            }
            Ok(value)
        };
        match policy.features.iter().map(one).collect::<Result<Vec<_>, _>>() {
            Ok(features) => {
                let field = Self::new(NAME, &features.join(", "));
                let endpoints = policy.endpoints.into_iter().map(|(_, endpoint)| endpoint);
                endpoints.fold(field, Self::reporting_to)
            }
            Err(error) => Self::refused(error),
        }
    }
}

/// A member of the dictionary (RFC 9651 §3.2).
fn value_of(feature: Feature, who: &[Allow]) -> Result<String, InvalidField> {
    let name = feature.name();
    let refuse = |value: &str, why| Err(InvalidField::new(NAME, value, why).directive_of(name));
    let is_custom = matches!(feature, Feature::Custom(_));
    if is_custom && (!is_key(name.as_bytes()) || Feature::is_known(name)) {
        return refuse(name, "not the name of a feature that this crate does not have");
    }
    let mut members = Vec::new();
    for allow in who {
        let member = match allow.member() {
            Ok(member) => member,
            Err(other) => {
                return refuse(
                    other,
                    "not an origin, such as https://example.com, and not Allow::SELF or ANY; \
                     Allow::custom takes tokens and quoted texts",
                );
            }
        };
        if members.contains(&member) {
            return refuse(&member, TWICE);
        }
        members.push(member);
    }
    match members.iter().any(|member| member == "*") {
        true if who.len() > 1 => refuse("*", "* stands alone"),
        true => Ok(format!("{name}=*")),
        false => Ok(format!("{name}=({})", members.join(" "))),
    }
}

/// A string of a structured field (RFC 9651 §3.3.3), in which nothing is escaped.
fn is_string(text: &str) -> bool {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.is_some_and(|inside| {
        inside.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
    })
}

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    let host = rest.and_then(|rest| host_of(rest.as_bytes()));
    host.is_some_and(|host| host != b"*") && rest.is_some_and(|rest| !rest.contains('/'))
}

const NAME: &str = "permissions-policy";
