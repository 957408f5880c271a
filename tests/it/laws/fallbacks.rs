//! A fallback that scarcity causes is counted, and the cache keeps nothing of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};
use http_body_util::channel::{Channel, Sender};
use proptest::prelude::*;
use proptest::sample::select;
use tokio::sync::mpsc;

use super::client::{Seen, send};
use super::stacks::{Boxed, Kind, PROBE, Parts, Stack, from_fn, serve};
use super::story::{Ask, Protocol};
use super::{check, runtime};
use crate::support::{
    BoxBody, BoxError, Labels, Metrics, Raw, Scripted, Server, Step, boxed, empty, noise, prose,
    soon,
};

#[test]
fn uncompressed_for_want_of_a_codec() {
    let runtime = runtime();
    check(20, &cases(&[&[Kind::Cache, Kind::Compress], &[Kind::Compress, Kind::Cache]]), |case| {
        runtime.block_on(async {
            let parts = |streams| {
                let mut parts = Parts::new();
                parts.compress = parts.compress.max_streams(streams);
                parts
            };
            let (scarce, plenty) = Rig::pair(case, parts).await;
            let held = scarce.hold("no-store").await;
            let other = plenty.hold("no-store").await;
            plenty.get("/page").await;
            let bad = scarce.get("/page").await;
            whole(&bad, case)?;
            if bad.values("content-encoding").is_empty() {
                counted(&scarce, &plenty)?;
            }
            held.abandon().await;
            other.abandon().await;
            let good = scarce.get("/page").await;
            whole(&good, case)?;
            if good.values("content-encoding").is_empty() {
                return Err(format!("still uncompressed: {good:?}"));
            }
            Ok(())
        })
    });
}

#[test]
fn not_stored_for_want_of_a_fill() {
    let runtime = runtime();
    check(20, &cases(&[&[Kind::Cache], &[Kind::Cache, Kind::Compress]]), |case| {
        runtime.block_on(async {
            let parts = |fills| {
                let mut parts = Parts::new();
                parts.cache = parts.cache.max_fills(fills);
                parts
            };
            let (scarce, plenty) = Rig::pair(case, parts).await;
            let held = scarce.hold("max-age=60").await;
            let other = plenty.hold("max-age=60").await;
            plenty.get("/page").await;
            let passed = scarce.get("/page").await;
            whole(&passed, case)?;
            counted(&scarce, &plenty)?;
            held.finish(&scarce).await;
            other.finish(&plenty).await;
            scarce.get("/page").await;
            scarce.parts.settle().await;
            let before = scarce.calls();
            let hit = scarce.get("/page").await;
            whole(&hit, case)?;
            if scarce.calls() > before {
                return Err(format!("not stored after the scarcity: {hit:?}"));
            }
            Ok(())
        })
    });
}

#[test]
fn shed_while_memory_is_short() {
    let runtime = runtime();
    check(20, &cases(&[&[Kind::Cache, Kind::Pressure], &[Kind::Pressure, Kind::Cache]]), |case| {
        runtime.block_on(async {
            let (scarce, plenty) = Rig::pair(case, |_| Parts::new()).await;
            plenty.get("/page").await;
            scarce.parts.set_short(&scarce.server, true).await;
            let shed = scarce.get("/page").await;
            if shed.status != Some(503) {
                return Err(format!("not shed: {shed:?}"));
            }
            counted(&scarce, &plenty)?;
            scarce.parts.set_short(&scarce.server, false).await;
            let good = scarce.get("/page").await;
            whole(&good, case)
        })
    });
}

#[derive(Clone, Copy, Debug)]
struct Case {
    stack: Stack,
    protocol: Protocol,
    coding: &'static str,
    /// The number of pieces of the page.
    pieces: usize,
    pauses: bool,
}

/// A server whose page is large and of unknown length, and can be compressed.
struct Rig {
    case: Case,
    parts: Parts,
    server: Server,
    calls: Arc<AtomicU64>,
    senders: tokio::sync::Mutex<mpsc::UnboundedReceiver<Sender<bytes::Bytes, BoxError>>>,
}

/// A response that does not end, with the connection that reads it.
struct Held {
    client: Raw,
    sender: Sender<bytes::Bytes, BoxError>,
}

impl Rig {
    async fn start(case: Case, parts: Parts) -> Self {
        let calls = Arc::new(AtomicU64::new(0));
        let (give, senders) = mpsc::unbounded_channel();
        let service = pages(case, Arc::clone(&calls), give);
        let server = serve(parts.around(case.stack, service)).await;
        Self { case, parts, server, calls, senders: tokio::sync::Mutex::new(senders) }
    }

