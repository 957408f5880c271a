//! Background refreshes of entries.

use std::error::Error;
use std::sync::Arc;

use http::{Method, Request, Response};
use http_body::Body;
use tower::Service;

use super::body::LONGEST_FILL;
use super::cache_status::Fwd;
use super::coalesce::Role;
use super::decide::{Action, Miss, decide};
use super::entry::Entry;
use super::exchange::Exchange;
use super::fetch::Fetching;
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
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
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
    // A QUERY, or a POST whose content is a part of the key, is sent again as it is.
    if exchange.ask.head_only {
        exchange.head.method = Method::GET;
    }
    let RequestPolicy { authorized, cookie, conditional, post, .. } = exchange.ask;
    exchange.ask =
        RequestPolicy { authorized, cookie, conditional, post, ..RequestPolicy::default() };
    let lookup = Lookup::Found(old.clone());
    let miss = Miss::new(exchange.query(), &exchange.ask, &lookup, Fwd::Stale);
    let miss = Miss { old: Some(old), ..miss };
    let name = miss.flight.name(&mut exchange.key, false);
    let Role::Leader(leader) = config.state.coalescer.join(name) else { return };
    let lead = Lead::new(leader);
    spawn(async move {
        let refresh = async move {
            // Another process may have refreshed the entry.
            let backend = exchange.query().look_up_backend().await;
            let now = exchange.config.clock.now();
            let action =
                backend.map(|lookup| decide(exchange.query(), &exchange.ask, &lookup, now));
            if let Some(Action::Serve { outcome: Outcome::Hit, refresh: false, .. }) = action {
                return "done";
            }
            match Fetching::new(exchange, miss, Some(lead), now).await {
                Ok(concluded) => concluded.finish().await,
                Err(_) => "failed",
            }
        };
        // No client leaves, and so nothing else would end the task.
        let refreshed = tokio::time::timeout(LONGEST_FILL, refresh).await;
        config.state.metrics.refreshed(refreshed.unwrap_or("timeout"));
        drop(slot);
    });
}
