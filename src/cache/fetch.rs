//! Fetches: the inner service is asked, and its response is stored, confirms an entry, or passes.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::body::{Abandoned, Recording, ResponseBody};
use super::cache_status::{CacheStatus, Fwd};
use super::clock::{Reading, random};
use super::config::Config;
use super::decide::Miss;
use super::entry::{Entry, EntryKind, StoredResponse, Watermark};
use super::exchange::Exchange;
use super::hit_for_miss::Mark;
use super::key::Key;
use super::lookup::Query;
use super::markers::{Failure, Marker, in_millis};
use super::metrics::{Fallback, Outcome};
use super::policy::date::{self, millis};
use super::policy::{
    self, Bypass, Conditional, Confirmed, HeadComparison, NotStorable, RangeFill, ReadValues,
    RequestPolicy, ResponseInfo, Storable,
};
use super::purge::Stamp;
use super::ranges::parts_marker;
use super::read_scope::ReadScope;
use super::response;
use super::state::{Lead, Verdict};
use super::storage;
use super::task::spawn_if_pending;
use crate::headers::content_length::content_length;
use crate::single_use::{SingleUse, VariesBy};

/// A request that the inner service is asked, as the cache has to know it when the response comes.
pub(crate) struct Fetch {
    pub(crate) config: Arc<Config>,
    pub(crate) key: Key,
    pub(crate) ask: RequestPolicy,
    /// The inner service did not get the conditions of the client: the cache evaluates them.
    pub(crate) evaluates: bool,
    /// The headers of the request of the client, which has its preconditions.
    pub(crate) headers: HeaderMap,
    pub(crate) single_use: SingleUse,
    pub(crate) status: CacheStatus,
    /// The entry that the response may confirm, or that is served if the inner service fails.
    pub(crate) old: Option<Entry>,
    pub(crate) marker: Marker,
    pub(crate) mark: Option<Mark>,
    pub(crate) lead: Option<Lead>,
    /// The last purge before the inner service was asked.
    pub(crate) watermark: Stamp,
    /// The scope of the handler.
    pub(crate) scope: ReadScope,
    /// The values that the handler has read.
    pub(crate) reads: Option<ReadValues>,
    /// The time of the request in milliseconds, once the response has come by the wall clock.
    pub(crate) sent: u64,
    /// The time of the response, by the [`Clock`](super::clock::Clock) and by the wall clock.
    pub(crate) received: u64,
    pub(crate) received_wall: u64,
}

/// A fetch whose response has come.
pub(crate) struct Concluded<B: Body> {
    fetch: Box<Fetch>,
    fetched: Fetched<B>,
}

/// The use that the cache made of a response of the inner service.
pub(crate) enum Fetched<B: Body> {
    /// The inner service failed. The stale entry is served in its place.
    Failed(Entry),
    /// The inner service confirmed this entry.
    Confirmed(Entry),
    /// The response is recorded while its body is read.
    Recorded(Response<ResponseBody<B>>),
    /// The response is not stored.
    Passed(Response<B>),
}

pin_project! {
    /// Drives a service to readiness, and calls it.
    ///
    /// The future of the service is dropped before the body is read, with what it holds, such as a
    /// permit. This and the futures below are no `async` functions, since those would copy a request
    /// several times on its way.
    #[project = CallProj]
    pub(crate) enum Call<S: Service<Q>, Q> {
        // In a box: few services are not ready, and all requests would move the space for it.
        Waiting { waiting: Box<Waiting<S, Q>> },
        Called { #[pin] response: S::Future },
        Failed { error: Option<S::Error> },
        Done,
    }
}

/// A service that is driven to readiness, and the request for it.
pub(crate) struct Waiting<S, Q> {
    service: S,
    request: Option<Q>,
}

pin_project! {
    /// Asks the inner service, and stores its response if it may be stored.
    pub(crate) struct Fetching<S: Service<Q>, Q> {
        // In a box, so that what is handed on is a pointer.
        fetch: Option<Box<Fetch>>,
        #[pin]
        call: Call<S, Q>,
    }
}

pin_project! {
    /// Fetches for a client.
    pub(crate) struct Respond<F> {
        #[pin]
        pub(crate) fetch: F,
    }
}

/// Runs `work` with the context of the task.
pub(crate) async fn with_context<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut work = Some(work);
    poll_fn(|cx| work.take().map_or(Poll::Pending, |work| Poll::Ready(work(cx)))).await
}

