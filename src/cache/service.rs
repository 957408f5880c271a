use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, request};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::body::ResponseBody;
use super::cache_status::{CacheStatus, Fwd};
use super::classify::{classify, key_of};
use super::clock::Reading;
use super::coalesce::{Ended, Role};
use super::config::Config;
use super::decide::{Action, Miss, decide};
use super::detach::Detachable;
use super::exchange::{Exchange, StaleReply, is_looked_up_once};
use super::fetch::{Fetching, POLLED_AGAIN, Respond};
use super::invalidate::invalidate;
use super::key::Key;
use super::lookup::{Lookup, Query, look_up_now};
use super::metrics::{Fallback, Outcome};
use super::policy::{Bypass, RequestAction, RequestPolicy};
use super::ranges::{RangeLookup, look_up_range};
use super::refresh::refresh;
use super::response;
use super::state::{Lead, Verdict};
use super::storage::get_now;
use super::uncached::{Passed, Uncached};

/// The service of [`CacheLayer`](super::CacheLayer).
///
/// The service is always ready, since a hit needs nothing of the inner service. A miss calls the inner
/// service at once if that is ready, or else drives it to readiness inside the response future.
#[derive(Clone, Debug)]
pub struct Cache<S> {
    inner: S,
    config: Arc<Config>,
}

pin_project! {
    /// The response future of [`Cache`].
    pub struct ResponseFuture<B: Body, E> {
        state: State<B, E>,
    }
}

enum State<B: Body, E> {
    /// A hit, whose response is ready without a box.
    Ready(Option<Response<ResponseBody<B>>>),
    Boxed(BoxedFuture<B, E>),
}

type BoxedFuture<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

impl<S> Cache<S> {
    pub(crate) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Cache<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<ResBody, S::Error>;

    #[inline]
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let config = &self.config;
        let (mut head, body) = request.into_parts();
        let Reading { now, wall } = config.clock.read();
        let ask = match classify(config, &head, !body.is_end_stream()) {
            RequestAction::LookUp(ask) => ask,
            RequestAction::Pass(bypass) => return self.pass(head, body, bypass),
            RequestAction::Invalidate => {
                let config = Arc::clone(config);
                return ResponseFuture::boxed(invalidate(
                    config,
                    &mut self.inner,
                    head,
                    body,
                    wall,
                ));
            }
        };
        // Before anything is made for the lookup.
        if let Some(mark) = config.state.hit_for_miss.recall(&config.key, &ask, &head, now) {
            let (config, call) = (Arc::clone(config), Request::from_parts(head, body));
            let call = (&mut self.inner, call);
            return ResponseFuture::boxed(Uncached::new(config, mark, ask, call, now));
        }
        // Before the lookup: `vary: cookie` compares what the service would see.
        config.key.spell_cookies(&mut head.headers);
        let mut key = match key_of(config, &head) {
            Ok(key) => key,
            Err(bypass) => return self.pass(head, body, bypass),
        };
        let ask = ask.spelled(key.may_fill());
        config.state.search_rules.apply(&mut key);
        let Poll::Ready(lookup) = look_up_now(config, &mut key, &head.headers) else {
            let exchange = self.exchange(head, body, key, ask);
            return ResponseFuture::boxed(serve(Box::new(exchange), None));
        };
        let query = Query { config, key: &key, headers: &head.headers };
        match decide(query, &ask, &lookup, now) {
            // A hit needs neither a box nor a clone of the inner service.
            Action::Serve { entry, outcome, refresh: needs_refresh } => {
                let response = response::hit(query, &ask, &entry, outcome, now);
                if needs_refresh {
                    refresh(self.exchange(head, body, key, ask), entry);
                }
                ResponseFuture::ready(response)
            }
            Action::Fail(failure, status) => {
                ResponseFuture::ready(response::failed(config, failure, now, &status))
            }
            // The request waits for nothing but the inner service.
            Action::Fetch(miss) if miss.alone && !is_looked_up_once(&ask) => {
                let exchange = exchange(config, &mut self.inner, (head, body), key, ask);
                ResponseFuture::boxed(Respond { fetch: Fetching::now(exchange, miss, None, now) })
            }
            Action::Fetch(miss) => {
                let Some(lead) = lead_now(config, &mut key, &ask, &miss) else {
                    let exchange = self.exchange(head, body, key, ask);
                    return ResponseFuture::boxed(serve(Box::new(exchange), Some((lookup, miss))));
                };
                let exchange = exchange(config, &mut self.inner, (head, body), key, ask);
                let fetch = Fetching::now(exchange, miss, Some(lead), now);
                let fetch = Detachable::new(Arc::clone(config), fetch);
                ResponseFuture::boxed(Respond { fetch })
            }
        }
    }
}

