//! A world: processes, clients, a store between them, and all that goes wrong, from one seed.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::sleep;
use tower_kit::cache::{BoxStore, MemoryStore, SharedPurges, TieredStore};

use crate::chance::Chance;
use crate::client::{Plan, Ran};
use crate::driver::{Driver, Ended, Pauses, let_others_run};
use crate::model::{Event, Model};
use crate::origin::{Habits, Shared};
use crate::resource::{Kind, ORIGIN, Resource};
use crate::stack::{Process, Settings};
use crate::store::{self, Link, Remote};
use crate::time::Time;

/// The end of a world.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) faults: Vec<String>,
    pub(crate) trace: Vec<Event>,
    /// The choices of the seed.
    pub(crate) story: String,
    /// The number of responses that were hits.
    pub(crate) hits: u64,
}

/// The kind of store that the processes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    Memory,
    Remote,
    Tiered,
}

struct World {
    chance: Chance,
    shared: Arc<Shared>,
    processes: Vec<Process>,
    links: Vec<Arc<Link>>,
    remote: Arc<store::Shared>,
    driver: Driver<Ran>,
    pauses: Arc<Pauses>,
    etags: Rc<RefCell<Vec<Option<String>>>>,
    resources: usize,
    memory: u64,
    heeds_requests: bool,
    cancels: bool,
    next_id: u64,
    hits: u64,
}

/// Runs the world of a seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut builder = Builder::new_current_thread();
    // The scheduler is asked after each step of a background task.
    let runtime = builder.enable_time().start_paused(true).event_interval(1).build().unwrap();
    runtime.block_on(async move {
        let mut chance = Chance::new(seed, 1);
        let storage = match chance.among(0..6) {
            0 | 1 => Storage::Memory,
            2 => Storage::Remote,
            _ => Storage::Tiered,
        };
        let processes = if storage == Storage::Memory { 1 } else { chance.among(1..3) };
        let is_calm = chance.one_in(3);
        let has_ttl = chance.one_in(5);
        let settings = Settings {
            ttl: has_ttl.then(|| chance.millis(1_000..60_000)),
            default_ttl: chance.one_in(3).then(|| chance.millis(1_000..60_000)),
            permits: chance.among(2..9) as usize,
            is_tight: !is_calm && chance.one_in(3),
            fills_on_head: chance.one_in(3),
            heeds_requests: chance.one_in(3),
            has_namespace: processes > 1 || chance.one_in(3),
            cancels: chance.one_in(4),
        };
        let memory = if chance.one_in(6) { SMALL_MEMORY } else { MEMORY };
        let story =
            format!("{processes} × {storage:?}, calm {is_calm}, {memory} bytes, {settings:?}");
        let mut world = World::new(chance, storage, processes, is_calm, &settings, memory);
        world.live().await;
        world.end().await;
        let mut model = world.shared.model();
        let (faults, trace) = (std::mem::take(&mut model.faults), std::mem::take(&mut model.trace));
        Outcome { faults, trace, story, hits: world.hits }
    })
}

