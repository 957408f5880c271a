//! Unsafe methods: what they changed is purged (RFC 9111 §4.4).

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONTENT_LENGTH, CONTENT_LOCATION, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, request};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::cache_status::CacheStatus;
use super::classify::classify;
use super::clock::Reading;
use super::config::Config;
use super::fetch::{Call, Fetch, length, with_context};
use super::flight_key::FlightKey;
use super::key::Key;
use super::metrics::Outcome;
use super::policy::{self, Bypass, RequestAction, RequestPolicy};
use super::purge::{Purge, Stamp};
use super::response;
use super::storage;
use crate::single_use::SingleUse;

/// A removal or a purge, of which several are awaited at the same time.
type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Passes a request with an unsafe method to the inner service, and purges what it changed.
pub(crate) async fn invalidate<S, ReqBody, ResBody>(
    config: Arc<Config>,
    inner: S,
    head: request::Parts,
    body: ReqBody,
) -> Result<Response<ResponseBody<ResBody>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (asked, single_use) = (head.clone(), SingleUse::of(&head.extensions));
    let before = config.state.purges.watermark();
    let sent = config.clock.read().wall;
    let response = Call::new(inner, Request::from_parts(head, body)).await?;
    let Reading { now: received, wall: received_wall } = config.clock.read();
    config.state.metrics.count(Outcome::Bypass(Bypass::Method));
    let status = CacheStatus::bypass(Bypass::Method);
    let target = config.key.uri_of(&asked).unwrap_or(&asked.uri);
    let Some(named) = policy::invalidated(target, response.status(), response.headers()) else {
        return Ok(response::pass_on(&config, response, &status));
    };
    let own = config.key.of(&asked).ok();
    let named = named.iter().filter_map(|uri| config.key.url(uri, &asked.headers).ok());
    let changed: Vec<_> = own.iter().cloned().chain(named).collect();
    // A purge since the request was sent may concern what the response is made of.
    let undisturbed = config.state.purges.watermark() == before;
    let watermark = purge(&config, own.as_ref(), &changed, received).await;
    // Where purges are shared, the stamp of the log is later than purges that came meanwhile.
    let own =
        own.filter(|own| own.is_spelled_so() && undisturbed && !config.state.purges.is_shared());
    let get = own.and_then(|key| Some((key, as_get(&config, &asked, &response)?)));
    let Some((key, ask)) = get else {
        return Ok(response::pass_on(&config, response, &status));
    };
    let mut fetch = Fetch {
        // As a GET without credentials, of a URL that does not vary.
        marker: FlightKey::default().marker(&config, &key),
        config,
        key,
        ask,
        evaluates: false,
        headers: asked.headers,
        single_use,
        status,
        old: None,
        lead: None,
        watermark,
        sent,
        received,
        received_wall,
    };
    let size = length(&response);
    let answer = fetch.answer(&response, size, true);
    let Ok(plan) = policy::storable(&fetch.config.rules, &fetch.ask, &answer) else {
        return Ok(response::pass_on(&fetch.config, response, &status));
    };
    Ok(match with_context(|cx| fetch.record(cx, response, plan, size)).await {
        Ok(recorded) => response::mark(&fetch.config, recorded, &fetch.status),
        Err(response) => response::pass_on(&fetch.config, response, &status),
    })
}

/// Purges and removes the `changed` URLs, and returns the last purge. A client that made a change
/// may ask another process next, and so the response waits for both.
async fn purge(config: &Config, own: Option<&Key>, changed: &[Key], now: u64) -> Stamp {
    let purge = |key: &Key| {
        let removed = config.key.is_url() && own.is_none_or(Key::is_url);
        let purge = if removed { Purge::Removed(key.url()) } else { Purge::Url(key.url()) };
        config.state.purges.purge(purge, now)
    };
    let purges: Vec<_> = changed.iter().map(purge).collect();
    let watermark = config.state.purges.watermark();
    let mut work: Vec<Work<'_>> = Vec::new();
    for (key, purge) in changed.iter().zip(purges) {
        work.push(Box::pin(storage::remove(config, key)));
        work.push(Box::pin(async { drop(storage::confirm_purge(config, purge).await) }));
    }
    poll_fn(|cx| {
        work.retain_mut(|work| work.as_mut().poll(cx).is_pending());
        if work.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    watermark
}

/// Returns the GET that a response to a POST says that it answers too (RFC 9110 §9.3.3).
fn as_get<B>(
    config: &Config,
    request: &request::Parts,
    response: &Response<B>,
) -> Option<RequestPolicy> {
    let location = response.headers().get(CONTENT_LOCATION)?.to_str().ok()?;
    let target = config.key.uri_of(request).ok()?;
    let location = policy::resolve(target, location)?;
    let same = config.key.url(&location, &request.headers).ok()?.url()
        == config.key.url(target, &request.headers).ok()?.url();
    if request.method != Method::POST || response.status() != StatusCode::OK || !same {
        return None;
    }
    let mut get = request.clone();
    get.method = Method::GET;
    get.headers.remove(CONTENT_LENGTH);
    get.headers.remove(TRANSFER_ENCODING);
    match classify(config, &get, false) {
        RequestAction::LookUp(ask) if ask.no_fill.is_none() => Some(ask),
        _ => None,
    }
}
