//! Layers are ready when the inner service is, or always.

use std::task::Poll;

use tower::{Service, ServiceExt};
use tower_test::mock::Spawn;

use super::calls::{METHODS, request, response};
use super::{Own, Subject, layers};
use crate::support::{now, poll_once, soon};

/// The layers that are ready before the inner service, with the reason.
const ALWAYS_READY: [(&str, &str); 2] = [
    ("cache", "a hit needs nothing of the inner service"),
    ("latency", "the wait for the inner service is a part of the duration"),
];

fn is_always_ready(subject: &Subject) -> bool {
    ALWAYS_READY.iter().any(|(name, _)| *name == subject.name)
}

#[test]
fn readiness_is_that_of_the_inner_service() {
    for subject in layers().into_iter().filter(|subject| !is_always_ready(subject)) {
        let (outer, mut handle) = subject.over_mock();
        let mut outer = Spawn::new(outer);
        handle.allow(0);
        assert!(outer.poll_ready().is_pending(), "{}", subject.name);
        handle.allow(1);
        assert!(outer.is_woken(), "{}", subject.name);
        assert_eq!(outer.poll_ready(), Poll::Ready(Ok(())), "{}", subject.name);
        handle.send_error("gone");
        assert_eq!(outer.poll_ready(), Poll::Ready(Err(Own("gone".to_owned()))));
    }
}

#[tokio::test]
async fn always_ready_layers_wait_in_the_future() {
    for subject in layers().into_iter().filter(is_always_ready) {
        for method in &METHODS {
            let (mut outer, mut handle) = subject.over_mock();
            handle.allow(0);
            assert_eq!(now(outer.ready()).map(drop), Ok(()), "{}", subject.name);
            let mut call = Box::pin(outer.call(request(method)));
            assert!(poll_once(call.as_mut()).is_pending(), "{}", subject.name);
            assert!(handle.poll_request().is_pending(), "{}", subject.name);
            let serve = async {
                tokio::task::yield_now().await;
                handle.allow(1);
                let (_, respond) = handle.next_request().await.unwrap();
                respond.send_response(response());
            };
            let (result, ()) = soon(async { tokio::join!(call, serve) }).await;
            assert_eq!(result.unwrap().status(), 201);

            handle.allow(0);
            let mut call = Box::pin(outer.call(request(method)));
            assert!(poll_once(call.as_mut()).is_pending(), "{}", subject.name);
            handle.send_error("gone");
            assert_eq!(soon(call).await.unwrap_err(), Own("gone".to_owned()), "{}", subject.name);
        }
    }
}