impl World {
    fn new(
        mut chance: Chance,
        storage: Storage,
        processes: u64,
        is_calm: bool,
        settings: &Settings,
        memory: u64,
    ) -> Self {
        let millis = |time: Duration| time.as_millis() as u64;
        let resources = chance.among(3..12) as usize;
        let mut model = Model {
            default_ttl: settings.default_ttl.map(millis),
            ttl: settings.ttl.map(millis),
            is_calm,
            is_tight: settings.is_tight,
            is_monotonic: is_calm && storage == Storage::Memory && memory == MEMORY,
            ..Model::default()
        };
        for number in 0..resources as u64 {
            model.resources.push(Resource::new(number, &mut chance));
        }
        for process in 0..processes {
            model.resources.push(Resource::probe(process));
        }
        let mut habit = |most| if is_calm { 0 } else { chance.among(0..most) };
        let habits = Habits {
            errors: habit(120).into(),
            failing_bodies: habit(250).into(),
            slow: habit(60).into(),
        };
        let store_faults = habit(200);
        let time = Arc::new(Time::new());
        let shared = Shared::new(model, time, habits, chance.part());
        let (remote, purges) = (Arc::default(), SharedPurges::new());
        let (mut links, mut all) = (Vec::new(), Vec::new());
        let pauses = Arc::default();
        for process in 0..processes {
            let own = MemoryStore::with_max_entry_size(memory, memory / 4);
            let far = Remote::new(&remote, &purges, process, &shared.time, &pauses, chance.part());
            far.link().faults.store(store_faults, Ordering::Relaxed);
            links.push(far.link());
            let store = match storage {
                Storage::Memory => BoxStore::new(own),
                Storage::Remote => BoxStore::new(far),
                Storage::Tiered => BoxStore::new(TieredStore::new(own, far)),
            };
            all.push(Process::new(&shared, store, settings));
        }
        Self {
            chance,
            shared,
            processes: all,
            links,
            remote,
            driver: Driver::new(&pauses),
            pauses,
            etags: Rc::new(RefCell::new(vec![None; resources + processes as usize])),
            resources,
            memory,
            heeds_requests: settings.heeds_requests,
            cancels: settings.cancels,
            next_id: 0,
            hits: 0,
        }
    }

    /// Lets things happen, one after the other.
    async fn live(&mut self) {
        let steps = self.chance.among(50..500);
        for _ in 0..steps {
            self.act().await;
            for _ in 0..self.chance.among(0..6) {
                self.poll_one();
            }
            self.check_bounds();
            if !self.shared.model().faults.is_empty() {
                return;
            }
            match self.chance.among(0..4) {
                0 => {
                    let time = match self.chance.among(0..8) {
                        0 => self.chance.among(100..3_000),
                        1 if self.chance.one_in(4) => self.chance.among(3_000..90_000),
                        _ => self.chance.among(0..30),
                    };
                    self.driver.wait(Duration::from_millis(time)).await;
                }
                1 => {}
                _ => let_others_run().await,
            }
        }
    }

    /// Does one thing to the world.
    async fn act(&mut self) {
        let is_calm = self.shared.model().is_calm;
        match self.chance.among(0..100) {
            0..50 => {
                let requests = if self.chance.one_in(6) { self.chance.among(2..8) } else { 1 };
                // Herds ask for the same.
                let at = self.chance.skewed(self.resources as u64) as usize;
                for _ in 0..requests.min(MAX_OPEN.saturating_sub(self.driver.open()) as u64) {
                    self.request(at);
                }
            }
            50..53 => self.purge().await,
            53..55 => self.change_silently(),
            55 if self.chance.one_in(4) => self.step_clock(),
            56..58 => self.driver.drop_one(&mut self.chance),
            58 if !is_calm => {
                let at = self.chance.among(0..self.links.len() as u64) as usize;
                let cut = self.chance.one_in(2);
                self.links[at].partitioned.store(cut, Ordering::Relaxed);
                self.note("partition", [at as u64, cut.into(), 0]);
            }
            59 if !is_calm => {
                let at = self.chance.among(0..self.processes.len() as u64) as usize;
                let short = self.chance.one_in(3);
                self.processes[at].short.store(short, Ordering::Relaxed);
                self.shared.model().was_short |= short;
                self.note("memory", [at as u64, short.into(), 0]);
            }
            _ => {}
        }
    }

    fn note(&self, what: &'static str, numbers: [u64; 3]) {
        let now = self.shared.time.now();
        self.shared.model().next(now, what, numbers);
    }

    fn request(&mut self, at: usize) {
        let (id, processes) = (self.next_id, self.processes.len() as u64);
        self.next_id += 1;
        let etag = self.etags.borrow()[at].clone();
        let plan = Plan::draw(
            id,
            &mut self.chance,
            &self.shared,
            processes,
            etag.as_deref(),
            at,
            self.heeds_requests,
        );
        let polls = self.chance.one_in(5).then(|| self.chance.among(1..15));
        let process = &self.processes[plan.process];
        if plan.is_warm() {
            let warmed = plan.warm(
                Arc::clone(&self.shared),
                process.handle.clone(),
                process.stack.clone(),
                Arc::clone(&process.tally),
            );
            return self.driver.start(warmed, polls);
        }
        let run =
            plan.run(Arc::clone(&self.shared), process.stack.clone(), Arc::clone(&process.tally));
        self.driver.start(run, polls);
    }

