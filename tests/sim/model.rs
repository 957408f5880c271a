//! The model: what was asked, answered and purged so far, and which responses that permits.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderMap, StatusCode};

use crate::resource::{Kind, Resource};
use crate::text::Identity;

/// All that has happened.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The number of things that have happened.
    pub(crate) order: u64,
    pub(crate) resources: Vec<Resource>,
    pub(crate) records: Vec<Record>,
    pub(crate) renewals: Vec<Renewal>,
    pub(crate) purges: Vec<Purge>,
    pub(crate) changes: Vec<Change>,
    pub(crate) failures: Vec<Failure>,
    /// The layer's own lifetime of responses that state none, in milliseconds.
    pub(crate) default_ttl: Option<u64>,
    /// The layer's own lifetime of all responses, in milliseconds.
    pub(crate) ttl: Option<u64>,
    /// Nothing fails and nothing is slow, so that nothing stale is served for that.
    pub(crate) is_calm: bool,
    /// The wall clock was set at some time. Processes then know the times of each other's purges less
    /// well.
    pub(crate) was_set: bool,
    /// Memory was short at some time.
    pub(crate) was_short: bool,
    /// Bodies are dropped for want of places or memory.
    pub(crate) is_tight: bool,
    /// A new entry replaces an older one: nothing is slow, and there is one memory with space for all.
    pub(crate) is_monotonic: bool,
    /// The newest response that was a hit, by its identity and by the codings that its client accepts:
    /// when it came, in milliseconds.
    pub(crate) hits: BTreeMap<(usize, u64, u64, usize), u64>,
    pub(crate) faults: Vec<String>,
    pub(crate) trace: Vec<Event>,
}

/// A line of the story.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    order: u64,
    time: u64,
    what: &'static str,
    numbers: [u64; 3],
}

/// A response of the inner service to GET that has a body.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The request that it answers.
    pub(crate) asker: u64,
    /// Its place in the order of things: that of the call.
    pub(crate) order: u64,
    pub(crate) identity: Identity,
    /// Its place: that of the response.
    pub(crate) responded: u64,
    /// In milliseconds.
    pub(crate) responded_at: u64,
    /// The last time that the service did something for it, in milliseconds.
    pub(crate) touched: u64,
    /// Other requests may have it.
    pub(crate) shareable: bool,
    pub(crate) fate: Fate,
    /// In milliseconds.
    pub(crate) lifetime: u64,
}

/// The end of a response body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Whole,
    Fails,
    Short,
    Long,
}

/// A response of the inner service that confirms an older one: 304, or one to HEAD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal {
    pub(crate) asker: u64,
    pub(crate) order: u64,
    /// The number of the event of its response.
    pub(crate) responded: u64,
    pub(crate) resource: usize,
    pub(crate) version: u64,
    pub(crate) time: u64,
}

/// A change of a resource by a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) asker: u64,
    pub(crate) order: u64,
    pub(crate) version: u64,
}

/// An error of the inner service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) asker: u64,
    pub(crate) resource: usize,
    pub(crate) time: u64,
    /// None for an error that is no response.
    pub(crate) status: Option<StatusCode>,
}

#[derive(Clone, Debug)]
pub(crate) struct Purge {
    /// Responses that were asked for before this are purged.
    pub(crate) cut: u64,
    /// Requests that begin after this do not get them.
    pub(crate) done: u64,
    /// In milliseconds.
    pub(crate) time: u64,
    pub(crate) soft: bool,
    /// The resources that it hits, with their versions at that time.
    pub(crate) versions: BTreeMap<usize, u64>,
}

/// A request as the model sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) id: u64,
    pub(crate) resource: usize,
    pub(crate) user: u64,
    pub(crate) has_authorization: bool,
    pub(crate) has_cookie: bool,
    pub(crate) lang: u64,
    /// The number of its `accept-encoding`.
    pub(crate) codings: usize,
    pub(crate) is_head: bool,
    /// Its method is one that changes something.
    pub(crate) changes: bool,
    /// Its client wants a new response, or nothing but a stored one.
    pub(crate) wants_new: bool,
    pub(crate) wants_old: bool,
    /// Its place in the order of things, and its time in milliseconds.
    pub(crate) begun: u64,
    pub(crate) begun_at: u64,
    /// The status with which a layer has to reject it.
    pub(crate) rejected: Option<u16>,
}

/// The use that the cache made of its entries, as `cache-status` says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    pub(crate) is_there: bool,
    pub(crate) hit: bool,
    /// In seconds.
    pub(crate) ttl: Option<i64>,
    /// In seconds, from `age`.
    pub(crate) age: Option<u64>,
    pub(crate) collapsed: bool,
    pub(crate) bypassed: bool,
    pub(crate) failed: bool,
    pub(crate) stored: bool,
}

