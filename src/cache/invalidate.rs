//! Unsafe methods: what they changed is purged (RFC 9111 §4.4, RFC 9875 §3).

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

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
use super::key::{Key, only_host};
use super::metrics::Outcome;
use super::policy::{self, Bypass, RequestPolicy};
use super::purge::{Purge, Stamp, Standing};
use super::read_scope::{ReadScope, Scoped};
use super::response;
use super::storage;
use super::task::spawn;
use crate::single_use::{SingleUse, VariesBy};

/// The parts of an unsafe request that count when its response has come. The inner service gets the
/// head, and a copy of all of it would be of use to few requests.
struct Change {
    uri: Uri,
    /// The first lines of `host`: with two of them, a URL has no key.
    hosts: [Option<HeaderValue>; 2],
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
    /// The keys of the other URLs that the response names.
    named: &'a [Key],
    /// The tags of the groups that the response invalidates.
    groups: &'a [String],
}

/// Passes a request with an unsafe method to the inner service, and purges what it changed. `sent` is
/// the time of the request by the wall clock, in milliseconds.
pub(crate) fn invalidate<S, ReqBody, ResBody>(
    config: Arc<Config>,
    inner: &mut S,
    head: request::Parts,
    body: ReqBody,
    sent: u64,
) -> impl Future<Output = Result<Response<ResponseBody<ResBody>>, S::Error>> + use<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Body + Send + 'static,
    ResBody::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let change = Change::of(&config, &head);
    let before = config.state.purges.watermark();
    // Few responses to unsafe methods may be stored.
    let is_linked = change.get.is_some() && config.rules.links;
    let scope = if is_linked { ReadScope::begin(&config.state.purges) } else { ReadScope::empty() };
    let call = scope.enter(|| Call::now(inner, Request::from_parts(head, body)));
    let call = Scoped { future: call, scope: scope.clone() };
    async move {
        let response = call.await?;
        let Reading { now: received, wall: received_wall } = config.clock.read();
        config.state.metrics.count(Outcome::Bypass(Bypass::Method));
        let status = CacheStatus::bypass(Bypass::Method);
        let Some(named) = policy::invalidated(&change.uri, response.status(), response.headers())
        else {
            return Ok(response::pass_on(&config, response, &status));
        };
        let names_none = named.is_empty();
        let named: Vec<_> = named.iter().filter_map(|uri| change.key(&config, uri)).collect();
        // A purge since the request was sent may concern what the response is made of.
        let undisturbed = !names_none && change.is_undisturbed(&config, &response, before);
        let groups = policy::invalidated_groups(response.headers());
        let groups = groups.and_then(|groups| Some(groups.tags(change.origin()?)));
        let groups = groups.unwrap_or_default();
        let changed = Changed { own: change.own.as_ref(), named: &named, groups: &groups };
        let watermark = purge(&config, changed, received).await;
        // Where purges are shared, the stamp of the log is later than purges that came meanwhile.
        // The handler may have changed the values that it read.
        let has_values = scope.close().is_some_and(|values| !values.is_empty());
        let may_store = undisturbed && !config.state.purges.is_shared() && !has_values;
        let get = if may_store { change.as_get(&config, &response) } else { None };
        let (Some(ask), Some(key)) = (get, change.own) else {
            return Ok(response::pass_on(&config, response, &status));
        };
        // In a box, and in no variable: few requests come here, and all would move the space for it.
        let stored = Box::pin(store_as_get(
            Fetch {
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
                scope: ReadScope::empty(),
                reads: None,
                sent,
                received,
                received_wall,
            },
            response,
        ));
        Ok(stored.await)
    }
}

/// Stores the response to a POST that answers a GET of its URL too, if it may be stored.
async fn store_as_get<B>(mut fetch: Fetch, response: Response<B>) -> Response<ResponseBody<B>>
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let size = length(&response);
    let answer = fetch.answer(&response, size, true);
    let Ok(plan) = policy::storable(&fetch.config.rules, &fetch.ask, &answer) else {
        return response::pass_on(&fetch.config, response, &fetch.status);
    };
    match with_context(|cx| fetch.record(cx, response, plan, size)).await {
        Ok(recorded) => response::mark(&fetch.config, recorded, &fetch.status),
        Err(response) => response::pass_on(&fetch.config, response, &fetch.status),
    }
}

impl Change {
    fn of(config: &Config, head: &request::Parts) -> Self {
        let own = config.key.of(head).ok();
        let hosts = only_host(&head.headers).map(|host| [host.cloned(), None]);
        let several = |_| {
            let mut hosts = head.headers.get_all(HOST).iter().cloned();
            [hosts.next(), hosts.next()]
        };
        Self {
            uri: config.key.uri_of(head).unwrap_or(&head.uri).clone(),
            hosts: hosts.unwrap_or_else(several),
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
        let hosts = self.hosts.iter().flatten().map(|host| (HOST, host.clone()));
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
    let Changed { own, named, groups } = changed;
    let purges = &config.state.purges;
    let urls = || own.into_iter().chain(named);
    let url = |key: &Key| {
        let removed = config.key.is_url() && own.is_none_or(Key::is_url);
        purges.purge(if removed { Purge::Removed(key.url()) } else { Purge::Url(key.url()) }, now)
    };
    let tag = |tag: &String| purges.purge(Purge::Tag(tag), now);
    if purges.is_shared() {
        let made: Vec<_> = urls().map(url).collect();
        let groups: Vec<_> = groups.iter().map(tag).collect();
        let watermark = purges.watermark();
        let written = async {
            for (key, purge) in urls().zip(made) {
                // A client that leaves does not keep the removal from its end.
                let removal = storage::remove_everywhere(Arc::clone(config), key.clone(), purge);
                drop(spawn(removal).await);
            }
            if !groups.is_empty() {
                storage::confirm_purges(config, groups).await;
            }
        };
        // In a box, as above.
        Box::pin(written).await;
        return watermark;
    }
    // Purges that stay within this process are done.
    urls().map(url).chain(groups.iter().map(tag)).for_each(drop);
    let watermark = purges.watermark();
    let is_stored = |key: &&Key| !storage::is_absent(config, key);
    let stored: Vec<_> = urls().filter(is_stored).collect();
    // Most URLs that are changed have no entry.
    if !stored.is_empty() {
        let removed = async {
            for key in stored {
                storage::remove(config, key).await;
            }
        };
        Box::pin(removed).await;
    }
    watermark
}
