//! Requests for the same response at the same time.

use super::*;

#[tokio::test]
async fn ten_thousand_misses_are_one_call() {
    let mut mocked = Mocked::new(&layer());
    let herd = mocked.herd(10_000);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(500), Step::Pending, data(500)])));
    let answers = answers(herd).await;
    assert_eq!(answers.len(), 10_000);
    assert!(answers.iter().all(|text| *text == "x".repeat(1_000)));
    assert!(!mocked.is_called());
    let statistics = mocked.handle.statistics();
    assert_eq!((statistics.misses, statistics.collapsed), (1, 9_999));
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_on_several_threads_is_one_call() {
    for _ in 0..20 {
        let calls = Arc::new(AtomicUsize::new(0));
        let open = watch::Sender::new(false);
        let (counted, gate) = (Arc::clone(&calls), open.subscribe());
        let inner = service_fn(move |_: Request<Text>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut gate = gate.clone();
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                Ok::<_, Infallible>(fresh(full("the answer")))
            }
        });
        let layer = layer();
        let (handle, cache) = (layer.handle(), layer.layer(inner));
        let mut herd = JoinSet::new();
        for number in 0..500 {
            if number == 250 {
                // Those who come from now on race with the answer.
                open.send_replace(true);
            }
            herd.spawn(asks(&cache, "/"));
        }
        let answers = soon(herd.join_all()).await;
        assert!(answers.iter().all(|text| text == "the answer"));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(handle.in_flight(), 0);
    }
}

#[tokio::test]
async fn followers_are_served_if_the_store_fails() {
    let metrics = Metrics::new();
    let store = Slow { fails: true, ..Slow::default() };
    let layer = CacheLayer::new(store).clock(|| UNIX_EPOCH).recorder(metrics.recorder());
    let mut mocked = Mocked::new(&layer);
    let herd = mocked.herd(1_000);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(5), Step::Pending, data(5)])));
    assert!(answers(herd).await.iter().all(|text| text == "xxxxxxxxxx"));
    assert!(!mocked.is_called());
    let failed = metrics.counted("http_cache_store_errors_total", &[("operation", "put")]);
    assert_eq!(failed, 1);
    assert_eq!(mocked.handle.in_flight(), 0);
    let _next = mocked.waits(get("/"));
    assert!(mocked.is_called(), "nothing was kept");
}

#[tokio::test]
async fn a_store_that_takes_long_keeps_nobody_waiting() {
    let puts = Arc::new(Semaphore::new(0));
    let store = Slow { puts: Some(Arc::clone(&puts)), ..Slow::default() };
    let mut mocked = Mocked::new(&CacheLayer::new(store).clock(|| UNIX_EPOCH));
    let herd = mocked.herd(1_000);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("the answer")));
    assert!(answers(herd).await.iter().all(|text| text == "the answer"));
    assert_eq!(mocked.handle.in_flight(), 1, "the put is under way");
    let late = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&late), "tower-kit; fwd=uri-miss; collapsed");
    assert!(!mocked.is_called());
    puts.add_permits(1);
    settle().await;
    assert_eq!(mocked.handle.in_flight(), 0);
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=60");
}

#[tokio::test]
async fn uncacheable_herd_is_not_serialized() {
    let (layer, seconds) = clocked(layer());
    let mut mocked = Mocked::new(&layer);
    let mut herd = mocked.herd(50);
    let (_, call) = mocked.call().await;
    assert!(!mocked.is_called(), "the others wait");
    let (_sender, body) = channel();
    call.send_response(no_store(body));
    // All calls are there before one of them is answered, and before the leader's body ends.
    let followers = herd.split_off(1);
    let mut tasks = JoinSet::new();
    followers.into_iter().for_each(|asking| drop(tasks.spawn(asking)));
    let leader = soon(herd.remove(0)).await.unwrap();
    assert_eq!(status_of(&leader), "tower-kit; fwd=uri-miss; detail=no-store");
    let mut calls = Vec::new();
    for _ in 0..49 {
        calls.push(mocked.call().await.1);
    }

    // From now on nobody waits at all.
    let second = mocked.herd(50);
    for _ in 0..50 {
        assert!(mocked.is_called(), "a request waits for another one");
    }
    drop(second);

    seconds.store(9, Ordering::SeqCst);
    let third = mocked.herd(2);
    assert!(mocked.is_called() && mocked.is_called(), "it is remembered still");
    drop(third);

    seconds.store(10, Ordering::SeqCst);
    let _fourth = mocked.herd(50);
    assert!(mocked.is_called());
    assert!(!mocked.is_called(), "it is forgotten: they wait for the first one");

    calls.into_iter().for_each(|call| call.send_response(no_store(full("own"))));
    for answer in soon(tasks.join_all()).await {
        assert_eq!(text(answer.unwrap()).await, "own");
    }
}

