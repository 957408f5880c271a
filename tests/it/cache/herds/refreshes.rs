//! Background refreshes.

use super::*;

fn swr(body: Text) -> Response<Text> {
    let control = "max-age=1, stale-while-revalidate=1000";
    Response::builder().header("cache-control", control).body(body).unwrap()
}

/// Keeps a response to each of these, which is stale then.
async fn stale(layer: CacheLayer, paths: &[&str]) -> (Mocked, Arc<AtomicU64>) {
    let (layer, seconds) = clocked(layer);
    let mut mocked = Mocked::new(&layer);
    for path in paths {
        let asking = mocked.waits(get(path));
        mocked.call().await.1.send_response(swr(full("old")));
        assert_eq!(answers(vec![asking]).await, ["old"]);
    }
    seconds.store(5, Ordering::SeqCst);
    (mocked, seconds)
}

async fn is_stale_hit(mocked: &Mocked, path: &str) {
    let hit = soon(mocked.ask(get(path))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=-4");
    assert_eq!(text(hit).await, "old");
}

#[tokio::test]
async fn refreshes_are_one_a_key_and_bounded() {
    let (mut mocked, _) = stale(layer().max_refreshes(2), &["/a", "/b", "/c"]).await;
    for path in ["/a", "/a", "/a", "/b", "/c", "/c", "/a"] {
        is_stale_hit(&mocked, path).await;
    }
    settle().await;
    let (a, call_a) = mocked.call().await;
    let (b, call_b) = mocked.call().await;
    assert_eq!((a.uri().path(), b.uri().path()), ("/a", "/b"));
    assert!(!mocked.is_called(), "no third one");
    call_a.send_response(swr(full("new")));
    settle().await;
    let hit = soon(mocked.ask(get("/a"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=1");
    assert_eq!(text(hit).await, "new");
    is_stale_hit(&mocked, "/c").await;
    assert_eq!(mocked.call().await.0.uri().path(), "/c");
    drop(call_b);
    settle().await;
    assert_eq!(mocked.handle.in_flight(), 0, "the mock's calls were dropped");
}

#[tokio::test]
async fn refresh_outlives_its_client() {
    let (mut mocked, seconds) = stale(layer(), &["/"]).await;
    is_stale_hit(&mocked, "/").await;
    let (_, call) = mocked.call().await;
    seconds.store(2_000, Ordering::SeqCst);
    let waits = mocked.waits(get("/"));
    assert!(!mocked.is_called());
    let mut response = fresh(streamed([data(5), Step::Pending, data(5)]));
    // Its age is at least the time that it took.
    response.headers_mut().insert("cache-control", "max-age=3600".parse().unwrap());
    call.send_response(response);
    assert_eq!(answers(vec![waits]).await, ["xxxxxxxxxx"]);
}

#[tokio::test]
async fn a_refresh_without_fills_reads_its_body_itself() {
    let (mut mocked, _) = stale(layer().max_fills(0), &["/"]).await;
    is_stale_hit(&mocked, "/").await;
    let (_, call) = mocked.call().await;
    call.send_response(swr(streamed([data(5), Step::Pending, data(5)])));
    settle().await;
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(text(hit).await, "xxxxxxxxxx");
}

#[tokio::test]
async fn a_refresh_that_panics_frees_its_place() {
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let inner = service_fn(move |_: Request<Text>| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            assert!(number == 0 || number == 3, "call {number}");
            Ok::<_, Infallible>(swr(full("kept")))
        }
    });
    let (layer, seconds) = clocked(layer().max_refreshes(1));
    let handle = layer.handle();
    let mut cache = layer.layer(inner);
    drop(cache.ready().await.unwrap().call(get("/")).await.unwrap());
    seconds.store(5, Ordering::SeqCst);
    for _ in 0..3 {
        drop(cache.ready().await.unwrap().call(get("/")).await.unwrap());
        settle().await;
        assert_eq!(handle.in_flight(), 0);
    }
    assert_eq!(panics.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn endless_refresh_gives_its_slot_back() {
    for (fills, answers_head) in [(256, false), (0, true)] {
        let (mut mocked, _) = stale(layer().max_fills(fills).max_refreshes(1), &["/"]).await;
        is_stale_hit(&mocked, "/").await;
        let (_, call) = mocked.call().await;
        let mut call = Some(call);
        let (_sender, body) = channel();
        if answers_head {
            call.take().unwrap().send_response(swr(body));
        }
        settle().await;
        tokio::time::advance(Duration::from_secs(600)).await;
        settle().await;
        is_stale_hit(&mocked, "/").await;
        settle().await;
        assert!(mocked.is_called(), "a second refresh, fills {fills}");
    }
}

#[tokio::test]
async fn purged_entry_is_not_served_on_error() {
    let (layer, seconds) = clocked(layer());
    let mut mocked = Mocked::new(&layer);
    let asking = mocked.waits(get("/"));
    let mut response = fresh(full("purged"));
    response.headers_mut().insert("etag", "\"1\"".parse().unwrap());
    mocked.call().await.1.send_response(response);
    assert_eq!(answers(vec![asking]).await, ["purged"]);
    seconds.store(100, Ordering::SeqCst);
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    mocked.handle.purge_all().await.unwrap();
    call.send_error("broken");
    assert_eq!(soon(asking).await.map(drop).unwrap_err().to_string(), "broken");
}

#[tokio::test]
async fn purge_during_a_fetch_is_for_later_requests() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(3);
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    let leader = soon(herd.remove(0)).await.unwrap();
    mocked.handle.purge_url("http://x/").unwrap();
    sender.send_data("old".into()).await.unwrap();
    drop(sender);
    assert_eq!(text(leader).await, "old");
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("new")));
    assert_eq!(answers.await.unwrap(), ["new", "new"]);
    assert!(!mocked.is_called());
}

#[tokio::test]
async fn permit_is_free_while_the_body_is_read() {
    let service = service_fn(async |_: Request<Text>| Ok::<_, io::Error>(no_store(full("own"))));
    let mut cache = layer().layer(ConcurrencyLimitLayer::new(1).layer(service));
    // From the second on it is known that nothing is kept.
    cache.call(get("/")).await.unwrap();
    let mut asking = pin!(cache.call(get("/")));
    let Poll::Ready(Ok(response)) = poll_once(asking.as_mut()) else { panic!("no answer") };
    let next = poll_once(pin!(cache.call(get("/"))));
    assert!(matches!(next, Poll::Ready(Ok(_))), "the one permit is held");
    assert_eq!(text(response).await, "own");
}
