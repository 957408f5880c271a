//! Marks in the extensions of a request or a response, by which a layer tells the cache what no
//! header says.

use std::fmt;
use std::sync::Arc;

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use http::{Extensions, HeaderName, Response};

/// A mark of a response that answers its own request only: another response for the same URL may
/// differ, though no header says so. The cache does not store it.
///
/// The mark of a request has a flag that a layer sets while the response is made, and even while the
/// body is sent. In the extensions of a response the presence of a mark says it.
#[derive(Clone)]
pub(crate) struct SingleUse(Option<Arc<dyn Flag>>);

/// A flag of a request, which is part of a layer's own state: a second allocation for each request
/// would cost more than the flag.
pub(crate) trait Flag: Send + Sync {
    /// Returns `true` if the response is for its request only, as far as is known by now.
    fn is_set(&self) -> bool;
}

/// A request header that the response depends on, as if `vary` named it.
#[derive(Clone, Debug)]
pub(crate) struct VariesBy(pub(crate) HeaderName);

impl SingleUse {
    /// Creates the mark of a request.
    pub(crate) fn new(flag: Arc<dyn Flag>) -> Self {
        Self(Some(flag))
    }

    /// Returns the mark of a request. The flag of a request without a mark is never set.
    #[cfg_attr(
        not(feature = "security-headers"),
        expect(unused_variables, reason = "only a nonce has a flag")
    )]
    pub(crate) fn of(request: &Extensions) -> Self {
        // A second extension beside the nonce would cost each request an allocation.
        #[cfg(feature = "security-headers")]
        if let Some(nonce) = request.get::<crate::security_headers::Nonce>() {
            return nonce.single_use();
        }
        Self(None)
    }

    /// Marks a response.
    pub(crate) fn mark(response: &mut Extensions) {
        response.insert(Self(None));
    }

    /// Returns `true` if an inner layer marked the response.
    pub(crate) fn marks<B>(response: &Response<B>) -> bool {
        response.extensions().get::<Self>().is_some()
    }

    /// Returns `true` if the flag may still be set while the body is sent.
    pub(crate) fn may_be_set(&self) -> bool {
        self.0.is_some()
    }

    /// Returns `true` if the flag has been set by now.
    pub(crate) fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|flag| flag.is_set())
    }

    /// Returns `true` if the response must not be stored, as far as its head tells: the flag is
    /// set, the response is marked, a policy has a nonce, or a layer outside of the cache is still
    /// to change the response by extensions that no store keeps.
    pub(crate) fn covers<B>(&self, response: &Response<B>) -> bool {
        #[cfg(feature = "security-headers")]
        if response.extensions().get::<crate::security_headers::Overrides>().is_some() {
            return true;
        }
        // `security_headers` marks the value of a policy with a nonce as sensitive.
        let policies = [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY];
        let mut headers = response.headers().iter();
        let has_nonce =
            headers.any(|(name, value)| value.is_sensitive() && policies.contains(name));
        self.is_set() || Self::marks(response) || has_nonce
    }
}

impl fmt::Debug for SingleUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleUse").field("is_set", &self.is_set()).finish()
    }
}
