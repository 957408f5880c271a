use std::str::FromStr;

use super::csp::is_token;
use super::error::{InvalidField, TOKEN, TWICE, one_of};
use super::field::Field;

/// `referrer-policy`: how much of its address a page tells where it leads to
/// ([Referrer Policy §4.1](https://www.w3.org/TR/referrer-policy/#referrer-policy-header)).
///
/// Browsers take the last policy that they know, so newer ones follow older ones:
///
/// ```
/// use tower_kit::security_headers::ReferrerPolicy;
///
/// let policy =
///     ReferrerPolicy::NO_REFERRER.or(ReferrerPolicy::STRICT_ORIGIN_WHEN_CROSS_ORIGIN);
/// // referrer-policy: no-referrer,strict-origin-when-cross-origin
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrerPolicy {
    first: &'static str,
    others: Vec<&'static str>,
}

impl ReferrerPolicy {
    /// Nothing.
    pub const NO_REFERRER: Self = Self::new("no-referrer");
    /// The address, but not from HTTPS to HTTP.
    pub const NO_REFERRER_WHEN_DOWNGRADE: Self = Self::new("no-referrer-when-downgrade");
    /// The address, to the same origin only.
    pub const SAME_ORIGIN: Self = Self::new("same-origin");
    /// The origin.
    pub const ORIGIN: Self = Self::new("origin");
    /// The origin, but not from HTTPS to HTTP.
    pub const STRICT_ORIGIN: Self = Self::new("strict-origin");
    /// The address to the same origin, the origin to others.
    pub const ORIGIN_WHEN_CROSS_ORIGIN: Self = Self::new("origin-when-cross-origin");
    /// The address to the same origin, the origin to others, but not from HTTPS to HTTP.
    pub const STRICT_ORIGIN_WHEN_CROSS_ORIGIN: Self = Self::new("strict-origin-when-cross-origin");
    /// The address, to anyone.
    pub const UNSAFE_URL: Self = Self::new("unsafe-url");

    /// A policy that this crate does not know, sent as it is. What is not a token is refused when it
    /// is set. Browsers ignore a policy that they do not know, so put one that they know
    /// [before](Self::or) it.
    #[must_use]
    pub const fn custom(policy: &'static str) -> Self {
        Self::new(policy)
    }

    /// Adds a policy that counts for browsers that know it. One that is there already is refused
    /// when it is set.
    #[must_use]
    pub fn or(mut self, newer: Self) -> Self {
        self.others.push(newer.first);
        self.others.extend(newer.others);
        self
    }

    const fn new(token: &'static str) -> Self {
        Self { first: token, others: Vec::new() }
    }

    fn known() -> [&'static str; 8] {
        [
            Self::NO_REFERRER,
            Self::NO_REFERRER_WHEN_DOWNGRADE,
            Self::SAME_ORIGIN,
            Self::ORIGIN,
            Self::STRICT_ORIGIN,
            Self::ORIGIN_WHEN_CROSS_ORIGIN,
            Self::STRICT_ORIGIN_WHEN_CROSS_ORIGIN,
            Self::UNSAFE_URL,
        ]
        .map(|policy| policy.first)
    }

    fn tokens(&self) -> impl Iterator<Item = &'static str> {
        [self.first].into_iter().chain(self.others.iter().copied())
    }

    fn twice(&self) -> Option<&'static str> {
        let tokens: Vec<_> = self.tokens().collect();
        let twice = tokens.iter().enumerate().find(|(at, token)| tokens[..*at].contains(token));
        twice.map(|(_, token)| *token)
    }
}

impl From<ReferrerPolicy> for Field {
    fn from(policy: ReferrerPolicy) -> Self {
        if let Some(other) = policy.tokens().find(|token| !is_token(token.as_bytes())) {
            return Self::refused(InvalidField::new(NAME, other, TOKEN));
        }
        if let Some(twice) = policy.twice() {
            return Self::refused(InvalidField::new(NAME, twice, TWICE));
        }
        if policy.others.is_empty() {
            return Self::known(NAME, policy.first);
        }
        let mut value = policy.first.to_owned();
        policy.others.iter().for_each(|token| value.extend([",", token]));
        Self::new(NAME, &value)
    }
}

/// Policies that are separated by commas.
impl FromStr for ReferrerPolicy {
    type Err = InvalidField;

    fn from_str(policies: &str) -> Result<Self, Self::Err> {
        let mut tokens =
            policies.split(',').map(|token| one_of(NAME, token.trim(), &Self::known()));
        let first = tokens.next().unwrap_or_else(|| one_of(NAME, policies, &[]))?;
        let policy = Self { first, others: tokens.collect::<Result<_, _>>()? };
        match policy.twice() {
            Some(twice) => Err(InvalidField::new(NAME, twice, TWICE)),
            None => Ok(policy),
        }
    }
}

const NAME: &str = "referrer-policy";
