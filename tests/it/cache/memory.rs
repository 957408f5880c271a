//! What responses on their way to the store may hold, and for how long.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower_kit::cache::{CacheLayer, MemoryStore};
use tower_kit::{KIB, MIB};

use super::mocked::{Mocked, Text, boxed, channel, fresh, full};
use super::rig::idle;
use crate::support::{Metrics, Scripted, Step, data, soon};

const FALLBACKS: &str = "http_cache_fallbacks_total";

fn layer(metrics: &Metrics) -> CacheLayer {
    CacheLayer::new(MemoryStore::new(16 * MIB)).clock(|| UNIX_EPOCH).recorder(metrics.recorder())
}

fn fell_back(metrics: &Metrics, reason: &str) -> u64 {
    metrics.counted(FALLBACKS, &[("reason", reason)])
}

fn streamed(steps: impl IntoIterator<Item = Step<io::Error>>) -> Text {
    boxed(Scripted::new(steps))
}

/// A body that pauses, and then has so many frames of so many bytes.
fn frames(count: usize, size: usize) -> Vec<Step<io::Error>> {
    std::iter::once(Step::Pending).chain((0..count).map(|_| data(size))).collect()
}

/// Returns `true` if one of several requests for a path calls the service and the others wait.
async fn is_coalesced(mocked: &mut Mocked, path: &str) -> bool {
    let herd: Vec<_> = (0..3).map(|_| mocked.waits(path)).collect();
    let (_, call) = mocked.call().await;
    let alone = mocked.called().is_none();
    call.send_response(fresh(streamed([Step::Pending, data(5)])));
    for asking in herd {
        drop(soon(asking).await);
    }
    alone && mocked.called().is_none()
}

#[tokio::test]
async fn response_over_the_budget_passes_unrecorded() {
    let metrics = Metrics::new();
    let mut mocked = Mocked::new(&layer(&metrics).max_fill_bytes(0));
    for steps in [vec![data(5)], frames(2, 5)] {
        let opened = mocked.opens("/", fresh(streamed(steps))).await;
        assert_eq!(opened.said(), "tower-kit; fwd=uri-miss; detail=budget");
        assert!(!opened.text().await.is_empty());
    }
    assert_eq!(fell_back(&metrics, "budget"), 2);
    assert_eq!(mocked.handle.statistics().usage.entries, 0);
}

#[tokio::test]
async fn herd_does_not_wait_for_an_unrecorded_response() {
    let metrics = Metrics::new();
    let mut mocked = Mocked::new(&layer(&metrics).max_fill_bytes(0));
    let herd: Vec<_> = (0..3).map(|_| mocked.waits("/")).collect();
    mocked.call().await.1.send_response(fresh(full("first")));
    let mut herd = herd.into_iter();
    drop(soon(herd.next().unwrap()).await.unwrap());
    let mut rest: Vec<_> = herd.collect();
    for asking in &mut rest {
        assert!(crate::support::poll_once(asking.as_mut()).is_pending());
    }
    for _ in 0..2 {
        mocked.call().await.1.send_response(fresh(full("own")));
    }
}

#[tokio::test]
async fn nothing_outlives_a_spent_budget() {
    let metrics = Metrics::new();
    let mut mocked = Mocked::new(&layer(&metrics).max_fill_bytes(64 * KIB));
    let holds = mocked.opens("/a", fresh(streamed(frames(1, 60_000)))).await;
    idle().await;
    let scarce = mocked.opens("/b", fresh(streamed(frames(1, 30_000)))).await;
    idle().await;
    assert_eq!(scarce.text().await.len(), 30_000);
    assert_eq!(fell_back(&metrics, "budget"), 1);
    assert!(!mocked.is_hit("/b"));
    drop(mocked.called());
    idle().await;
    assert_eq!(holds.text().await.len(), 60_000);
    // No mark parts those who ask for it now.
    assert!(is_coalesced(&mut mocked, "/b").await);
    idle().await;
    assert!(mocked.is_hit("/b"));
}

#[tokio::test]
async fn stalled_readers_hold_no_fill_slots() {
    let metrics = Metrics::new();
    let mut mocked = Mocked::new(&layer(&metrics).max_fills(2));
    let mut stalled = Vec::new();
    for number in 0..10 {
        let body = streamed(frames(10, 10_000));
        stalled.push(mocked.opens(&format!("/{number}"), fresh(body)).await);
        idle().await;
    }
    assert_eq!(fell_back(&metrics, "fills"), 0);
    assert!(is_coalesced(&mut mocked, "/herd").await);
    for number in 0..10 {
        assert!(mocked.is_hit(&format!("/{number}")));
    }
    for opened in stalled {
        assert_eq!(opened.text().await.len(), 100_000);
    }
}

