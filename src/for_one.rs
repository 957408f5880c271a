//! Responses that are for their request alone, though no field says so: those of
//! `security_headers`.

use http::{Extensions, Response};

#[cfg(feature = "security-headers")]
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};

#[cfg(feature = "security-headers")]
use crate::security_headers::{Nonce, Overrides};

use crate::cache_marks::SingleUse;

/// What tells, once the service has answered.
#[derive(Clone, Debug)]
pub(crate) struct ForOne {
    #[cfg(feature = "security-headers")]
    nonce: Option<Nonce>,
}

#[cfg(feature = "security-headers")]
impl ForOne {
    pub(crate) fn of(request: &Extensions) -> Self {
        Self { nonce: request.get().cloned() }
    }

    /// Whether there is a nonce in the response, or there are fields in it that a layer outside
    /// is still to change, by extensions that nobody keeps.
    pub(crate) fn covers<B>(&self, response: &Response<B>) -> bool {
        let policies = [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY];
        self.has_nonce()
            || is_single_use(response)
            || response.extensions().get::<Overrides>().is_some()
            || response
                .headers()
                .iter()
                .any(|(name, value)| value.is_sensitive() && policies.contains(name))
    }

    /// Returns `true` if the body may still ask for the nonce.
    pub(crate) fn may_come_later(&self) -> bool {
        self.nonce.is_some()
    }

    /// Whether the nonce has been asked for by now: a body can do so, too.
    pub(crate) fn has_nonce(&self) -> bool {
        self.nonce.as_ref().is_some_and(Nonce::is_used)
    }
}

#[cfg(not(feature = "security-headers"))]
impl ForOne {
    pub(crate) fn of(_: &Extensions) -> Self {
        Self {}
    }

    pub(crate) fn covers<B>(&self, response: &Response<B>) -> bool {
        self.has_nonce() || is_single_use(response)
    }

    pub(crate) fn may_come_later(&self) -> bool {
        self.has_nonce()
    }

    pub(crate) fn has_nonce(&self) -> bool {
        let Self {} = self;
        false
    }
}

/// Returns `true` if an inner layer marked the response as one that must not be stored.
pub(crate) fn is_single_use<B>(response: &Response<B>) -> bool {
    response.extensions().get::<SingleUse>().is_some()
}
