//! Responses that are for their request alone, though no field says so: those of
//! `security_headers`.

use http::{Extensions, Response};

#[cfg(feature = "security-headers")]
use http::HeaderValue;
#[cfg(feature = "security-headers")]
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};

#[cfg(feature = "security-headers")]
use crate::security_headers::{Nonce, Overrides};

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
    pub(crate) fn is<B>(&self, response: &Response<B>) -> bool {
        let policies = [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY];
        let mut lines = policies.iter().flat_map(|name| response.headers().get_all(name));
        self.is_now()
            || lines.any(HeaderValue::is_sensitive)
            || response.extensions().get::<Overrides>().is_some()
    }

    /// Whether the nonce has been asked for by now: a body can do so, too.
    pub(crate) fn is_now(&self) -> bool {
        self.nonce.as_ref().is_some_and(Nonce::is_used)
    }
}

#[cfg(not(feature = "security-headers"))]
impl ForOne {
    pub(crate) fn of(_: &Extensions) -> Self {
        Self {}
    }

    pub(crate) fn is<B>(&self, _: &Response<B>) -> bool {
        self.is_now()
    }

    pub(crate) fn is_now(&self) -> bool {
        let Self {} = self;
        false
    }
}
