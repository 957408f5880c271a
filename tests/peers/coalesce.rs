//! `src/cache/coalesce.rs` under a model checker, which tries orders of its threads' steps. It finds a
//! deadlock, and so a wake-up that is lost, by itself.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use shuttle::future::{block_on, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};

use self::model::{Coalescer, Ended, Follower, Leader, Role};
use self::sync::Arc;

#[path = "../../src/cache/coalesce.rs"]
mod model;

/// The items of `src/cache/sync.rs`, but of the model checker. Its own locks let no other task
/// run between an unlocking and the step after it; these do.
mod sync {
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;

    use shuttle::sync::atomic::{AtomicBool, Ordering};

    pub(super) use std::collections::hash_map::RandomState as DefaultHashBuilder;

    pub(super) use shuttle::sync::Arc;

    #[derive(Debug, Default)]
    pub(super) struct Mutex<T> {
        inner: shuttle::sync::Mutex<T>,
        step: AtomicBool,
    }

    #[derive(Debug)]
    pub(super) struct MutexGuard<'a, T> {
        inner: Option<shuttle::sync::MutexGuard<'a, T>>,
        step: &'a AtomicBool,
    }

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self { inner: shuttle::sync::Mutex::new(value), step: AtomicBool::new(false) }
        }

        pub(super) fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(MutexGuard { inner: Some(inner), step: &self.step })
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.inner.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.inner.as_mut().unwrap()
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.inner = None;
            if !std::thread::panicking() {
                // A place where another task may run.
                self.step.load(Ordering::SeqCst);
            }
        }
    }
}

type Table = Coalescer<u8, u32>;

const ORDERS: usize = 500;

/// How many tasks run against each other.
const TASKS: usize = 3;

/// Tries orders of all steps at random, and those in which few changes of the running task come
/// at the worst time (PCT).
fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(scenario, ORDERS);
    shuttle::check_pct(scenario, ORDERS, 3);
}

fn lead(table: &Table) -> Leader<u8, u32> {
    match table.join(1) {
        Role::Leader(lead) => lead,
        Role::Follower(_) => panic!("somebody leads already"),
    }
}

fn follow(table: &Table) -> Follower<u8, u32> {
    match table.join(1) {
        Role::Follower(follower) => follower,
        Role::Leader(_) => panic!("nobody leads"),
    }
}

/// Polls once, in a task that can be woken.
async fn poll_once(follower: &mut Follower<u8, u32>) -> Option<Ended<u8, u32>> {
    let poll = |cx: &mut Context<'_>| match Pin::new(&mut *follower).poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => Poll::Ready(None),
    };
    std::future::poll_fn(poll).await
}

/// Leads, and lands what it was given; or waits for it. `calls` counts those who lead, in all and
/// at a time.
async fn ask(table: Table, calls: Arc<[AtomicUsize; 2]>, answer: u32) -> u32 {
    let lead = match table.lead(1).map_or_else(|| table.join(1), Role::Leader) {
        Role::Leader(lead) => lead,
        Role::Follower(follower) => match follower.await {
            Ended::Completed(found) => return found,
            Ended::Lead(lead) => lead,
        },
    };
    calls[0].fetch_add(1, Ordering::SeqCst);
    assert_eq!(calls[1].fetch_add(1, Ordering::SeqCst), 0, "two lead");
    yield_now().await;
    calls[1].fetch_sub(1, Ordering::SeqCst);
    lead.complete(answer);
    yield_now().await;
    answer
}