impl<S: Service<Q>, Q> Call<S, Q> {
    pub(crate) fn new(service: S, request: Q) -> Self {
        Self::Waiting { waiting: Box::new(Waiting { service, request: Some(request) }) }
    }

    /// Calls the service now if it is ready, which takes no clone of it and moves the request no
    /// further. If it is not ready, the future takes the service with the place that it may have in a
    /// queue, and leaves a clone.
    pub(crate) fn now(service: &mut S, request: Q) -> Self
    where
        S: Clone,
    {
        // Nothing has to be woken: a service that is not ready is polled again with the future.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Self::Called { response: service.call(request) },
            Poll::Ready(Err(error)) => Self::Failed { error: Some(error) },
            Poll::Pending => {
                let clone = service.clone();
                Self::new(mem::replace(service, clone), request)
            }
        }
    }
}

impl<S, B> Fetching<S, Request<B>>
where
    S: Service<Request<B>>,
{
    /// `sent` is the time in milliseconds.
    pub(crate) fn new(exchange: Exchange<S, B>, miss: Miss, lead: Option<Lead>, sent: u64) -> Self {
        let (fetch, inner, request) = Fetch::new(exchange, miss, lead, sent);
        Self { fetch: Some(fetch), call: Call::new(inner, request) }
    }

    /// Calls the inner service [now](Call::now), if it is ready.
    pub(crate) fn now(
        exchange: Exchange<&mut S, B>,
        miss: Miss,
        lead: Option<Lead>,
        sent: u64,
    ) -> Self
    where
        S: Clone,
    {
        let (fetch, inner, request) = Fetch::new(exchange, miss, lead, sent);
        let call = fetch.scope.enter(|| Call::now(inner, request));
        Self { fetch: Some(fetch), call }
    }
}

impl Fetch {
    /// Makes the request for the inner service from that of the client, and returns both. `sent` is
    /// the time in milliseconds.
    fn new<S, B>(
        exchange: Exchange<S, B>,
        miss: Miss,
        lead: Option<Lead>,
        sent: u64,
    ) -> (Box<Self>, S, Request<B>) {
        let Exchange { config, inner, mut head, body, key, mut ask, mark } = exchange;
        let Miss { mut status, old, marker, mut is_uncacheable, .. } = miss;
        is_uncacheable |= mark.is_some_and(|mark| config.state.hit_for_miss.has(mark, sent));
        // In this order: the check below sees a purge that came before the watermark was read, and a
        // later one is seen before what the inner service confirms is stored. The old entry may have
        // been purged since the lookup.
        let watermark = config.state.purges.watermark();
        let old = old.filter(|entry| {
            let query = Query { config: &config, key: &key, headers: &head.headers };
            entry.stored().is_some_and(|stored| query.is_valid(stored))
        });
        if old.is_none() && status.fwd == Some(Fwd::Stale) {
            status.fwd = Some(Fwd::UriMiss);
        }
        if ask.no_fill.is_none() || ask.is_range() || ask.freshens() && old.is_some() {
            ask = ask.spelled(key.spell(&mut head));
        }
        if ask.is_filling_head() {
            if is_uncacheable {
                // The service would make a body that nobody stores.
                ask.no_fill = Some(Bypass::Partial);
            } else {
                head.method = Method::GET;
            }
        }
        // No other response is stored, whatever it is made of.
        let is_linked =
            config.rules.links && (ask.no_fill.is_none() || ask.is_range() || ask.freshens());
        let scope =
            if is_linked { ReadScope::begin(&config.state.purges) } else { ReadScope::empty() };
        let (headers, single_use) = (head.headers.clone(), SingleUse::of(&head.extensions));
        let stored = old.as_ref().and_then(Entry::stored);
        let evaluates = policy::set_conditions(&mut head.headers, &ask, stored, is_uncacheable);
        let fetch = Box::new(Self {
            config,
            key,
            ask,
            evaluates,
            headers,
            single_use,
            status,
            old,
            marker,
            mark,
            lead,
            watermark,
            scope,
            reads: None,
            sent,
            received: sent,
            received_wall: 0,
        });
        (fetch, inner, Request::from_parts(head, body))
    }

