//! A plain reference of a shared cache by RFC 9111, with the defaults that the module page states.
//! Times are in milliseconds since the story began, and sections are those of RFC 9111.

use std::collections::BTreeMap;

use super::storing::{
    Freshness, NotStored, SECOND, Setup, header, initial_age, is_session, judge, kept, selecting,
    tags, updated,
};
use super::story::{Ask, Call, Directive, Head, Odd, Purge, Reply, Request, has_tag};

#[derive(Clone)]
pub(super) struct Reference {
    setup: Setup,
    /// The newest last.
    stored: Vec<Stored>,
    /// The URLs whose responses were not stored, and when.
    refused: Vec<(&'static str, i64)>,
    /// The requests that passed by the cache though their response could be stored, and when.
    missed: Vec<(Flight, i64)>,
    memories: Vec<(Flight, Memory)>,
}

/// The properties that requests share if they would get the same response.
#[derive(Clone, PartialEq)]
struct Flight {
    url: &'static str,
    variant: Vec<(&'static str, Option<String>)>,
    authorization: bool,
    session: bool,
}

/// The outcome of the last fetch, and when it was.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    /// The response was stored.
    Works,
    /// The response was not stored: nobody waits for the next one for 10 s.
    Refused(i64),
    /// The service failed, and a stale response hid that. It is asked again after a second.
    Failed(i64),
}

/// The time in milliseconds since the story began.
#[derive(Clone, Copy, Default)]
pub(super) struct Time {
    /// The time by which ages are measured: it never goes back.
    pub(super) clock: i64,
    /// The time with which dates are compared.
    pub(super) wall: i64,
}

/// The service as the reference calls it.
pub(super) struct Service<'a> {
    pub(super) reply: &'a Reply,
    pub(super) time: Time,
    /// The number of the next response.
    pub(super) number: u64,
    pub(super) calls: Vec<Call>,
}

/// A response as its client gets it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) fields: BTreeMap<&'static str, String>,
    /// The member of `cache-status`, without its details.
    pub(super) cache: String,
}

#[derive(Clone)]
struct Stored {
    url: &'static str,
    /// The request headers that `vary` names, as the request had them.
    variant: Vec<(&'static str, Option<String>)>,
    head: Head,
    body: String,
    /// All tags that it ever had: to purge too much does no harm.
    tags: Vec<&'static str>,
    freshness: Freshness,
    /// The response was purged or dropped. The list of variants names it until another one replaces it.
    gone: bool,
}

enum Use {
    Fresh,
    StaleAndRefresh,
    Stale,
    Validate {
        asked: bool,
    },
    /// The response is not for this client.
    Withheld,
}

/// A request whose method and headers allow a lookup.
struct Lookup<'a> {
    request: &'a Request,
    asks: &'a [Ask],
    /// The response may be stored.
    fills: bool,
    /// A whole response may be stored, though the request is for a range.
    is_range: bool,
    passes_conditions: bool,
    /// A HEAD, whose response may update a stored one (§4.3.5).
    freshens: bool,
}

impl Time {
    pub(super) fn step(&mut self, millis: i64) {
        self.clock += millis.max(0);
        self.wall += millis;
    }
}

impl Service<'_> {
    /// Returns the response, and when the request was sent.
    fn ask(&mut self, call: Call) -> (Option<(Head, String)>, i64) {
        let sent = self.time.wall;
        self.time.step(self.reply.takes() * SECOND);
        let answer = self.reply.to(&call, self.number, self.time.wall.div_euclid(SECOND));
        self.number += 1;
        self.calls.push(call);
        (answer, sent)
    }
}

