use http::{HeaderName, HeaderValue};

use super::directive::Directive;
use super::policy::Csp;
use super::source::Source;
use crate::security_headers::error::{InvalidField, VISIBLE};

/// A policy as it is sent.
#[derive(Clone, Debug)]
pub(in crate::security_headers) struct Rendered {
    name: HeaderName,
    policy: Csp,
    plain: HeaderValue,
    /// What stands around the nonces; empty if there are none.
    pieces: Vec<String>,
}

impl Rendered {
    pub(in crate::security_headers) fn new(policy: Csp) -> Result<Self, InvalidField> {
        let plain = HeaderValue::try_from(without_nonce(&policy).to_string())
            .map_err(|_| policy.refused(&policy.to_string(), VISIBLE))?;
        let mut pieces = pieces(&policy);
        if pieces.len() == 1 {
            pieces.clear();
        }
        Ok(Self { name: policy.name(), policy, plain, pieces })
    }

    pub(in crate::security_headers) fn name(&self) -> &HeaderName {
        &self.name
    }

    pub(in crate::security_headers) fn policy(&self) -> &Csp {
        &self.policy
    }

    /// For a response whose nonce nobody has asked for.
    pub(in crate::security_headers) fn plain(&self) -> &HeaderValue {
        &self.plain
    }

    /// Whether there is nothing to say.
    pub(in crate::security_headers) fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    pub(in crate::security_headers) fn has_nonce(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// For the response that has this nonce.
    pub(in crate::security_headers) fn with(&self, nonce: &str) -> HeaderValue {
        let pieces: usize = self.pieces.iter().map(String::len).sum();
        let nonces = self.pieces.len().saturating_sub(1) * nonce.len();
        let mut text = String::with_capacity(pieces + nonces);
        for (at, piece) in self.pieces.iter().enumerate() {
            if at > 0 {
                text.push_str(nonce);
            }
            text.push_str(piece);
        }
        let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| self.plain.clone());
        value.set_sensitive(true);
        value
    }
}

impl Csp {
    /// The policy for a response that was not asked for by HTTPS. It may be empty.
    pub(in crate::security_headers) fn without_upgrade(&self) -> Self {
        let mut list = self.list();
        list.retain(|(directive, _)| *directive != Directive::UpgradeInsecureRequests);
        self.with(list)
    }
}

/// What stands around the nonces.
fn pieces(policy: &Csp) -> Vec<String> {
    let (mut pieces, mut text) = (Vec::new(), String::new());
    for (directive, sources) in policy.list() {
        if !(text.is_empty() && pieces.is_empty()) {
            text.push(';');
        }
        text.push_str(directive.name());
        for source in &sources {
            if *source == Source::NONCE {
                text.push_str(" 'nonce-");
                pieces.push(std::mem::replace(&mut text, "'".to_owned()));
            } else {
                text.extend([" ", source.as_str()]);
            }
        }
    }
    pieces.push(text);
    pieces
}

/// What the policy forbids a page that has no nonce: `'unsafe-inline'` counts only for browsers
/// that know no nonces, and must not begin to count for others.
fn without_nonce(policy: &Csp) -> Csp {
    let mut list = policy.list();
    for (_, sources) in &mut list {
        if sources.contains(&Source::NONCE) {
            sources.retain(|source| ![Source::NONCE, Source::UNSAFE_INLINE].contains(source));
            if sources.is_empty() {
                sources.push(Source::NONE);
            }
        }
    }
    policy.with(list)
}
