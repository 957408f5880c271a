//! Unsafe methods: what they changed is purged (RFC 9111 §4.4).

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::header::{CONTENT_LOCATION, HOST, VARY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use http_body::Body;
use tower::Service;

use super::body::ResponseBody;
use super::cache_status::CacheStatus;
use super::classify::classify_as_get;
use super::clock::Reading;
use super::config::Config;
use super::fetch::{Call, Fetch, length, with_context};
use super::flight_key::FlightKey;
use super::key::Key;
use super::metrics::Outcome;
use super::policy::{self, Bypass, RequestPolicy};
use super::purge::{Purge, Stamp};
use super::response;
use super::storage;
use crate::single_use::SingleUse;

/// The parts of an unsafe request that count when its response has come. The inner service gets the
/// head, and a copy of all of it would be of use to few requests.
struct Change {
    uri: Uri,
    hosts: Vec<HeaderValue>,
    own: Option<Key>,
    /// The policy of a GET like this request, if its response may answer that too.
    get: Option<RequestPolicy>,
    single_use: SingleUse,
}

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
    let change = Change::of(&config, &head);
    let before = config.state.purges.watermark();
    let sent = config.clock.read().wall;
    let response = Call::new(inner, Request::from_parts(head, body)).await?;
    let Reading { now: received, wall: received_wall } = config.clock.read();
    config.state.metrics.count(Outcome::Bypass(Bypass::Method));
    let status = CacheStatus::bypass(Bypass::Method);
    let Some(named) = policy::invalidated(&change.uri, response.status(), response.headers())
    else {
        return Ok(response::pass_on(&config, response, &status));
    };
    let named = named.iter().filter_map(|uri| change.key(&config, uri));
    let changed: Vec<_> = change.own.iter().cloned().chain(named).collect();
    // A purge since the request was sent may concern what the response is made of.
    let undisturbed = config.state.purges.watermark() == before;
    let watermark = purge(&config, change.own.as_ref(), &changed, received).await;
    // Where purges are shared, the stamp of the log is later than purges that came meanwhile.
    let may_store = undisturbed && !config.state.purges.is_shared();
    let get = if may_store { change.as_get(&config, &response) } else { None };
    let (Some(ask), Some(key)) = (get, change.own) else {
        return Ok(response::pass_on(&config, response, &status));
    };
    let mut fetch = Fetch {
        // As a GET without credentials, of a URL that does not vary.
        marker: FlightKey::default().marker(&config, &key),
        config,
        key,
        ask,
        evaluates: false,
        headers: HeaderMap::new(),
        single_use: change.single_use,
        status,
        old: None,
        mark: None,
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

impl Change {
    fn of(config: &Config, head: &request::Parts) -> Self {
        Self {
            uri: config.key.uri_of(head).unwrap_or(&head.uri).clone(),
            hosts: head.headers.get_all(HOST).iter().cloned().collect(),
            own: config.key.of(head).ok(),
            get: if head.method == Method::POST { classify_as_get(config, head) } else { None },
            single_use: SingleUse::of(&head.extensions),
        }
    }

    /// Returns the key of a URI that the response names.
    fn key(&self, config: &Config, uri: &Uri) -> Option<Key> {
        let hosts = self.hosts.iter().map(|host| (HOST, host.clone()));
        config.key.url(uri, &HeaderMap::from_iter(hosts)).ok()
    }

    /// Returns the policy of the GET that a response to a POST says that it answers too (RFC 9110
    /// §9.3.3). A response that varies is not looked at: the headers of the request are gone.
    fn as_get<B>(&self, config: &Config, response: &Response<B>) -> Option<RequestPolicy> {
        let (get, own) = (self.get?, self.own.as_ref()?);
        let location = response.headers().get(CONTENT_LOCATION)?.to_str().ok()?;
        let location = policy::resolve(&self.uri, location)?;
        let is_same = self.key(config, &location)?.url() == own.url();
        let varies = response.headers().contains_key(VARY);
        let is_ok = response.status() == StatusCode::OK;
        (is_ok && is_same && !varies && own.is_spelled_so()).then_some(get)
    }
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
    for (key, purge) in changed.iter().zip(purges) {
        let confirm = async { drop(storage::confirm_purge(config, purge).await) };
        both(storage::remove(config, key), confirm).await;
    }
    watermark
}

/// Waits for two futures at the same time.
async fn both(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let mut done = [false; 2];
    poll_fn(|cx| {
        done[0] = done[0] || first.as_mut().poll(cx).is_ready();
        done[1] = done[1] || second.as_mut().poll(cx).is_ready();
        if done == [true; 2] { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
