//! What becomes of the service's answer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{CONTENT_LENGTH, CONTENT_LOCATION, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body::Body;
use tower::Service;

use super::answer;
use super::body::ResponseBody;
use super::entry::{Entry, Kept, Stored, Watermark};
use super::fetch::{Asking, with_context};
use super::flow::Group;
use super::key::Key;
use super::policy::{self, After, Answer, Ask, Before, Bypass, Form, Plan, Refusal};
use super::purge::{Purge, PurgeFuture, Stamp};
use super::record::{Recording, keep};
use super::shared::{Lead, Mark, Shared, Verdict, random, settle};
use super::status::Report;
use super::store::StoreError;
use super::tally::{Fallback, Outcome};
use crate::cache_marks::VariesBy;
use crate::for_one::{ForOne, is_single_use};

/// What is known of a request that the service is asked.
pub(crate) struct Fetched {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: Key,
    pub(crate) ask: Ask,
    pub(crate) mark: Mark,
    pub(crate) lead: Option<Lead>,
    pub(crate) watermark: Stamp,
    /// The fields of the client's request.
    pub(crate) asked: HeaderMap,
    pub(crate) for_one: ForOne,
    /// In milliseconds since 1970.
    pub(crate) sent: u64,
}

impl Fetched {
    /// The service said that what is kept is right still.
    pub(crate) fn confirmed<B, R>(
        self,
        response: &Response<R>,
        stored: &Stored,
        received: u64,
        report: &Report,
    ) -> Response<ResponseBody<B>>
    where
        B: Body,
    {
        let report = Report { fwd_status: Some(304), ..*report };
        let answer = self.answer(response, None, received, false);
        let (headers, after) = policy::freshen(&self.shared.rules, &self.ask, stored, &answer);
        if let After::Refuse(refusal) = after {
            self.refused(response, refusal, received, Some(stored));
        }
        let Self { shared, key, ask, mark, lead, watermark, asked, .. } = self;
        let watermark = Watermark::at(watermark);
        let (entry, report) = match after {
            After::Keep(plan) => {
                let Plan { headers, freshness, tags, mut variant } = *plan;
                // The service may have begun to vary by more; if not, it stays the one it was.
                if variant.varies_like(&stored.variant) {
                    variant.clone_from(&stored.variant);
                }
                let (status, body) = (stored.status, stored.body.clone());
                let fresh = Stored { status, headers, body, freshness, variant, tags, watermark };
                // It may have been purged since the service was asked.
                if shared.state.purges.admits(key.url(), &fresh.tags, fresh.watermark.get()) {
                    shared.unmark(mark);
                    let report = Report { stored: true, ..report };
                    (keep(Arc::clone(&shared), key, fresh, lead, None), report)
                } else {
                    (Entry::new(Kept::Response(fresh)), report)
                }
            }
            After::Refuse(refusal) => {
                let last = Stored { headers, watermark, ..stored.clone() };
                let detail = Some(refusal.as_str());
                (Entry::new(Kept::Response(last)), Report { detail, ..report })
            }
        };
        shared.answer_as(&entry, &ask, &asked, received, &report)
    }