impl Model {
    /// Returns the place of what happens now.
    pub(crate) fn next(&mut self, time: u64, what: &'static str, numbers: [u64; 3]) -> u64 {
        self.order += 1;
        self.trace.push(Event { order: self.order, time, what, numbers });
        self.order
    }

    pub(crate) fn fault(&mut self, fault: impl fmt::Display) {
        self.faults.push(format!("after {}: {fault}", self.order));
    }

    /// Notes a purge of some resources that has taken effect.
    pub(crate) fn purged(
        &mut self,
        hits: impl Fn(usize, &Resource) -> bool,
        soft: bool,
        time: u64,
    ) {
        let hit = self.resources.iter().enumerate().filter(|(at, resource)| hits(*at, resource));
        let versions: BTreeMap<_, _> = hit.map(|(at, resource)| (at, resource.version)).collect();
        let first = versions.keys().next().map_or(999, |at| *at as u64);
        let order = self.next(
            time,
            if soft { "soft purge" } else { "purge" },
            [first, versions.len() as u64, 0],
        );
        self.purges.push(Purge { cut: order, done: order, time, soft, versions });
    }

    /// Notes that a client knows of its change of a resource: what was before it is purged.
    pub(crate) fn told_of_change(&mut self, asked: &Asked, time: u64) {
        let Some(change) = self.changes.iter().find(|change| change.asker == asked.id) else {
            return self.fault(format!("{asked:?} was told of a change that nobody made"));
        };
        let (cut, versions) = (change.order, BTreeMap::from([(asked.resource, change.version)]));
        let done = self.next(time, "change told", [asked.id, asked.resource as u64, 0]);
        self.purges.push(Purge { cut, done, time, soft: false, versions });
    }

    /// Checks the head of a response. Returns the number of the record that it is.
    pub(crate) fn check_head(
        &mut self,
        asked: &Asked,
        status: StatusCode,
        headers: &HeaderMap,
        now: u64,
    ) -> Option<usize> {
        let cache = Status::of(headers);
        let serial = headers.get("x-serial").and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(rejected) = asked.rejected {
            let is_shed = status == StatusCode::SERVICE_UNAVAILABLE && self.was_short;
            if status.as_u16() != rejected && !is_shed {
                self.fault(format!("{asked:?} got {status} in place of {rejected}"));
            }
            if self.was_asked(asked) && rejected != 413 {
                self.fault(format!("a rejected request reached the service: {asked:?}"));
            }
            return None;
        }
        if status.is_server_error() {
            self.check_error(asked, status, cache);
            return None;
        }
        if asked.changes {
            if !status.is_success() && status != StatusCode::NOT_FOUND {
                self.fault(format!("{asked:?} got {status}"));
            }
            return None;
        }
        let Some(serial) = serial else {
            let confirmed = |renewal: &Renewal| renewal.asker == asked.id;
            if !self.renewals.iter().any(confirmed) {
                self.fault(format!("{asked:?} got {status} from nowhere: {headers:?}"));
            }
            return None;
        };
        let Some(record) = self.records.get(serial).cloned() else {
            self.fault(format!("{asked:?} got an unknown response {serial}"));
            return None;
        };
        let mut faults = self.faults_of(asked, &record, cache, now);
        // Of several codings that a client takes, each may be stored, and one of them is newer.
        let has_codings = self.resources[asked.resource].is_text;
        let has_aliases = self.resources[asked.resource].ignores_utm;
        if cache.hit && self.is_monotonic && !has_codings && !has_aliases {
            let Identity { resource, user, lang, version, .. } = record.identity;
            let confirmed = self
                .renewals
                .iter()
                .filter(|renewal| renewal.resource == resource && renewal.version == version);
            let came = confirmed.map(|renewal| renewal.time).fold(record.responded_at, u64::max);
            let newest = self.hits.entry((resource, user, lang, asked.codings)).or_default();
            if came < *newest {
                faults.push("an older response than one before");
            }
            *newest = came.max(*newest);
        }
        for fault in faults {
            self.fault(format!(
                "{fault}\n  request {asked:?}\n  response {serial}: {record:?}\n  of {:?}\n  {status} {cache:?} at {now}",
                self.resources[record.identity.resource],
            ));
        }
        Some(serial)
    }

