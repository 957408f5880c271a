//! Herds whose leader streams, fails, leaves, is slow, or exceeds the limit.

use super::*;
use http::StatusCode;

/// The fate of the request that fetches.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leader {
    Streams,
    Errors,
    Is503,
    Leaves,
    BodyFails,
    Exceeds,
}

/// The response that a client of the herd got.
#[derive(Debug, PartialEq)]
enum Got {
    Text(usize),
    Status(u16),
    Error,
    BodyError(usize),
}

async fn got(answer: Answer) -> Got {
    let Ok(response) = answer else { return Got::Error };
    let status = response.status();
    let (mut body, mut len) = (response.into_body(), 0);
    while let Some(frame) = soon(body.frame()).await {
        match frame {
            Ok(frame) => len += frame.into_data().map_or(0, |data| data.len()),
            Err(_) => return Got::BodyError(len),
        }
    }
    if status == StatusCode::OK { Got::Text(len) } else { Got::Status(status.as_u16()) }
}

#[tokio::test]
async fn a_herd_costs_one_call_whatever_its_leader_does() {
    use Leader::{BodyFails, Errors, Exceeds, Is503, Leaves, Streams};
    for leader in [Streams, Errors, Is503, Leaves, BodyFails, Exceeds] {
        for size in [10, 1_000, 10_000] {
            let mut mocked = Mocked::new(&layer().max_entry_size(10_000));
            let mut herd = mocked.herd(size);
            let (_, call) = mocked.call().await;
            let first = herd.remove(0);
            // The leader's client reads in a task of its own, or leaves.
            let first = match leader {
                Leaves => {
                    drop(first);
                    None
                }
                _ => Some(spawn(async move { got(first.await).await })),
            };
            let (mut sender, body) = channel();
            match leader {
                Errors => call.send_error("broken"),
                Is503 => {
                    let response = Response::builder().status(503).body(full("down"));
                    call.send_response(response.unwrap());
                }
                _ => call.send_response(fresh(body)),
            }
            let mut tasks = JoinSet::new();
            for asking in herd {
                tasks.spawn(async move { got(asking.await).await });
            }
            if !matches!(leader, Errors | Is503) {
                sender.send_data("x".repeat(5_000).into()).await.unwrap();
                settle().await;
                match leader {
                    BodyFails => sender.abort(io::Error::other("broken")),
                    Exceeds => {
                        for _ in 0..3 {
                            sender.send_data("x".repeat(5_000).into()).await.unwrap();
                        }
                        drop(sender);
                    }
                    _ => drop(sender),
                }
            }
            let (own, others) = match leader {
                Streams | Leaves => (Got::Text(5_000), Got::Text(5_000)),
                Errors => (Got::Error, Got::Status(503)),
                Is503 => (Got::Status(503), Got::Status(503)),
                BodyFails => (Got::BodyError(5_000), Got::BodyError(5_000)),
                Exceeds => (Got::Text(20_000), Got::Text(20_000)),
            };
            if let Some(first) = first {
                assert_eq!(soon(first).await.unwrap(), own, "{leader:?}, {size}");
            }
            for got in soon(tasks.join_all()).await {
                assert_eq!(got, others, "{leader:?}, {size}");
            }
            settle().await;
            assert!(!mocked.is_called(), "one call for all: {leader:?}, {size}");
            assert_eq!(mocked.handle.in_flight(), 0, "{leader:?}");
            let is_kept = matches!(leader, Streams | Leaves);
            assert_eq!(mocked.handle.statistics().usage.entries, u64::from(is_kept), "{leader:?}");
        }
    }
}
