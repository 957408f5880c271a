use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::request;

use super::config::{Config, Skip};
use super::key::{Content, Key, NoKey};
use super::policy::{self, Bypass, RequestAction, RequestPolicy};

/// A mark in the extensions of a request: the response must be a new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warm;

/// Decides what to do with a request before anything is looked up.
#[inline]
pub(crate) fn classify(config: &Config, request: &request::Parts, has_body: bool) -> RequestAction {
    let skips = skips(config, request);
    let mut action = policy::classify(&config.rules, &config.key, request, has_body);
    match &mut action {
        RequestAction::LookUp(_) if skips => return RequestAction::Pass(Bypass::Skipped),
        RequestAction::LookUp(ask) => {
            ask.control.no_cache |= request.extensions.get::<Warm>().is_some();
        }
        RequestAction::Invalidate if Content::of(request) == Some(&Content::Panicked) => {
            config.state.metrics.panicked();
        }
        RequestAction::Invalidate | RequestAction::Pass(_) => {}
    }
    action
}

/// Returns the policy of a request as if it were a GET without a body, if the response to that could be
/// stored.
pub(crate) fn classify_as_get(config: &Config, request: &request::Parts) -> Option<RequestPolicy> {
    match policy::classify_as_get(&config.rules, &config.key, &request.headers) {
        RequestAction::LookUp(ask) if ask.no_fill.is_none() => {
            // The service has seen the cookies of the POST, also those that it would not see of a GET.
            let is_spelled_so = config.key.spells_cookies(&request.headers);
            Some(ask).filter(|_| is_spelled_so && !skips(config, request))
        }
        _ => None,
    }
}

/// Returns `true` if the user wants the request to pass. A callback that panics makes it pass, too.
fn skips(config: &Config, request: &request::Parts) -> bool {
    let skips = |skip: &Arc<Skip>| {
        catch_unwind(AssertUnwindSafe(|| skip(request))).unwrap_or_else(|_| {
            config.state.metrics.panicked();
            true
        })
    };
    config.skip.as_ref().is_some_and(skips)
}

/// Returns the key of a request.
///
/// # Errors
///
/// If the request has none that could be trusted.
#[inline]
pub(crate) fn key_of(config: &Config, request: &request::Parts) -> Result<Key, Bypass> {
    config.key.of(request).map_err(|fault| {
        if fault == NoKey::Panicked {
            config.state.metrics.panicked();
        }
        Bypass::Key
    })
}