#[tokio::test]
async fn stalled_readers_take_half_of_the_budget() {
    let metrics = Metrics::new();
    let mut mocked = Mocked::new(&layer(&metrics).max_fill_bytes(800 * KIB));
    let (mut stalled, mut logs) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let body = Scripted::<io::Error>::new(frames(50, 2_000)).exact();
        logs.push(body.log());
        stalled.push(mocked.opens(&format!("/{number}"), fresh(boxed(body))).await);
        idle().await;
    }
    let ahead: u64 = logs.iter().map(|log| log.given()).sum();
    assert!((300_000..=402 * KIB + 8 * 18_000).contains(&ahead), "{ahead}");
    // A client that reads is recorded, and shared with those who wait.
    assert!(is_coalesced(&mut mocked, "/herd").await);
    for opened in stalled {
        assert_eq!(opened.text().await.len(), 100_000);
    }
    // They were read at last, in the time that a recording has.
    idle().await;
    assert!(mocked.is_hit("/7"));
}

#[tokio::test(start_paused = true)]
async fn attached_recording_ends_with_its_time() {
    let metrics = Metrics::new();
    let mut mocked = Mocked::new(&layer(&metrics).max_fills(0));
    let (mut sender, body) = channel();
    let mut opened = mocked.opens("/", fresh(body)).await;
    assert_eq!(fell_back(&metrics, "fills"), 1);
    sender.send_data("first".into()).await.unwrap();
    assert!(soon(opened.0.body_mut().frame()).await.unwrap().is_ok());
    tokio::time::advance(Duration::from_secs(61)).await;
    idle().await;
    assert_eq!(fell_back(&metrics, "fill-time"), 1, "though the client reads nothing");
    sender.send_data("second".into()).await.unwrap();
    drop(sender);
    assert_eq!(opened.text().await, "second");
    assert!(!mocked.is_hit("/"));
    drop(mocked.called());
    // No mark parts those who ask for it now.
    let _herd: Vec<_> = (0..3).map(|_| mocked.waits("/")).collect();
    assert!(mocked.called().is_some() && mocked.called().is_none());
}

#[tokio::test(start_paused = true)]
async fn fill_that_takes_too_long_leaves_no_mark() {
    let metrics = Metrics::new();
    let mut mocked = Mocked::new(&layer(&metrics));
    let (mut sender, body) = channel();
    let opened = mocked.opens("/", fresh(body)).await;
    idle().await;
    tokio::time::advance(Duration::from_secs(61)).await;
    idle().await;
    assert_eq!(fell_back(&metrics, "fill-time"), 1);
    sender.send_data("late".into()).await.unwrap();
    drop(sender);
    assert_eq!(opened.text().await, "late");
    let _herd: Vec<_> = (0..3).map(|_| mocked.waits("/")).collect();
    assert!(mocked.called().is_some() && mocked.called().is_none());
}

/// A body that is always ready, and never ends.
struct Endless {
    frame: fn() -> Frame<Bytes>,
    polls: Arc<AtomicU64>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok((self.frame)())))
    }
}

#[tokio::test]
async fn endless_frames_without_data_end_a_recording() {
    let kinds: [fn() -> Frame<Bytes>; 2] =
        [|| Frame::data(Bytes::new()), || Frame::trailers(HeaderMap::new())];
    for (fills, frame) in [(0, kinds[0]), (256, kinds[0]), (0, kinds[1]), (256, kinds[1])] {
        let metrics = Metrics::new();
        let mut mocked = Mocked::new(&layer(&metrics).max_fills(fills));
        let polls = Arc::new(AtomicU64::new(0));
        let body = boxed(Endless { frame, polls: Arc::clone(&polls) });
        let mut opened = mocked.opens("/", fresh(body)).await;
        idle().await;
        let polled = polls.load(Ordering::SeqCst);
        assert!(polled <= 1_100, "{polled} with {fills} fills");
        idle().await;
        assert_eq!(polls.load(Ordering::SeqCst), polled, "nobody reads on but its client");
        for _ in 0..3_000 {
            assert!(soon(opened.0.body_mut().frame()).await.unwrap().is_ok());
        }
        // It is known for what it is: nobody waits for it.
        assert_eq!(mocked.handle.in_flight(), 0);
        assert!(!mocked.is_hit("/"));
    }
}

