//! Responses that are for their request alone, though no field says so: those of
//! `security_headers`.

use http::Extensions;

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
    pub(crate) fn is(&self, response: &Extensions) -> bool {
        self.nonce.as_ref().is_some_and(Nonce::is_used)
            || response.get::<Nonce>().is_some()
            || response.get::<Overrides>().is_some()
    }
}

#[cfg(not(feature = "security-headers"))]
impl ForOne {
    pub(crate) fn of(_: &Extensions) -> Self {
        Self {}
    }

    pub(crate) fn is(&self, _: &Extensions) -> bool {
        let Self {} = self;
        false
    }
}
