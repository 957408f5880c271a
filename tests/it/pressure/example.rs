//! The example `pressure`, as a process that fills its memory: under a limit of its own, and in a
//! control group, if one can be created.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tower_kit::MIB;

use super::control_group::ControlGroup;
use super::{ERRORS, RATIO, REJECTED, say};
use crate::program::{Program, built};
use crate::support::{boxed, empty, h1_client, soon, text};

/// The memory limit, in MiB.
const LIMIT: u64 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn example_sheds_under_its_own_limit() {
    let limit = LIMIT.to_string();
    check(Program::start("pressure", &[("LIMIT_MIB", &limit)])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn example_sheds_in_a_control_group() {
    let Some(group) = ControlGroup::create(LIMIT * MIB) else {
        say("SKIPPED: no control group with a memory limit can be created here");
        return;
    };
    say(&format!("the example runs in the control group {}", group.0.display()));
    let mut command = group.command(&built("pressure"));
    command.env("ADDR", "127.0.0.1:0").env_remove("LIMIT_MIB");
    check(Program::run(&mut command)).await;
}

/// Fills the memory of the server up to each level, and frees it.
async fn check(mut server: Program) {
    assert!(server.said.starts_with("memory: "), "{}", server.said);
    for path in ["/", "/reports", "/healthz"] {
        assert_eq!(server.get(path).await.status(), StatusCode::OK);
    }

    // The cache fills memory, and shrinks at the high level.
    for page in 0..96 {
        let page = text(server.get(&format!("/pages/{page}")).await).await;
        assert_eq!(page.len(), 128 * 1024);
    }
    send(&server, Method::POST, "/hold/198").await;
    let report = until_shed(&server, "/reports").await;
    assert_eq!(report.headers()["retry-after"], "10");
    let (memory, limit, kept) = next_event(&mut server, "High");
    assert_eq!(limit, LIMIT);
    assert!((LIMIT * 80 / 100..=LIMIT * 90 / 100).contains(&memory), "{memory} MiB");
    assert!((1..=8).contains(&kept), "{kept} MiB in the cache");
    assert_eq!(server.get("/").await.status(), StatusCode::OK);

    // Memory held by requests cannot be freed by the callback.
    send(&server, Method::POST, "/hold/36").await;
    let hello = until_shed(&server, "/").await;
    assert_eq!(hello.headers()["retry-after"], "10");
    assert_eq!(text(hello).await, "The service is overloaded: try again in 10 seconds.\n");
    let (memory, limit, kept) = next_event(&mut server, "Critical");
    assert_eq!(limit, LIMIT);
    assert!((LIMIT * 90 / 100..=LIMIT).contains(&memory), "{memory} MiB");
    assert_eq!(kept, 0);
    assert_eq!(server.get("/healthz").await.status(), StatusCode::OK);
    assert_eq!(server.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let ratio = server.metric(RATIO, &[]).await;
    assert!((0.85..=1.0).contains(&ratio), "{ratio}");
    for reason in ["memory_high", "memory_critical"] {
        let labels = [("layer", "pressure"), ("reason", reason)];
        assert!(server.metric(REJECTED, &labels).await >= 1.0, "{reason}");
    }

    // An exempt request frees it.
    send(&server, Method::DELETE, "/hold").await;
    soon(async { while server.get("/").await.status() != StatusCode::OK {} }).await;
    soon(async { while server.get("/reports").await.status() != StatusCode::OK {} }).await;
    // The tightest limit now depends on the machine.
    let (memory, limit, _) = next_event(&mut server, "Normal");
    assert!(memory * 100 < limit * 75, "{memory} of {limit} MiB");
    assert_eq!(server.get("/readyz").await.status(), StatusCode::OK);
    let ratio = server.metric(RATIO, &[]).await;
    assert!(ratio < 0.75, "{ratio}");
    assert_eq!(server.metric(ERRORS, &[]).await, 0.0);
}

async fn send(server: &Program, method: Method, path: &str) {
    let request = Request::builder().method(method).uri(server.url(path));
    let response = soon(h1_client().request(request.body(boxed(empty())).unwrap())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text(response).await.starts_with("holding "));
}

/// Sends requests until one is shed.
async fn until_shed(server: &Program, path: &str) -> Response<Incoming> {
    soon(async {
        loop {
            let response = server.get(path).await;
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                return response;
            }
        }
    })
    .await
}

/// Parses the next line that the server prints: the memory in use, the limit and the size of the cache,
/// in MiB.
fn next_event(server: &mut Program, level: &str) -> (u64, u64, u64) {
    let line = server.line();
    let rest = line.strip_prefix(level).unwrap_or_else(|| panic!("not {level}: {line}"));
    let mut numbers = rest.split(' ').filter_map(|word| word.parse().ok());
    let mut next = || numbers.next().unwrap();
    (next(), next(), next())
}
