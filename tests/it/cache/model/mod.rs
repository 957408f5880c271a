//! The cache against a reference of RFC 9111: both are told the same random stories, and have to do
//! the same at each step.
//!
//! The stories are the same in each run. `CACHE_MODEL_SEED` chooses others, `CACHE_MODEL_STORIES`
//! how many.

mod reference;
mod storing;
mod story;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use http::request::Parts;
use http::{Extensions, HeaderMap};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};
use tower_kit::cache::{CacheHint, CacheLayer, MemoryStore};

use self::reference::{Got, Reference, Service, Time};
use self::storing::Setup;
use self::story::{Call, Hint, Purge, Reply, Request, Step, URLS, seconds_of, story};
use super::rig::{self, Rig, idle};
use crate::support::{full, status};

#[test]
fn stories_go_as_the_rfc_says() {
    check(Setup::Rfc, 1);
}

#[test]
fn stories_go_on_where_requests_do_not_count() {
    check(Setup::IgnoresRequests, 2);
}

#[test]
fn stories_go_on_where_the_layer_has_lifetimes() {
    check(Setup::OwnLifetimes, 3);
}

#[test]
fn stories_go_on_where_each_200_has_a_ttl() {
    check(Setup::WithTtl, 4);
}

#[test]
fn stories_go_on_where_a_head_fills() {
    check(Setup::FillsOnHead, 5);
}

fn check(setup: Setup, seed: u8) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let stories = number("CACHE_MODEL_STORIES").unwrap_or(STORIES);
    let mut bytes = [seed; 32];
    bytes[..8].copy_from_slice(&number("CACHE_MODEL_SEED").unwrap_or(0).to_le_bytes());
    let config = Config {
        cases: u32::try_from(stories).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let told =
        TestRunner::new_with_rng(config, rng).run(&story(), |steps| tell(&runtime, setup, &steps));
    if let Err(error) = told {
        panic!("{setup:?}: {error}");
    }
}

/// Tells a story to both.
fn tell(runtime: &Runtime, setup: Setup, steps: &[Step]) -> Result<(), TestCaseError> {
    let rig = Rig::over(layer(setup));
    let mut reference = Reference::new(setup);
    let (mut time, mut number) = (Time::default(), 0);
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Wait(seconds) => {
                // The cache learns of each step, of which it sums up those forward.
                let read =
                    || runtime.block_on(async { drop(rig.handle.purge_tag("unknown").await) });
                read();
                rig.clock.step(*seconds);
                read();
                time.step(seconds * 1000);
            }
            Step::Purge(purge) => {
                purge_both(runtime, &rig, &mut reference, purge);
            }
            Step::Send(sent) => {
                let (request, reply) = &**sent;
                let got = runtime.block_on(send(&rig, request, reply, number));
                let ask = |reference: &mut Reference, passes_conditions| {
                    let mut service = Service { reply, time, number, calls: Vec::new() };
                    let got = reference.send(request, &mut service, passes_conditions);
                    ((service.calls, got), service.time, service.number)
                };
                let before = reference.clone();
                let (mut expected, mut then, mut next) = ask(&mut reference, false);
                if got != expected && before.may_pass_conditions(request, time.clock) {
                    reference = before.clone();
                    (expected, then, next) = ask(&mut reference, true);
                }
                if got != expected && before.may_pass_by(request, time.clock) {
                    reference = before;
                    let mut service = Service { reply, time, number, calls: Vec::new() };
                    let passed = reference.pass_by(request, &mut service);
                    (expected, then, next) =
                        ((service.calls, passed), service.time, service.number);
                }
                if got != expected {
                    let both = [told("the cache", &got), told("the reference", &expected)];
                    return Err(TestCaseError::fail(format!("step {at}:\n{}", both.join("\n"))));
                }
                (time, number) = (then, next);
            }
        }
    }
    Ok(())
}

fn told(who: &str, (calls, got): &(Vec<Call>, Option<Got>)) -> String {
    let shown = |what: &dyn Debug| format!("{what:?}");
    let calls: String = calls.iter().map(|call| format!("\n    calls {}", shown(call))).collect();
    let got = got.as_ref().map_or("an error".to_owned(), |got| shown(got));
    format!("{who}:{calls}\n    gives {got}")
}

fn layer(setup: Setup) -> CacheLayer {
    let store = MemoryStore::new(1 << 24);
    let seconds = Duration::from_secs;
    let layer = match setup {
        Setup::WithTtl => CacheLayer::with_ttl(store, seconds(20)),
        _ => CacheLayer::new(store),
    };
    match setup {
        Setup::Rfc | Setup::WithTtl => layer.honor_request_control(),
        Setup::FillsOnHead => layer.honor_request_control().fill_on_head(),
        Setup::IgnoresRequests => layer,
        Setup::OwnLifetimes => {
            layer.honor_request_control().default_ttl(seconds(30)).ttl(status(404), seconds(5))
        }
    }
}