impl<S: Clone> Cache<S> {
    fn exchange<B>(
        &self,
        head: request::Parts,
        body: B,
        key: Key,
        ask: RequestPolicy,
    ) -> Exchange<S, B> {
        exchange(&self.config, self.inner.clone(), (head, body), key, ask)
    }

    fn pass<ReqBody, ResBody>(
        &mut self,
        head: request::Parts,
        body: ReqBody,
        bypass: Bypass,
    ) -> ResponseFuture<ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Send + 'static,
        ResBody: Body + 'static,
    {
        let (config, request) = (Arc::clone(&self.config), Request::from_parts(head, body));
        ResponseFuture::boxed(Passed::new(config, bypass, &mut self.inner, request))
    }
}

/// Leads the fetch of a miss, if that takes no wait: no other request leads, and no other tier or
/// process may have the response.
fn lead_now(config: &Config, key: &mut Key, ask: &RequestPolicy, miss: &Miss) -> Option<Lead> {
    let is_plain = miss.old.is_none() && miss.status.fwd == Some(Fwd::UriMiss);
    if !is_plain || is_looked_up_once(ask) || config.store.is_tiered() {
        return None;
    }
    let leader = config.state.coalescer.lead(miss.flight.name(key, false))?;
    // The leader before may have stored its response since the lookup, or have failed.
    let is_unknown = matches!(get_now(config, key), Poll::Ready(None))
        && config.state.markers.get(miss.marker).is_none();
    is_unknown.then(|| Lead::new(leader))
}

fn exchange<S, B>(
    config: &Arc<Config>,
    inner: S,
    (head, body): (request::Parts, B),
    key: Key,
    ask: RequestPolicy,
) -> Exchange<S, B> {
    let mark = config.state.hit_for_miss.mark(&config.key, &ask, &head);
    Exchange { config: Arc::clone(config), inner, head, body, key, ask, mark }
}