    fn poll_one(&mut self) {
        if let Some(Ended::Done(ran)) = self.driver.poll_one(&mut self.chance) {
            self.hits += u64::from(ran.hit);
            if let Some(etag) = ran.etag {
                self.etags.borrow_mut()[ran.resource] = Some(etag);
            }
        }
    }

    async fn purge(&mut self) {
        let at = self.chance.among(0..self.resources as u64) as usize;
        let soft = self.chance.one_in(3);
        let (url, tag) = {
            let model = self.shared.model();
            (model.resources[at].url(), model.resources[at].tag)
        };
        if self.chance.one_in(2) {
            self.shared.model().resources[at].version += 1;
        }
        let process = self.chance.among(0..self.processes.len() as u64) as usize;
        let handle = self.processes[process].handle.clone();
        let kind = self.chance.among(0..8);
        let prefix = format!("{ORIGIN}/even/");
        let mut clearing = None;
        let purging = match kind {
            0 if soft => Some(handle.soft_purge_prefix(&prefix)),
            0 => Some(handle.purge_prefix(&prefix)),
            1 | 2 if soft => Some(handle.soft_purge_tag(tag)),
            1 | 2 => Some(handle.purge_tag(tag)),
            3 if soft => Some(handle.soft_purge_all()),
            3 => {
                // Purged at the first poll. In a store that fails the entries stay, and are not served.
                let mut all = Box::pin(async { drop(handle.purge_all().await) });
                let is_done = poll_fn(|cx| Poll::Ready(all.as_mut().poll(cx).is_ready())).await;
                clearing = (!is_done).then_some(all);
                None
            }
            _ if soft => handle.soft_purge_url(&url).ok(),
            _ => handle.purge_url(&url).ok(),
        };
        let now = self.shared.time.now();
        self.shared.model().purged(
            |number, resource| match kind {
                0 => resource.url().starts_with(&prefix),
                1 | 2 => resource.tag == tag,
                3 => true,
                _ => number == at,
            },
            soft,
            now,
        );
        if let Some(clearing) = clearing {
            clearing.await;
        }
        if let Some(purging) = purging {
            if purging.await.is_err() {
                self.shared.model().fault("a purge within a process fails");
            }
        }
    }

    /// Changes a resource without telling anybody.
    fn change_silently(&mut self) {
        let at = self.chance.among(0..self.resources as u64) as usize;
        self.shared.model().resources[at].version += 1;
        self.note("silent change", [at as u64, 0, 0]);
    }

    fn step_clock(&mut self) {
        let by = self.chance.among(1..120_000) as i64;
        let by = if self.chance.one_in(2) { by } else { -by };
        // Each process reads its clock before and after, without which it does not know how far the step goes
        // back.
        let read = || self.processes.iter().map(|process| process.handle.soft_purge_tag("nobody"));
        read().for_each(drop);
        self.shared.time.step(by);
        read().for_each(drop);
        self.shared.model().was_set = true;
        self.note("clock", [by.unsigned_abs(), u64::from(by > 0), 0]);
    }

    fn check_bounds(&self) {
        for process in &self.processes {
            let bytes = process.handle.statistics().usage.bytes;
            if bytes > self.memory + self.memory / 20 {
                self.shared.model().fault(format!("{bytes} bytes in a memory of {}", self.memory));
            }
        }
    }

