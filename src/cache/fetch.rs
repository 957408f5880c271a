//! Asking the service.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::entry::Entry;
use super::fetched::Fetched;
use super::flow::Job;
use super::policy::{self, Bypass};
use super::shared::{Lead, Verdict};
use super::status::Report;
use super::tally::Outcome;
use crate::for_one::ForOne;

impl<S, ReqBody, ResBody> Job<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    pub(super) async fn fetch_for_client(
        self: Box<Self>,
        old: Option<Entry>,
        flight: Arc<str>,
        lead: Option<Lead>,
        report: Report,
    ) -> Result<Response<ResponseBody<ResBody>>, S::Error> {
        let shared = Arc::clone(&self.shared);
        let (response, outcome) = self.fetch(old, flight, lead, report).await?;
        shared.state.tally.count(outcome);
        Ok(response)
    }

    /// Asks the service. `old` is what its answer may confirm, or what may stand in for it.
    pub(super) async fn fetch(
        self: Box<Self>,
        old: Option<Entry>,
        flight: Arc<str>,
        lead: Option<Lead>,
        mut report: Report,
    ) -> Result<(Response<ResponseBody<ResBody>>, Outcome), S::Error> {
        let Self { shared, inner, mut head, body, key, ask } = *self;
        let (asked, for_one) = (head.headers.clone(), ForOne::of(&head.extensions));
        let old_stored = old.as_ref().and_then(Entry::stored);
        if ask.no_fill.is_none() {
            if ask.conditional {
                policy::validators(&mut head.headers);
            }
            if let Some(stored) = old_stored {
                policy::condition(&mut head.headers, stored);
            }
        }
        let watermark = shared.state.purges.watermark();
        let sent = shared.clock.now();
        let answered = ask_service(inner, Request::from_parts(head, body)).await;
        let received = shared.clock.now();
        let failed = answered.as_ref().map_or(true, |response| response.status().is_server_error());
        if let (true, Some(entry)) = (failed, &old) {
            // It may have been purged since it was looked up.
            let may = old_stored.is_some_and(|stored| {
                policy::may_stand_in(&ask, stored, received)
                    && shared.is_right(&key, &asked, stored)
            });
            if may {
                if let Some(lead) = lead {
                    lead.land(Verdict::StandIn(entry.clone()));
                }
                report.fwd_status = answered.ok().map(|response| response.status().as_u16());
                report.detail = Some("service-failed");
                let response = shared.answer_as(entry, &ask, &asked, received, &report);
                return Ok((response, Outcome::Stale));
            }
        }
        let response = answered?;
        let fetched =
            Fetched { shared, key, ask, flight, lead, watermark, asked, for_one, sent, received };
        Ok(match (ask.no_fill, response.status(), old_stored) {
            (Some(bypass), ..) => {
                report.detail = Some(bypass.as_str());
                if fetched.ask.head_only
                    && bypass != Bypass::Override
                    && old_stored.is_some_and(|stored| {
                        policy::outdated(stored, response.status(), response.headers())
                    })
                {
                    fetched.forget();
                }
                (fetched.shared.pass_on(response, &report), Outcome::Bypass(bypass))
            }
            (None, StatusCode::NOT_MODIFIED, Some(stored)) => {
                (fetched.confirmed(&response, stored, &report), Outcome::Revalidated)
            }
            _ => {
                let replaced =
                    with_context(|cx| fetched.replaced(cx, response, old_stored, report));
                (replaced.await, Outcome::Miss)
            }
        })
    }
}

/// What `work` does with the context of the task.
pub(super) async fn with_context<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut work = Some(work);
    poll_fn(|cx| work.take().map_or(Poll::Pending, |work| Poll::Ready(work(cx)))).await
}

/// Waits until the service is ready, and asks it.
pub(super) async fn ask_service<S, Request>(
    mut inner: S,
    request: Request,
) -> Result<S::Response, S::Error>
where
    S: Service<Request>,
{
    poll_fn(|cx| inner.poll_ready(cx)).await?;
    inner.call(request).await
}
