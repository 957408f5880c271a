//! Asking the service.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::body::ResponseBody;
use super::entry::Entry;
use super::fetched::Fetched;
use super::flow::Job;
use super::policy::{self, Bypass};
use super::shared::{Lead, Mark, Verdict};
use super::status::{Fwd, Report};
use super::tally::Outcome;
use crate::for_one::ForOne;
use crate::future::{MapResponse, POLLED_AGAIN};

pin_project! {
    /// Waits until the service is ready, and asks it.
    #[project = AskingProj]
    pub(crate) enum Asking<S: Service<Q>, Q> {
        First { service: S, request: Option<Q> },
        Then { #[pin] answer: S::Future },
        /// What the answer's future held, such as a permit, is free before its body is read.
        Done,
    }
}

/// What is to become of the service's answer.
pub(crate) struct Fetching {
    fetched: Fetched,
    /// What the answer may confirm, or what may stand in for it.
    old: Option<Entry>,
    report: Report,
}

impl<S: Service<Q>, Q> Asking<S, Q> {
    pub(crate) fn new(service: S, request: Q) -> Self {
        Self::First { service, request: Some(request) }
    }
}

impl<S: Service<Q>, Q> Future for Asking<S, Q> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                AskingProj::First { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let Some(request) = request.take() else { panic!("{POLLED_AGAIN}") };
                    let answer = service.call(request);
                    self.set(Self::Then { answer });
                }
                AskingProj::Then { answer } => {
                    let answered = ready!(answer.poll(cx));
                    self.set(Self::Done);
                    return Poll::Ready(answered);
                }
                AskingProj::Done => panic!("{POLLED_AGAIN}"),
            }
        }
    }
}

impl<S, ReqBody> Job<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    /// What asks the service, and what becomes of its answer. `sent` is when it is asked.
    pub(crate) fn fetch(
        self,
        old: Option<Entry>,
        mark: Mark,
        lead: Option<Lead>,
        mut report: Report,
        sent: u64,
    ) -> (Asking<S, Request<ReqBody>>, Fetching) {
        let Self { shared, inner, mut head, body, key, mut ask } = self;
        // In this order: a purge in between is seen by the look, and a later one by whoever stores
        // what the service confirms. The old entry may have been purged since it was looked up.
        let watermark = shared.state.purges.watermark();
        let old = old.filter(|entry| {
            let stored = entry.stored();
            stored.is_some_and(|stored| shared.is_right(&key, &head.headers, stored))
        });
        if old.is_none() && report.fwd == Some(Fwd::Stale) {
            report.fwd = Some(Fwd::UriMiss);
        }
        if ask.no_fill.is_none() {
            ask = ask.spelled(key.spell(&mut head));
        }
        let (asked, for_one) = (head.headers.clone(), ForOne::of(&head.extensions));
        if ask.no_fill.is_none() {
            if ask.conditional {
                policy::validators(&mut head.headers);
            }
            if let Some(stored) = old.as_ref().and_then(Entry::stored) {
                policy::condition(&mut head.headers, stored);
            }
        }
        let fetched = Fetched { shared, key, ask, mark, lead, watermark, asked, for_one, sent };
        let request = Request::from_parts(head, body);
        (Asking::new(inner, request), Fetching { fetched, old, report })
    }
}

impl Fetching {
    pub(crate) fn done<B, E>(
        self,
        answered: Result<Response<B>, E>,
        cx: &mut Context<'_>,
    ) -> Result<(Response<ResponseBody<B>>, Outcome), E>
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let Self { fetched, old, mut report } = self;
        let received = fetched.shared.clock.now();
        let old_stored = old.as_ref().and_then(Entry::stored);
        let failed = answered.as_ref().map_or(true, |response| response.status().is_server_error());
        if let (true, Some(entry)) = (failed, &old) {
            let Fetched { shared, key, ask, asked, lead, .. } = &fetched;
            // It may have been purged since it was looked up.
            let may = old_stored.is_some_and(|stored| {
                policy::may_stand_in(ask, stored, received) && shared.is_right(key, asked, stored)
            });
            if may {
                if let Some(lead) = lead {
                    lead.land(Verdict::StandIn(entry.clone()));
                }
                report.fwd_status = answered.ok().map(|response| response.status().as_u16());
                report.detail = Some("service-failed");
                let response = shared.answer_as(entry, ask, asked, received, &report);
                return Ok((response, Outcome::Stale));
            }
        }
        let response = answered?;
        Ok(match (fetched.ask.no_fill, response.status(), old_stored) {
            (Some(bypass), ..) => {
                report.detail = Some(bypass.as_str());
                report.header = fetched.ask.override_by.filter(|_| bypass == Bypass::Override);
                if let Some(stored) = old_stored.filter(|stored| {
                    fetched.ask.head_only
                        && !bypass.is_of_another()
                        && fetched.key.is_spelled_so()
                        && policy::outdated(stored, response.status(), response.headers())
                }) {
                    fetched.forget(stored);
                }
                (fetched.shared.pass_on(response, &report), Outcome::Bypass(bypass))
            }
            (None, StatusCode::NOT_MODIFIED, Some(stored)) => {
                (fetched.confirmed(&response, stored, received, &report), Outcome::Revalidated)
            }
            _ => (fetched.replaced(cx, response, received, old_stored, report), Outcome::Miss),
        })
    }
}

/// To a client, whose request is counted; a refresh is not.
impl<B, E> MapResponse<B, E> for Fetching
where
    B: Body + Send + 'static,
    B::Error: Send,
{
    type Body = ResponseBody<B>;

    fn map_response(
        self,
        answer: Result<Response<B>, E>,
        cx: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        let shared = Arc::clone(&self.fetched.shared);
        let (response, outcome) = self.done(answer, cx)?;
        shared.state.tally.count(outcome);
        Ok(response)
    }
}

/// What `work` does with the context of the task.
pub(crate) async fn with_context<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut work = Some(work);
    poll_fn(|cx| work.take().map_or(Poll::Pending, |work| Poll::Ready(work(cx)))).await
}
