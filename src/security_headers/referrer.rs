use std::str::FromStr;

use super::error::{InvalidHeader, TWICE, parse_keyword};
use super::header::Header;
use super::structured::{TOKEN, is_token};

/// The header `referrer-policy`: the part of its URL that a page reveals to the targets of its
/// links and requests ([Referrer Policy §4.1](https://www.w3.org/TR/referrer-policy/#referrer-policy-header)).
///
/// Browsers take the last policy that they know, so newer policies follow older ones:
///
/// ```
/// use tower_kit::security_headers::ReferrerPolicy;
///
/// let policy =
///     ReferrerPolicy::NO_REFERRER.or(ReferrerPolicy::STRICT_ORIGIN_WHEN_CROSS_ORIGIN);
/// // referrer-policy: no-referrer,strict-origin-when-cross-origin
/// ```
#[doc(alias = "Referrer-Policy")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrerPolicy {
    first: &'static str,
    others: Vec<&'static str>,
}

impl ReferrerPolicy {
    /// Reveals nothing of the URL: `no-referrer`.
    pub const NO_REFERRER: Self = Self::new("no-referrer");
    /// Reveals the URL, but not from HTTPS to HTTP.
    pub const NO_REFERRER_WHEN_DOWNGRADE: Self = Self::new("no-referrer-when-downgrade");
    /// Reveals the URL to the same origin only.
    pub const SAME_ORIGIN: Self = Self::new("same-origin");
    /// Reveals the origin: `origin`.
    pub const ORIGIN: Self = Self::new("origin");
    /// Reveals the origin, but not from HTTPS to HTTP.
    pub const STRICT_ORIGIN: Self = Self::new("strict-origin");
    /// Reveals the URL to the same origin, and the origin to others.
    pub const ORIGIN_WHEN_CROSS_ORIGIN: Self = Self::new("origin-when-cross-origin");
    /// Reveals the URL to the same origin, and the origin to others, but not from HTTPS to HTTP.
    pub const STRICT_ORIGIN_WHEN_CROSS_ORIGIN: Self = Self::new("strict-origin-when-cross-origin");
    /// Reveals the URL to everyone: `unsafe-url`.
    pub const UNSAFE_URL: Self = Self::new("unsafe-url");

    /// Returns a policy that this crate does not know, sent as it is.
    ///
    /// Browsers ignore a policy that they do not know, so put a known one [before](Self::or) it.
    ///
    /// # Errors
    ///
    /// The policy is not a token (RFC 9651 §3.3.4).
    pub fn custom(policy: &'static str) -> Result<Self, InvalidHeader> {
        if is_token(policy) {
            return Ok(Self::new(policy));
        }
        Err(InvalidHeader::new(NAME, policy, TOKEN))
    }

    /// Adds a newer policy, for the browsers that know it.
    ///
    /// [`set`](crate::SecurityHeadersLayer::set) refuses a policy that is there twice.
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

    fn check(&self) -> Result<(), InvalidHeader> {
        let mut seen = vec![self.first];
        for token in &self.others {
            if seen.contains(token) {
                return Err(InvalidHeader::new(NAME, *token, TWICE));
            }
            seen.push(token);
        }
        Ok(())
    }
}

impl TryFrom<ReferrerPolicy> for Header {
    type Error = InvalidHeader;

    fn try_from(policy: ReferrerPolicy) -> Result<Self, Self::Error> {
        policy.check()?;
        if policy.others.is_empty() {
            return Ok(Self::from_static(NAME, policy.first));
        }
        let mut value = policy.first.to_owned();
        // No space after the comma, as helmet has it.
        policy.others.iter().for_each(|token| value.extend([",", token]));
        Self::parse(NAME, &value)
    }
}

/// Parses known policies that are separated by commas.
impl FromStr for ReferrerPolicy {
    type Err = InvalidHeader;

    fn from_str(policies: &str) -> Result<Self, Self::Err> {
        let mut tokens =
            policies.split(',').map(|token| parse_keyword(NAME, token.trim(), &Self::known()));
        // `split` returns at least one token; for an empty text it is empty, and no policy.
        let first = tokens.next().unwrap_or_else(|| parse_keyword(NAME, policies, &[]))?;
        let policy = Self { first, others: tokens.collect::<Result<_, _>>()? };
        policy.check()?;
        Ok(policy)
    }
}

const NAME: &str = "referrer-policy";