    /// The service gave a response, which may be kept.
    pub(crate) fn replaced<B>(
        self,
        cx: &mut Context<'_>,
        response: Response<B>,
        received: u64,
        old: Option<&Stored>,
        mut report: Report,
    ) -> Response<ResponseBody<B>>
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let size = length(&response);
        let answer = self.answer(&response, size, received, false);
        let after = policy::after(&self.shared.rules, &self.ask, &answer);
        // Its preconditions were not passed on.
        let form = if self.ask.conditional {
            policy::form(response.status(), response.headers(), 0, &self.asked, true)
        } else {
            Form::Whole
        };
        match after {
            After::Refuse(refusal) => {
                report.detail = Some(refusal.as_str());
                self.refused(&response, refusal, received, old);
                let passed = self.shared.pass_on(response, &report);
                if form == Form::NotModified { answer::not_modified(passed) } else { passed }
            }
            After::Keep(plan) => {
                let shared = Arc::clone(&self.shared);
                let recorded = self.record(cx, response, plan, size);
                report.stored = recorded.is_ok();
                let recorded = recorded.unwrap_or_else(|response| {
                    report.detail = Some(Fallback::NAMES[Fallback::Budget as usize]);
                    response.map(ResponseBody::passed)
                });
                let recorded = shared.mark_up(recorded, &report);
                if form == Form::NotModified && !recorded.body().must_be_read() {
                    return answer::not_modified(recorded);
                }
                recorded
            }
        }
    }

    /// Nobody need wait for a response that is not kept, now or for a while.
    fn refused<B>(&self, response: &Response<B>, why: Refusal, now: u64, old: Option<&Stored>) {
        self.lead.iter().for_each(|lead| lead.land(Verdict::Alone));
        let stays = old.is_some_and(|old| policy::outlives(old, why, now));
        // A response for one request alone says nothing of the next one.
        if stays || response.status().is_server_error() || is_single_use(response) {
            return;
        }
        self.shared.mark(self.mark, now);
        if let Some(old) = old {
            self.forget(old);
        }
    }

    /// Removes an entry from the store, and not the other variants of its URL; nobody need wait for
    /// it.
    pub(crate) fn forget(&self, old: &Stored) {
        let shared = Arc::clone(&self.shared);
        let key = match old.variant.class() {
            0 => self.key.clone(),
            id => self.key.variant(id),
        };
        settle(Box::pin(async move { shared.remove(&key).await }));
    }

    /// Records a response on its way to the client. Gives it back if there is no place for it.
    fn record<B>(
        self,
        cx: &mut Context<'_>,
        response: Response<B>,
        plan: Box<Plan>,
        declared: Option<u64>,
    ) -> Result<Response<ResponseBody<B>>, Response<B>>
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let Self { shared, key, mark, lead, watermark, for_one, .. } = self;
        let Some(gathered) = shared.gather(&key, &plan, declared) else {
            lead.iter().for_each(|lead| lead.land(Verdict::Alone));
            return Err(response);
        };
        let (head, body) = response.into_parts();
        let slots = Arc::clone(&shared);
        let recording = Recording {
            shared,
            key,
            mark,
            status: head.status,
            plan,
            watermark,
            for_one,
            lead,
            declared,
            empty_frames: 0,
        };
        let slot = || slots.fill_slot();
        let body = ResponseBody::recorded(cx, body, recording, gathered, slot);
        Ok(Response::from_parts(head, body))
    }

    fn answer<'a, B>(
        &'a self,
        response: &'a Response<B>,
        size: Option<u64>,
        received: u64,
        post: bool,
    ) -> Answer<'a> {
        let (status, headers) = (response.status(), response.headers());
        let hint = response.extensions().get();
        let sent = self.sent;
        let random = if self.shared.rules.jitter > 0.0 { random() } else { 0.0 };
        let (request, for_one) = (&self.asked, self.for_one.covers(response));
        let varies_by = response.extensions().get().map(|VariesBy(name)| name);
        Answer {
            status,
            headers,
            hint,
            for_one,
            varies_by,
            request,
            size,
            sent,
            received,
            random,
            post,
        }
    }
}

/// What is waited for at the same time.
type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Passes a request by the cache.
pub(crate) async fn pass<S, ReqBody, ResBody>(
    shared: Arc<Shared>,
    inner: S,
    request: Request<ReqBody>,
    bypass: Bypass,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    let response = Asking::new(inner, request).await?;
    shared.state.tally.count(Outcome::Bypass(bypass));
    Ok(shared.pass_on(response, &Report::bypass(bypass)))
}