    /// Lets everything come to its end, and checks that nothing is left.
    async fn end(&mut self) {
        let start = self.shared.time.elapsed();
        while self.shared.time.elapsed() < start + LONGEST {
            if !self.shared.model().faults.is_empty() {
                return;
            }
            while self.driver.has_woken() {
                self.poll_one();
                let_others_run().await;
            }
            if self.driver.open() == 0 {
                break;
            }
            self.driver.wait(Duration::from_secs(10)).await;
        }
        if self.driver.open() > 0 {
            let open = self.driver.open();
            return self.shared.model().fault(format!("{open} requests never end"));
        }
        let habits = &self.shared.habits;
        for habit in [&habits.errors, &habits.failing_bodies, &habits.slow] {
            habit.store(0, Ordering::Relaxed);
        }
        for link in &self.links {
            link.partitioned.store(false, Ordering::Relaxed);
            link.faults.store(0, Ordering::Relaxed);
        }
        for process in &self.processes {
            process.short.store(false, Ordering::Relaxed);
        }
        self.note("the end begins", [0; 3]);
        sleep(Duration::from_secs(300)).await;
        self.check_leaks();
        for process in 0..self.processes.len() {
            self.probe(process).await;
        }
        sleep(Duration::from_secs(300)).await;
        self.check_leaks();
    }

    fn check_leaks(&self) {
        let mut leaks: Vec<_> = self.processes.iter().flat_map(Process::leaks).collect();
        let tasks = Handle::current().metrics().num_alive_tasks();
        for (name, left) in [
            ("tasks", tasks),
            ("calls and bodies of the service", self.shared.alive()),
            ("leases", self.remote.leases()),
        ] {
            if left > 0 {
                leaks.push(format!("{name} at the end: {left}"));
            }
        }
        let mut model = self.shared.model();
        for resource in &model.resources {
            let keys = self.remote.keys_of(&resource.target);
            if keys > MAX_KEYS {
                leaks.push(format!("{keys} keys of {}", resource.target));
            }
        }
        leaks.into_iter().for_each(|leak| model.fault(leak));
    }

    /// Checks that a process is as good as new: it stores and serves, also what clients left.
    async fn probe(&mut self, process: usize) {
        let at = self.resources + process;
        let first = self.probed(process, at).await;
        let second = self.probed(process, at).await;
        if !second.hit || second.serial != first.serial {
            let fault = format!("process {process} does not store any more: {first:?}, {second:?}");
            self.shared.model().fault(fault);
        }
        let url = self.shared.model().resources[at].url();
        drop(self.processes[process].handle.purge_url(&url));
        let now = self.shared.time.now();
        self.shared.model().purged(|number, _| number == at, false, now);
        let (own, calls) = (&self.processes[process], self.shared.alive());
        let plan = Plan::plain(self.next_id, process, &self.shared, at);
        self.next_id += 1;
        let mut left = Driver::new(&self.pauses);
        left.start(
            plan.run(Arc::clone(&self.shared), own.stack.clone(), Arc::clone(&own.tally)),
            None,
        );
        while self.shared.alive() == calls && left.open() > 0 {
            if left.poll_one(&mut self.chance).is_none() {
                left.wait(Duration::from_secs(1)).await;
            }
        }
        drop(left);
        // Less than the shortest lifetime.
        sleep(Duration::from_millis(500)).await;
        if !self.probed(process, at).await.hit && !self.cancels {
            let fault = format!("process {process} does not store what a client left");
            self.shared.model().fault(fault);
        }
    }

    async fn probed(&mut self, process: usize, at: usize) -> Ran {
        let plan = Plan::plain(self.next_id, process, &self.shared, at);
        self.next_id += 1;
        let own = &self.processes[process];
        let ran =
            plan.run(Arc::clone(&self.shared), own.stack.clone(), Arc::clone(&own.tally)).await;
        // The store may take its time.
        sleep(Duration::from_millis(500)).await;
        ran
    }
}

impl Resource {
    fn probe(number: u64) -> Self {
        Self {
            target: format!("/probe/{number}"),
            kind: Kind::Public,
            version: 1,
            max_age: 600,
            swr: 0,
            sie: None,
            must_revalidate: false,
            has_etag: false,
            tag: "probe",
            is_text: false,
            ignores_utm: false,
            max_size: 20_000,
        }
    }
}

const MEMORY: u64 = 16 * 1024 * 1024;
const SMALL_MEMORY: u64 = 400 * 1024;
const MAX_OPEN: usize = 40;

/// The time in milliseconds after which a request hangs: longer than slow clients take for all frames.
const LONGEST: u64 = 3_000_000;

/// The list of variants of a URL, its variants, and those that processes stored in vain at the same
/// time.
const MAX_KEYS: usize = 1 + 2 * 16;