    fn check_error(&mut self, asked: &Asked, status: StatusCode, cache: Status) {
        if !cache.is_there {
            if !(status == StatusCode::SERVICE_UNAVAILABLE && self.was_short) {
                self.fault(format!("{asked:?} was shed without need: {status}"));
            }
            if self.was_asked(asked) {
                self.fault(format!("a request that was shed reached the service: {asked:?}"));
            }
            return;
        }
        let of_resource = |failure: &&Failure| failure.resource == asked.resource;
        let mut failures = self.failures.iter().filter(of_resource);
        let explained = if asked.wants_old && status == StatusCode::GATEWAY_TIMEOUT {
            true
        } else if cache.failed {
            failures.any(|failure| {
                let shared = failure.status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                shared == status && failure.time + LONGEST_FAILURE >= asked.begun_at
            })
        } else {
            failures.any(|failure| failure.asker == asked.id && failure.status == Some(status))
        };
        if !explained {
            self.fault(format!("{asked:?} got {status} without a failure: {cache:?}"));
        }
    }

    /// Returns `true` if the service was asked on behalf of a request.
    fn was_asked(&self, asked: &Asked) -> bool {
        self.records.iter().any(|record| record.asker == asked.id)
            || self.renewals.iter().any(|renewal| renewal.asker == asked.id)
            || self.failures.iter().any(|failure| failure.asker == asked.id)
    }

    /// Returns the rules that a response to a request breaks.
    fn faults_of(
        &self,
        asked: &Asked,
        record: &Record,
        cache: Status,
        now: u64,
    ) -> Vec<&'static str> {
        let mut faults = Vec::new();
        let resource = &self.resources[record.identity.resource];
        if record.identity.resource != asked.resource {
            faults.push("another URL's response");
        }
        let Some(expected) = asked.user_of(resource.kind) else { return faults };
        let user = record.identity.user;
        // A response to nobody in particular may be stored, and be served to anybody.
        let anonymous = user == 0 && resource.kind == Kind::Authorized;
        if user != expected && !anonymous {
            faults.push("another user's response");
        }
        if resource.kind == Kind::VaryLang && record.identity.lang != asked.lang {
            faults.push("a response in another language");
        }
        if record.asker == asked.id {
            // A request that passes by the cache is none of its own.
            if asked.wants_old && !cache.bypassed {
                faults.push("a new response for a client that wants a stored one");
            }
            return faults;
        }
        if !record.shareable {
            faults.push("a response that is not for others");
        }
        let is_silent = resource.kind == Kind::Silent;
        if asked.has_cookie && (is_silent || self.ttl.is_some()) {
            faults.push("a lifetime of the layer's own for a request with cookies");
        }
        if asked.has_authorization && (is_silent || resource.kind == Kind::Authorized) {
            faults.push("a response that is not marked public for a request with authorization");
        }
        // A server stops at the declared length, where an overlong body is whole.
        if cache.hit && !matches!(record.fate, Fate::Whole | Fate::Long) {
            faults.push("a hit whose body is not whole");
        }
        let hits = |purge: &&Purge| {
            let version = purge.versions.get(&asked.resource);
            let is_before = |version: &u64| {
                record.order < purge.cut || !purge.soft && record.identity.version < *version
            };
            purge.done < asked.begun && version.is_some_and(is_before)
        };
        let mut purges = self.purges.iter().filter(hits);
        if purges.clone().any(|purge| !purge.soft) {
            faults.push("a response from before a purge");
        }
        let renewals = self.renewals.iter().filter(|renewal| {
            renewal.resource == asked.resource && renewal.version == record.identity.version
        });
        let is_new = record.order > asked.begun
            || renewals
                .clone()
                .any(|renewal| renewal.asker == asked.id && renewal.order > asked.begun);
        if resource.kind == Kind::NoCache && self.ttl.is_none() && !is_new {
            faults.push("a response that has to be validated first");
        }
        let is_awaited = record.responded > asked.begun
            || renewals.clone().any(|renewal| renewal.responded > asked.begun);
        let has_failed = (cache.failed || cache.collapsed)
            && self.failures.iter().any(|failure| {
                failure.resource == asked.resource
                    && failure.time + LONGEST_FAILURE >= asked.begun_at
            });
        if asked.wants_new && !is_awaited && !has_failed {
            faults.push("an old response for a client that wants a new one");
        }
        let received = renewals.clone().map(|renewal| renewal.time).chain([record.touched]).max();
        let fresh_until = received.unwrap_or(0) + record.lifetime + 1;
        let least = now.saturating_sub(received.unwrap_or(0)) / 1000;
        if cache.hit && cache.age.is_none_or(|age| age + 1 < least) {
            faults.push("an age that is too low");
        }
        let stale = resource.stale_window(self.ttl.is_some());
        // A hit is decided as its head comes; any other response some time after the request.
        let used = if cache.hit { now } else { asked.begun_at };
        let says_fresh = cache.hit && cache.ttl.is_some_and(|ttl| ttl >= 0);
        if used > fresh_until + stale {
            faults.push("a response that is too old even to be stale");
        }
        if says_fresh && now > fresh_until {
            faults.push("a stale response that is said to be fresh");
        }
        let served_stale = now > fresh_until && !is_new;
        if served_stale && cache.hit && self.is_calm && now > fresh_until + resource.swr * 1000 {
            faults.push("a stale response without need");
        }
        let last_renewal = renewals.map(|renewal| renewal.order).max().unwrap_or(0);
        if let Some(purge) = purges.find(|purge| purge.soft && purge.cut > last_renewal) {
            if cache.hit && cache.ttl.is_some_and(|ttl| ttl > 0) {
                faults.push("a softly purged response that is said to be fresh");
            }
            if used > purge.time + stale + 1 && !self.was_set {
                faults.push("a softly purged response that is too old");
            }
        }
        faults
    }

    /// Checks the whole body of a response.
    pub(crate) fn check_body(
        &mut self,
        asked: &Asked,
        serial: usize,
        body: &Result<Vec<u8>, String>,
        at_length: bool,
        hit: bool,
    ) {
        let record = self.records[serial].clone();
        let own = record.asker == asked.id;
        // What is stored of an overlong body ends at the declared length.
        let is_cut = !own && record.fate == Fate::Long && body.is_ok();
        let fate = if is_cut { Fate::Whole } else { record.fate };
        match (fate, body) {
            (Fate::Whole, Ok(text)) => match Identity::parse(text) {
                Ok(identity) if identity == record.identity => {}
                Ok(other) => {
                    self.fault(format!(
                        "{asked:?} got the head {record:?} with the body {other:?}"
                    ));
                }
                Err(error) => self.fault(format!("{asked:?} got of {record:?}: {error}")),
            },
            // The server sends as much as the head states, with or without layers.
            (Fate::Long | Fate::Fails, _) if at_length && !hit => {}
            (Fate::Whole, Err(error)) => {
                self.fault(format!("{asked:?} got of {record:?}: {error}"));
            }
            _ => self.fault(format!(
                "{asked:?} got a failed body as a whole one, own {own}: {record:?}"
            )),
        }
    }

    /// Checks a body that did not come to its end.
    pub(crate) fn check_failed_body(
        &mut self,
        asked: &Asked,
        serial: usize,
        cache: Status,
        error: &str,
    ) {
        let record = &self.records[serial];
        if record.fate == Fate::Whole && (cache.hit || !self.is_tight) {
            let fault = format!("{asked:?} lost the body of {record:?}, {cache:?}: {error}");
            self.fault(fault);
        }
    }

    /// Checks an error that is no response.
    pub(crate) fn check_service_error(&mut self, asked: &Asked, error: &str) {
        let own = |failure: &Failure| failure.asker == asked.id && failure.status.is_none();
        if !self.failures.iter().any(own) {
            self.fault(format!("{asked:?} got an error of another request: {error}"));
        }
    }
}

