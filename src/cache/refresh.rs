//! Entries that are made fresh before anybody has to wait for it.

use std::sync::Arc;

use http::{Method, Request, Response};
use http_body::Body;
use tower::Service;

use super::entry::Entry;
use super::fetch::with_context;
use super::flight::Role;
use super::flow::{Job, Next};
use super::lookup::Looked;
use super::policy::{Ask, Bypass};
use super::shared::{Lead, detach};
use super::status::{Fwd, Report};
use super::tally::{Fallback, Outcome};
use super::tape::LONGEST_FILL;

impl<S, ReqBody, ResBody> Job<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    /// Asks the service in the background, unless that is being done.
    pub(crate) fn refresh(mut self: Box<Self>, old: Entry) {
        let shared = Arc::clone(&self.shared);
        let poisonous = self
            .ask
            .no_fill
            .is_some_and(|bypass| bypass.is_of_another() || bypass == Bypass::NoStore);
        if poisonous {
            return;
        }
        let Some(slot) = shared.refresh_slot() else {
            return shared.state.tally.fell_back(Fallback::Refreshes);
        };
        self.head.method = Method::GET;
        let Ask { authorized, cookie, conditional, .. } = self.ask;
        self.ask = Ask { authorized, cookie, conditional, ..Ask::default() };
        let group = self.group(&Looked::Found(old.clone()));
        let Role::Leader(leader) = shared.state.flights.join(self.flight(group)) else { return };
        let mark = shared.mark_of(&self.key, group);
        let lead = Lead::of(leader);
        detach(async move {
            let refreshing = async move {
                // Another process may have done it.
                let further = self.shared.look_further(&self.key, &self.head.headers).await;
                let now = self.shared.clock.now();
                let next = further.map(|looked| self.shared.judge(&self.ask, &looked, now));
                if let Some(Next::Answer { outcome: Outcome::Hit, refresh: false, .. }) = next {
                    return "done";
                }
                let report = Report::forwarded(Fwd::Stale);
                let (asking, fetching) = self.fetch(Some(old), mark, Some(lead), report, now);
                let answered = asking.await;
                match with_context(|cx| fetching.done(answered, cx)).await {
                    Err(_) | Ok((_, Outcome::Stale)) => "failed",
                    Ok((response, _)) => {
                        response.into_body().read_if_kept().await;
                        "done"
                    }
                }
            };
            // Nobody else would end it: it has no client that leaves.
            let refreshed = tokio::time::timeout(LONGEST_FILL, refreshing).await;
            shared.state.tally.refreshed(refreshed.unwrap_or("timeout"));
            drop(slot);
        });
    }
}