impl Reference {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            stored: Vec::new(),
            refused: Vec::new(),
            missed: Vec::new(),
            memories: Vec::new(),
        }
    }

    pub(super) fn purge(&mut self, purge: &Purge) {
        if matches!(purge, Purge::All) {
            self.stored.clear();
        }
        for stored in &mut self.stored {
            stored.gone |= match purge {
                Purge::Url(url) => stored.url == *url,
                Purge::Prefix(prefix) => stored.url.starts_with(prefix),
                Purge::Tag(tag) => stored.tags.contains(tag),
                Purge::All => true,
            };
        }
    }

    /// Returns `true` if the cache may know that a response will not be stored, and pass the
    /// conditions of the client on: for 10 s after one was not. Which requests it takes for the same is
    /// its own affair.
    pub(super) fn may_pass_conditions(&self, request: &Request, now: i64) -> bool {
        let mut refused = self.refused.iter();
        refused.any(|(url, at)| *url == request.url && now < at + HIT_FOR_MISS)
    }

    /// Returns `true` if the cache may pass a request on without a lookup: for 10 s after a response was
    /// not stored, unless another one could have been since.
    pub(super) fn may_pass_by(&self, request: &Request, now: i64) -> bool {
        let plain = request.method == "GET" && request.range.is_none() && !request.if_match;
        let asks = !request.control.is_empty() || request.pragma;
        let flight = self.flight(request, None);
        let mut missed = self.missed.iter();
        plain
            && !(asks && self.setup != Setup::IgnoresRequests)
            && !(request.cookie && self.setup == Setup::WithTtl)
            && self.may_pass_conditions(request, now)
            && !missed.any(|(of, at)| Some(of) == flight.as_ref() && now < at + HIT_FOR_MISS)
    }

    /// Returns what a client gets by the cache.
    pub(super) fn pass_by(&mut self, request: &Request, service: &mut Service<'_>) -> Option<Got> {
        let (answer, sent) = service.ask(call(request));
        let (head, body) = answer?;
        let now = service.time.clock;
        if judge(self.setup, request, &head, (sent, service.time)).is_err() {
            self.refused.push((request.url, now));
        } else if let Some(flight) = self.flight(request, None) {
            self.missed.push((flight, now));
        }
        Some(passed((head, body), "miss"))
    }

    /// Returns what the client gets, or nothing if the service fails and nothing stands in.
    /// `passes_conditions` takes the response for one that will not be stored.
    pub(super) fn send(
        &mut self,
        request: &Request,
        service: &mut Service<'_>,
        passes_conditions: bool,
    ) -> Option<Got> {
        match request.method {
            "GET" | "HEAD" if request.if_match => {
                let (answer, _) = service.ask(call(request));
                answer.map(|answer| passed(answer, "bypass"))
            }
            "GET" | "HEAD" if request.cookie && self.setup == Setup::WithTtl => {
                let (answer, _) = service.ask(call(request));
                answer.map(|answer| passed(answer, "bypass"))
            }
            "GET" | "HEAD" => {
                let heeds = self.setup != Setup::IgnoresRequests;
                // §5.4: pragma counts where there is no cache-control.
                let pragma = [Ask::NoCache];
                let asks = match &request.control[..] {
                    _ if !heeds => &[],
                    [] if request.pragma => &pragma[..],
                    asks => asks,
                };
                // Nobody would store the body of a response that is taken for such a one.
                let is_get = request.method == "GET"
                    || self.setup == Setup::FillsOnHead && !passes_conditions;
                let stores = !asks.contains(&Ask::NoStore);
                let fills = is_get && request.range.is_none() && stores;
                let is_range = request.method == "GET" && request.range.is_some() && stores;
                let is_head = request.method == "HEAD" && !fills;
                let freshens = is_head && stores;
                let lookup = Lookup { request, asks, fills, is_range, passes_conditions, freshens };
                self.look_up(&lookup, service)
            }
            "OPTIONS" => {
                let (answer, _) = service.ask(call(request));
                answer.map(|answer| passed(answer, "method"))
            }
            _ => self.change(request, service),
        }
    }

    /// §4.
    fn look_up(&mut self, lookup: &Lookup<'_>, service: &mut Service<'_>) -> Option<Got> {
        let Lookup { request, asks, .. } = *lookup;
        let found = self.find(request);
        let usable = found.map(|at| self.usable(&self.stored[at], lookup, service.time.clock));
        let now = service.time.clock;
        let flight = self.flight(request, found);
        let (has_failed, waits) = match self.recall(flight.as_ref()) {
            Memory::Failed(at) => (true, now < at + FAILURE),
            Memory::Works | Memory::Refused(_) => (false, false),
        };
        let (old, fwd) = match usable {
            None => (None, "miss"),
            Some(Use::Withheld) => (None, "bypass"),
            // A service that has failed is not waited for while there is a stale response.
            Some(Use::Validate { asked: false })
                if has_failed && found.is_some_and(|at| self.stored[at].may_stand_in(now)) =>
            {
                return self.serve(lookup, found?, !waits, service);
            }
            Some(Use::Validate { asked }) => (found, if asked { "request" } else { "stale" }),
            Some(used) => {
                let refreshes = matches!(used, Use::StaleAndRefresh) && !waits;
                return self.serve(lookup, found?, refreshes, service);
            }
        };
        if asks.contains(&Ask::OnlyIfCached) {
            let cache = format!("fwd={fwd}");
            return Some(Got { status: 504, body: String::new(), fields: BTreeMap::new(), cache });
        }
        self.forward(lookup, old, fwd, service)
    }

    /// Serves a stored response, and refreshes it in the background.
    fn serve(
        &mut self,
        lookup: &Lookup<'_>,
        at: usize,
        refreshes: bool,
        service: &mut Service<'_>,
    ) -> Option<Got> {
        let (stored, now) = (&self.stored[at], service.time.clock);
        let ttl = stored.freshness.left(now).div_euclid(SECOND);
        let got = from_store(stored, lookup.request, now, format!("hit ttl={ttl}"));
        if refreshes && !lookup.asks.contains(&Ask::NoStore) {
            self.refresh(at, lookup.request, service);
        }
        Some(got)
    }

    /// Returns what the requests have in common that would get the same response. What they are told
    /// apart by is not known where there are other variants only.
    fn flight(&self, request: &Request, found: Option<usize>) -> Option<Flight> {
        let varies = |stored: &Stored| stored.url == request.url && !stored.variant.is_empty();
        let variant = match found {
            Some(at) => self.stored[at].variant.clone(),
            None if self.stored.iter().any(varies) => return None,
            None => Vec::new(),
        };
        let session = is_session(self.setup, request);
        Some(Flight { url: request.url, variant, authorization: request.authorization, session })
    }

    fn remember(&mut self, flight: Option<&Flight>, memory: Memory) {
        let Some(flight) = flight else { return };
        self.memories.retain(|(of, _)| of != flight);
        self.memories.push((flight.clone(), memory));
    }

    fn recall(&self, flight: Option<&Flight>) -> Memory {
        let known = self.memories.iter().find(|(of, _)| Some(of) == flight);
        known.map_or(Memory::Works, |(_, memory)| *memory)
    }

    /// The newest stored response that the request selects (§4.1), if it is there still.
    fn find(&self, request: &Request) -> Option<usize> {
        let selected = |stored: &Stored| {
            stored.url == request.url
                && stored.variant.iter().all(|(name, value)| *value == header(request, name))
        };
        self.stored.iter().rposition(selected).filter(|at| !self.stored[*at].gone)
    }

    fn usable(&self, stored: &Stored, lookup: &Lookup<'_>, now: i64) -> Use {
        let Lookup { request, asks, .. } = *lookup;
        let freshness = &stored.freshness;
        if self.is_withheld(stored, request) {
            return Use::Withheld;
        }
        if asks.contains(&Ask::NoCache) {
            return Use::Validate { asked: true };
        }
        if freshness.validate {
            return Use::Validate { asked: false };
        }
        let (age, left) = (freshness.age(now), freshness.left(now));
        let mut takes_stale = None;
        let (mut wants_newer, mut wants_fresh) = (false, false);
        for ask in asks {
            match ask {
                Ask::MaxAge(seconds) => {
                    wants_newer |= age > seconds * SECOND;
                    wants_fresh = true;
                }
                Ask::MinFresh(seconds) => wants_newer |= left < seconds * SECOND,
                Ask::MaxStale(seconds) => takes_stale = Some(seconds.unwrap_or(i64::MAX / SECOND)),
                _ => {}
            }
        }
        if left > 0 {
            return if wants_newer { Use::Validate { asked: true } } else { Use::Fresh };
        }
        // §5.2.1.1: with max-age, a client does not want what is stale unless it says max-stale.
        let refuses_stale = wants_newer || wants_fresh && takes_stale.is_none();
        if freshness.strict || refuses_stale {
            return Use::Validate { asked: false };
        }
        // RFC 5861 §3.
        if freshness.while_revalidate > 0 && -left <= freshness.while_revalidate {
            return Use::StaleAndRefresh;
        }
        match takes_stale {
            Some(seconds) if -left <= seconds * SECOND => Use::Stale,
            _ => Use::Validate { asked: false },
        }
    }

    /// §3.5, and the module page on cookies.
    fn is_withheld(&self, stored: &Stored, request: &Request) -> bool {
        let credentials = request.authorization && !stored.freshness.shared;
        credentials || is_session(self.setup, request) && !stored.freshness.stated
    }

    fn forward(
        &mut self,
        lookup: &Lookup<'_>,
        old: Option<usize>,
        fwd: &str,
        service: &mut Service<'_>,
    ) -> Option<Got> {
        let Lookup { request, fills, is_range, passes_conditions, freshens, .. } = *lookup;
        // What is stored is known to fit: the whole is validated, and answers the range.
        let fills = fills || is_range && old.is_some() && !passes_conditions;
        let mut call = call(request);
        let validates = freshens && old.is_some();
        let evaluates = validates || fills && !(passes_conditions && old.is_none());
        if evaluates {
            call = self.condition(call, old);
        }
        if fills {
            call.method = "GET";
        }
        let flight = self.flight(request, old.or_else(|| self.find(request)));
        let sent_at = service.time.clock;
        let (answer, sent) = service.ask(call);
        let now = service.time.clock;
        let status = answer.as_ref().map(|(head, _)| head.status);
        if let Some(at) = old.filter(|_| status.is_none_or(|status| status >= 500)) {
            // RFC 5861 §4.
            let stored = &self.stored[at];
            if !self.is_withheld(stored, request) && stored.may_stand_in(now) {
                let status = status.map_or(String::new(), |status| format!(" fwd-status={status}"));
                let got = from_store(stored, request, now, format!("fwd={fwd}{status}"));
                // A request that nobody would have waited for says nothing about others.
                let refused = self.recall(flight.as_ref());
                let alone = matches!(refused, Memory::Refused(at) if sent_at < at + HIT_FOR_MISS);
                if fills && !alone && stored.freshness.lifetime > stored.freshness.age {
                    self.remember(flight.as_ref(), Memory::Failed(now));
                }
                return Some(got);
            }
        }
        let (head, body) = answer?;
        if let Some(at) = old.filter(|_| head.status == 304 && (fills || validates)) {
            let (stored, kept) = self.confirm(at, request, &head, (sent, service.time));
            let is_kept = if kept { " stored" } else { "" };
            return Some(from_store(
                &stored,
                request,
                now,
                format!("fwd={fwd} fwd-status=304{is_kept}"),
            ));
        }
        if let Some(at) = old.filter(|_| validates) {
            if let Some(fresh) = self.freshen(at, request, &head, (sent, service.time)) {
                return Some(from_store(&fresh, request, now, format!("fwd={fwd} stored")));
            }
        }
        let is_whole = is_range && head.status == 200;
        let kept = if fills || is_whole {
            self.store(request, &head, &body, (sent, service.time))
        } else {
            Err(NotStored::Client)
        };
        match kept {
            Err(_) if !fills => {}
            Ok(()) => self.remember(flight.as_ref(), Memory::Works),
            Err(why) => {
                self.refused.push((request.url, now));
                let stays = self.drop_old(old, head.status, why, now);
                // A 304 of the client's own condition says nothing of the whole response.
                let own = old.is_none() && head.status == 304;
                if !stays && !own && head.status < 500 {
                    self.remember(flight.as_ref(), Memory::Refused(now));
                }
            }
        }
        let mut got = passed((head.clone(), body), fwd);
        if kept.is_ok() {
            got.cache.push_str(" stored");
        }
        if evaluates && head.status == 200 && has_it(&head, request) {
            (got.status, got.body) = (304, String::new());
        } else if fills && request.method == "HEAD" {
            let body = std::mem::take(&mut got.body);
            if !matches!(head.status, 204 | 304) {
                got.fields.insert("content-length", body.len().to_string());
            }
        } else if evaluates && head.status == 200 && kept.is_ok() {
            cut(&mut got, &head, request);
        }
        Some(got)
    }

    /// Replaces the conditions of the client by those of the cache (§4.3.1).
    fn condition(&self, mut call: Call, old: Option<usize>) -> Call {
        let head = old.map(|at| &self.stored[at].head);
        call.none_match = head.and_then(|head| head.etag).map(str::to_owned);
        call.modified_since = head.and_then(|head| head.modified);
        (call.range, call.if_range) = (None, None);
        call
    }

    /// RFC 5861 §3.
    fn refresh(&mut self, at: usize, request: &Request, service: &mut Service<'_>) {
        let flight = self.flight(request, Some(at));
        let call = self.condition(Call { method: "GET", ..call(request) }, Some(at));
        let (answer, sent) = service.ask(call);
        let now = service.time.clock;
        let failed = answer.as_ref().is_none_or(|(head, _)| head.status >= 500);
        if failed && self.stored[at].may_stand_in(now) {
            self.remember(flight.as_ref(), Memory::Failed(now));
            return;
        }
        let Some((head, body)) = answer else { return };
        if head.status == 304 {
            self.confirm(at, request, &head, (sent, service.time));
            return;
        }
        match self.store(request, &head, &body, (sent, service.time)) {
            Ok(()) => self.remember(flight.as_ref(), Memory::Works),
            Err(why) => {
                if !self.drop_old(Some(at), head.status, why, now) && head.status < 500 {
                    self.remember(flight.as_ref(), Memory::Refused(now));
                }
            }
        }
    }

    /// A response that is not stored takes a stale one with it, unless it says nothing of what
    /// others get. Returns `true` if the stored one stays.
    fn drop_old(&mut self, old: Option<usize>, status: u16, why: NotStored, now: i64) -> bool {
        let Some(old) = old.map(|at| &mut self.stored[at]) else { return false };
        self.refused.push((old.url, now));
        let fresh = !old.freshness.validate && old.freshness.left(now) > 0;
        let stays = match why {
            NotStored::Client => true,
            NotStored::Validator => false,
            NotStored::Other => fresh || status >= 500,
        };
        old.gone |= !stays;
        stays
    }

    /// Returns what the client gets after a 304, and `true` if the entry is kept (§4.3.4).
    fn confirm(
        &mut self,
        at: usize,
        request: &Request,
        new: &Head,
        times: (i64, Time),
    ) -> (Stored, bool) {
        let (old, now) = (self.stored[at].clone(), times.1.clock);
        let flight = self.flight(request, Some(at));
        if !old.is_confirmed_by(new) {
            self.drop_old(Some(at), 304, NotStored::Validator, now);
            self.remember(flight.as_ref(), Memory::Refused(now));
            return (old, false);
        }
        let head = updated(&old.head, new, times.1.wall);
        let judged = judge(self.setup, request, &head, times);
        let age = initial_age(&head, times);
        let client = Freshness { received: times.1.clock, age, ..old.freshness };
        // Fields that `private` or `no-cache` name are for the client that asked.
        let got = Stored { head: head.clone(), freshness: client, ..old.clone() };
        match judged {
            Ok(freshness) => {
                let variant = selecting(&head, request);
                // The entry answers what it answered, if the response varies by the same headers.
                let same = variant.iter().map(|of| of.0).eq(old.variant.iter().map(|of| of.0));
                let variant = if same { old.variant.clone() } else { variant };
                let tags = tags(&head).chain(old.tags.clone()).collect();
                self.put(Stored { variant, head: kept(head), tags, freshness, ..old });
                self.remember(flight.as_ref(), Memory::Works);
                (got, true)
            }
            Err(why) => {
                if !self.drop_old(Some(at), 304, why, now) {
                    self.remember(flight.as_ref(), Memory::Refused(now));
                }
                (got, false)
            }
        }
    }

    /// Returns the response that a 200 to HEAD updates, if it shows that a GET would get that (§4.3.5).
    /// One that shows that a GET would get another response ends the stored one.
    fn freshen(
        &mut self,
        at: usize,
        request: &Request,
        new: &Head,
        times: (i64, Time),
    ) -> Option<Stored> {
        let old = &self.stored[at];
        let is_known = new.etag.is_some() || new.modified.is_some();
        if old.is_outdated(new) {
            self.stored[at].gone = true;
            return None;
        }
        let head = updated(&old.head, new, times.1.wall);
        let is_same = is_known && new.status == 200 && old.head.status == 200;
        if !is_same || new.is_personal() || judge(self.setup, request, &head, times).is_err() {
            return None;
        }
        let (got, _) = self.confirm(at, request, new, times);
        Some(got)
    }

    fn store(
        &mut self,
        request: &Request,
        head: &Head,
        body: &str,
        times: (i64, Time),
    ) -> Result<(), NotStored> {
        let freshness = judge(self.setup, request, head, times)?;
        let mut head = head.clone();
        head.date = head.date.or(Some(times.1.wall.div_euclid(SECOND)));
        let (url, variant) = (request.url, selecting(&head, request));
        let (tags, head, body) = (tags(&head).collect(), kept(head), body.to_owned());
        self.put(Stored { url, variant, head, body, tags, freshness, gone: false });
        Ok(())
    }

    fn put(&mut self, stored: Stored) {
        // A response that does not vary takes the place of all; one that varies that of those that
        // do not, and of its own variant.
        self.stored.retain(|other| {
            let replaced = stored.variant.is_empty()
                || other.variant.is_empty()
                || other.variant == stored.variant;
            other.url != stored.url || !replaced
        });
        self.stored.push(stored);
    }

    /// §4.4: an unsafe method.
    fn change(&mut self, request: &Request, service: &mut Service<'_>) -> Option<Got> {
        let (answer, sent) = service.ask(call(request));
        let (head, body) = answer?;
        let mut got = passed((head.clone(), body.clone()), "method");
        if !(200..400).contains(&head.status) {
            return Some(got);
        }
        let host = |url: &str| url.split('/').nth(2).map(str::to_owned);
        let named = [head.location, head.content_location].into_iter().flatten();
        let changed = named.filter(|url| host(url) == host(request.url)).chain([request.url]);
        let changed: Vec<_> = changed.collect();
        self.stored.retain(|stored| !changed.contains(&stored.url));
        // RFC 9110 §9.3.3: the response to a POST that is what a GET would get, unless it varies.
        let heeds = self.setup != Setup::IgnoresRequests;
        let no_store = heeds && request.control.contains(&Ask::NoStore);
        let bypass = request.if_match || request.cookie && self.setup == Setup::WithTtl;
        let fills = !no_store && !bypass && request.range.is_none();
        let is_get = request.method == "POST"
            && head.status == 200
            && head.vary.is_empty()
            && head.content_location == Some(request.url);
        if is_get && fills && self.store(request, &head, &body, (sent, service.time)).is_ok() {
            let (url, variant) = (request.url, Vec::new());
            let flight = Flight { url, variant, authorization: false, session: false };
            self.remember(Some(&flight), Memory::Works);
            got.cache.push_str(" stored");
        }
        Some(got)
    }
}

