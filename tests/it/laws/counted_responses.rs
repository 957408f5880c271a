//! No response is without a status and an outcome in the metrics.

use std::collections::BTreeMap;

use http::Method;
use proptest::prelude::*;
use proptest::sample::select;

use super::client::{End, Seen, send};
use super::stacks::{ALL, Kind, Layered, Stack};
use super::story::{Ask, Stories, Story};
use super::strategies::{asks, failing, sound};
use super::{check, runtime, service};

#[test]
fn totals_equal_the_log_of_the_client() {
    let runtime = runtime();
    let story = prop_oneof![3 => sound(), 1 => failing()];
    let requests = prop::collection::vec((story, asks(), any::<u8>()), 1..8);
    check(80, &(requests, select(&STACKS[..])), |(requests, stack)| {
        let (mut log, counted) = runtime.block_on(async {
            let stories = Stories::default();
            let server = Layered::start(stack, service(&stories)).await;
            let mut log = Vec::new();
            for (story, asks, random) in &requests {
                let path = format!("/story/{}", stories.add(story));
                let (ask, sheds) = (&asks[0], random % 8 == 0);
                if stack.contains(&Kind::Pressure) {
                    let probes = server.parts.set_short(&server.server, sheds).await;
                    log.extend(probes.iter().map(|probe| (Outcomes::Ok, probe.status)));
                }
                let seen = send(server.server.addr, &path, ask, None).await;
                log.push((expected(story, ask, &seen), seen.status));
            }
            (log.clone(), counted(&server, log.len()).await)
        });
        // Those that allow most take what the others have left.
        log.sort_by_key(|(outcomes, status)| (*outcomes, status.is_none()));
        let mut left = counted.clone();
        for (outcomes, status) in &log {
            let status = status.map(|status| status.to_string());
            let found = left.iter().position(|(is, outcome)| {
                // What ended before its head was written may have a status that no client saw.
                let same = status.is_none() || *is == status;
                same && outcome.as_ref().is_some_and(|outcome| outcomes.allow(outcome))
            });
            let Some(found) = found else {
                return Err(format!("{stack:?}: {status:?} {outcomes:?} is not in {counted:?}"));
            };
            left.remove(found);
        }
        if left.is_empty() { Ok(()) } else { Err(format!("{stack:?}: no client saw {left:?}")) }
    });
}

/// Values of the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcomes {
    Ok,
    Failed,
    /// The client cannot tell, and the server need not.
    Any,
}

impl Outcomes {
    fn allow(self, outcome: &str) -> bool {
        match self {
            Self::Ok => outcome == "ok",
            Self::Failed => outcome != "ok" && OUTCOMES.contains(&outcome),
            Self::Any => OUTCOMES.contains(&outcome),
        }
    }
}

fn expected(story: &Story, ask: &Ask, seen: &Seen) -> Outcomes {
    let bodiless = ask.method == Method::HEAD || [Some(204), Some(304)].contains(&seen.status);
    let fails = story.body_fails() && !bodiless;
    match &seen.end {
        // A response is recorded when it has its declared length. Over HTTP/2, hyper reads on.
        End::Aborted(_) if seen.status.is_none() || bodiless || story.body_fails_late() => {
            Outcomes::Any
        }
        End::Aborted(_) => Outcomes::Failed,
        // Bytes behind `content-length`, or a failure that only the end of a connection shows.
        _ if fails => Outcomes::Any,
        _ => Outcomes::Ok,
    }
}

/// Status and outcome of every response that the latency layer has recorded.
async fn counted(server: &Layered, enough: usize) -> Vec<(Option<String>, Option<String>)> {
    let metrics = &server.parts.metrics;
    let all = || {
        let labels = |labels: &BTreeMap<String, String>| {
            (labels.get("status_code").cloned(), labels.get("outcome").cloned())
        };
        let names = ["http_request_duration_seconds", "http_stream_duration_seconds"];
        let samples = names.map(|name| metrics.samples(name)).concat();
        samples.iter().map(|(found, _)| labels(found)).collect::<Vec<_>>()
    };
    // What ends after its client has seen the end is recorded when the server's task runs again.
    for _ in 0..1_000 {
        if all().len() >= enough {
            break;
        }
        tokio::task::yield_now().await;
    }
    all()
}

const STACKS: [Stack; 3] = [&[Kind::Latency], &[Kind::Latency, Kind::Cache], &ALL];

const OUTCOMES: [&str; 7] =
    ["ok", "service_error", "timeout", "body_error", "disconnect", "cancelled", "panic"];
