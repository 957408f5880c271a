//! Followers of a body that is being read.

use super::*;
use http::StatusCode;

#[tokio::test]
async fn followers_read_the_body_as_it_comes() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(3);
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    let mut bodies = Vec::new();
    for asking in herd.drain(..) {
        bodies.push(soon(asking).await.unwrap().into_body());
    }
    sender.send_data("first".into()).await.unwrap();
    settle().await;
    // One that comes now gets what was read, too.
    let late = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&late), "tower-kit; fwd=uri-miss; collapsed");
    bodies.push(late.into_body());
    for piece in ["first", "second"] {
        for body in &mut bodies {
            let frame = soon(body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
            assert!(poll_frame(body).is_pending(), "the next piece was not sent yet");
        }
        if piece == "first" {
            sender.send_data("second".into()).await.unwrap();
        }
    }
    drop(sender);
    for mut body in bodies {
        assert!(soon(body.frame()).await.is_none());
    }
    until_kept(&mocked, "/").await;
    assert!(!mocked.is_called());
}

#[tokio::test]
async fn a_slow_follower_holds_nobody() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(3);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(50_000), Step::Pending, data(50_000)])));
    herd.push(mocked.waits(get("/")));
    let slow = soon(herd.remove(0)).await.unwrap();
    let stuck = soon(herd.remove(0)).await.unwrap();
    assert!(answers(herd).await.iter().all(|text| text.len() == 100_000));
    for slow in [slow, stuck] {
        assert_eq!(text(slow).await.len(), 100_000);
    }
}

#[tokio::test]
async fn a_reload_replaces_a_body_that_is_being_read() {
    let (layer, seconds) = clocked(layer());
    let mut mocked = Mocked::new(&layer.honor_request_control());
    let first = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    let mut old = soon(first).await.unwrap().into_body();
    seconds.store(1, Ordering::SeqCst);
    let mut reload = get("/");
    reload.headers_mut().insert("cache-control", "no-cache".parse().unwrap());
    let reload = mocked.waits(reload);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("new")));
    assert_eq!(answers(vec![reload]).await, ["new"]);
    sender.send_data("old".into()).await.unwrap();
    drop(sender);
    assert_eq!(soon(old.frame()).await.unwrap().unwrap().into_data().unwrap(), "old");
    assert!(soon(old.frame()).await.is_none());
    settle().await;
    let next = soon(mocked.ask(get("/"))).await.unwrap();
    assert!(status_of(&next).contains("; hit"));
    assert_eq!(text(next).await, "new");
}

#[tokio::test]
async fn nobody_joins_a_body_over_the_limit() {
    let mut mocked = Mocked::new(&layer().max_entry_size(1_000));
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    let mut bodies = Vec::new();
    for asking in herd.drain(..) {
        bodies.push(soon(asking).await.unwrap().into_body());
    }
    for _ in 0..3 {
        sender.send_data("x".repeat(600).into()).await.unwrap();
        for body in &mut bodies {
            assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap().len(), 600);
        }
    }
    let _late = mocked.waits(get("/"));
    assert!(mocked.is_called(), "the late one goes alone");
    drop(sender);
    for mut body in bodies {
        assert!(soon(body.frame()).await.is_none());
    }
}

#[tokio::test]
async fn a_follower_that_lags_loses_an_unstored_body() {
    let mut mocked = Mocked::new(&layer().max_entry_size(1_000));
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    let steps = std::iter::once(Step::Pending).chain((0..100).map(|_| data(600)));
    let body = Scripted::<io::Error>::new(steps);
    let log = body.log();
    call.send_response(fresh(boxed(body)));
    let fast = soon(herd.remove(0)).await.unwrap();
    let slow = soon(herd.remove(0)).await.unwrap();
    settle().await;
    assert!(log.given() <= 1_800, "{}: it is read as the fastest client reads", log.given());
    assert_eq!(text(fast).await.len(), 60_000);
    let error = slow.into_body().collect().await.unwrap_err();
    assert!(error.is_lagged(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_does_not_hold_the_next_client() {
    let mut mocked = Mocked::new(&layer().ttl(StatusCode::OK, Duration::from_secs(60)));
    let mut first = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    let mut lines = Response::new(body);
    lines.headers_mut().insert("content-type", "application/x-ndjson".parse().unwrap());
    call.send_response(lines);
    let Poll::Ready(Ok(first)) = poll_once(first.as_mut()) else { panic!("the head is there") };
    sender.send_data("{}\n".into()).await.unwrap();
    settle().await;
    let mut second = mocked.ask(get("/"));
    let Poll::Ready(Ok(second)) = poll_once(second.as_mut()) else { panic!("it waits") };
    let (mut first, mut second) = (first.into_body(), second.into_body());
    for body in [&mut first, &mut second] {
        assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "{}\n");
    }
    // When it is clear that the body is not stored, the two read on, and the next one goes alone.
    tokio::time::advance(Duration::from_secs(61)).await;
    settle().await;
    sender.send_data("[]\n".into()).await.unwrap();
    for body in [&mut first, &mut second] {
        assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "[]\n");
    }
    let _third = mocked.waits(get("/"));
    assert!(mocked.is_called());
}

#[tokio::test]
async fn a_purge_parts_later_clients_from_a_stream() {
    let mut mocked = Mocked::new(&layer());
    let first = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let (sender, body) = channel();
    call.send_response(fresh(body));
    let first = soon(first).await.unwrap();
    mocked.handle.purge_url("http://x/").unwrap();
    let herd = mocked.herd(10);
    let (_, call) = mocked.call().await;
    assert!(!mocked.is_called(), "one call for all that came after the purge");
    call.send_response(fresh(full("new")));
    assert!(answers(herd).await.iter().all(|text| text == "new"));
    drop(sender);
    drop(first);
}