impl Stored {
    /// RFC 5861 §4. A stored error does not stand in for another one.
    fn may_stand_in(&self, now: i64) -> bool {
        let Freshness { strict, validate, if_error, .. } = self.freshness;
        let stale_by = -self.freshness.left(now);
        let in_time = stale_by < 0 || if_error > 0 && stale_by <= if_error;
        !strict && !validate && self.head.status < 400 && in_time
    }

    /// §4.3.4. A 304 without validators can only be about the one response that was asked about. A
    /// stored tag may be the weak one that an inner layer made of the strong one in the 304.
    fn is_confirmed_by(&self, new: &Head) -> bool {
        match (self.head.etag, self.head.modified) {
            _ if new.etag.is_none() && new.modified.is_none() => true,
            (Some(_), _) if new.etag.is_some() => has_tag(new.etag.unwrap_or("*"), self.head.etag),
            (_, Some(modified)) => new.modified == Some(modified),
            _ => false,
        }
    }

    /// Returns `true` if the response to a HEAD shows that this one is out of date (§4.3.5).
    fn is_outdated(&self, head: &Head) -> bool {
        let differs = head.etag.is_some_and(|etag| !has_tag(etag, self.head.etag))
            || head.modified.is_some() && head.modified != self.head.modified;
        head.status == 200 && !head.is_personal() && differs
    }
}