    /// A server with one place, and one with two.
    async fn pair(case: Case, parts: impl Fn(usize) -> Parts) -> (Self, Self) {
        (Self::start(case, parts(1)).await, Self::start(case, parts(2)).await)
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn get(&self, path: &str) -> Seen {
        let mut ask = Ask::get();
        ask.protocol = self.case.protocol;
        ask.fields.push(("accept-encoding", self.case.coding));
        send(self.server.addr, path, &ask, None).await
    }

    /// Takes the only place there is, with a response that has begun and does not end.
    async fn hold(&self, cache_control: &str) -> Held {
        let mut client = self.server.connect().await;
        let request = format!(
            "GET /held?{cache_control} HTTP/1.1\r\nhost: {}\r\naccept-encoding: {}\r\n\r\n",
            self.server.addr, self.case.coding
        );
        client.send(&request).await;
        let mut sender = soon(self.senders.lock().await.recv()).await.unwrap();
        sender.send_data(noise(2_000)).await.unwrap();
        // The head, and the first chunk of the body.
        client.head().await;
        client.until("\r\n").await;
        Held { client, sender }
    }
}

impl Held {
    /// Closes the connection, and waits until the server has dropped the body.
    async fn abandon(mut self) {
        drop(self.client);
        let gone = async {
            while self.sender.send_data(noise(10)).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        soon(gone).await;
    }

    /// Ends the body, and waits until the cache has it.
    async fn finish(self, rig: &Rig) {
        drop(self.sender);
        rig.parts.settle().await;
    }
}

fn pages(
    case: Case,
    calls: Arc<AtomicU64>,
    give: mpsc::UnboundedSender<Sender<bytes::Bytes, BoxError>>,
) -> Boxed {
    from_fn(move |request: Request<BoxBody>| {
        let (calls, give) = (Arc::clone(&calls), give.clone());
        async move {
            let response = Response::builder().header("content-type", "text/html");
            if request.uri().path() == "/held" {
                let (sender, body) = Channel::new(1);
                give.send(sender)?;
                let control = request.uri().query().unwrap_or_default();
                return Ok(response.header("cache-control", control).body(boxed(body))?);
            }
            if request.uri().path() == PROBE {
                return Ok(response.body(boxed(empty()))?);
            }
            calls.fetch_add(1, Ordering::SeqCst);
            let page = prose(PAGE, 7);
            let steps = page.chunks(PAGE.div_ceil(case.pieces)).flat_map(|piece| {
                let data = Step::<BoxError>::Data(bytes::Bytes::copy_from_slice(piece));
                [Some(data), case.pauses.then_some(Step::Pending)]
            });
            let body = boxed(Scripted::new(steps.flatten().collect::<Vec<_>>()));
            Ok(response.header("cache-control", "max-age=60").body(body)?)
        }
    })
}

fn whole(seen: &Seen, case: Case) -> Result<(), String> {
    let plain = Seen { headers: http::HeaderMap::new(), ..seen.clone() };
    let decoded = seen.decoded(&plain)?;
    if seen.status == Some(200) && seen.is_complete() && decoded == prose(PAGE, 7) {
        return Ok(());
    }
    let Seen { status, headers, end, .. } = seen;
    Err(format!("{case:?}: {status:?}, {headers:?}, {end:?}, {} of {PAGE} bytes", decoded.len()))
}

/// Returns an error if no counter of the one server tells it from the other.
fn counted(scarce: &Rig, plenty: &Rig) -> Result<(), String> {
    let (scarce, plenty) = (counters(&scarce.parts.metrics), counters(&plenty.parts.metrics));
    if scarce.difference(&plenty).next().is_some() {
        Ok(())
    } else {
        Err(format!("not counted: {scarce:#?}"))
    }
}

fn counters(metrics: &Metrics) -> BTreeSet<(String, Labels)> {
    let names = metrics.described().into_keys();
    let all = names.flat_map(|name| {
        metrics.counter_labels(&name).into_iter().map(move |labels| (name.clone(), labels))
    });
    all.collect()
}

fn cases(stacks: &'static [Stack]) -> impl Strategy<Value = Case> {
    let protocol = select(vec![Protocol::Http11, Protocol::Http2]);
    let coding = select(vec!["gzip", "deflate", "br", "zstd"]);
    (select(stacks), protocol, coding, 1_usize..20, any::<bool>()).prop_map(
        |(stack, protocol, coding, pieces, pauses)| Case {
            stack,
            protocol,
            coding,
            pieces,
            pauses,
        },
    )
}

const PAGE: usize = 180_000;