    /// Stores the response of the inner service, confirms the entry that it is about, or neither.
    ///
    /// # Errors
    ///
    /// The error of the inner service, if no stale entry may be served in its place.
    pub(crate) fn conclude<B, E>(
        &mut self,
        result: Result<Response<B>, E>,
        cx: &mut Context<'_>,
    ) -> Result<Fetched<B>, E>
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Reading { now: self.received, wall: self.received_wall } = self.config.clock.read();
        // By the wall clock from now on, for the policy.
        self.sent = self.received_wall.saturating_sub(self.received.saturating_sub(self.sent));
        let failure = self.failure(&result);
        let stale = failure.and_then(|_| self.stale_on_error());
        if let Some(failure) = failure {
            self.remember(failure, stale.as_ref());
        }
        if let Some(entry) = stale {
            self.status.fwd_status = result.ok().map(|response| response.status().as_u16());
            self.status.detail = Some("service-failed");
            return Ok(Fetched::Failed(entry));
        }
        let response = result?;
        // What a body reads later is not linked: its head is about to be stored.
        self.reads = mem::replace(&mut self.scope, ReadScope::empty()).close();
        let old = self.old.take();
        let stored = old.as_ref().and_then(Entry::stored);
        let validates = self.ask.no_fill.is_none() || self.ask.freshens();
        Ok(match (self.ask.no_fill, stored) {
            (Some(_), _) if self.ask.is_range() => self.replace_range(cx, response),
            // The cache sends no condition with a POST, so that its 304 is about nothing stored.
            (_, Some(stored))
                if validates && response.status() == StatusCode::NOT_MODIFIED && !self.ask.post =>
            {
                Fetched::Confirmed(self.confirm(&response, stored))
            }
            (None, _) => self.replace(cx, response, stored),
            (Some(bypass), _) => {
                self.status.detail = Some(bypass.as_str());
                self.status.header = self.ask.override_by.filter(|_| bypass == Bypass::Override);
                // A HEAD may lead that was to fill the cache, until the response was known not to.
                self.complete(&Verdict::Alone);
                let stored = stored.filter(|_| validates);
                match stored.and_then(|stored| self.freshen(&response, stored)) {
                    Some(entry) => Fetched::Confirmed(entry),
                    None => Fetched::Passed(response),
                }
            }
        })
    }

    /// Returns the response for the client, and counts it.
    fn respond<B>(&self, fetched: Fetched<B>) -> Response<ResponseBody<B>>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { config, ask, headers, status, .. } = self;
        let query = Query { config, key: &self.key, headers };
        let outcome = match (&fetched, ask.no_fill) {
            (Fetched::Failed(_), _) => Outcome::Stale,
            (Fetched::Confirmed(_), _) => Outcome::Revalidated,
            (Fetched::Passed(_), Some(bypass)) => Outcome::Bypass(bypass),
            _ => Outcome::Miss,
        };
        config.state.metrics.count(outcome);
        match fetched {
            Fetched::Failed(entry) | Fetched::Confirmed(entry) => {
                response::from_entry(query, ask, &entry, self.received, status)
            }
            Fetched::Recorded(recorded) => {
                let size = if self.evaluates { length(&recorded) } else { None };
                let outcome = self.outcome(&recorded, size);
                let recorded = response::mark(config, recorded, status);
                if ask.is_filling_head() {
                    return match outcome {
                        Conditional::NotModified => response::not_modified(recorded),
                        _ => response::without_body(recorded),
                    };
                }
                // A body that is stored only if its client reads it has to go to the client.
                if recorded.body().must_be_read() {
                    return recorded;
                }
                response::conditional(config, recorded, &outcome, size)
            }
            Fetched::Passed(passed) => {
                let not_modified = self.outcome(&passed, None) == Conditional::NotModified;
                let passed = response::pass_on(config, passed, status);
                if not_modified {
                    return response::not_modified(passed);
                }
                if ask.is_filling_head() { response::without_body(passed) } else { passed }
            }
        }
    }

    /// Records a response on its way to the client. Gives it back if the budget has no place for it.
    pub(crate) fn record<B>(
        &mut self,
        cx: &mut Context<'_>,
        response: Response<B>,
        plan: Box<Storable>,
        declared: Option<u64>,
    ) -> Result<Response<ResponseBody<B>>, Response<B>>
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let status = response.status();
        let fill = RangeFill { plan, status, size: None, representation: None };
        self.record_as(cx, response, fill, declared)
    }

    /// Records a response that is stored as `fill` says.
    fn record_as<B>(
        &mut self,
        cx: &mut Context<'_>,
        response: Response<B>,
        fill: RangeFill,
        declared: Option<u64>,
    ) -> Result<Response<ResponseBody<B>>, Response<B>>
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let RangeFill { plan, status, size, .. } = fill;
        // The response needs it no more.
        let mut key = mem::take(&mut self.key);
        self.config.state.search_rules.rekey(&mut key, &plan.headers);
        let mut recording = Recording {
            config: Arc::clone(&self.config),
            key,
            marker: self.marker,
            mark: self.mark,
            status,
            plan,
            watermark: self.watermark,
            single_use: self.single_use.clone(),
            lead: self.lead.take(),
            declared,
            size: declared.or(size),
            head: 0,
            empty_frames: 0,
        };
        let Some(buffer) = recording.buffer() else {
            recording.abandon(Abandoned::Scarce(Fallback::Budget));
            return Err(response);
        };
        let (head, body) = response.into_parts();
        let recorded = ResponseBody::recorded(cx, body, recording, buffer);
        // Of a body that is still being read it is not known.
        self.status.stored = recorded.is_stored;
        Ok(Response::from_parts(head, recorded.body))
    }

    /// Describes a response for the policy. `post` is `true` for the response to a POST.
    pub(crate) fn answer<'a, B>(
        &'a self,
        response: &'a Response<B>,
        size: Option<u64>,
        post: bool,
    ) -> ResponseInfo<'a> {
        ResponseInfo {
            status: response.status(),
            headers: response.headers(),
            hint: response.extensions().get(),
            single_use: self.single_use.covers(response),
            varies_by: response.extensions().get().map(|VariesBy(name)| name),
            key: &self.key,
            request: &self.headers,
            size,
            sent: self.sent,
            received: self.received_wall,
            clock: self.received,
            reads: self.reads.as_ref(),
            random: if self.config.rules.jitter > 0.0 { random() } else { 0.0 },
            post,
        }
    }

    /// Returns the failure that a result is, if it is one. `retry-after` makes it last longer, within
    /// bounds: it may be meant for one client.
    fn failure<B, E>(&self, result: &Result<Response<B>, E>) -> Option<Failure> {
        let (status, retry_after) = match result {
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, 0),
            Ok(response) if response.status().is_server_error() => {
                (response.status(), self.retry_after(response.headers()))
            }
            Ok(_) => return None,
        };
        let ttl = in_millis(self.config.limits.failure_ttl);
        let ttl = ttl.max(retry_after.min(ttl.saturating_mul(MAX_RETRY_AFTER)));
        let until = self.received.saturating_add(ttl);
        let is_shared = self.lead.as_ref().is_some_and(|lead| lead.leader.is_awaited());
        Some(Failure { status, until, is_shared })
    }

    /// Returns the time in milliseconds that `retry-after` states (RFC 9110 §10.2.3).
    fn retry_after(&self, headers: &HeaderMap) -> u64 {
        let Some(value) = headers.get(RETRY_AFTER) else { return 0 };
        let seconds = value.to_str().ok().and_then(|value| value.trim().parse::<u64>().ok());
        let date = || match date::date(headers, &RETRY_AFTER) {
            Some(Ok(date)) => millis(date).saturating_sub(self.received_wall),
            _ => 0,
        };
        seconds.map_or_else(date, |seconds| seconds.saturating_mul(1000))
    }

    /// Shares a failure with the requests that wait for the response, and remembers it. A request that
    /// nobody would have waited for says nothing about others.
    fn remember(&self, failure: Failure, stale: Option<&Entry>) {
        if self.lead.is_none() {
            return;
        }
        match stale {
            Some(entry) => self.complete(&Verdict::StaleOnError(entry.clone())),
            None if self.shares_failures() => self.complete(&Verdict::Failed(failure)),
            None => {}
        }
        if self.shares_failures() && (failure.is_shared || stale.is_some()) {
            self.config.state.markers.mark_failed(self.marker, failure);
        }
    }

    fn shares_failures(&self) -> bool {
        !self.config.limits.failure_ttl.is_zero()
    }

    /// Returns the entry to serve if the inner service fails.
    fn stale_on_error(&self) -> Option<Entry> {
        let entry = self.old.as_ref()?;
        let query = Query { config: &self.config, key: &self.key, headers: &self.headers };
        query.is_usable_on_error(&self.ask, entry, self.received).then(|| entry.clone())
    }

    /// Returns the entry that a response to HEAD freshens, or `None` if it freshens none. It may show
    /// that the entry is out of date, which is then removed.
    fn freshen<B>(&mut self, response: &Response<B>, stored: &StoredResponse) -> Option<Entry> {
        match policy::compare_head(stored, response.status(), response.headers()) {
            HeadComparison::Same => {}
            HeadComparison::Other => {
                self.remove(stored);
                return None;
            }
            HeadComparison::Unknown => return None,
        }
        let answer = self.answer(response, None, false);
        let Confirmed { response: last, kept } =
            policy::confirm(&self.config.rules, &self.ask, stored, &answer);
        // A response that may not be stored is for its client, and says nothing of the entry.
        self.keep(*kept.ok()?);
        self.status.detail = None;
        Some(Entry::new(EntryKind::Response(last)))
    }

    /// Returns the entry that a 304 confirms, with the headers of the 304.
    fn confirm<R>(&mut self, response: &Response<R>, stored: &StoredResponse) -> Entry {
        self.status.fwd_status = Some(304);
        let answer = self.answer(response, None, self.ask.post);
        let Confirmed { response: last, kept } =
            policy::confirm(&self.config.rules, &self.ask, stored, &answer);
        match kept {
            Ok(fresh) => self.keep(*fresh),
            Err(reason) => {
                self.refuse(response, reason, Some(stored));
                self.status.detail = Some(reason.as_str());
            }
        }
        Entry::new(EntryKind::Response(last))
    }

    /// Stores a response that was confirmed, unless it was purged since the inner service was asked.
    fn keep(&mut self, fresh: StoredResponse) {
        let config = &self.config;
        let fresh = StoredResponse { watermark: Watermark::at(self.watermark), ..fresh };
        let mut key = self.key.clone();
        config.state.search_rules.rekey(&mut key, &fresh.headers);
        if fresh.is_admitted(&config.state.purges, key.url()) {
            config.state.markers.clear(self.marker);
            let lead = self.lead.take();
            let entry = Entry::new(EntryKind::Response(fresh.with_own_body()));
            self.status.stored = storage::keep(Arc::clone(config), key, entry, lead, None);
        }
    }

    /// Stores a response in place of the entry, if the response may be stored.
    fn replace<B>(
        &mut self,
        cx: &mut Context<'_>,
        response: Response<B>,
        old: Option<&StoredResponse>,
    ) -> Fetched<B>
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let size = length(&response);
        let answer = self.answer(&response, size, self.ask.post);
        match policy::storable(&self.config.rules, &self.ask, &answer) {
            Err(reason) => {
                self.status.detail = Some(reason.as_str());
                self.refuse(&response, reason, old);
                Fetched::Passed(response)
            }
            Ok(plan) => {
                let recorded = self.record(cx, response, plan, size);
                self.recorded_or_passed(recorded)
            }
        }
    }

    /// Returns the use of a response that was to be recorded. The budget may have had no place for it.
    fn recorded_or_passed<B: Body>(
        &mut self,
        recorded: Result<Response<ResponseBody<B>>, Response<B>>,
    ) -> Fetched<B> {
        recorded.map_or_else(
            |response| {
                self.status.detail = Some(Fallback::Budget.as_str());
                Fetched::Passed(response)
            },
            Fetched::Recorded,
        )
    }

    /// Stores the response to a request for a range, if it may be stored.
    fn replace_range<B>(&mut self, cx: &mut Context<'_>, response: Response<B>) -> Fetched<B>
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let rules = &self.config.rules;
        let declared = length(&response);
        let answer = self.answer(&response, declared, false);
        let Some(fill) = policy::storable_range(rules, &self.ask, &answer) else {
            self.status.detail = Some(Bypass::Partial.as_str());
            return Fetched::Passed(response);
        };
        // Representations that vary alternate.
        if let Some(known) = fill.representation.filter(|_| fill.plan.variant.is_only()) {
            let marker = parts_marker(&self.config, &self.key);
            self.config.state.markers.mark_parts(marker, known);
        }
        if fill.status == StatusCode::PARTIAL_CONTENT {
            let Some(slot) = policy::slot(&self.headers, rules.parts) else {
                self.status.detail = Some(Bypass::Partial.as_str());
                return Fetched::Passed(response);
            };
            // Two ranges may have one slot. A lookup compares the range with the part.
            self.key = self.key.part(slot);
            // The odd part of one client says nothing about the whole response.
            self.marker = self.config.state.markers.marker(self.key.as_str());
        }
        let recorded = self.record_as(cx, response, fill, declared);
        self.recorded_or_passed(recorded)
    }

    /// Tells the waiting requests that they get no response, and requests of the next while not to
    /// wait.
    fn refuse<B>(&self, response: &Response<B>, reason: NotStorable, old: Option<&StoredResponse>) {
        let failed = response.status().is_server_error();
        if !(failed && self.shares_failures()) {
            self.complete(&Verdict::Alone);
        }
        let stays = old.is_some_and(|old| policy::survives(old, reason, self.received));
        // A response for a single request says nothing about the next one, nor does a 304 of the
        // client's own condition about a 200.
        let own = old.is_none() && response.status() == StatusCode::NOT_MODIFIED;
        if stays || own || failed || SingleUse::marks(response) {
            return;
        }
        let Self { config, marker, received, .. } = self;
        let (state, ttl) = (&config.state, config.limits.hit_for_miss);
        // Where there are variants, the next request may get one of them.
        let mark = self.mark.filter(|_| self.status.fwd == Some(Fwd::UriMiss));
        if !mark.is_some_and(|mark| state.hit_for_miss.set(mark, *received, ttl)) {
            state.markers.mark_uncacheable(*marker, *received, ttl);
        }
        if let Some(old) = old {
            self.remove(old);
        }
    }

    fn complete(&self, verdict: &Verdict) {
        self.lead.iter().for_each(|lead| lead.complete(verdict.clone()));
    }

    /// Removes an entry from the store, but not the other variants of its URL. The client does not
    /// wait for that.
    fn remove(&self, old: &StoredResponse) {
        let config = Arc::clone(&self.config);
        let is_only = old.variant.is_only();
        let key = if is_only { self.key.clone() } else { self.key.variant(&old.variant.suffix()) };
        spawn_if_pending(Box::pin(async move { storage::remove(&config, &key).await }));
    }

    /// Returns the outcome of the client's conditions and of its range, if the inner service did not
    /// get them. `size` is the length of the body in bytes, without which no range is cut.
    fn outcome<B>(&self, response: &Response<B>, size: Option<u64>) -> Conditional {
        if !self.evaluates {
            return Conditional::Full;
        }
        let (status, headers) = (response.status(), response.headers());
        policy::evaluate(status, headers, size.unwrap_or(0), &self.headers, size.is_none())
    }
}