impl Head {
    /// Returns `true` if the response is for one client, and says nothing of what others get.
    fn is_personal(&self) -> bool {
        let personal = [
            Directive::NoStore,
            Directive::Private,
            Directive::PrivateOne,
            Directive::PrivateCookie,
            Directive::Odd(Odd::NoStore),
            Directive::Odd(Odd::Private),
        ];
        self.set_cookie || personal.iter().any(|directive| self.control.contains(directive))
    }
}

/// A request that the service gets as its client sent it.
fn call(request: &Request) -> Call {
    Call {
        method: request.method,
        url: request.url,
        if_match: request.if_match,
        none_match: request.none_match.map(str::to_owned),
        modified_since: request.modified_since,
        range: request.range.map(str::to_owned),
        if_range: request.if_range.map(str::to_owned),
    }
}

fn passed((head, body): (Head, String), fwd: &str) -> Got {
    let fields = head.fields().into_iter().collect();
    Got { status: head.status, body, fields, cache: format!("fwd={fwd}") }
}

/// The response from the store (§4.3.2, RFC 9110 §13.2.2 and §14).
fn from_store(stored: &Stored, request: &Request, now: i64, cache: String) -> Got {
    let Stored { head, body, .. } = stored;
    let mut fields: BTreeMap<_, _> = head.fields().into_iter().collect();
    let age = stored.freshness.age(now) / SECOND;
    fields.insert("age", age.to_string());
    let got = |status, body: &str, mut fields: BTreeMap<_, _>, cache| {
        if status != 304 && status != 204 {
            fields.insert("content-length", body.len().to_string());
        }
        let body = if request.method == "HEAD" { String::new() } else { body.to_owned() };
        Got { status, body, fields, cache }
    };
    if head.status != 200 {
        return got(head.status, body, fields, cache);
    }
    if has_it(head, request) {
        return got(304, "", fields, cache);
    }
    let mut got = got(200, body, fields, cache);
    cut(&mut got, head, request);
    got
}

