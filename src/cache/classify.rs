use std::panic::{AssertUnwindSafe, catch_unwind};

use http::request;

use super::config::Config;
use super::key::{Key, NoKey};
use super::policy::{self, Bypass, RequestAction};

/// A mark in the extensions of a request: the response must be a new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warm;

/// Decides what to do with a request before anything is looked up.
pub(crate) fn classify(config: &Config, request: &request::Parts, has_body: bool) -> RequestAction {
    // A callback that panics makes the request pass.
    let skipped = config.skip.as_ref().map(|skip| {
        catch_unwind(AssertUnwindSafe(|| skip(request))).unwrap_or_else(|_| {
            config.state.metrics.panicked();
            true
        })
    });
    match policy::classify(&config.rules, &config.key, request, has_body) {
        RequestAction::LookUp(_) if skipped == Some(true) => RequestAction::Pass(Bypass::Skipped),
        RequestAction::LookUp(mut ask) if request.extensions.get::<Warm>().is_some() => {
            ask.control.no_cache = true;
            RequestAction::LookUp(ask)
        }
        before => before,
    }
}

/// Returns the key of a request.
///
/// # Errors
///
/// If the request has none that could be trusted.
pub(crate) fn key_of(config: &Config, request: &request::Parts) -> Result<Key, Bypass> {
    config.key.of(request).map_err(|fault| {
        if fault == NoKey::Panicked {
            config.state.metrics.panicked();
        }
        Bypass::Key
    })
}
