//! Unsafe methods: what they changed is purged (RFC 9111 §4.4, RFC 9875 §3).

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
use super::purge::{Purge, Stamp, Standing};
use super::response;
use super::storage;
use super::task::spawn;
use crate::single_use::{SingleUse, VariesBy};

/// The parts of an unsafe request that count when its response has come. The inner service gets the
/// head, and a copy of all of it would be of use to few requests.
struct Change {
    uri: Uri,
    hosts: Vec<HeaderValue>,
    own: Option<Key>,
    /// The origin of a request whose key is too long for an entry.
    long_origin: Option<u128>,
    /// The policy of a GET like this request, if its response may answer that too.
    get: Option<RequestPolicy>,
    single_use: SingleUse,
}

/// The parts of the store that a request has changed.
struct Changed<'a> {
    /// The key of the request.
    own: Option<&'a Key>,
    urls: &'a [Key],
    /// The tags of the groups that the response invalidates.
    groups: &'a [String],
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
    let undisturbed = change.is_undisturbed(&config, &response, before);
    let groups = policy::invalidated_groups(response.headers());
    let groups = groups.and_then(|groups| Some(groups.tags(change.origin()?))).unwrap_or_default();
    let changed = Changed { own: change.own.as_ref(), urls: &changed, groups: &groups };
    let watermark = purge(&config, changed, received).await;
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
        let own = config.key.of(head).ok();
        Self {
            uri: config.key.uri_of(head).unwrap_or(&head.uri).clone(),
            hosts: head.headers.get_all(HOST).iter().cloned().collect(),
            long_origin: if own.is_none() { config.key.origin_of(head).ok() } else { None },
            own,
            get: if head.method == Method::POST { classify_as_get(config, head) } else { None },
            single_use: SingleUse::of(&head.extensions),
        }
    }

    /// Returns the origin of the request, whose groups the response may invalidate.
    fn origin(&self) -> Option<u128> {
        self.own.as_ref().map(Key::origin).or(self.long_origin)
    }

    /// Returns `true` if no purge of the response came after `before`.
    fn is_undisturbed<B>(&self, config: &Config, response: &Response<B>, before: Stamp) -> bool {
        let purges = &config.state.purges;
        let untouched = |url| {
            let standing = purges.standing(url, &[], before, u64::MAX);
            matches!(standing, Standing::Current(_)) && purges.admits_queries(url, before)
        };
        // Its tags are not compared: a response that has some is not stored after any purge.
        purges.is_latest(before)
            || !policy::is_tagged(response)
                && self.own.as_ref().is_some_and(|own| untouched(own.url()))
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
        let varies = response.headers().contains_key(VARY)
            || response.extensions().get::<VariesBy>().is_some();
        let is_ok = response.status() == StatusCode::OK;
        (is_ok && is_same && !varies && own.is_spelled_so()).then_some(get)
    }
}

/// Purges what has changed, removes the URLs, and returns the last purge. A client that made a change
/// may ask another process next, and so the response waits for both.
async fn purge(config: &Arc<Config>, changed: Changed<'_>, now: u64) -> Stamp {
    let Changed { own, urls, groups } = changed;
    let purge = |key: &Key| {
        let removed = config.key.is_url() && own.is_none_or(Key::is_url);
        let purge = if removed { Purge::Removed(key.url()) } else { Purge::Url(key.url()) };
        config.state.purges.purge(purge, now)
    };
    let purges: Vec<_> = urls.iter().map(purge).collect();
    let groups = groups.iter().map(|tag| config.state.purges.purge(Purge::Tag(tag), now));
    let groups: Vec<_> = groups.collect();
    let watermark = config.state.purges.watermark();
    for (key, purge) in urls.iter().zip(purges) {
        if config.state.purges.is_shared() {
            // A client that leaves does not keep the removal from its end.
            let removal = storage::remove_everywhere(Arc::clone(config), key.clone(), purge);
            drop(spawn(removal).await);
            continue;
        }
        let confirm = async { drop(storage::confirm_purge(config, purge).await) };
        let remove = async {
            storage::remove(config, key).await;
        };
        both(remove, confirm).await;
    }
    if !groups.is_empty() {
        storage::confirm_purges(config, groups).await;
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
