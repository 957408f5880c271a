//! Bodies that are read for the store and for a client.

use super::*;

#[tokio::test]
async fn a_client_that_does_not_read_stalls_nobody() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(50_000), Step::Pending, data(50_000)])));
    let slow = soon(herd.remove(0)).await.unwrap();
    assert_eq!(answers(herd).await[0].len(), 100_000);
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=60");
    assert_eq!(text(slow).await.len(), 100_000);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_cancel_the_fill() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    drop(soon(asking).await.unwrap());
    sender.send_data("all".into()).await.unwrap();
    drop(sender);
    settle().await;
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=60");
    assert_eq!(text(hit).await, "all");
}

#[tokio::test]
async fn attached_fill_needs_a_client_that_reads() {
    for reads_all in [false, true] {
        let mut mocked = Mocked::new(&layer().max_fills(0));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        call.send_response(fresh(streamed([data(5), Step::Pending, data(5), Step::Pending])));
        let mut body = soon(asking).await.unwrap().into_body();
        for _ in 0..2 {
            assert!(soon(body.frame()).await.unwrap().is_ok());
        }
        if reads_all {
            assert!(soon(body.frame()).await.is_none());
        }
        drop(body);
        let mut next = mocked.ask(get("/"));
        assert_eq!(poll_once(next.as_mut()).is_ready(), reads_all);
        assert_eq!(mocked.is_called(), !reads_all);
    }
}

#[tokio::test]
async fn attached_fill_ends_at_the_declared_length() {
    let mut mocked = Mocked::new(&layer().max_fills(0));
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let mut response = fresh(streamed([Step::Pending, data(10), Step::PendingForever]));
    response.headers_mut().insert("content-length", "10".parse().unwrap());
    call.send_response(response);
    let mut body = soon(asking).await.unwrap().into_body();
    assert!(soon(body.frame()).await.unwrap().is_ok());
    drop(body);
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=60");
}

#[tokio::test]
async fn bytes_come_as_they_are_produced() {
    for fills in [0, 256] {
        let mut mocked = Mocked::new(&layer().max_fills(fills));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let (mut sender, body) = channel();
        call.send_response(fresh(body));
        let mut body = soon(asking).await.unwrap().into_body();
        for number in 0..3 {
            assert!(poll_frame(&mut body).is_pending(), "nothing is produced yet");
            sender.send_data(format!("piece {number}").into()).await.unwrap();
            let frame = soon(body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("piece {number}"));
        }
        drop(sender);
        assert!(soon(body.frame()).await.is_none());
        assert!(body.is_end_stream() || fills == 0);
    }
}

#[tokio::test]
async fn body_over_the_limit_passes_unstored() {
    for (fills, declares) in [(0, false), (0, true), (256, false), (256, true)] {
        let mut mocked = Mocked::new(&layer().max_fills(fills).max_entry_size(1_000));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let steps = [data(600), Step::Pending, data(600), Step::Pending, data(600)];
        let scripted = Scripted::<io::Error>::new(steps);
        let mut response = fresh(boxed(if declares { scripted.exact() } else { scripted }));
        if declares {
            response.headers_mut().insert("content-length", "1800".parse().unwrap());
        }
        call.send_response(response);
        let response = soon(asking).await.unwrap();
        let detail = status_of(&response).contains("detail=too-large");
        assert_eq!(detail, declares);
        assert_eq!(text(response).await.len(), 1_800);
        let _next = mocked.waits(get("/"));
        assert!(mocked.is_called());
        assert_eq!(mocked.handle.statistics().usage.entries, 0);
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_kept() {
    let mut mocked = Mocked::new(&layer().max_entry_size(1_000));
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(500), Step::Pending, data(500)])));
    assert_eq!(answers(vec![asking]).await[0].len(), 1_000);
    until_kept(&mocked, "/").await;
}

#[tokio::test]
async fn abandoned_fill_reads_no_more_than_its_client() {
    let mut mocked = Mocked::new(&layer().max_entry_size(100_000));
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let steps = std::iter::once(Step::Pending).chain((0..1_000).map(|_| data(10_000)));
    let body = Scripted::<io::Error>::new(steps);
    let log = body.log();
    call.send_response(fresh(boxed(body)));
    let mut body = soon(asking).await.unwrap().into_body();
    settle().await;
    let ahead = log.given();
    assert!((100_000..=110_000).contains(&ahead), "{ahead}");
    for read in 1..=11 {
        assert!(soon(body.frame()).await.unwrap().is_ok());
        settle().await;
        assert_eq!(log.given(), ahead, "after {read}");
    }
    assert!(soon(body.frame()).await.unwrap().is_ok());
    assert_eq!(log.given(), ahead + 10_000, "it polls the body itself");
    drop(body);
    assert!(log.dropped());
}

