//! The way from several keys to their values: one lookup, one load of those that nobody loads yet, and
//! the wait for those that others load.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::mem;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tokio::time::{Sleep, sleep, timeout};

use super::fetch::{Caller, Lead, Load, Put, Waited};
use super::form::Form;
use super::load_error::LoadError;
use super::loaded::Loaded;
use super::metrics::Outcome;
use super::options::ValueOptions;
use super::policy::{Age, Rules, Step};
use super::shared::{Found, Typed, Verdict};
use crate::cache::coalesce::{Ended, Follower, Role};
use crate::cache::task::spawn_if_pending;

/// A call for several keys, each of which occurs once.
struct Call<'a, F: Form> {
    shared: Typed<'a, F>,
    /// The places of the keys in `items`.
    places: &'a HashMap<String, usize>,
    options: &'a ValueOptions,
    items: Vec<Item<'a, F>>,
}

/// One of the keys of a call.
struct Item<'a, F: Form> {
    /// `None` for a key that is too long, which has no entry to share.
    caller: Option<Caller<'a, F>>,
    /// The value that was found, and may stand in.
    found: Option<Found<F::Value>>,
    value: Option<F::Value>,
}

/// The keys that this call loads, by their places: for other callers too, if it leads.
type Rights = Vec<(usize, Option<Lead>)>;

/// The keys that other callers load, by their places.
type Awaited = Vec<(usize, Follower<Arc<str>, Verdict>)>;

/// The ends of the wait for other callers.
struct Limits {
    /// The end for keys whose stale values can stand in.
    soft: Option<Pin<Box<Sleep>>>,
    most: Pin<Box<Sleep>>,
}

/// Returns the values of keys, in the order of their places, of which each key has one. `load` gets
/// the places of the keys to load, and returns values with their keys.
pub(super) async fn get_or_insert_many<F, R, K, L, E, Fut>(
    shared: Typed<'_, F>,
    places: &HashMap<String, usize>,
    options: &ValueOptions,
    mut load: impl FnMut(&[usize]) -> Fut,
) -> Result<Vec<Option<F::Value>>, LoadError<E>>
where
    F: Form,
    R: IntoIterator<Item = (K, L)>,
    K: Display,
    L: Into<Loaded<F::Value>>,
    E: Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>>,
{
    let mut names = vec![None; places.len()];
    places.iter().for_each(|(key, at)| names[*at] = shared.named(key));
    let mut call = Call::new(shared, places, options, &names);
    call.look().await;
    let (mut rights, mut awaited) = call.join()?;
    let mut limits = None;
    loop {
        // The own load comes before the wait: two calls that wait for each other both go on.
        call.look_again(&mut rights).await?;
        call.load(mem::take(&mut rights), &mut load).await?;
        if awaited.is_empty() {
            return Ok(call.items.into_iter().map(|item| item.value).collect());
        }
        let limits = limits.get_or_insert_with(|| Limits::of(&shared.rules));
        rights = call.wait(&mut awaited, limits).await?;
    }
}