/// Serves a request that is no hit in memory: looks it up, waits for a request that fetches the same,
/// or fetches. `missed` is a lookup without waiting that found nothing to serve.
async fn serve<S, ReqBody, ResBody>(
    // In a box of its own, so that it is not copied with the future.
    mut exchange: Box<Exchange<S, ReqBody>>,
    missed: Option<(Lookup, Miss)>,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let config = Arc::clone(&exchange.config);
    // No later step queries the backend for some requests, so that they have to do it now.
    let missed = missed.filter(|_| !(is_looked_up_once(&exchange.ask) && config.store.is_tiered()));
    // The last thing that was waited for is a lookup in all tiers.
    let mut is_recent = missed.is_none();
    let (mut lookup, mut missed) = match missed {
        Some((lookup, miss)) => (lookup, Some(miss)),
        // A store that fails has nothing.
        None => (exchange.query().look_up().await.unwrap_or(Lookup::Nothing), None),
    };
    let mut retried = false;
    let (miss, lead) = loop {
        let now = config.clock.now();
        let action = missed
            .take()
            .map_or_else(|| decide(exchange.query(), &exchange.ask, &lookup, now), Action::Fetch);
        let miss = match action {
            Action::Fetch(miss) => miss,
            Action::Fail(failure, status) => {
                return Ok(response::failed(&config, failure, now, &status));
            }
            Action::Serve { entry, outcome, refresh: needs_refresh } => {
                let response = response::hit(exchange.query(), &exchange.ask, &entry, outcome, now);
                if needs_refresh {
                    refresh(*exchange, entry);
                }
                return Ok(response);
            }
        };
        if exchange.ask.is_range() {
            match look_up_range(exchange.query(), &exchange.ask, &miss).await {
                RangeLookup::Part(entry) => {
                    let (query, now) = (exchange.query(), config.clock.now());
                    return Ok(response::hit(query, &exchange.ask, &entry, Outcome::Hit, now));
                }
                // Decided anew: a request for the whole may wait for others, or share a failure.
                RangeLookup::Whole => {
                    exchange.ask.no_fill = None;
                    continue;
                }
                RangeLookup::Nothing => {}
            }
        }
        if exchange.ask.control.only_if_cached {
            config.state.metrics.count(Outcome::Miss);
            return Ok(response::gateway_timeout(&config, &miss.status));
        }
        if miss.alone {
            break (miss, None);
        }
        let name = miss.flight.name(&mut exchange.key, miss.is_asked());
        let ended = match config.state.coalescer.join(Arc::clone(&name)) {
            Role::Leader(leader) => Ended::Lead(leader),
            // The response came before the client asked for a new one, though its body may still be
            // read, so that the lookup found no entry.
            Role::Follower(follower)
                if (miss.is_asked() || exchange.ask.control.no_cache) && follower.is_over() =>
            {
                break (miss, None);
            }
            Role::Follower(follower) => {
                is_recent = false;
                let stale = miss.stale(&exchange.ask, now);
                let coalesce_timeout = config.limits.coalesce_timeout;
                let soft_limit = |entry| config.limits.soft_limit(entry).min(coalesce_timeout);
                let timeout = stale.map_or(coalesce_timeout, soft_limit);
                match tokio::time::timeout(timeout, follower).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        if let Some(response) = stale.and_then(|entry| exchange.stale(entry)) {
                            return Ok(response);
                        }
                        config.state.metrics.fell_back(Fallback::Wait);
                        break (miss, None);
                    }
                }
            }
        };
        let verdict = match ended {
            Ended::Completed(verdict) => verdict,
            Ended::Lead(leader) => {
                let mut lead = Lead::new(leader);
                let Exchange { key, head, .. } = &mut *exchange;
                let again = look_up_now(&config, key, &head.headers);
                let query = exchange.query();
                let again = query.look_up_again(again, &lookup, !is_recent, &mut lead).await;
                let (query, now) = (exchange.query(), config.clock.now());
                // The leader before may have failed, or have stored an entry.
                let action = match &again {
                    Some(again) => decide(query, &exchange.ask, again, now),
                    None => miss.recall(query, &exchange.ask, now),
                };
                match action {
                    Action::Fetch(miss) => break (miss, Some(lead)),
                    Action::Fail(failure, status) => {
                        lead.complete(Verdict::Failed(failure));
                        return Ok(response::failed(&config, failure, now, &status));
                    }
                    Action::Serve { entry, .. } => {
                        lead.complete(exchange.verdict(&entry, now));
                        lookup = Lookup::Found(entry);
                        continue;
                    }
                }
            }
        };
        let collapsed = CacheStatus { collapsed: true, ..miss.status };
        if let Some(response) = exchange.collapse(&verdict, &collapsed) {
            return Ok(response);
        }
        // Once: what a response varies by may change each time.
        if std::mem::replace(&mut retried, true) {
            break (miss, None);
        }
        match exchange.other_class(&verdict) {
            Some(class) => lookup = Lookup::OtherVariants(class),
            None if exchange.retires(&verdict, &name) => {}
            None => break (miss, None),
        }
    };
    let now = config.clock.now();
    if lead.is_none() {
        return Box::pin(Respond { fetch: Fetching::new(*exchange, miss, None, now) }).await;
    }
    let stale = miss.stale(&exchange.ask, now).cloned();
    let stale = stale.map(|entry| StaleReply::new(&exchange, entry, miss.marker));
    let fetch = Fetching::new(*exchange, miss, lead, now);
    let mut fetch = Detachable::new(Arc::clone(&config), fetch);
    let Some(stale) = stale else { return Ok(fetch.await?.respond()) };
    if let Ok(concluded) = tokio::time::timeout(stale.soft_limit(), &mut fetch).await {
        return Ok(concluded?.respond());
    }
    let Some(response) = stale.respond() else { return Ok(fetch.await?.respond()) };
    fetch.detach();
    Ok(response)
}

impl<B: Body, E> ResponseFuture<B, E> {
    fn ready(response: Response<ResponseBody<B>>) -> Self {
        Self { state: State::Ready(Some(response)) }
    }

    fn boxed(
        future: impl Future<Output = Result<Response<ResponseBody<B>>, E>> + Send + 'static,
    ) -> Self {
        Self { state: State::Boxed(Box::pin(future)) }
    }
}

impl<B: Body, E> Future for ResponseFuture<B, E> {
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state {
            State::Ready(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => panic!("{POLLED_AGAIN}"),
            },
            State::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}

impl<B: Body, E> fmt::Debug for ResponseFuture<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