/// Passes a request that changes something, and drops what it changed (RFC 9111 §4.4).
pub(crate) async fn change<S, ReqBody, ResBody>(
    shared: Arc<Shared>,
    inner: S,
    head: request::Parts,
    body: ReqBody,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    let (asked, for_one) = (head.clone(), ForOne::of(&head.extensions));
    let before = shared.state.purges.watermark();
    let sent = shared.clock.now();
    let response = Asking::new(inner, Request::from_parts(head, body)).await?;
    let received = shared.clock.now();
    shared.state.tally.count(Outcome::Bypass(Bypass::Method));
    let report = Report::bypass(Bypass::Method);
    let target = shared.key.uri_of(&asked).unwrap_or(&asked.uri);
    let Some(named) = policy::invalidated(target, response.status(), response.headers()) else {
        return Ok(shared.pass_on(response, &report));
    };
    let own = shared.key.of(&asked).ok();
    let named = named.iter().filter_map(|uri| shared.key.url(uri, &asked.headers).ok());
    let changed: Vec<_> = own.iter().cloned().chain(named).collect();
    // What was purged since it was asked may be what it is made of.
    let undisturbed = shared.state.purges.watermark() == before;
    let purge = |key: &Key| {
        let removed = shared.key.is_url() && own.as_ref().is_none_or(Key::is_url);
        let purge = if removed { Purge::Removed(key.url()) } else { Purge::Url(key.url()) };
        shared.state.purges.purge(purge, received)
    };
    let purging: Vec<_> = changed.iter().map(purge).collect();
    let watermark = shared.state.purges.watermark();
    // Whoever made the change may ask another process next.
    let mut work: Vec<Work<'_>> = Vec::new();
    for (key, purging) in changed.iter().zip(purging) {
        work.push(Box::pin(shared.remove(key)));
        work.push(Box::pin(async { drop(shared.written_down(purging).await) }));
    }
    poll_fn(|cx| {
        work.retain_mut(|work| work.as_mut().poll(cx).is_pending());
        if work.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    drop(work);
    // Where purges are shared, the log's stamp is later than what else may have come meanwhile.
    let own =
        own.filter(|own| own.is_spelled_so() && undisturbed && !shared.state.purges.is_shared());
    let Some((key, ask)) = own.and_then(|key| Some((key, shared.answers_get(&asked, &response)?)))
    else {
        return Ok(shared.pass_on(response, &report));
    };
    // As a GET without credentials, of a URL that does not vary.
    let mark = shared.mark_of(&key, Group::default());
    let asked = asked.headers;
    let lead = None;
    let post = Fetched { shared, key, ask, mark, lead, watermark, asked, for_one, sent };
    let size = length(&response);
    let answer = post.answer(&response, size, received, true);
    let shared = Arc::clone(&post.shared);
    match policy::after(&shared.rules, &post.ask, &answer) {
        After::Keep(plan) => {
            Ok(match with_context(|cx| post.record(cx, response, plan, size)).await {
                Ok(recorded) => shared.mark_up(recorded, &Report { stored: true, ..report }),
                Err(response) => shared.pass_on(response, &report),
            })
        }
        After::Refuse(_) => Ok(shared.pass_on(response, &report)),
    }
}

impl Shared {
    /// Whether the response to a POST says that it is what a GET of the same URL would get (RFC
    /// 9110 §9.3.3), and what that GET would have asked.
    fn answers_get<B>(&self, request: &request::Parts, response: &Response<B>) -> Option<Ask> {
        let location = response.headers().get(CONTENT_LOCATION)?.to_str().ok()?;
        let target = self.key.uri_of(request).ok()?;
        let location = policy::resolve(target, location)?;
        let same = self.key.url(&location, &request.headers).ok()?.url()
            == self.key.url(target, &request.headers).ok()?.url();
        if request.method != Method::POST || response.status() != StatusCode::OK || !same {
            return None;
        }
        let mut get = request.clone();
        get.method = Method::GET;
        get.headers.remove(CONTENT_LENGTH);
        get.headers.remove(TRANSFER_ENCODING);
        match self.before(&get, false) {
            Before::LookUp(ask) if ask.no_fill.is_none() => Some(ask),
            _ => None,
        }
    }

    pub(crate) async fn written_down(&self, purging: PurgeFuture) -> Result<(), StoreError> {
        purging.await.inspect_err(|_| self.state.tally.store_failed("purge"))
    }
}

/// In bytes: what the head states, or else what the body knows.
fn length<B: Body>(response: &Response<B>) -> Option<u64> {
    let stated = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    stated.and_then(|length| length.parse().ok()).or_else(|| response.body().size_hint().exact())
}