impl<'a, F: Form> Call<'a, F> {
    fn new(
        shared: Typed<'a, F>,
        places: &'a HashMap<String, usize>,
        options: &'a ValueOptions,
        names: &'a [Option<Arc<str>>],
    ) -> Self {
        let item = |name: &'a Option<Arc<str>>| {
            let caller = name.as_ref().map(|name| Caller::new(shared, name));
            Item { caller, found: None, value: None }
        };
        Self { shared, places, options, items: names.iter().map(item).collect() }
    }

    /// Looks all keys up.
    async fn look(&mut self) {
        let named = |(at, item): (usize, &Item<'a, F>)| Some((at, &**item.caller.as_ref()?.name));
        let named = self.items.iter().enumerate().filter_map(named);
        let (places, names): (Vec<_>, Vec<_>) = named.unzip();
        let found = self.shared.look_many(&names, true).await;
        for (at, found) in places.into_iter().zip(found) {
            self.items[at].found = found;
        }
    }

    /// Joins the flights of the keys whose values have to be loaded.
    fn join<E: Send + Sync + 'static>(&mut self) -> Result<(Rights, Awaited), LoadError<E>> {
        // All flights are joined before any wait: whoever comes later shares this load.
        let (mut rights, mut awaited) = (Rights::new(), Awaited::new());
        for (at, item) in self.items.iter_mut().enumerate() {
            let age = item.found.as_ref().map_or(Age::Expired, |found| found.age);
            let Some(caller) = &item.caller else {
                rights.push((at, None));
                continue;
            };
            let step = match caller.step(age) {
                // Nobody waits for the successor of a value that is fresh.
                Step::Refresh if age.is_fresh() => Step::Return,
                step => step,
            };
            let flights = &self.shared.state.flights;
            let failure = if step == Step::Fail { caller.last_failure() } else { None };
            let waited = match (step, failure) {
                (Step::Return, _) => Waited::StandIn,
                (_, Some(failure)) => Waited::Failed(failure),
                (step, _) => match flights.join(Arc::clone(caller.name)) {
                    Role::Leader(leader) => Waited::Load(Some(Lead::of(leader))),
                    // Another caller loads the successor of the stale value.
                    Role::Follower(_) if step == Step::Refresh => Waited::StandIn,
                    Role::Follower(follower) => {
                        awaited.push((at, follower));
                        continue;
                    }
                },
            };
            rights.extend(item.settle(waited)?.map(|lead| (at, lead)));
        }
        Ok((rights, awaited))
    }

    /// Shares what another caller has stored, or has failed to load, between the lookup and now.
    ///
    /// No lease is taken: those of many keys would take as many round trips, and the time of the
    /// slowest. At worst two processes load the same key.
    async fn look_again<E>(&mut self, rights: &mut Rights) -> Result<(), LoadError<E>>
    where
        E: Send + Sync + 'static,
    {
        let led = |(at, lead): &(usize, Option<Lead>)| {
            let caller = lead.as_ref().and(self.items[*at].caller.as_ref())?;
            Some((*at, &**caller.name))
        };
        let (places, names): (Vec<_>, Vec<_>) = rights.iter().filter_map(led).unzip();
        if names.is_empty() {
            return Ok(());
        }
        let found = self.shared.look_many(&names, false).await;
        let mut found: HashMap<_, _> = places.into_iter().zip(found).collect();
        for (at, lead) in mem::take(rights) {
            let (item, found) = (&mut self.items[at], found.remove(&at).flatten());
            let failure = item.caller.as_ref().and_then(Caller::failure_since);
            let waited = match (lead, failure, found) {
                (Some(lead), Some(failure), _) => {
                    lead.complete(Verdict::Failed(failure.clone()));
                    Waited::Failed(failure)
                }
                (Some(lead), None, Some(Found { entry, value, .. })) => {
                    self.shared.link_value(&entry);
                    lead.complete(Verdict::Found(entry));
                    Waited::Value(value)
                }
                (lead, ..) => {
                    rights.push((at, lead));
                    continue;
                }
            };
            rights.extend(item.settle(waited)?.map(|lead| (at, lead)));
        }
        Ok(())
    }

    /// Loads the values of keys, and stores them.
    async fn load<R, K, L, E, Fut>(
        &mut self,
        rights: Rights,
        load: &mut impl FnMut(&[usize]) -> Fut,
    ) -> Result<(), LoadError<E>>
    where
        R: IntoIterator<Item = (K, L)>,
        K: Display,
        L: Into<Loaded<F::Value>>,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>>,
    {
        if rights.is_empty() {
            return Ok(());
        }
        let shared = self.shared;
        // Before the load: what is removed during it must not be stored.
        let since = shared.since();
        // In the order in which the caller gave them: some databases return rows in that order.
        let mut places: Vec<_> = rights.iter().map(|(at, _)| *at).collect();
        places.sort_unstable();
        let names = rights.iter().filter_map(|(at, _)| self.items[*at].caller.as_ref());
        let names = names.map(|caller| Arc::clone(caller.name)).collect();
        let mut loads: HashMap<_, _> =
            rights.into_iter().map(|(at, lead)| (at, self.start(at, lead))).collect();
        let mut loading = pin!(shared.state.waits.during(names, load(&places)));
        let loaded = match shared.rules.hard_timeout {
            Some(limit) => match timeout(limit, &mut loading).await {
                Ok(loaded) => loaded.map_err(LoadError::from),
                Err(_) => Err(LoadError::timed_out(limit)),
            },
            None => loading.await.map_err(LoadError::from),
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                shared.count_failure(&error);
                loads.into_values().flatten().for_each(|load| load.fail(&error, since));
                return self.stand_in(places, error);
            }
        };
        let mut puts = Vec::new();
        for (key, loaded) in loaded {
            let place = self.places.get(&key.to_string());
            // A key that was not asked for has no load here that another caller could wait for, and is
            // ignored, as is one that the loader returns a second time.
            let Some((at, load)) = place.and_then(|at| loads.remove_entry(at)) else { continue };
            let loaded = loaded.into();
            let (value, put) = match load {
                Some(load) => load.share(loaded, since),
                None => (loaded.value, None),
            };
            self.items[at].value = Some(value);
            puts.extend(put);
        }
        // The keys that are left have no value, and a stale one of them is out of date.
        let absent = loads.into_values().flatten();
        puts.extend(absent.filter_map(|load| load.share_absence(since)));
        self.put(puts);
        Ok(())
    }

    /// Returns the load of a key, unless the key is too long.
    fn start(&self, at: usize, lead: Option<Lead>) -> Option<Load<F>> {
        let Item { caller, found, .. } = &self.items[at];
        let (caller, options) = (caller.as_ref()?, self.options.clone());
        Some(Load::new(self.shared, caller.name, options, lead, found.is_some()))
    }

    /// Takes the values that were found in place of those that could not be loaded.
    fn stand_in<E>(&mut self, places: Vec<usize>, error: LoadError<E>) -> Result<(), LoadError<E>> {
        // One key without a value fails the call: a caller could not tell it from an absent one.
        for at in places {
            let Item { caller, found, value } = &mut self.items[at];
            *value = caller.as_mut().and_then(|caller| caller.stand_in(found.take()));
            if value.is_none() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Stores values in the background. A store that hangs keeps as many of their bytes as it would of
    /// values that are stored one by one.
    fn put(&self, puts: Vec<Put>) {
        let (mut group, mut size) = (Vec::new(), 0);
        for put in puts {
            size += put.size();
            group.push(put);
            if size >= MAX_GROUP_SIZE || group.len() >= MAX_GROUP {
                self.put_group(mem::take(&mut group));
                size = 0;
            }
        }
        if !group.is_empty() {
            self.put_group(group);
        }
    }

    fn put_group(&self, group: Vec<Put>) {
        let Some(slot) = self.shared.put_slot() else { return };
        spawn_if_pending(Box::pin(async move {
            for put in group {
                put.run().await;
            }
            drop(slot);
        }));
    }

    /// Waits until the other callers are done, or until one of them leaves the load to this call.
    async fn wait<E: Send + Sync + 'static>(
        &mut self,
        awaited: &mut Awaited,
        limits: &mut Limits,
    ) -> Result<Rights, LoadError<E>> {
        let name = |at: usize| self.items[at].caller.as_ref().map(|caller| Arc::clone(caller.name));
        let names: Vec<_> = awaited.iter().filter_map(|(at, _)| name(*at)).collect();
        let mut rights = Rights::new();
        let waiting = match self.shared.state.waits.begin(&names) {
            Ok(waiting) => waiting,
            Err(recursive) => {
                let is_recursive = |(at, _): &&(usize, _)| name(*at).as_ref() == Some(&recursive);
                if let Some((at, _)) = awaited.iter().find(is_recursive) {
                    let at = *at;
                    rights.extend(self.items[at].settle(Waited::Recursive)?.map(|lead| (at, lead)));
                }
                return Ok(rights);
            }
        };
        // All are polled, and none after the other: a follower whose leader has left is the only one
        // that was woken to lead, and other callers wait until it does.
        let mut ended = Vec::new();
        let is_late = poll_fn(|cx| {
            let is_late = limits.most.as_mut().poll(cx).is_ready();
            let is_slow = match &mut limits.soft {
                Some(soft) => soft.as_mut().poll(cx).is_ready(),
                None => false,
            };
            let mut is_led = false;
            awaited.retain_mut(|(at, follower)| {
                let end = match Pin::new(follower).poll(cx) {
                    Poll::Ready(end) => Some(end),
                    Poll::Pending if is_late || is_slow && self.items[*at].found.is_some() => None,
                    Poll::Pending => return true,
                };
                // Without a wait for the rest: their loaders may wait for this key.
                is_led |= matches!(end, Some(Ended::Lead(_)));
                ended.push((*at, end));
                false
            });
            if is_led || awaited.is_empty() { Poll::Ready(is_late) } else { Poll::Pending }
        })
        .await;
        drop(waiting);
        for (at, end) in ended {
            let item = &mut self.items[at];
            let waited = match end {
                Some(Ended::Lead(leader)) => Waited::Load(Some(Lead::of(leader))),
                // Another call has found that there is no value.
                Some(Ended::Completed(Verdict::Absent)) => {
                    item.end(Outcome::Collapsed);
                    continue;
                }
                Some(Ended::Completed(verdict)) => match &item.caller {
                    Some(caller) => caller.completed(verdict),
                    None => Waited::Load(None),
                },
                None => {
                    if is_late {
                        self.shared.metrics.failed("wait");
                    }
                    Waited::StandIn
                }
            };
            rights.extend(item.settle(waited)?.map(|lead| (at, lead)));
        }
        Ok(rights)
    }
}

impl<F: Form> Item<'_, F> {
    /// Takes the value of a wait, or returns the right to load.
    fn settle<E: Send + Sync + 'static>(
        &mut self,
        waited: Waited<F::Value>,
    ) -> Result<Option<Option<Lead>>, LoadError<E>> {
        let Some(caller) = &mut self.caller else { return Ok(Some(None)) };
        match caller.settle(waited, self.found.take()) {
            ControlFlow::Break(done) => {
                self.value = Some(done?);
                Ok(None)
            }
            ControlFlow::Continue((lead, found)) => {
                self.found = found;
                Ok(Some(lead))
            }
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(caller) = &mut self.caller {
            caller.lookup.end(outcome);
        }
    }
}

impl Limits {
    fn of(rules: &Rules) -> Self {
        let most = rules.coalesce_timeout;
        let soft = rules.soft_timeout.filter(|soft| *soft < most);
        Self { soft: soft.map(|soft| Box::pin(sleep(soft))), most: Box::pin(sleep(most)) }
    }
}

/// The maximum number of values that one task stores, one after the other.
const MAX_GROUP: usize = 64;

/// The bytes of values beyond which a task takes no more of them: the maximum size of one value.
const MAX_GROUP_SIZE: u64 = 1024 * 1024;