impl<S: Service<Q>, Q> Future for Call<S, Q> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                CallProj::Waiting { waiting } => {
                    ready!(waiting.service.poll_ready(cx))?;
                    let Some(request) = waiting.request.take() else { panic!("{POLLED_AGAIN}") };
                    let response = waiting.service.call(request);
                    self.set(Self::Called { response });
                }
                CallProj::Called { response } => {
                    let result = ready!(response.poll(cx));
                    self.set(Self::Done);
                    return Poll::Ready(result);
                }
                CallProj::Failed { error } => {
                    let Some(error) = error.take() else { panic!("{POLLED_AGAIN}") };
                    return Poll::Ready(Err(error));
                }
                CallProj::Done => panic!("{POLLED_AGAIN}"),
            }
        }
    }
}

impl<S, ReqBody, ResBody> Future for Fetching<S, Request<ReqBody>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<Concluded<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let call = this.call;
        let result = match &*this.fetch {
            Some(fetch) => fetch.scope.enter(|| call.poll(cx)),
            None => call.poll(cx),
        };
        let result = ready!(result);
        let Some(mut fetch) = this.fetch.take() else { panic!("{POLLED_AGAIN}") };
        let fetched = fetch.conclude(result, cx)?;
        Poll::Ready(Ok(Concluded { fetch, fetched }))
    }
}

