//! The reading of contents: their bounds, their ends, and the same body for the service.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};
use tower_kit::cache::content_key::ContentKeyLayer;
use tower_test::mock;

use super::{Cached, Content, STORED, query, read};
use crate::support::{
    BoxBody, BoxError, Scripted, Step, boxed, data, full, now, poll_once, soon, trailers,
};

const MAX: usize = 64 * 1024;

fn scripted(steps: impl IntoIterator<Item = Step>) -> BoxBody {
    boxed(Scripted::<BoxError>::new(steps))
}

#[tokio::test]
async fn content_of_64_kib_is_the_largest() {
    let cached = Cached::new(&ContentKeyLayer::new());
    let frames = |count: usize, size: usize| scripted((0..count).map(|_| data(size)));
    for (body, size, expected) in [
        (full(vec![b'x'; MAX]), MAX, STORED),
        (frames(64, 1024), MAX, "hit; ttl=59"),
        (full(vec![b'x'; MAX + 1]), MAX + 1, "fwd=bypass; detail=content-size"),
        (frames(65, 1024), MAX + 1024, "fwd=bypass; detail=content-size"),
        (scripted([data(MAX), data(1)]), MAX + 1, "fwd=bypass; detail=content-size"),
    ] {
        let got = cached.send(query(body)).await;
        let status = if got.is_hit() { "hit; ttl=59" } else { got.cache() };
        assert_eq!((got.body.as_str(), status), (size.to_string().as_str(), expected));
    }
    assert_eq!(cached.seen().len(), 4);
}

#[tokio::test]
async fn content_over_its_declared_maximum_is_unread() {
    let service = tower::service_fn(|request: Request<_>| async move {
        Ok::<_, BoxError>(http::Response::new(request.into_body()))
    });
    let mut service = ContentKeyLayer::new().max_content(10).layer(service);
    for (declared, exact) in [(true, false), (false, true)] {
        let body = Scripted::<BoxError>::new([data(11)]);
        let body = if exact { body.exact() } else { body };
        let log = body.log();
        let mut request = query(full("")).map(|_| body);
        if declared {
            request.headers_mut().insert("content-length", 11.into());
        }
        let response = now(service.call(request)).unwrap();
        assert_eq!(log.polls(), 0, "the client may wait for 100 (Continue)");
        assert_eq!(read(response.into_body()).await.data.len(), 11);
    }
}

#[tokio::test]
async fn trailers_and_errors_pass_by_the_cache() {
    let cached = Cached::new(&ContentKeyLayer::new());
    let failing = || scripted([data(3), Step::Error("the client is gone".into())]);
    for _ in 0..2 {
        let got = cached.send(query(scripted([data(3), trailers()]))).await;
        assert_eq!(got.cache(), "fwd=bypass; detail=content");
        let last = cached.seen().pop().unwrap();
        assert_eq!(last.data.len(), 3);
        assert_eq!(last.trailers.unwrap()["x-sum"], "1");
        let got = cached.send(query(failing())).await;
        assert_eq!(got.cache(), "fwd=bypass; detail=content");
        let last = cached.seen().pop().unwrap();
        assert_eq!((last.data.len(), last.error.as_deref()), (3, Some("the client is gone")));
    }
    assert_eq!(cached.handle.statistics().usage.entries, 0);
}

/// A body of which a byte comes each second.
struct Slow {
    left: usize,
    pause: Pin<Box<tokio::time::Sleep>>,
}

impl Slow {
    fn new(left: usize) -> Self {
        Self { left, pause: Box::pin(tokio::time::sleep(Duration::from_secs(1))) }
    }
}

impl Body for Slow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        std::task::ready!(self.pause.as_mut().poll(cx));
        let next = self.pause.deadline() + Duration::from_secs(1);
        self.pause.as_mut().reset(next);
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

