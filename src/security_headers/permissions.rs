use std::borrow::Cow;

use super::csp::{host_of, is_key};
use super::error::{InvalidField, TWICE};
use super::feature::Feature;
use super::field::Field;

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
}

/// Who may use a feature: an origin, such as `https://example.com` or `https://*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Allow(Who);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Own,
    Any,
    Origin(String),
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
}

impl Allow {
    /// The page's own origin.
    pub const SELF: Self = Self(Who::Own);
    /// Anyone. It stands alone.
    pub const ANY: Self = Self(Who::Any);

    /// As it is in the list of the feature.
    fn member(&self) -> Result<Cow<'static, str>, &str> {
        match &self.0 {
            Who::Own => Ok("self".into()),
            Who::Any => Ok("*".into()),
            Who::Origin(origin) if is_origin(origin) => Ok(format!("\"{origin}\"").into()),
            Who::Origin(other) => Err(other),
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
        let one = |(feature, who): &(Feature, Vec<Allow>)| value_of(*feature, who);
        match policy.features.iter().map(one).collect::<Result<Vec<_>, _>>() {
            Ok(features) => Self::new(NAME, &features.join(", ")),
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
                    "not an origin, such as https://example.com, and not Allow::SELF or ANY",
                );
            }
        };
        if members.contains(&member) {
            return refuse(&member, TWICE);
        }
        members.push(member);
    }
    match who.contains(&Allow::ANY) {
        true if who.len() > 1 => refuse("*", "* stands alone"),
        true => Ok(format!("{name}=*")),
        false => Ok(format!("{name}=({})", members.join(" "))),
    }
}

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or(text.strip_prefix("http://"));
    let host = rest.and_then(|rest| host_of(rest.as_bytes()));
    host.is_some_and(|host| host != b"*") && rest.is_some_and(|rest| !rest.contains('/'))
}

const NAME: &str = "permissions-policy";
