//! Clients that leave, reload, or have the response.

use super::*;

#[tokio::test]
async fn a_client_that_leaves_early_cancels_nothing() {
    for cancels in [false, true] {
        let layer = if cancels { layer().cancel_on_disconnect() } else { layer() };
        let mut mocked = Mocked::new(&layer);
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        drop(asking);
        let (mut sender, body) = channel();
        call.send_response(fresh(body));
        drop(sender.send_data("all".into()).await);
        drop(sender);
        settle().await;
        let mut next = mocked.ask(get("/"));
        assert_eq!(poll_once(next.as_mut()).is_ready(), !cancels);
        assert_eq!(mocked.is_called(), cancels);
    }
}

#[tokio::test]
async fn fetches_without_a_client_are_bounded() {
    let mut mocked = Mocked::new(&layer().max_fills(2));
    let mut calls = Vec::new();
    for path in ["/a", "/b", "/c"] {
        let asking = mocked.waits(get(path));
        calls.push(mocked.call().await.1);
        drop(asking);
    }
    for call in calls {
        call.send_response(fresh(full("kept")));
    }
    settle().await;
    for (path, kept) in [("/a", true), ("/b", true), ("/c", false)] {
        let mut next = mocked.ask(get(path));
        assert_eq!(poll_once(next.as_mut()).is_ready(), kept, "{path}");
    }
}

#[tokio::test]
async fn reloads_do_not_force_misses_and_coalesce() {
    for (name, value) in
        [("cache-control", "no-cache"), ("cache-control", "max-age=0"), ("pragma", "no-cache")]
    {
        for honors in [false, true] {
            let (layer, seconds) = clocked(layer());
            let layer = if honors { layer.honor_request_control() } else { layer };
            let mut mocked = Mocked::new(&layer);
            let first = mocked.waits(get("/"));
            mocked.call().await.1.send_response(fresh(full("old")));
            assert_eq!(answers(vec![first]).await, ["old"]);
            seconds.store(1, Ordering::SeqCst);
            let mut herd = Vec::new();
            for _ in 0..100 {
                let mut request = get("/");
                request.headers_mut().insert(name, value.parse().unwrap());
                let mut asking = mocked.ask(request);
                assert_eq!(poll_once(asking.as_mut()).is_pending(), honors, "{name}: {value}");
                if honors {
                    herd.push(asking);
                }
            }
            if honors {
                let (_, call) = mocked.call().await;
                assert!(!mocked.is_called(), "one call for all reloads");
                call.send_response(fresh(full("new")));
                assert!(answers(herd).await.iter().all(|text| text == "new"));
            }
            assert!(!mocked.is_called());
        }
    }
}

#[tokio::test]
async fn conditions_on_uncacheable_pages_are_passed_on() {
    let mut mocked = Mocked::new(&layer());
    let conditional = || {
        let mut request = get("/");
        request.headers_mut().insert("if-none-match", "\"1\"".parse().unwrap());
        request
    };
    let first = mocked.waits(conditional());
    let (request, call) = mocked.call().await;
    assert!(!request.headers().contains_key("if-none-match"), "the response may be stored");
    call.send_response(no_store(full("own")));
    assert_eq!(answers(vec![first]).await, ["own"]);
    let second = mocked.waits(conditional());
    let (request, call) = mocked.call().await;
    assert_eq!(request.headers()["if-none-match"], "\"1\"");
    let confirmed = Response::builder().status(304).header("cache-control", "no-store");
    call.send_response(confirmed.body(full("")).unwrap());
    let second = soon(second).await.unwrap();
    assert_eq!(second.status(), 304);
}

#[tokio::test]
async fn stored_is_said_only_of_what_is_stored() {
    type Case = (&'static str, fn() -> Vec<Step<io::Error>>, bool);
    let cases: [Case; 4] = [
        ("at once", || vec![data(5)], true),
        ("with trailers", || vec![data(5), trailers()], false),
        ("over the limit", || vec![data(600), data(600)], false),
        ("later", || vec![data(5), Step::Pending, data(5)], false),
    ];
    for (name, steps, is_said) in cases {
        let mut mocked = Mocked::new(&layer().max_entry_size(1_000));
        let asking = mocked.waits(get("/"));
        mocked.call().await.1.send_response(fresh(streamed(steps())));
        let response = soon(asking).await.unwrap();
        assert_eq!(status_of(&response).contains("stored"), is_said, "{name}");
    }
    let store = Slow { fails: true, ..Slow::default() };
    let mut mocked = Mocked::new(&CacheLayer::new(store).clock(|| UNIX_EPOCH));
    let asking = mocked.waits(get("/"));
    mocked.call().await.1.send_response(fresh(full("lost")));
    assert_eq!(status_of(&soon(asking).await.unwrap()), "tower-kit; fwd=uri-miss");
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nothing_fresh() {
    let (layer, seconds) = clocked(layer());
    seconds.store(10_000, Ordering::SeqCst);
    let mut mocked = Mocked::new(&layer.clone());
    let first = mocked.waits(get("/"));
    mocked.call().await.1.send_response(fresh(full("old")));
    assert_eq!(answers(vec![first]).await, ["old"]);
    seconds.store(10_000 - 3_600, Ordering::SeqCst);
    assert!(status_of(&soon(mocked.ask(get("/"))).await.unwrap()).contains("ttl=60"));
    seconds.store(10_000 - 3_600 + 61, Ordering::SeqCst);
    let _next = mocked.waits(get("/"));
    assert!(mocked.is_called(), "a minute has passed");
}