#[tokio::test]
async fn unread_unstored_body_is_dropped() {
    let mut mocked = Mocked::new(&layer().max_entry_size(1_000));
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let steps = std::iter::once(Step::Pending).chain((0..100).map(|_| data(300)));
    let body = Scripted::<io::Error>::new(steps);
    let log = body.log();
    call.send_response(fresh(boxed(body)));
    drop(soon(asking).await.unwrap());
    settle().await;
    assert!(log.dropped() && log.given() <= 1_500, "{}", log.given());
}

#[tokio::test]
async fn an_endless_stream_passes_if_it_is_not_kept() {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("content-type", "text/event-stream"),
        ("content-type", "application/grpc"),
    ] {
        let mut mocked =
            Mocked::new(&CacheLayer::with_ttl(MemoryStore::new(1 << 20), Duration::from_secs(60)));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let body = Scripted::<io::Error>::new([data(5), data(5), Step::PendingForever]);
        let log = body.log();
        let response = Response::builder().header(name, value).body(boxed(body));
        call.send_response(response.unwrap());
        let mut body = soon(asking).await.unwrap().into_body();
        assert_eq!(log.polls(), 0, "it is untouched: {value}");
        for _ in 0..2 {
            assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Ok(_)))), "{value}");
        }
        assert!(poll_frame(&mut body).is_pending(), "{value}");
        assert_eq!(log.polls(), 3, "{value}");
    }
}

#[tokio::test]
async fn trailers_pass_and_mean_that_it_is_not_kept() {
    for (fills, declares, waits) in
        [(0, false, false), (256, false, false), (0, false, true), (256, false, true)]
    {
        let mut mocked = Mocked::new(&layer().max_fills(fills));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let pause = waits.then_some(Step::Pending);
        let steps = [data(5)].into_iter().chain(pause).chain([trailers()]);
        let mut response = fresh(streamed(steps));
        if declares {
            response.headers_mut().insert("content-length", "5".parse().unwrap());
        }
        call.send_response(response);
        let response = soon(asking).await.unwrap();
        let collected = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
        assert_eq!(collected.to_bytes(), "xxxxx");
        settle().await;
        let _next = mocked.waits(get("/"));
        assert!(mocked.is_called());
    }
}

#[tokio::test]
async fn trailers_after_the_length_are_not_stored() {
    for (fills, waits) in [(0, false), (256, false), (0, true), (256, true)] {
        let mut mocked = Mocked::new(&layer().max_fills(fills));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let pause = waits.then_some(Step::Pending);
        let steps = [data(5)].into_iter().chain(pause).chain([trailers()]);
        let mut response = fresh(streamed(steps));
        response.headers_mut().insert("content-length", "5".parse().unwrap());
        call.send_response(response);
        let response = soon(asking).await.unwrap();
        let collected = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
        settle().await;
        let _next = mocked.waits(get("/"));
        assert!(mocked.is_called(), "fills {fills}, waits {waits}");
    }
}

#[tokio::test]
async fn body_of_another_length_is_not_stored() {
    let scripts: [fn() -> Vec<Step<io::Error>>; 5] = [
        || vec![data(5)],
        || vec![Step::Pending, data(5)],
        || vec![data(15)],
        || vec![Step::Pending, data(5), data(10)],
        || vec![],
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        for fills in [0, 256] {
            let mut mocked = Mocked::new(&layer().max_fills(fills));
            let asking = mocked.waits(get("/"));
            let (_, call) = mocked.call().await;
            let mut response = fresh(streamed(script()));
            response.headers_mut().insert("content-length", "10".parse().unwrap());
            call.send_response(response);
            let passed = answers(vec![asking]).await;
            let given = [5, 5, 15, 15, 0][number];
            assert_eq!(passed[0].len(), given, "script {number}");
            settle().await;
            let _next = mocked.waits(get("/"));
            assert!(mocked.is_called(), "script {number}, fills {fills}");
        }
    }
}

#[tokio::test]
async fn body_beyond_its_length_is_not_stored() {
    for fills in [0, 256] {
        for pause in [false, true] {
            let mut mocked = Mocked::new(&layer().max_fills(fills));
            let asking = mocked.waits(get("/"));
            let (_, call) = mocked.call().await;
            let pause = pause.then_some(Step::Pending);
            let steps = [data(10)].into_iter().chain(pause).chain([data(5)]);
            let mut response = fresh(streamed(steps));
            response.headers_mut().insert("content-length", "10".parse().unwrap());
            call.send_response(response);
            assert_eq!(answers(vec![asking]).await[0].len(), 15);
            settle().await;
            let _next = mocked.waits(get("/"));
            assert!(mocked.is_called(), "fills {fills}");
        }
    }
}

