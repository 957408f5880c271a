//! Background refreshes of entries.

use std::sync::Arc;

use http::{Method, Request, Response};
use http_body::Body;
use tower::Service;

use super::body::LONGEST_FILL;
use super::cache_status::{CacheStatus, Fwd};
use super::coalesce::Role;
use super::decide::{Action, Miss, decide};
use super::entry::Entry;
use super::exchange::Exchange;
use super::fetch::{Fetch, Fetched, call, with_context};
use super::lookup::Lookup;
use super::metrics::{Fallback, Outcome};
use super::policy::{Bypass, RequestPolicy};
use super::state::Lead;
use super::task::spawn;

/// Refreshes an entry in the background, unless another request already fetches it.
pub(crate) fn refresh<S, ReqBody, ResBody>(mut exchange: Exchange<S, ReqBody>, old: Entry)
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    let config = Arc::clone(&exchange.config);
    // The response to such a request is not one that others may get.
    let poisonous = |bypass: Bypass| bypass.is_of_another() || bypass == Bypass::NoStore;
    if exchange.ask.no_fill.is_some_and(poisonous) {
        return;
    }
    let Some(slot) = config.state.refresh_slot(config.limits.max_refreshes) else {
        return config.state.metrics.fell_back(Fallback::Refreshes);
    };
    exchange.head.method = Method::GET;
    let RequestPolicy { authorized, cookie, conditional, .. } = exchange.ask;
    exchange.ask = RequestPolicy { authorized, cookie, conditional, ..RequestPolicy::default() };
    let flight = exchange.flight_key(&Lookup::Found(old.clone()));
    let Role::Leader(leader) = config.state.coalescer.join(flight.name(&exchange.key)) else {
        return;
    };
    let miss = Miss { status: CacheStatus::forwarded(Fwd::Stale), old: Some(old), alone: false };
    let marker = flight.marker(&config, &exchange.key);
    let lead = Lead::new(leader);
    spawn(async move {
        let refresh = async move {
            // Another process may have refreshed the entry.
            let backend = exchange.query().look_up_backend().await;
            let now = exchange.config.clock.now();
            let action =
                backend.map(|lookup| decide(&exchange.config, &exchange.ask, &lookup, now));
            if let Some(Action::Serve { outcome: Outcome::Hit, refresh: false, .. }) = action {
                return "done";
            }
            let (mut fetch, inner, request) = Fetch::new(exchange, miss, marker, Some(lead), now);
            let result = call(inner, request).await;
            match with_context(|cx| fetch.conclude(result, cx)).await {
                Err(_) | Ok(Fetched::Failed(_)) => "failed",
                Ok(Fetched::Recorded(response)) => {
                    response.into_body().read_if_recorded().await;
                    "done"
                }
                Ok(Fetched::Confirmed(_) | Fetched::Passed(_)) => "done",
            }
        };
        // No client leaves, and so nothing else would end the task.
        let refreshed = tokio::time::timeout(LONGEST_FILL, refresh).await;
        config.state.metrics.refreshed(refreshed.unwrap_or("timeout"));
        drop(slot);
    });
}