impl<F, B, E> Future for Respond<F>
where
    F: Future<Output = Result<Concluded<B>, E>>,
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let concluded = ready!(self.project().fetch.poll(cx));
        Poll::Ready(concluded.map(Concluded::respond))
    }
}

impl<B> Concluded<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Returns the response for the client, and counts it.
    pub(crate) fn respond(self) -> Response<ResponseBody<B>> {
        self.fetch.respond(self.fetched)
    }

    /// Reads the body to its end if that is how it is stored. Returns how a background refresh ended.
    pub(crate) async fn finish(self) -> &'static str {
        match self.fetched {
            Fetched::Failed(_) => "failed",
            Fetched::Recorded(response) => {
                response.into_body().read_if_recorded().await;
                "done"
            }
            Fetched::Passed(response) if response.status().is_server_error() => "failed",
            Fetched::Confirmed(_) | Fetched::Passed(_) => "done",
        }
    }
}

/// Returns the length in bytes that the head states, or that the body knows.
pub(crate) fn length<B: Body>(response: &Response<B>) -> Option<u64> {
    let stated = content_length(response.headers()).ok().flatten();
    stated.or_else(|| response.body().size_hint().exact())
}

/// The factor by which `retry-after` may make
/// [`failure_ttl`](super::CacheLayer::failure_ttl) longer.
const MAX_RETRY_AFTER: u64 = 10;

pub(crate) const POLLED_AGAIN: &str = "the response future was polled after it was ready";