#[tokio::test(start_paused = true)]
async fn slow_content_passes_after_the_timeout() {
    let cached = Cached::new(&ContentKeyLayer::new());
    for (bytes, expected) in
        [(4, "fwd=uri-miss; stored"), (100, "fwd=bypass; detail=content-timeout")]
    {
        let got = cached.send(query(boxed(Slow::new(bytes)))).await;
        assert_eq!((got.cache(), got.body.as_str()), (expected, bytes.to_string().as_str()));
    }
    // The service reads while the client sends.
    let service = tower::service_fn(|request: Request<_>| async move {
        Ok::<_, BoxError>(http::Response::new(request.into_body()))
    });
    let layer = ContentKeyLayer::new().read_timeout(Duration::from_secs(2));
    let start = crate::support::clock();
    let response = layer.layer(service).oneshot(query(boxed(Slow::new(100)))).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(read(response.into_body()).await.data.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn endless_content_of_nothing_ends() {
    struct Nothing;
    impl Body for Nothing {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
        }
    }
    let service = tower::service_fn(|request: Request<_>| async move {
        drop(request);
        Ok::<_, BoxError>(http::Response::new(()))
    });
    let request = query(full("")).map(|_| Nothing);
    soon(ContentKeyLayer::new().layer(service).oneshot(request)).await.unwrap();
}

#[tokio::test]
async fn contents_take_no_more_than_their_budget() {
    let cached = Cached::new(&ContentKeyLayer::new().max_buffered(10));
    let mut first = Box::pin(cached.send(query(scripted([data(8), Step::PendingForever]))));
    assert!(poll_once(first.as_mut()).is_pending());
    let got = cached.query("123").await;
    assert_eq!((got.cache(), got.body.as_str()), ("fwd=bypass; detail=content-budget", "3"));
    assert_eq!(cached.query("12").await.cache(), STORED);
    // The client leaves.
    drop(first);
    assert_eq!(cached.query("123").await.cache(), STORED);
    assert!(cached.query("123").await.is_hit());
    for _ in 0..10 {
        assert_eq!(cached.query("0123456789a").await.cache(), "fwd=bypass; detail=content-budget");
    }
}

#[tokio::test]
async fn many_contents_are_many_entries() {
    let cached = Cached::new(&ContentKeyLayer::new().max_buffered(1024));
    for number in 0..10_000 {
        let got = cached.query(format!("content {number}")).await;
        assert_eq!(got.cache(), STORED, "{number}");
    }
    assert_eq!(cached.seen().len(), 10_000);
    assert!(cached.query("content 9999").await.is_hit());
    let usage = cached.handle.statistics().usage;
    assert!(usage.bytes <= 1 << 22 && usage.evictions > 0, "{usage:?}");
}

#[tokio::test]
async fn many_changed_urls_bring_no_content_back() {
    let cached = Cached::new(&ContentKeyLayer::new());
    let change = async |number: usize| {
        let request = Request::delete(format!("http://x.org/{number}")).body(full("")).unwrap();
        cached.send(request).await;
    };
    let get = || Request::get("http://x.org/page").body(full("")).unwrap();
    assert_eq!(cached.query("a").await.cache(), STORED);
    assert_eq!(cached.send(get()).await.cache(), STORED);
    let delete = Request::delete("http://x.org/search").body(full("")).unwrap();
    cached.send(delete).await;
    // The list of purges forgets the oldest quarter of 150,000 URLs.
    for number in 0..150_000 {
        change(number).await;
    }
    assert_eq!(cached.query("a").await.cache(), STORED);
    assert!(cached.query("a").await.is_hit());
    assert!(cached.send(get()).await.is_hit(), "a page that nobody changed stays");
}

#[tokio::test]
async fn the_ready_service_is_called_after_the_content() {
    let (service, mut handle) = mock::pair::<Request<_>, http::Response<()>>();
    let mut service = ContentKeyLayer::new().layer(service);
    handle.allow(1);
    let ready = soon(service.ready()).await.unwrap();
    let mut call = Box::pin(ready.call(query(scripted([data(1), Step::Pending, data(1)]))));
    assert!(poll_once(call.as_mut()).is_pending());
    assert!(poll_once(call.as_mut()).is_pending());
    let (request, respond) = handle.next_request().await.unwrap();
    assert_eq!(read(request.into_body()).await.data, "xx");
    respond.send_response(http::Response::new(()));
    soon(call).await.unwrap();
    // The next call needs the readiness of another instance.
    handle.allow(0);
    assert!(poll_once(Box::pin(service.ready()).as_mut()).is_pending());
}

#[derive(Clone, Debug)]
enum Part {
    Data(Vec<u8>),
    Pending,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Part::Data),
        1 => Just(Part::Pending),
    ];
    prop::collection::vec(part, 0..8)
}

proptest! {
    #[test]
    fn body_reaches_the_service_unchanged(
        parts in parts(),
        end in 0..4,
        max in 0_u64..80,
        exact in any::<bool>(),
        tells_end in any::<bool>(),
    ) {
        let steps = || {
            let steps = parts.iter().map(|part| match part {
                Part::Data(data) => Step::Data(Bytes::from(data.clone())),
                Part::Pending => Step::Pending,
            });
            let end = match end {
                0 => Some(trailers()),
                1 => Some(Step::Error("gone".into())),
                _ => None,
            };
            let body = Scripted::<BoxError>::new(steps.chain(end));
            let body = if exact { body.exact() } else { body };
            if tells_end { body.tells_end() } else { body }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bare = read(steps()).await;
            let service = tower::service_fn(|request: Request<_>| async move {
                Ok::<_, BoxError>(http::Response::new(request.into_body()))
            });
            let body = steps();
            let log = body.log();
            let layer = ContentKeyLayer::new().max_content(max);
            let request = query(full("")).map(|_| body);
            let response = layer.layer(service).oneshot(request).await.unwrap();
            let layered = read(response.into_body()).await;
            // More may be known of a body that was read: its size, and that it is empty.
            prop_assert!(layered.exact == bare.exact || bare.exact.is_none());
            let data = bare.data.len() as u64;
            prop_assert!(layered.exact.is_none_or(|exact| exact == data || bare.error.is_some()));
            prop_assert!(layered.is_end_stream || !bare.is_end_stream);
            prop_assert!(!layered.is_end_stream || bare.data.is_empty());
            let Content { exact, is_end_stream, .. } = bare;
            prop_assert_eq!(Content { exact, is_end_stream, ..layered }, bare);
            prop_assert!(!log.polled_after_end());
            Ok(())
        })?;
    }
}
