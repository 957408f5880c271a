//! The way of a request that is looked up, from top to bottom.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, request};
use http_body::Body;
use tower::Service;

use super::answer;
use super::body::ResponseBody;
use super::entry::Entry;
use super::flight::{Ended, Role};
use super::key::Key;
use super::lookup::Looked;
use super::policy::{self, Ask, Found};
use super::shared::{Lead, Mark, Shared, Verdict, random};
use super::status::{Fwd, Report};
use super::tally::{Fallback, Outcome};
use crate::future::ResponseFuture;

/// A request that is looked up.
pub(crate) struct Job<S, B> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inner: S,
    pub(crate) head: request::Parts,
    pub(crate) body: B,
    pub(crate) key: Key,
    pub(crate) ask: Ask,
}

/// Which requests of one key would get the same.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Group {
    class: u64,
    /// What is kept for one with credentials may not be kept for all, and the other way round.
    authorized: bool,
    /// So it is with a `cookie`, where the layer gives lifetimes.
    cookie: bool,
}

/// What follows from what was looked up.
pub(crate) enum Next {
    Answer {
        entry: Entry,
        outcome: Outcome,
        refresh: bool,
    },
    /// `alone` is whether other requests are of no use to it, nor it to them.
    Fetch {
        report: Report,
        old: Option<Entry>,
        alone: bool,
    },
}

impl Shared {
    pub(crate) fn judge(&self, ask: &Ask, looked: &Looked, now: u64) -> Next {
        let miss = |fwd| Next::Fetch { report: Report::forwarded(fwd), old: None, alone: false };
        let entry = match looked {
            Looked::Nothing => return miss(Fwd::UriMiss),
            Looked::Others(_) => return miss(Fwd::VaryMiss),
            Looked::Found(entry) => entry,
        };
        let Some(stored) = entry.stored() else { return miss(Fwd::UriMiss) };
        let answer = |outcome, refresh| Next::Answer { entry: entry.clone(), outcome, refresh };
        match policy::found(&self.rules, ask, stored, now, random) {
            Found::Fresh => answer(Outcome::Hit, false),
            Found::Refresh if stored.freshness.left(now) > 0 => answer(Outcome::Hit, true),
            Found::Refresh => answer(Outcome::Stale, true),
            Found::Stale => answer(Outcome::Stale, false),
            Found::Validate { asked } => Next::Fetch {
                report: Report::forwarded(if asked { Fwd::Request } else { Fwd::Stale }),
                old: Some(entry.clone()),
                alone: asked || !policy::shareable(&stored.freshness),
            },
            Found::Withheld(refusal) => Next::Fetch {
                report: Report { detail: Some(refusal.as_str()), ..Report::forwarded(Fwd::Bypass) },
                old: None,
                alone: true,
            },
        }
    }

    pub(crate) fn answer<B: Body>(
        &self,
        entry: &Entry,
        ask: &Ask,
        request: &HeaderMap,
        outcome: Outcome,
        now: u64,
    ) -> Response<ResponseBody<B>> {
        self.state.tally.count(outcome);
        let left = entry.stored().map_or(0, |stored| stored.freshness.left(now));
        self.answer_as(entry, ask, request, now, &Report::hit(left))
    }

    pub(crate) fn answer_as<B: Body>(
        &self,
        entry: &Entry,
        ask: &Ask,
        request: &HeaderMap,
        now: u64,
        report: &Report,
    ) -> Response<ResponseBody<B>> {
        match entry.stored() {
            Some(stored) => answer::from_store(self, stored, ask, request, now, report),
            None => answer::not_kept(self, report),
        }
    }
}

