//! Failures of the inner service.

use super::*;

#[tokio::test]
async fn a_failure_is_shared_and_remembered() {
    for retry_after in [None, Some("4"), Some("100000"), Some("nonsense")] {
        let (layer, seconds) = clocked(layer());
        let mut mocked = Mocked::new(&layer);
        let mut herd = mocked.herd(3);
        let (_, call) = mocked.call().await;
        let mut response = Response::builder().status(502).body(full("down")).unwrap();
        if let Some(value) = retry_after {
            response.headers_mut().insert("retry-after", value.parse().unwrap());
        }
        call.send_response(response);
        let own = soon(herd.remove(0)).await.unwrap();
        assert_eq!(own.status(), 502);
        assert_eq!(text(own).await, "down");
        let lasts = match retry_after {
            Some("4") => 4,
            Some("100000") => 10,
            _ => 1,
        };
        herd.push(mocked.ask(get("/")));
        for asking in herd {
            let shared = soon(asking).await.unwrap();
            assert_eq!(shared.status(), 502);
            assert_eq!(shared.headers()["retry-after"], lasts.to_string().as_str());
            let status =
                "tower-kit; fwd=uri-miss; fwd-status=502; collapsed; detail=service-failed";
            assert_eq!(status_of(&shared), status);
            assert_eq!(text(shared).await, "");
        }
        assert!(!mocked.is_called());
        assert_eq!(mocked.handle.statistics().failures, 3);
        seconds.store(lasts, Ordering::SeqCst);
        let probes = mocked.herd(10);
        let (_, call) = mocked.call().await;
        assert!(!mocked.is_called(), "one probe at a time");
        call.send_response(fresh(full("up")));
        assert!(answers(probes).await.iter().all(|text| text == "up"));
    }
}

#[tokio::test]
async fn without_a_failure_ttl_an_error_hands_over() {
    let mut mocked = Mocked::new(&layer().failure_ttl(Duration::ZERO));
    let mut herd = mocked.herd(21);
    let (_, call) = mocked.call().await;
    call.send_error("broken");
    let error = soon(herd.remove(0)).await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "broken");
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    settle().await;
    assert!(!mocked.is_called(), "the others wait");
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
}

#[tokio::test]
async fn a_failure_of_an_uncacheable_page_is_its_own() {
    let mut mocked = Mocked::new(&layer());
    let first = mocked.waits(get("/"));
    mocked.call().await.1.send_response(no_store(full("one")));
    assert_eq!(answers(vec![first]).await, ["one"]);
    let failing = mocked.waits(get("/"));
    mocked.call().await.1.send_error("broken");
    assert!(soon(failing).await.is_err());
    let _next = mocked.waits(get("/"));
    assert!(mocked.is_called());
}