impl Asked {
    /// Returns the user that the service binds a response to, as far as the request says.
    pub(crate) fn user_of(&self, kind: Kind) -> Option<u64> {
        Some(match kind {
            Kind::Public | Kind::Silent | Kind::VaryLang | Kind::NoCache => 0,
            Kind::Private | Kind::NoStore | Kind::VaryUser => self.user,
            Kind::Authorized => {
                if self.has_authorization {
                    self.user
                } else {
                    0
                }
            }
            Kind::SetCookie => {
                if self.has_cookie {
                    self.user
                } else {
                    0
                }
            }
        })
    }
}

impl Status {
    /// Parses the last member of `cache-status`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(line) = headers.get_all("cache-status").iter().next_back() else {
            return Self::default();
        };
        let line = line.to_str().unwrap_or_default();
        let age = headers.get("age").and_then(|age| age.to_str().ok()?.parse().ok());
        let mut status = Self { is_there: true, age, ..Self::default() };
        for item in line.split("; ").skip(1) {
            match item.split_once('=') {
                None if item == "hit" => status.hit = true,
                None if item == "stored" => status.stored = true,
                None if item == "collapsed" => status.collapsed = true,
                Some(("fwd", "bypass")) => status.bypassed = true,
                Some(("ttl", ttl)) => status.ttl = ttl.parse().ok(),
                Some(("detail", "service-failed")) => status.failed = true,
                _ => {}
            }
        }
        status
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, time, what, numbers: [a, b, c] } = self;
        write!(f, "{order:>6} {time:>9} ms  {what} {a} {b} {c}")
    }
}

/// Ten times the time for which the cache remembers a failure, and the longest wait, in milliseconds.
const LONGEST_FAILURE: u64 = 11_000;