#[tokio::test]
async fn refresh_of_an_endless_body_ends() {
    let frame: fn() -> Frame<Bytes> = || Frame::data(Bytes::new());
    let metrics = Metrics::new();
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&seconds);
    let layer = layer(&metrics)
        .max_fills(0)
        .clock(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst)));
    let mut mocked = Mocked::new(&layer);
    let control = "max-age=1, stale-while-revalidate=100";
    let stale = http::Response::builder().header("cache-control", control).body(full("old"));
    drop(mocked.opens("/", stale.unwrap()).await);
    seconds.store(5, Ordering::SeqCst);
    assert!(mocked.is_hit("/"));
    let polls = Arc::new(AtomicU64::new(0));
    mocked.call().await.1.send_response(fresh(boxed(Endless { frame, polls })));
    super::rig::until(|| {
        metrics.counted("http_cache_refreshes_total", &[("outcome", "done")]) == 1
    })
    .await;
}

#[tokio::test]
async fn small_frames_are_stored_and_given_whole() {
    for (fills, size) in [(0, 1), (256, 1), (256, 7), (256, 64), (256, 5_000)] {
        let metrics = Metrics::new();
        let mut mocked = Mocked::new(&layer(&metrics).max_fills(fills));
        let opened = mocked.opens("/", fresh(streamed(frames(40_000 / size, size)))).await;
        let expected = 40_000 / size * size;
        assert_eq!(opened.text().await.len(), expected, "{fills} fills, frames of {size}");
        idle().await;
        assert_eq!(mocked.handle.statistics().usage.entries, 1);
        assert!(mocked.is_hit("/"));
    }
}

#[tokio::test]
async fn failed_body_fails_its_reader_after_what_came() {
    for fills in [0, 256] {
        for at_once in [false, true] {
            let metrics = Metrics::new();
            let mut mocked = Mocked::new(&layer(&metrics).max_fills(fills));
            let pause = (!at_once).then_some(Step::Pending);
            let broken = Step::Error(io::Error::other("broken"));
            let steps = pause.into_iter().chain([data(3), data(3), broken]);
            let opened = mocked.opens("/", fresh(streamed(steps))).await;
            idle().await;
            let mut body = opened.0.into_body();
            let mut came = 0;
            let error = loop {
                match soon(body.frame()).await {
                    Some(Ok(frame)) => came += frame.into_data().unwrap().len(),
                    Some(Err(error)) => break error,
                    None => panic!("it ended well, with {fills} fills, at once: {at_once}"),
                }
            };
            assert_eq!((came, error.to_string().as_str()), (6, "broken"));
            assert!(!mocked.is_hit("/"));
        }
    }
}

#[tokio::test]
async fn body_over_the_limit_is_given_in_order() {
    for (fills, size) in [(0, 300), (256, 300), (0, 7_000), (256, 7_000)] {
        let metrics = Metrics::new();
        let mut mocked = Mocked::new(&layer(&metrics).max_fills(fills).max_entry_size(20_000));
        let expected: Vec<u8> = (0..50_000_u32).map(|at| (at % 251) as u8).collect();
        let steps = expected.chunks(size).map(|frame| Step::Data(Bytes::copy_from_slice(frame)));
        let steps = std::iter::once(Step::Pending).chain(steps);
        let opened = mocked.opens("/", fresh(streamed(steps))).await;
        idle().await;
        let body = soon(opened.0.into_body().collect()).await.unwrap().to_bytes();
        assert!(body == expected, "with {fills} fills, frames of {size}");
        assert_eq!(mocked.handle.statistics().usage.entries, 0);
    }
}

#[tokio::test]
async fn each_label_of_a_fallback_is_there_at_zero() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let exporter = recorder.handle();
    let layer = CacheLayer::new(MemoryStore::new(MIB)).recorder(Arc::new(recorder));
    let service = tower::service_fn(|_| async { Ok::<_, Infallible>(fresh(full("body"))) });
    let cache = tower::Layer::layer(&layer, service);
    drop(tower::ServiceExt::oneshot(cache, super::mocked::get("/")).await.unwrap());
    let shown = exporter.render();
    let reasons = ["budget", "fills", "fill-time", "wait", "lease", "puts", "refreshes"];
    for reason in reasons {
        let labels = format!("{{cache=\"tower-kit\",reason=\"{reason}\"}}");
        let line = format!("http_cache_fallbacks_total{labels} 0");
        assert!(shown.contains(&line), "{line}\n{shown}");
    }
    for operation in ["get", "put", "remove", "clear", "purge", "lease"] {
        let labels = format!("{{cache=\"tower-kit\",operation=\"{operation}\"}}");
        let line = format!("http_cache_store_errors_total{labels} 0");
        assert!(shown.contains(&line), "{line}\n{shown}");
    }
}
