//! Readiness of the inner service.

use super::*;

#[tokio::test]
async fn hits_need_no_ready_service() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("kept")));
    assert_eq!(answers(vec![asking]).await, ["kept"]);
    mocked.calls.allow(0);
    assert!(poll_once(pin!(mocked.cache.ready())).is_ready());
    let mut hit = mocked.ask(get("/"));
    let Poll::Ready(hit) = poll_once(hit.as_mut()) else { panic!("a hit waits") };
    assert_eq!(text(hit.unwrap()).await, "kept");
    let miss = mocked.waits(get("/other"));
    assert!(!mocked.is_called());
    mocked.calls.allow(1);
    let answers = spawn(answers(vec![miss]));
    mocked.call().await.1.send_response(fresh(full("other")));
    assert_eq!(answers.await.unwrap(), ["other"]);
}

#[tokio::test]
async fn readiness_error_passes_and_hands_over() {
    let mut mocked = Mocked::new(&layer().failure_ttl(Duration::ZERO));
    mocked.calls.allow(0);
    let mut herd = mocked.herd(3);
    mocked.calls.send_error("closed");
    assert_eq!(soon(herd.remove(0)).await.map(drop).unwrap_err().to_string(), "closed");
    mocked.calls.allow(1);
    let answers = spawn(answers(herd));
    mocked.call().await.1.send_response(fresh(full("second")));
    assert_eq!(answers.await.unwrap(), ["second", "second"]);
    assert_eq!(mocked.handle.in_flight(), 0);
}

/// Counts its readiness: a call without one panics.
#[derive(Debug, Default)]
struct Readied(bool);

impl Clone for Readied {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Service<Request<Text>> for Readied {
    type Response = Response<Text>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Text>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "it was not made ready");
        let response = match request.uri().path() {
            "/fresh" => fresh(full("")),
            "/stale" => Response::builder()
                .header("cache-control", "max-age=1, stale-while-revalidate=60")
                .body(full(""))
                .unwrap(),
            _ => no_store(full("")),
        };
        std::future::ready(Ok(response))
    }
}

#[tokio::test]
async fn ready_service_is_the_one_called() {
    let (layer, seconds) = clocked(layer());
    let handle = layer.handle();
    let mut cache = layer.layer(Readied::default());
    for path in ["/fresh", "/stale", "/no-store"] {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let request = Request::builder().method(method).uri(format!("http://x{path}"));
            let request = request.body(full("")).unwrap();
            drop(cache.ready().await.unwrap().call(request).await.unwrap());
        }
    }
    drop(cache.ready().await.unwrap().call(get("/stale")).await.unwrap());
    seconds.store(2, Ordering::SeqCst);
    let refreshed = cache.ready().await.unwrap().call(get("/stale")).await.unwrap();
    assert_eq!(status_of(&refreshed), "tower-kit; hit; ttl=-1");
    settle().await;
    let hit = cache.ready().await.unwrap().call(get("/stale")).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=1");
    assert_eq!(handle.in_flight(), 0);
}

/// Counts its clones.
struct Cloned(Readied, Arc<AtomicUsize>);

impl Clone for Cloned {
    fn clone(&self) -> Self {
        self.1.fetch_add(1, Ordering::SeqCst);
        Self(self.0.clone(), Arc::clone(&self.1))
    }
}

impl Service<Request<Text>> for Cloned {
    type Response = Response<Text>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Text>) -> Self::Future {
        self.0.call(request)
    }
}

#[tokio::test]
async fn ready_service_is_not_cloned() {
    let clones = Arc::new(AtomicUsize::new(0));
    let mut cache = layer().layer(Cloned(Readied::default(), Arc::clone(&clones)));
    // Misses, a response that is not stored for the first, second and third time, and others that pass.
    for (method, path) in [
        ("GET", "/fresh"),
        ("GET", "/no-store"),
        ("GET", "/no-store"),
        ("GET", "/no-store"),
        ("POST", "/fresh"),
        ("OPTIONS", "/fresh"),
    ] {
        let request = Request::builder().method(method).uri(format!("http://x{path}"));
        drop(cache.call(request.body(full("")).unwrap()).await.unwrap());
        assert_eq!(clones.load(Ordering::SeqCst), 0, "{method} {path}");
    }
}

#[tokio::test]
async fn waiting_requests_keep_their_place() {
    let (inner, mut calls) = pair();
    let mut cache = layer().layer(ConcurrencyLimitLayer::new(1).layer(inner));
    let paths = ["/1", "/2", "/3", "/4"];
    // Of one service: each waits with the one that it found, and leaves a clone to the next.
    let mut waiting = Vec::from(paths.map(|path| {
        let method = if path == "/2" { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(format!("http://x{path}"));
        Box::pin(cache.call(request.body(full("")).unwrap()))
    }));
    for path in paths {
        waiting.iter_mut().for_each(|one| assert!(poll_once(one.as_mut()).is_pending(), "{path}"));
        let (request, call) = soon(calls.next_request()).await.unwrap();
        assert_eq!(request.uri().path(), path);
        call.send_response(fresh(full(path)));
        assert_eq!(text(soon(waiting.remove(0)).await.unwrap()).await, path);
    }
}

#[tokio::test]
async fn held_body_keeps_no_permit() {
    for fills in [0, 256] {
        let inner = service_fn(|request: Request<Text>| async move {
            let path = request.uri().path().to_owned();
            let body = match path.as_str() {
                "/stuck" => streamed([data(5), Step::PendingForever]),
                _ => streamed([data(5), Step::Pending, data(5)]),
            };
            Ok::<_, Infallible>(fresh(body))
        });
        let layers = (layer().max_fills(fills), ConcurrencyLimitLayer::new(1));
        let cache = layers.layer(inner);
        let stuck = soon(cache.clone().oneshot(get("/stuck"))).await.unwrap();
        let mut herd = JoinSet::new();
        for number in 0..100 {
            herd.spawn(asks(&cache, &format!("/{}", number % 10)));
        }
        assert!(soon(herd.join_all()).await.iter().all(|text| text == "xxxxxxxxxx"));
        drop(stuck);
    }
}
