//! HEAD requests that fill the cache.

use super::*;

fn head(path: &str) -> Request<Text> {
    Request::head(format!("http://x{path}")).body(full("")).unwrap()
}

fn is_get(request: &Request<Text>) -> bool {
    request.method() == http::Method::GET
}

/// A response of ten bytes, of which the second half comes with the sender.
fn halves() -> (Sender<Bytes, io::Error>, Response<Text>) {
    let (sender, body) = channel();
    let mut response = fresh(body);
    response.headers_mut().insert("content-length", "10".parse().unwrap());
    (sender, response)
}

#[tokio::test]
async fn a_head_waits_for_no_more_than_the_head() {
    let mut mocked = Mocked::new(&layer().fill_on_head());
    let asking = mocked.waits(head("/"));
    let (request, call) = mocked.call().await;
    assert!(is_get(&request));
    let (mut sender, response) = halves();
    sender.send_data("first".into()).await.unwrap();
    call.send_response(response);
    let got = soon(asking).await.unwrap();
    assert_eq!(status_of(&got), "tower-kit; fwd=uri-miss");
    assert_eq!(got.headers()["content-length"], "10");
    assert!(got.body().is_end_stream());
    drop(got);
    // The body goes on, and GET and HEAD follow it.
    let follower = mocked.ask(get("/"));
    let other = soon(mocked.ask(head("/"))).await.unwrap();
    assert_eq!(status_of(&other), "tower-kit; fwd=uri-miss; collapsed");
    assert_eq!(
        (&other.headers()["content-length"], other.body().is_end_stream()),
        (&"10".parse().unwrap(), true)
    );
    sender.send_data("after".into()).await.unwrap();
    drop(sender);
    assert_eq!(answers(vec![follower]).await, ["firstafter"]);
    until_kept(&mocked, "/").await;
    assert!(!mocked.is_called());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn heads_and_gets_are_one_fetch() {
    for leads in [head as fn(&str) -> _, get] {
        let mut mocked = Mocked::new(&layer().fill_on_head());
        let mut herd = vec![mocked.waits(leads("/"))];
        herd.extend([mocked.waits(head("/")), mocked.waits(get("/"))]);
        let (request, call) = mocked.call().await;
        assert!(is_get(&request));
        call.send_response(fresh(full("body")));
        let texts = answers(herd).await;
        assert_eq!(texts[1..], ["", "body"]);
        assert!(!mocked.is_called());
    }
}

#[tokio::test]
async fn body_that_fails_after_its_head_is_not_stored() {
    let mut mocked = Mocked::new(&layer().fill_on_head());
    for fails in [true, false] {
        let asking = mocked.waits(head("/"));
        let (mut sender, response) = halves();
        sender.send_data("first".into()).await.unwrap();
        mocked.call().await.1.send_response(response);
        assert_eq!(soon(asking).await.unwrap().status(), 200);
        // An error, and an end that comes too early.
        if fails {
            sender.abort(io::Error::other("broken"));
        } else {
            drop(sender);
        }
        settle().await;
        assert_eq!(mocked.handle.statistics().usage.entries, 0);
        assert_eq!(mocked.handle.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_client_of_a_head_may_leave() {
    let mut mocked = Mocked::new(&layer().fill_on_head());
    let asking = mocked.waits(head("/"));
    let (_, call) = mocked.call().await;
    drop(asking);
    call.send_response(fresh(full("body")));
    until_kept(&mocked, "/").await;
}

#[tokio::test]
async fn a_head_without_fills_stores_what_is_ready() {
    // No place to read a body in the background: what comes later is dropped with the response.
    let mut mocked = Mocked::new(&layer().fill_on_head().max_fills(0));
    let asking = mocked.waits(head("/later"));
    let (mut sender, response) = halves();
    mocked.call().await.1.send_response(response);
    drop(soon(asking).await.unwrap());
    assert!(sender.send_data("more".into()).await.is_err());
    assert_eq!(mocked.handle.statistics().usage.entries, 0);
    let asking = mocked.waits(head("/"));
    mocked.call().await.1.send_response(fresh(full("body")));
    drop(soon(asking).await.unwrap());
    until_kept(&mocked, "/").await;
}

#[tokio::test]
async fn an_oversized_body_of_a_head_is_dropped() {
    let mut mocked = Mocked::new(&layer().fill_on_head().max_entry_size(7));
    let asking = mocked.waits(head("/"));
    let (mut sender, body) = channel();
    sender.send_data("first".into()).await.unwrap();
    mocked.call().await.1.send_response(fresh(body));
    let got = soon(asking).await.unwrap();
    assert_eq!(got.headers().get("content-length"), None);
    sender.send_data("after".into()).await.unwrap();
    settle().await;
    assert!(sender.send_data("more".into()).await.is_err(), "nobody reads the rest");
    assert_eq!(mocked.handle.statistics().usage.entries, 0);
    // For a while a HEAD stays one.
    let asking = mocked.waits(head("/"));
    let (request, call) = mocked.call().await;
    assert!(!is_get(&request));
    call.send_response(fresh(full("")));
    drop(soon(asking).await.unwrap());
}
