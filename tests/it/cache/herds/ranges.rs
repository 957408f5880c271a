//! Requests for ranges at a time, and bodies that are cut while they come.

use super::*;

fn range(of: &str) -> Request<Text> {
    let mut request = get("/");
    request.headers_mut().insert("range", of.parse().unwrap());
    request
}

fn part(stated: &str, body: Text) -> Response<Text> {
    let response = Response::builder().status(206).header("cache-control", "max-age=60");
    response.header("etag", "\"a\"").header("content-range", stated).body(body).unwrap()
}

fn letters(text: &'static str) -> Step<io::Error> {
    Step::Data(Bytes::from_static(text.as_bytes()))
}

/// Lets the cache learn that ten bytes are all.
async fn learn(mocked: &mut Mocked) {
    let asking = mocked.waits(range("bytes=0-1"));
    let (_, call) = mocked.call().await;
    call.send_response(part("bytes 0-1/10", full("01")));
    assert_eq!(text(soon(asking).await.unwrap()).await, "01");
}

#[tokio::test]
async fn ranges_of_an_unknown_response_wait_for_nobody() {
    let mut mocked = Mocked::new(&layer());
    let whole = mocked.waits(get("/"));
    let asking = ["bytes=0-1", "bytes=2-3", "bytes=2-3"].map(|of| mocked.waits(range(of)));
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(mocked.call().await);
    }
    assert_eq!(calls.iter().filter(|(head, _)| head.headers().contains_key("range")).count(), 3);
    for (head, call) in calls.into_iter().rev() {
        call.send_response(match head.headers().get("range").map(|of| of.to_str().unwrap()) {
            None => fresh(full("0123456789")),
            Some("bytes=0-1") => part("bytes 0-1/10", full("01")),
            Some(_) => part("bytes 2-3/10", full("23")),
        });
    }
    assert_eq!(text(soon(whole).await.unwrap()).await, "0123456789");
    for (asking, body) in asking.into_iter().zip(["01", "23", "23"]) {
        assert_eq!(text(soon(asking).await.unwrap()).await, body);
    }
}

#[tokio::test]
async fn ranges_share_one_fetch_of_the_whole() {
    let mut mocked = Mocked::new(&layer());
    learn(&mut mocked).await;
    let ranges = ["bytes=1-4", "bytes=8-", "bytes=-10", "bytes=3-3"];
    let asking: Vec<_> = ranges.iter().map(|of| mocked.waits(range(of))).collect();
    let whole = mocked.waits(get("/"));
    let (head, call) = mocked.call().await;
    assert!(!head.headers().contains_key("range"));
    let mut response = fresh(streamed([
        Step::Pending,
        letters("012"),
        Step::Pending,
        letters("34567"),
        Step::Pending,
        letters("89"),
    ]));
    response.headers_mut().insert("content-length", 10.into());
    call.send_response(response);
    for (asking, (body, stated)) in asking.into_iter().zip([
        ("1234", "bytes 1-4/10"),
        ("89", "bytes 8-9/10"),
        ("0123456789", "bytes 0-9/10"),
        ("3", "bytes 3-3/10"),
    ]) {
        let got = soon(asking).await.unwrap();
        assert_eq!(got.status(), 206);
        assert_eq!(got.headers()["content-range"], stated);
        assert_eq!(got.headers()["content-length"], body.len().to_string());
        assert_eq!(got.body().size_hint().exact(), Some(body.len() as u64));
        assert_eq!(text(got).await, body);
    }
    assert_eq!(text(soon(whole).await.unwrap()).await, "0123456789");
    assert!(!mocked.is_called());
}

#[tokio::test]
async fn a_client_of_a_range_leaves_the_fill() {
    let mut mocked = Mocked::new(&layer());
    learn(&mut mocked).await;
    let asking = mocked.waits(range("bytes=2-3"));
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    let mut response = fresh(body);
    response.headers_mut().insert("content-length", 10.into());
    call.send_response(response);
    sender.send_data("01234".into()).await.unwrap();
    let mut body = soon(asking).await.unwrap().into_body();
    assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "23");
    assert!(body.is_end_stream());
    drop(body);
    sender.send_data("56789".into()).await.unwrap();
    drop(sender);
    settle().await;
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(text(hit).await, "0123456789");
}

#[tokio::test]
async fn a_range_of_a_short_body_does_not_end_well() {
    let mut mocked = Mocked::new(&layer());
    learn(&mut mocked).await;
    let asking = mocked.waits(range("bytes=2-8"));
    let (_, call) = mocked.call().await;
    let mut response = fresh(streamed([Step::Pending, letters("01234")]));
    response.headers_mut().insert("content-length", 10.into());
    call.send_response(response);
    let mut body = soon(asking).await.unwrap().into_body();
    assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "234");
    assert!(soon(body.frame()).await.is_none_or(|frame| frame.is_err()));
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
    // Nothing of it is stored.
    drop(mocked.waits(range("bytes=0-0")));
    assert!(mocked.is_called());
}

#[tokio::test]
async fn parts_that_end_badly_are_not_stored() {
    for steps in [
        vec![letters("0123"), Step::Pending, letters("4")],
        vec![letters("012"), Step::Pending],
        vec![letters("0123"), Step::Pending, trailers()],
        vec![letters("0123"), Step::Pending, Step::Error(io::Error::other("gone"))],
    ] {
        let mut mocked = Mocked::new(&layer().max_entry_size(8));
        let asking = mocked.waits(range("bytes=0-3"));
        let (_, call) = mocked.call().await;
        call.send_response(part("bytes 0-3/10", streamed(steps)));
        let mut body = soon(asking).await.unwrap().into_body();
        while soon(body.frame()).await.is_some_and(|frame| frame.is_ok()) {}
        settle().await;
        drop(mocked.waits(range("bytes=0-3")));
        let (head, _) = mocked.call().await;
        assert_eq!(head.headers()["range"], "bytes=0-3");
    }
}