fn purge_both(runtime: &Runtime, rig: &Rig, reference: &mut Reference, purge: &Purge) {
    reference.purge(purge);
    runtime.block_on(async {
        match purge {
            Purge::Url(url) => rig.handle.purge_url(url).unwrap().await.unwrap(),
            Purge::Prefix(prefix) => rig.handle.purge_prefix(prefix).await.unwrap(),
            Purge::Tag(tag) => rig.handle.purge_tag(tag).await.unwrap(),
            Purge::All => rig.handle.purge_all().await.unwrap(),
        }
    });
}

/// Sends a request through the cache, and lets all that follows from it be done.
async fn send(
    rig: &Rig,
    request: &Request,
    reply: &Reply,
    mut number: u64,
) -> (Vec<Call>, Option<Got>) {
    let before = rig.calls();
    let (clock, reply) = (rig.clock.clone(), reply.clone());
    rig.answers(move |head| {
        clock.step(reply.takes());
        let answer = reply.to(&call(head), number, clock.seconds());
        number += 1;
        let Some((head, body)) = answer else { return Err("the service is gone".into()) };
        let mut response = http::Response::new(full(body));
        *response.status_mut() = status(head.status);
        response.extensions_mut().extend(extensions(head.hint));
        for (name, value) in head.fields() {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        Ok(response)
    });
    let fields = request.fields();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    let got = rig.ask(rig::request(request.method, request.url, &fields)).await;
    for _ in 0..IDLE_AT_MOST {
        idle().await;
        if rig.handle.in_flight() == 0 {
            break;
        }
    }
    let calls = rig.calls_since(before).iter().map(call).collect();
    let got = got.ok().map(|got| {
        let (status, fields) = (got.status, seen(&got.headers));
        let cache = class(got.cache());
        Got { status, body: got.body, fields, cache }
    });
    (calls, got)
}

fn extensions(hint: Option<Hint>) -> Extensions {
    let mut extensions = Extensions::new();
    if let Some(hint) = hint {
        extensions.insert(match hint {
            Hint::NoStore => CacheHint::no_store(),
            Hint::Ttl(seconds) => CacheHint::new().ttl(Duration::from_secs(seconds.unsigned_abs())),
        });
    }
    extensions
}

fn call(head: &Parts) -> Call {
    let text = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let known =
        |all: &[&'static str], text: &str| all.iter().copied().find(|of| *of == text).unwrap();
    Call {
        method: known(&["GET", "HEAD", "POST", "PUT", "OPTIONS"], head.method.as_str()),
        url: known(&URLS, &head.uri.to_string()),
        if_match: head.headers.contains_key("if-match"),
        none_match: text("if-none-match"),
        modified_since: text("if-modified-since").map(|date| seconds_of(&date)),
        range: text("range"),
        if_range: text("if-range"),
    }
}

/// The headers that the reference speaks of, each in one line.
fn seen(headers: &HeaderMap) -> BTreeMap<&'static str, String> {
    let line = |name: &&'static str| {
        let lines: Vec<_> =
            headers.get_all(*name).iter().map(|line| line.to_str().unwrap()).collect();
        let mut members: Vec<_> = lines.iter().flat_map(|line| line.split(", ")).collect();
        if *name == "vary" {
            let mut known = Vec::new();
            members.retain(|name| {
                !known.contains(name) && {
                    known.push(*name);
                    true
                }
            });
        }
        (!lines.is_empty()).then(|| (*name, members.join(", ")))
    };
    SEEN.iter().filter_map(line).collect()
}

/// A member of `cache-status` without its details: a hit, or why the request was forwarded.
fn class(member: &str) -> String {
    let parts =
        member.split("; ").filter(|part| !part.starts_with("detail=") && *part != "collapsed");
    let parts: Vec<_> = parts.collect();
    parts.join(" ").replace("fwd=uri-miss", "fwd=miss").replace("fwd=vary-miss", "fwd=miss")
}

const SEEN: [&str; 16] = [
    "age",
    "cache-control",
    "cdn-cache-control",
    "content-length",
    "content-location",
    "content-range",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "pragma",
    "set-cookie",
    "surrogate-key",
    "vary",
    "x-one",
];

/// The number of stories that each test tells.
const STORIES: u64 = 700;

const IDLE_AT_MOST: usize = 100;