/// Makes the part of a whole response that the request asks for.
fn cut(got: &mut Got, head: &Head, request: &Request) {
    // §13.1.5: a strong tag alone makes a range one of the same response.
    let same = request.if_range.is_none_or(|tag| !tag.starts_with("W/") && head.etag == Some(tag));
    let range = request.range.filter(|_| request.method == "GET" && same);
    let size = got.body.len();
    let part = match range {
        Some("bytes=0-2") => 0..3,
        Some("bytes=5-") => 5..size,
        Some("bytes=-2") => size - 2..size,
        Some("bytes=50-") => {
            for name in ["age", "cache-control", "cdn-cache-control", "expires"] {
                got.fields.remove(name);
            }
            got.fields.insert("content-range", format!("bytes */{size}"));
            got.fields.insert("content-length", "0".to_owned());
            (got.status, got.body) = (416, String::new());
            return;
        }
        _ => return,
    };
    got.fields.insert("content-range", format!("bytes {}-{}/{size}", part.start, part.end - 1));
    got.fields.insert("content-length", part.len().to_string());
    (got.status, got.body) = (206, got.body[part].to_owned());
}

/// Returns `true` if the condition of the request says that its client has the response.
fn has_it(head: &Head, request: &Request) -> bool {
    match (request.none_match, request.modified_since) {
        (Some(tags), _) => has_tag(tags, head.etag),
        (None, Some(since)) => head.modified.or(head.date).is_some_and(|of| of <= since),
        (None, None) => false,
    }
}

const HIT_FOR_MISS: i64 = 10 * SECOND;
const FAILURE: i64 = SECOND;