#[test]
fn all_who_follow_get_what_their_leader_lands() {
    check(|| {
        let table = Table::default();
        let lead = lead(&table);
        let followers: Vec<_> = (0..TASKS).map(|_| follow(&table)).collect();
        let waiting = followers.into_iter().map(|follower| {
            spawn(async move {
                match follower.await {
                    Ended::Completed(found) => assert_eq!(found, 7),
                    Ended::Lead(_) => panic!("the leader has landed"),
                }
            })
        });
        let waiting: Vec<_> = waiting.collect();
        let late = table.clone();
        let late = spawn(ask(late, Arc::default(), 8));
        lead.complete(7);
        drop(lead);
        block_on(async {
            for one in waiting {
                one.await.unwrap();
            }
            let found = late.await.unwrap();
            assert!(found == 7 || found == 8, "{found}");
        });
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn one_leader_at_a_time_serves_all() {
    check(|| {
        let table = Table::default();
        let calls = Arc::<[AtomicUsize; 2]>::default();
        let tasks =
            (0..TASKS).map(|number| spawn(ask(table.clone(), Arc::clone(&calls), number as u32)));
        let tasks: Vec<_> = tasks.collect();
        block_on(async {
            for task in tasks {
                assert!((task.await.unwrap() as usize) < TASKS);
            }
        });
        assert!((1..=TASKS).contains(&calls[0].load(Ordering::SeqCst)));
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn one_replaces_a_leader_that_left() {
    check(|| {
        let table = Table::default();
        let lead = lead(&table);
        let took_over = Arc::new(AtomicUsize::new(0));
        let followers: Vec<_> = (0..TASKS).map(|_| follow(&table)).collect();
        let waiting = followers.into_iter().map(|follower| {
            let took_over = Arc::clone(&took_over);
            spawn(async move {
                match follower.await {
                    Ended::Completed(found) => assert_eq!(found, 7),
                    Ended::Lead(lead) => {
                        took_over.fetch_add(1, Ordering::SeqCst);
                        yield_now().await;
                        lead.complete(7);
                    }
                }
            })
        });
        let waiting: Vec<_> = waiting.collect();
        drop(lead);
        block_on(async {
            for one in waiting {
                one.await.unwrap();
            }
        });
        assert_eq!(took_over.load(Ordering::SeqCst), 1);
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn leaders_in_turn_never_lead_together() {
    check(|| {
        let table = Table::default();
        let lead = lead(&table);
        let (leading, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let followers: Vec<_> = (0..TASKS).map(|_| follow(&table)).collect();
        let waiting = followers.into_iter().map(|follower| {
            let (leading, turns) = (Arc::clone(&leading), Arc::clone(&turns));
            spawn(async move {
                let Ended::Lead(lead) = follower.await else { panic!("nobody has landed") };
                assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead");
                yield_now().await;
                turns.fetch_add(1, Ordering::SeqCst);
                leading.fetch_sub(1, Ordering::SeqCst);
                drop(lead);
            })
        });
        let waiting: Vec<_> = waiting.collect();
        drop(lead);
        block_on(async {
            for one in waiting {
                one.await.unwrap();
            }
        });
        assert_eq!(turns.load(Ordering::SeqCst), TASKS);
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn newcomers_wait_for_the_new_leader() {
    check(|| {
        let table = Table::default();
        let lead = lead(&table);
        let follower = follow(&table);
        let calls = Arc::<[AtomicUsize; 2]>::default();
        let late = (0..TASKS).map(|_| spawn(ask(table.clone(), Arc::clone(&calls), 7)));
        let late: Vec<_> = late.collect();
        drop(lead);
        block_on(async {
            if let Ended::Lead(lead) = follower.await {
                assert_eq!(calls[1].fetch_add(1, Ordering::SeqCst), 0, "two lead");
                yield_now().await;
                calls[1].fetch_sub(1, Ordering::SeqCst);
                drop(lead);
            }
            for task in late {
                assert_eq!(task.await.unwrap(), 7);
            }
        });
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn newcomer_after_completion_leads_anew() {
    check(|| {
        let table = Table::default();
        let first = lead(&table);
        let follower = follow(&table);
        first.complete(7);
        drop(first);
        let second = lead(&table);
        let waiting = spawn(async move {
            assert!(matches!(follower.await, Ended::Completed(7)));
        });
        let follower = follow(&table);
        second.complete(8);
        block_on(async {
            assert!(matches!(follower.await, Ended::Completed(8)));
            waiting.await.unwrap();
        });
        drop(second);
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn a_leader_may_complete_twice() {
    check(|| {
        let table = Table::default();
        let lead = lead(&table);
        let followers: Vec<_> = (0..TASKS).map(|_| follow(&table)).collect();
        let waiting = followers.into_iter().map(|follower| {
            spawn(async move {
                let Ended::Completed(found) = follower.await else { panic!("it has completed") };
                assert!(found == 7 || found == 8, "{found}");
            })
        });
        let waiting: Vec<_> = waiting.collect();
        assert!(lead.is_awaited());
        lead.complete(7);
        let late = spawn(ask(table.clone(), Arc::default(), 9));
        lead.complete(8);
        drop(lead);
        block_on(async {
            for one in waiting {
                one.await.unwrap();
            }
            assert!((7..=9).contains(&late.await.unwrap()));
        });
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn a_retired_flight_is_led_anew_by_one() {
    check(|| {
        let table = Table::default();
        let old = lead(&table);
        old.complete(7);
        assert!(follow(&table).is_over());
        let retired = table.clone();
        let retiring = spawn(async move { retired.retire(&1, |found| *found == 7) });
        let calls = Arc::<[AtomicUsize; 2]>::default();
        let tasks = (0..TASKS).map(|_| spawn(ask(table.clone(), Arc::clone(&calls), 8)));
        let tasks: Vec<_> = tasks.collect();
        block_on(async {
            retiring.await.unwrap();
            for task in tasks {
                let found = task.await.unwrap();
                assert!(found == 7 || found == 8, "{found}");
            }
        });
        drop(old);
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn woken_follower_that_leaves_passes_it_on() {
    check(|| {
        let table = Table::default();
        let lead = lead(&table);
        // The first in the queue, and so the one that is woken.
        let mut leaves = follow(&table);
        let stays = follow(&table);
        let leaving = spawn(async move {
            drop(poll_once(&mut leaves).await);
            drop(leaves);
        });
        let staying = spawn(async move {
            let Ended::Lead(lead) = stays.await else { panic!("nobody has landed") };
            lead.complete(7);
        });
        drop(lead);
        block_on(async {
            leaving.await.unwrap();
            staying.await.unwrap();
        });
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn aborted_follower_strands_nobody() {
    check(|| {
        let table = Table::default();
        let lead = lead(&table);
        let followers: Vec<_> = (0..TASKS).map(|_| follow(&table)).collect();
        let waiting = followers.into_iter().map(|follower| {
            spawn(async move {
                if let Ended::Lead(lead) = follower.await {
                    yield_now().await;
                    lead.complete(7);
                }
            })
        });
        let mut waiting: Vec<_> = waiting.collect();
        let gone = waiting.split_off(TASKS / 2);
        let leaving = spawn(async move { drop(lead) });
        for one in &gone {
            one.abort();
        }
        block_on(async {
            leaving.await.unwrap();
            for one in waiting {
                one.await.unwrap();
            }
            for one in gone {
                // Whether it was aborted in time does not matter.
                drop(one.await);
            }
        });
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn table_is_empty_when_all_have_left() {
    check(|| {
        let table = Table::default();
        let lead = lead(&table);
        let followers: Vec<_> = (0..TASKS).map(|_| follow(&table)).collect();
        let leaving = followers.into_iter().map(|one| spawn(async move { drop(one) }));
        let leaving: Vec<_> = leaving.collect();
        drop(lead);
        block_on(async {
            for one in leaving {
                one.await.unwrap();
            }
        });
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn nobody_is_stranded_and_the_table_ends_empty() {
    check(|| {
        let table = Table::default();
        let tasks = (0..TASKS).map(|_| spawn(wander(table.clone())));
        let tasks: Vec<_> = tasks.collect();
        block_on(async {
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!(table.len(), 0);
    });
}

/// Joins twice; leads, lands, waits or leaves as it comes.
async fn wander(table: Table) {
    let chance = || thread_rng().gen_bool(0.5);
    for _ in 0..2 {
        let lead = match table.join(u8::from(chance())) {
            Role::Leader(lead) => lead,
            Role::Follower(mut follower) => {
                let ended = if chance() {
                    poll_once(&mut follower).await
                } else {
                    Some((&mut follower).await)
                };
                match ended {
                    Some(Ended::Lead(lead)) => lead,
                    _ => continue,
                }
            }
        };
        yield_now().await;
        if chance() {
            lead.complete(7);
        }
    }
}
