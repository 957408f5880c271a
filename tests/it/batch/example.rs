//! The example `batch`, as a process.

use std::fs;
use std::path::Path;

use http::{Request, StatusCode};
use tokio::task::JoinSet;

use crate::program::Program;
use crate::support::{BoxBody, Dir, full, h1_client, soon, text};

fn start(log: &Path) -> Program {
    Program::start("batch", &[("LOG", log.to_str().unwrap())])
}

fn content(log: &Path) -> String {
    fs::read_to_string(log).unwrap()
}

fn event(program: &Program, body: impl Into<bytes::Bytes>) -> Request<BoxBody> {
    Request::post(program.url("/events")).body(full(body)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_at_their_reported_offsets() {
    let dir = Dir::new();
    let log = dir.path().join("events.log");
    let program = start(&log);
    let client = h1_client();
    let mut posts = JoinSet::new();
    for number in 0..300 {
        // Different lengths reveal a wrong offset.
        let line = format!("event {number} {}", "x".repeat(number % 7));
        let response = client.request(event(&program, line.clone()));
        posts.spawn(async move {
            let response = soon(response).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            (text(response).await.trim().parse::<usize>().unwrap(), line)
        });
    }
    let mut seen = 0;
    while let Some(posted) = posts.join_next().await {
        let (at, line) = posted.unwrap();
        assert!(content(&log)[at..].starts_with(&format!("{line}\n")), "{line} at {at}");
        seen += 1;
    }
    assert_eq!((seen, content(&log).lines().count()), (300, 300));
    let batches: usize = text(program.get("/batches").await).await.trim().parse().unwrap();
    assert!(batches < 300, "{batches} batches for 300 events");
    assert!(program.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_event_leaves_the_others() {
    let dir = Dir::new();
    let log = dir.path().join("events.log");
    let program = start(&log);
    let client = h1_client();
    let bodies = ["one", "two\nlines", "three"];
    let mut posts = JoinSet::new();
    for body in bodies {
        let response = client.request(event(&program, body));
        posts.spawn(async move { (body, soon(response).await.unwrap()) });
    }
    while let Some(posted) = posts.join_next().await {
        let (body, response) = posted.unwrap();
        let refused = body.contains('\n');
        let expected = if refused { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        assert_eq!(response.status(), expected, "{body}");
        assert_eq!(text(response).await == "an event is one line\n", refused);
    }
    let text = content(&log);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_is_reported_and_retried() {
    let program = start(Path::new("/dev/full"));
    for _ in 0..2 {
        let response = soon(h1_client().request(event(&program, "one"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text(response).await, "the event was not written\n");
    }
    let batches = text(program.get("/batches").await).await;
    assert_eq!(batches, "2\n");
}
