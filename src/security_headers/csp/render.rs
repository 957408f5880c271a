use http::{HeaderName, HeaderValue};

use super::directive::Directive;
use super::policy::Csp;
use super::source::Source;
use crate::security_headers::error::{InvalidHeader, VISIBLE};

/// A policy that is ready to be sent.
#[derive(Clone, Debug)]
pub(in crate::security_headers) struct Rendered {
    name: HeaderName,
    policy: Csp,
    plain: HeaderValue,
    /// The texts between the nonces; empty if there are none.
    pieces: Vec<String>,
}

impl Rendered {
    pub(in crate::security_headers) fn new(policy: Csp) -> Result<Self, InvalidHeader> {
        let plain = HeaderValue::try_from(without_nonce(&policy).to_string())
            .map_err(|_| policy.refused(&policy.to_string(), VISIBLE))?;
        let mut pieces = pieces(&policy);
        // One piece has no nonce, and `plain` has its text.
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

    /// Returns the value for a response whose nonce was not asked for.
    pub(in crate::security_headers) fn plain(&self) -> &HeaderValue {
        &self.plain
    }

    /// Returns `true` if the policy has no directive left.
    pub(in crate::security_headers) fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    pub(in crate::security_headers) fn has_nonce(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Returns the value with this nonce.
    pub(in crate::security_headers) fn with(&self, nonce: &str) -> HeaderValue {
        // The length is known, and one allocation is enough: this runs for each page.
        let pieces: usize = self.pieces.iter().map(String::len).sum();
        let nonces = self.pieces.len().saturating_sub(1) * nonce.len();
        let mut text = String::with_capacity(pieces + nonces);
        for (at, piece) in self.pieces.iter().enumerate() {
            if at > 0 {
                text.push_str(nonce);
            }
            text.push_str(piece);
        }
        // The plain value, which allows less, if the text were no header value. It always is one.
        let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| self.plain.clone());
        // HPACK must not index the nonce (RFC 7541 §7.1.3), and the cache does not store it.
        value.set_sensitive(true);
        value
    }
}

impl Csp {
    /// Returns the policy for requests that came by HTTP. It may be empty.
    pub(in crate::security_headers) fn without_upgrade(&self) -> Self {
        let mut list = self.list();
        list.retain(|(directive, _)| *directive != Directive::UPGRADE_INSECURE_REQUESTS);
        self.with(list)
    }
}

/// Splits the text of a policy at its nonces.
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

/// Returns the policy of a response without a nonce.
///
/// Beside a nonce, `'unsafe-inline'` applies only in browsers that do not know nonces. Without the
/// nonce it would apply in all browsers, so it is removed too.
fn without_nonce(policy: &Csp) -> Csp {
    let mut list = policy.list();
    for (_, sources) in &mut list {
        if sources.contains(&Source::NONCE) {
            sources.retain(|source| ![Source::NONCE, Source::UNSAFE_INLINE].contains(source));
            if sources.is_empty() {
                // An empty value is invalid, and a missing directive falls back to `default-src`.
                sources.push(Source::NONE);
            }
        }
    }
    policy.with(list)
}
