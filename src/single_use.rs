//! Marks in the extensions of a request or a response, by which a layer tells the cache what no
//! header says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use http::{Extensions, HeaderName, Response};

/// A mark of a response that answers its own request only: another response for the same URL may
/// differ, though no header says so. The cache does not store it.
///
/// In the extensions of a request it is a flag that a layer sets while the response is made, and
/// even while the body is sent. In the extensions of a response its presence is the mark.
#[derive(Clone, Debug)]
pub(crate) struct SingleUse(Option<Arc<AtomicBool>>);

/// A request header that the response depends on, as if `vary` named it.
#[derive(Clone, Debug)]
pub(crate) struct VariesBy(pub(crate) HeaderName);

impl SingleUse {
    /// Returns a flag that is not set, for the extensions of a request.
    pub(crate) fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// Returns the flag of a request. A request without a flag has one that is never set.
    pub(crate) fn of(request: &Extensions) -> Self {
        request.get().cloned().unwrap_or(Self(None))
    }

    /// Marks a response.
    pub(crate) fn mark(response: &mut Extensions) {
        response.insert(Self(None));
    }

    /// Returns `true` if an inner layer marked the response.
    pub(crate) fn marks<B>(response: &Response<B>) -> bool {
        response.extensions().get::<Self>().is_some()
    }

    /// Sets the flag, and returns `true` if it was not set before.
    pub(crate) fn set(&self) -> bool {
        // Relaxed: the flag guards no other data. A body that sets it does so before its next frame
        // is read.
        self.0.as_ref().is_some_and(|flag| !flag.swap(true, Ordering::Relaxed))
    }

    /// Returns `true` if the flag has been set by now.
    pub(crate) fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
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