#[tokio::test]
async fn leader_leaving_before_readiness_hands_over() {
    let mut mocked = Mocked::new(&layer());
    mocked.calls.allow(0);
    let mut herd = mocked.herd(21);
    drop(herd.remove(0));
    mocked.calls.allow(1);
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn leader_leaving_in_the_call_hands_over() {
    let mut mocked = Mocked::new(&layer().cancel_on_disconnect());
    let mut herd = mocked.herd(21);
    let (_, first) = mocked.call().await;
    drop(herd.remove(0));
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    first.send_response(fresh(full("first")));
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn leader_leaving_before_the_head_hands_over() {
    let mut mocked = Mocked::new(&layer().cancel_on_disconnect());
    let mut herd = mocked.herd(21);
    let (_, first) = mocked.call().await;
    first.send_response(fresh(full("first")));
    drop(herd.remove(0));
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
}

#[tokio::test]
async fn leaders_leaving_in_turn_all_hand_over() {
    let mut mocked = Mocked::new(&layer().cancel_on_disconnect());
    let mut herd = mocked.herd(21);
    for _ in 0..20 {
        let (_, call) = mocked.call().await;
        drop(herd.remove(0));
        drop(call);
        assert!(!mocked.is_called(), "it was not polled yet");
        assert!(poll_once(herd[0].as_mut()).is_pending());
    }
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("last")));
    assert_eq!(answers(herd).await, ["last"]);
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn leader_leaving_in_the_body_is_one_call() {
    for polls_first in [false, true] {
        let mut mocked = Mocked::new(&layer());
        let mut herd = mocked.herd(21);
        let (_, call) = mocked.call().await;
        let (mut sender, body) = channel();
        call.send_response(fresh(body));
        let mut leader = soon(herd.remove(0)).await.unwrap();
        sender.send_data("first ".into()).await.unwrap();
        if polls_first {
            assert!(soon(leader.body_mut().frame()).await.unwrap().is_ok());
        }
        drop(leader);
        let answers = spawn(answers(herd));
        settle().await;
        assert!(!mocked.is_called(), "its body is read on");
        sender.send_data("second".into()).await.unwrap();
        drop(sender);
        let answers = answers.await.unwrap();
        assert!(answers.len() == 20 && answers.iter().all(|text| text == "first second"));
        assert!(!mocked.is_called());
        assert_eq!(mocked.handle.in_flight(), 0);
    }
}

/// The first request of a herd could hold up all others by reading slowly, or not at all.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_attached_reader() {
    let mut mocked = Mocked::new(&layer().max_fills(0));
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    let (_sender, body) = channel();
    call.send_response(fresh(body));
    let slow = soon(herd.remove(0)).await.unwrap();
    herd.push(mocked.waits(get("/")));
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    for _ in 0..2 {
        let call = poll_once(pin!(mocked.calls.next_request()));
        let Poll::Ready(Some((_, call))) = call else { panic!("they wait") };
        call.send_response(no_store(full("alone")));
    }
    assert_eq!(answers(herd).await, ["alone", "alone"]);
    drop(slow);
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_leader_that_panics_hands_over() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = service_fn(move |_: Request<Text>| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            yield_now().await;
            assert!(number > 0, "the first one panics");
            Ok::<_, Infallible>(fresh(full("second")))
        }
    });
    let cache = layer().layer(inner);
    let mut herd = JoinSet::new();
    for _ in 0..21 {
        herd.spawn(asks(&cache, "/"));
    }
    let mut panicked = 0;
    while let Some(answer) = soon(herd.join_next()).await {
        match answer {
            Ok(text) => assert_eq!(text, "second"),
            Err(error) => panicked += usize::from(error.is_panic()),
        }
    }
    assert_eq!((panicked, calls.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn variants_of_a_herd_are_one_call_each() {
    let mut mocked = Mocked::new(&layer());
    let asks = |language| {
        let request = Request::get("http://x/").header("accept-language", language);
        mocked.waits(request.body(full("")).unwrap())
    };
    let herd = (0..100).map(|number| asks(["de", "en", "fr"][number % 3]));
    let herd = herd.collect::<Vec<_>>();
    let answers = spawn(answers(herd));
    let mut calls = 0;
    while !answers.is_finished() {
        settle().await;
        while let Poll::Ready(Some((request, call))) = poll_once(pin!(mocked.calls.next_request()))
        {
            calls += 1;
            let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
            let mut response = fresh(full(language));
            response.headers_mut().insert("vary", "accept-language".parse().unwrap());
            call.send_response(response);
        }
    }
    let answers = answers.await.unwrap();
    let count = |language| answers.iter().filter(|text| *text == language).count();
    assert_eq!((count("de") + count("en"), count("fr")), (67, 33));
    assert_eq!(calls, 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_another_longer_than_the_wait() {
    let mut mocked = Mocked::new(&layer().coalesce_timeout(Duration::from_secs(3)));
    let mut herd = mocked.herd(3);
    let (_, first) = mocked.call().await;
    tokio::time::advance(Duration::from_millis(2_999)).await;
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    assert!(!mocked.is_called());
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    let calls = [mocked.call().await.1, mocked.call().await.1];
    assert!(!mocked.is_called());
    calls.into_iter().for_each(|call| call.send_response(no_store(full("alone"))));
    first.send_response(fresh(full("first")));
    assert_eq!(answers(herd).await, ["first", "alone", "alone"]);
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn handover_does_not_prolong_the_wait() {
    let layer = layer().coalesce_timeout(Duration::from_secs(3)).cancel_on_disconnect();
    let mut mocked = Mocked::new(&layer);
    let mut herd = mocked.herd(3);
    let (_, _first) = mocked.call().await;
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(herd.remove(0));
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    let (_, _second) = mocked.call().await;
    assert!(!mocked.is_called());
    tokio::time::advance(Duration::from_millis(1_001)).await;
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    assert!(mocked.is_called(), "the last one goes alone");
}
