//! Clones and services of a layer share its state.

use http::{Method, Response};

use super::calls::exchange;
use super::layers;
use crate::support::Scripted;

#[tokio::test]
async fn services_share_the_state_of_their_layer() {
    for subject in layers() {
        let mut registered = Vec::new();
        for _ in 0..2 {
            let (outer, mut handle) = subject.over_mock();
            for mut service in [outer.clone(), outer] {
                let response = Response::new(Scripted::new([]));
                let exchange = exchange(&mut service, &mut handle, &Method::GET, Ok(response));
                drop(exchange.await);
                registered.push(subject.metrics.registered());
            }
        }
        // State of its own would register its metrics again.
        assert!(
            registered.iter().all(|all| *all == registered[0]),
            "{}: {registered:?}",
            subject.name
        );
    }
}