impl<S, ReqBody, ResBody> Job<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    /// Looks up, waits for whoever fetches the same, or fetches.
    pub(crate) async fn serve(
        self: Box<Self>,
        looked: Option<Looked>,
    ) -> Result<Response<ResponseBody<ResBody>>, S::Error> {
        let shared = Arc::clone(&self.shared);
        // Nobody looks further for these later on.
        let looked = looked.filter(|_| !(self.is_looked_up_once() && shared.store.is_tiered()));
        // In all tiers.
        let mut just_looked = looked.is_none();
        let mut looked = match looked {
            Some(looked) => looked,
            // A store that fails has nothing.
            None => {
                let looked = shared.look_up(&self.key, &self.head.headers).await;
                looked.unwrap_or(Looked::Nothing)
            }
        };
        let mut told_apart = false;
        let (old, mark, lead, report) = loop {
            let now = shared.clock.now();
            let (report, old, alone) = match shared.judge(&self.ask, &looked, now) {
                Next::Answer { entry, outcome, refresh } => {
                    let response =
                        shared.answer(&entry, &self.ask, &self.head.headers, outcome, now);
                    if refresh {
                        self.refresh(entry);
                    }
                    return Ok(response);
                }
                Next::Fetch { report, old, alone } => (report, old, alone),
            };
            if self.ask.control.only_if_cached {
                shared.state.tally.count(Outcome::Miss);
                return Ok(answer::not_kept(&shared, &report));
            }
            let group = self.group(&looked);
            let mark = shared.mark_of(&self.key, group);
            if self.is_alone(alone, mark, now) {
                break (old, mark, None, report);
            }
            let ended = match shared.state.flights.join(self.flight(group)) {
                Role::Leader(lead) => Ended::Lead(lead),
                Role::Follower(follower) => {
                    just_looked = false;
                    let ended = tokio::time::timeout(shared.limits.wait, follower).await;
                    ended.unwrap_or_else(|_| {
                        shared.state.tally.fell_back(Fallback::Wait);
                        Ended::Landed(Verdict::Alone)
                    })
                }
            };
            let verdict = match ended {
                Ended::Landed(verdict) => verdict,
                Ended::Lead(leader) => {
                    let mut lead = Lead::of(leader);
                    let headers = &self.head.headers;
                    let further = !just_looked;
                    let again =
                        shared.look_again(&self.key, headers, &looked, further, &mut lead).await;
                    let now = shared.clock.now();
                    let (report, old) =
                        match again.map(|again| shared.judge(&self.ask, &again, now)) {
                            None => (report, old),
                            Some(Next::Fetch { report, old, .. }) => (report, old),
                            Some(Next::Answer { entry, .. }) => {
                                lead.land(Verdict::Stored(entry.clone()));
                                looked = Looked::Found(entry);
                                continue;
                            }
                        };
                    break (old, mark, Some(lead), report);
                }
            };
            let collapsed = Report { collapsed: true, ..report };
            if let Some(response) = self.collapsed(&verdict, &collapsed) {
                return Ok(response);
            }
            match self.class_beside(&verdict) {
                // Once: what a response varies by may change each time.
                Some(class) if !told_apart => {
                    told_apart = true;
                    looked = Looked::Others(class);
                }
                _ => break (old, mark, None, report),
            }
        };
        let (asking, fetching) = self.fetch(old, mark, lead, report, shared.clock.now());
        ResponseFuture::later(asking, fetching).await
    }

    /// The mark of a request that waits for nothing but the service.
    pub(crate) fn direct(&self, looked: &Looked, alone: bool, now: u64) -> Option<Mark> {
        if self.is_looked_up_once() {
            return None;
        }
        let mark = self.shared.mark_of(&self.key, self.group(looked));
        self.is_alone(alone, mark, now).then_some(mark)
    }

    fn is_looked_up_once(&self) -> bool {
        self.ask.control.only_if_cached || self.ask.no_fill.is_some()
    }

    /// Whether it need not wait for others that want the same, nor they for it.
    fn is_alone(&self, alone: bool, mark: Mark, now: u64) -> bool {
        alone || self.ask.no_fill.is_some() || self.shared.is_marked(mark, now)
    }

    /// If a leader found another variant than this request's: the class of those who want the
    /// same one.
    fn class_beside(&self, verdict: &Verdict) -> Option<u64> {
        let Verdict::Stored(entry) = verdict else { return None };
        let variant = &entry.stored()?.variant;
        let headers = &self.head.headers;
        let other = !variant.answers(headers);
        other.then(|| self.shared.class(std::slice::from_ref(variant), headers))
    }

    /// What a leader found, if it is for this request too.
    fn collapsed(
        &self,
        verdict: &Verdict,
        report: &Report,
    ) -> Option<Response<ResponseBody<ResBody>>> {
        let (shared, headers) = (&self.shared, &self.head.headers);
        let now = shared.clock.now();
        let (entry, outcome) = match verdict {
            Verdict::Alone => return None,
            Verdict::Stored(entry) => (entry, Outcome::Collapsed),
            Verdict::StandIn(entry) => (entry, Outcome::Stale),
        };
        let stored = entry.stored()?;
        let usable = match verdict {
            Verdict::StandIn(_) => policy::may_stand_in(&self.ask, stored, now),
            _ => {
                let found = policy::found(&shared.rules, &self.ask, stored, now, random);
                matches!(found, Found::Fresh | Found::Refresh | Found::Stale)
            }
        };
        (usable && shared.is_right(&self.key, headers, stored)).then(|| {
            shared.state.tally.count(outcome);
            shared.answer_as(entry, &self.ask, headers, now, report)
        })
    }

    pub(crate) fn group(&self, looked: &Looked) -> Group {
        let class = match looked {
            Looked::Others(class) => *class,
            Looked::Found(entry) => entry.stored().map_or(0, |stored| stored.variant.class()),
            Looked::Nothing => 0,
        };
        Group { class, authorized: self.ask.authorized, cookie: self.ask.cookie }
    }

    /// The name of what those of a group would wait for.
    pub(crate) fn flight(&self, Group { class, authorized, cookie }: Group) -> Arc<str> {
        let credentials = u8::from(authorized) + 2 * u8::from(cookie);
        format!("{}\n{class:x}{credentials}", self.key.as_str()).into()
    }
}