#[tokio::test]
async fn short_body_keeps_its_size_hint() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let mut response = fresh(streamed([data(5)]));
    response.headers_mut().insert("content-length", "10".parse().unwrap());
    call.send_response(response);
    let response = soon(asking).await.unwrap();
    // A server would take a length that is known for the truth, and not end the message as broken.
    assert_ne!(response.body().size_hint().exact(), Some(5));
    assert_eq!(text(response).await.len(), 5);
}

#[tokio::test]
async fn panic_in_a_detached_fill_is_contained() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(21);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(5), Step::Pending, data(5), Step::Panic])));
    let mut body = soon(herd.remove(0)).await.unwrap().into_body();
    for _ in 0..2 {
        assert!(soon(body.frame()).await.unwrap().is_ok());
    }
    let reading = spawn(async move { body.frame().await.is_none() });
    assert!(soon(reading).await.unwrap_err().is_panic());
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("second")));
    assert!(answers.await.unwrap().iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn panic_in_an_attached_fill_is_its_client() {
    let mut mocked = Mocked::new(&layer().max_fills(0));
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(5), Step::Pending, Step::Panic])));
    let mut body = soon(herd.remove(0)).await.unwrap().into_body();
    assert!(soon(body.frame()).await.unwrap().is_ok());
    let reading = spawn(async move { body.frame().await.is_none() });
    assert!(soon(reading).await.unwrap_err().is_panic());
    let answers = spawn(answers(herd));
    mocked.call().await.1.send_response(fresh(full("second")));
    assert_eq!(answers.await.unwrap(), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn slow_fill_goes_back_to_its_client() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    let mut body = soon(asking).await.unwrap().into_body();
    sender.send_data("first".into()).await.unwrap();
    assert!(soon(body.frame()).await.unwrap().is_ok());
    tokio::time::advance(Duration::from_secs(59)).await;
    settle().await;
    assert!(poll_once(mocked.ask(get("/")).as_mut()).is_ready(), "it is shared");
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    let _next = mocked.waits(get("/"));
    assert!(mocked.is_called(), "it is not shared any more");
    sender.send_data("second".into()).await.unwrap();
    let frame = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "second");
    drop(sender);
    assert!(soon(body.frame()).await.is_none());
    assert_eq!(mocked.handle.statistics().usage.entries, 0);
}

#[tokio::test(start_paused = true)]
async fn abandoned_fill_ends_after_its_timeout() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let body = Scripted::<io::Error>::new([data(5), Step::PendingForever]);
    let log = body.log();
    call.send_response(fresh(boxed(body)));
    drop(soon(asking).await.unwrap());
    settle().await;
    assert!(!log.dropped());
    tokio::time::advance(Duration::from_secs(61)).await;
    settle().await;
    assert!(log.dropped());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn beyond_the_most_fills_bodies_are_attached() {
    let mut mocked = Mocked::new(&layer().max_fills(2));
    let mut logs = Vec::new();
    for path in ["/a", "/b", "/c"] {
        let asking = mocked.waits(get(path));
        let (_, call) = mocked.call().await;
        let body = Scripted::<io::Error>::new([data(5), Step::Pending, data(5), Step::Pending]);
        logs.push(body.log());
        call.send_response(fresh(boxed(body)));
        // It is not polled on before all three have their answers.
        drop(soon(asking).await.unwrap());
    }
    settle().await;
    assert!(logs.iter().all(|log| log.dropped()));
    for (path, kept) in [("/a", true), ("/b", true), ("/c", false)] {
        let mut next = mocked.ask(get(path));
        assert_eq!(poll_once(next.as_mut()).is_ready(), kept, "{path}");
    }
}

/// Bodies that a fill has read, and no client: clients that do not read must not fill the memory.
#[tokio::test]
async fn unread_bodies_hold_half_of_the_budget() {
    let mut mocked = Mocked::new(&layer().max_fill_bytes(2 << 20));
    let mut stuck = Vec::new();
    let mut logs = Vec::new();
    for number in 0..10 {
        let asking = mocked.waits(get(&format!("/{number}")));
        let (_, call) = mocked.call().await;
        let steps = std::iter::once(Step::Pending).chain((0..50).map(|_| data(10_000)));
        let body = Scripted::<io::Error>::new(steps);
        logs.push(body.log());
        call.send_response(fresh(boxed(body)));
        stuck.push(soon(asking).await.unwrap());
        settle().await;
    }
    let held: u64 = logs.iter().map(|log| log.given()).sum();
    // One frame more than what may be, and for each a little that always may.
    assert!((1_000_000..=(1 << 20) + 10_000 + 10 * 26_000).contains(&held), "{held}");
}
