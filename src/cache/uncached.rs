use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::body::ResponseBody;
use super::cache_status::{CacheStatus, Fwd};
use super::clock::Reading;
use super::config::Config;
use super::fetch::{Call, length};
use super::hit_for_miss::Mark;
use super::key::Key;
use super::metrics::Outcome;
use super::policy::{self, Bypass, RequestPolicy, ResponseInfo};
use super::response;
use crate::single_use::SingleUse;

pin_project! {
    /// Passes a request whose response was not stored lately.
    pub(crate) struct Uncached<S: Service<Q>, Q> {
        config: Arc<Config>,
        mark: Mark,
        ask: RequestPolicy,
        single_use: SingleUse,
        sent: u64,
        #[pin]
        call: Call<S, Q>,
    }
}

pin_project! {
    /// Passes a request by the cache.
    pub(crate) struct Passed<S: Service<Q>, Q> {
        config: Arc<Config>,
        bypass: Bypass,
        #[pin]
        call: Call<S, Q>,
    }
}

impl<S: Service<Request<B>> + Clone, B> Uncached<S, Request<B>> {
    /// `sent` is the time of the request in milliseconds.
    #[inline]
    pub(crate) fn new(
        config: Arc<Config>,
        mark: Mark,
        ask: RequestPolicy,
        (inner, request): (&mut S, Request<B>),
        sent: u64,
    ) -> Self {
        let single_use = SingleUse::of(request.extensions());
        Self { config, mark, ask, single_use, sent, call: Call::now(inner, request) }
    }
}

impl<S: Service<Q> + Clone, Q> Passed<S, Q> {
    pub(crate) fn new(config: Arc<Config>, bypass: Bypass, inner: &mut S, request: Q) -> Self {
        Self { config, bypass, call: Call::now(inner, request) }
    }
}

impl<S, ReqBody, ResBody> Future for Uncached<S, Request<ReqBody>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(cx))?;
        let Reading { now, wall } = this.config.clock.read();
        let answer = ResponseInfo {
            reads: None,
            status: response.status(),
            headers: response.headers(),
            hint: response.extensions().get(),
            single_use: this.single_use.covers(&response),
            varies_by: None,
            // No refusal depends on these: a response that may be stored is left to the next request.
            key: &Key::default(),
            request: &HeaderMap::new(),
            size: length(&response),
            sent: wall.saturating_sub(now.saturating_sub(*this.sent)),
            received: wall,
            clock: now,
            random: 0.0,
            post: false,
        };
        let refusal = policy::refusal(&this.config.rules, this.ask, &answer);
        let state = &this.config.state;
        let ttl = this.config.limits.hit_for_miss;
        match refusal {
            // The next request looks the response up, and stores it.
            None => state.hit_for_miss.clear(*this.mark, now, ttl),
            // Such a response says nothing about the next one.
            Some(_) if says_nothing(&response) => {}
            Some(_) => drop(state.hit_for_miss.set(*this.mark, now, ttl)),
        }
        state.metrics.count(Outcome::Miss);
        let detail = Some(refusal.map_or("hit-for-miss", |reason| reason.as_str()));
        let status = CacheStatus { detail, ..CacheStatus::forwarded(Fwd::UriMiss) };
        Poll::Ready(Ok(response::pass_on(this.config, response, &status)))
    }
}

impl<S, ReqBody, ResBody> Future for Passed<S, Request<ReqBody>>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(cx))?;
        this.config.state.metrics.count(Outcome::Bypass(*this.bypass));
        let status = CacheStatus::bypass(*this.bypass);
        Poll::Ready(Ok(response::pass_on(this.config, response, &status)))
    }
}

/// Returns `true` if a response that is not stored tells nothing about the next one for its URL: it
/// answers a single request, confirms the client's own copy, or is a failure.
fn says_nothing<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::NOT_MODIFIED
        || response.status().is_server_error()
        || SingleUse::marks(response)
}
