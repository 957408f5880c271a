//! Stale entries while the inner service fails or is slow.

use super::*;

/// A stale entry that may be served if the service fails.
async fn with_stale(layer: CacheLayer) -> (Mocked, Arc<AtomicU64>) {
    let (layer, seconds) = clocked(layer);
    let mut mocked = Mocked::new(&layer);
    let first = mocked.waits(get("/"));
    let mut response = fresh(full("old"));
    response.headers_mut().insert("etag", "\"1\"".parse().unwrap());
    mocked.call().await.1.send_response(response);
    assert_eq!(answers(vec![first]).await, ["old"]);
    seconds.store(100, Ordering::SeqCst);
    (mocked, seconds)
}

fn is_old(response: &Response<ResponseBody<Text>>) -> bool {
    status_of(response).starts_with("tower-kit; hit; ttl=-")
}

#[tokio::test]
async fn a_dead_origin_is_probed_in_the_background() {
    let (mut mocked, seconds) = with_stale(layer()).await;
    let first = mocked.waits(get("/"));
    mocked.call().await.1.send_error("dead");
    let first = soon(first).await.unwrap();
    assert_eq!(status_of(&first), "tower-kit; fwd=stale; detail=service-failed");
    for second in [100, 101, 102] {
        seconds.store(second, Ordering::SeqCst);
        for _ in 0..100 {
            let mut asking = mocked.ask(get("/"));
            let Poll::Ready(Ok(stale)) = poll_once(asking.as_mut()) else { panic!("it waits") };
            assert!(is_old(&stale));
        }
        settle().await;
        if second > 100 {
            mocked.call().await.1.send_error("dead still");
            settle().await;
        }
        assert!(!mocked.is_called(), "one probe an interval");
    }
    seconds.store(103, Ordering::SeqCst);
    assert!(is_old(&soon(mocked.ask(get("/"))).await.unwrap()));
    mocked.call().await.1.send_response(fresh(full("new")));
    settle().await;
    assert_eq!(text(soon(mocked.ask(get("/"))).await.unwrap()).await, "new");
}

#[tokio::test]
async fn failing_refreshes_are_one_an_interval() {
    let (layer, seconds) = clocked(layer());
    let mut mocked = Mocked::new(&layer);
    let first = mocked.waits(get("/"));
    let control = "max-age=1, stale-while-revalidate=1000";
    let response = Response::builder().header("cache-control", control).body(full("old"));
    mocked.call().await.1.send_response(response.unwrap());
    assert_eq!(answers(vec![first]).await, ["old"]);
    for second in [5, 6, 7] {
        seconds.store(second, Ordering::SeqCst);
        for _ in 0..100 {
            assert!(is_old(&soon(mocked.ask(get("/"))).await.unwrap()));
            settle().await;
            let called = poll_once(pin!(mocked.calls.next_request()));
            if let Poll::Ready(Some((_, call))) = called {
                call.send_response(Response::builder().status(500).body(full("")).unwrap());
                settle().await;
                assert!(!mocked.is_called());
            }
        }
    }
    let counted = mocked.handle.statistics();
    assert_eq!((counted.stale, counted.misses), (300, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_long_while_there_is_a_stale_entry() {
    let (mut mocked, _seconds) = with_stale(layer()).await;
    let mut herd = mocked.herd(3);
    let (_, call) = mocked.call().await;
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    tokio::time::advance(Duration::from_millis(2)).await;
    for asking in herd {
        assert!(is_old(&soon(asking).await.unwrap()));
    }
    // From now on nobody waits at all, and the fetch goes on.
    for _ in 0..10 {
        let mut asking = mocked.ask(get("/"));
        assert!(poll_once(asking.as_mut()).is_ready());
    }
    assert!(!mocked.is_called());
    call.send_response(fresh(full("new")));
    settle().await;
    assert_eq!(text(soon(mocked.ask(get("/"))).await.unwrap()).await, "new");
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_entry_has_its_own_soft_limit() {
    let soft_limit = Duration::from_millis(200);
    let (layer, seconds) = clocked(layer());
    let mut mocked = Mocked::new(&layer);
    let first = mocked.waits(get("/"));
    let mut response = fresh(full("old"));
    response.extensions_mut().insert(CacheHint::new().revalidate_timeout(soft_limit));
    mocked.call().await.1.send_response(response);
    assert_eq!(answers(vec![first]).await, ["old"]);
    seconds.store(100, Ordering::SeqCst);
    // The leader, and those that wait for it.
    let mut herd = mocked.herd(3);
    let (_, call) = mocked.call().await;
    tokio::time::advance(Duration::from_millis(199)).await;
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    tokio::time::advance(Duration::from_millis(2)).await;
    for asking in &mut herd {
        let Poll::Ready(Ok(stale)) = poll_once(asking.as_mut()) else { panic!("it waits") };
        assert!(is_old(&stale));
    }
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn a_stale_entry_is_judged_after_the_wait() {
    let outdate: [fn(&Mocked, &AtomicU64); 2] = [
        |mocked, _| drop(mocked.handle.purge_prefix("")),
        |_, seconds| seconds.store(100_000, Ordering::SeqCst),
    ];
    for outdate in outdate {
        let (mut mocked, seconds) = with_stale(layer()).await;
        let mut leader = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let follower = mocked.waits(get("/"));
        outdate(&mocked, &seconds);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(poll_once(leader.as_mut()).is_pending());
        let follower = tokio::spawn(follower);
        mocked.call().await.1.send_response(fresh(full("own")));
        assert_eq!(text(follower.await.unwrap().unwrap()).await, "own");
        call.send_response(fresh(full("new")));
        assert_eq!(answers(vec![leader]).await, ["new"]);
    }
}
