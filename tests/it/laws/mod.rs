//! The laws that every layer keeps, alone and in a pair with the cache, over HTTP/1 and HTTP/2.
//!
//! A case is a random response of a service and random requests for it. A plain hyper server and
//! a server with layers serve the same; clients that know whether a message was complete compare
//! the two. The cases are the same in each run; `PROPTEST_CASES` sets how many there are.

mod client;
mod codings;
mod complete_bodies;
mod counted_responses;
mod fail_closed;
mod fallbacks;
mod h2;
mod refusals;
mod stacks;
mod story;
mod strategies;
mod transparency;

use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::runtime::Runtime;

use self::client::{Seen, send};
use self::stacks::{Boxed, Layered, STACKS, from_fn, serve};
use self::story::{Ask, Stories, Story};
use crate::support::Server;

/// A plain server, and one for each stack of layers, which serve the same stories.
struct Servers {
    stories: Stories,
    plain: Server,
    layered: Vec<Arc<Layered>>,
}

/// The responses that two clients saw to the same request.
#[derive(Debug)]
struct Pair {
    plain: Seen,
    layered: Seen,
    /// The number of calls of the layered server's service for the request.
    calls: u64,
}

impl Servers {
    async fn start() -> Self {
        let stories = Stories::default();
        let plain = serve(service(&stories)).await;
        let mut layered = Vec::new();
        for stack in STACKS {
            layered.push(Arc::new(Layered::start(stack, service(&stories)).await));
        }
        Self { stories, plain, layered }
    }

    /// Sends requests for a story one after another to both servers.
    async fn compare(&self, layered: &Layered, story: &Story, asks: &[Ask]) -> Vec<Pair> {
        let (of_plain, of_layered) = (self.stories.add(story), self.stories.add(story));
        let mut pairs: Vec<Pair> = Vec::new();
        for ask in asks {
            // Where one server gave no tag, the two requests would differ.
            let tags = pairs.last().map(|last| (last.plain.tag(), last.layered.tag()));
            let (plain_tag, layered_tag) = match tags {
                Some((Some(plain), Some(layered))) => (Some(plain), Some(layered)),
                _ => (None, None),
            };
            let path = format!("/story/{of_plain}");
            let plain = send(self.plain.addr, &path, ask, plain_tag).await;
            let path = format!("/story/{of_layered}");
            let before = self.stories.calls(of_layered);
            let seen = send(layered.server.addr, &path, ask, layered_tag).await;
            layered.parts.settle().await;
            let calls = self.stories.calls(of_layered) - before;
            pairs.push(Pair { plain, layered: seen, calls });
        }
        pairs
    }
}

fn service(stories: &Stories) -> Boxed {
    let stories = stories.clone();
    from_fn(move |request| stories.clone().serve(request))
}

/// Runs a property over cases that are the same each time.
fn check<S>(cases: u32, strategy: &S, mut property: impl FnMut(S::Value) -> Result<(), String>)
where
    S: Strategy<Value: Debug>,
{
    let cases =
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let property = RefCell::new(&mut property);
    let result = TestRunner::new_with_rng(config, rng).run(strategy, |case| {
        let mut property = property.borrow_mut();
        property(case).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
