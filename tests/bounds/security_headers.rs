//! The memory that the headers take in each response.

use std::convert::Infallible;

use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::KIB;
use tower_kit::security_headers::{Csp, Directive, Nonce, SecurityHeadersLayer, Source};

use super::{alone, held};

const COUNT: u64 = 500;

async fn taken(layer: SecurityHeadersLayer) -> u64 {
    let asks = |request: Request<()>| {
        if let Some(nonce) = request.extensions().get::<Nonce>() {
            assert_eq!(nonce.as_str().len(), 22);
        }
        async { Ok::<_, Infallible>(Response::new(())) }
    };
    let service = layer.layer(service_fn(asks));
    // The first request allocates state of the layer.
    drop(service.clone().oneshot(Request::new(())).await.unwrap());
    let mut open = Vec::with_capacity(COUNT as usize);
    let before = held();
    for _ in 0..COUNT {
        open.push(service.clone().oneshot(Request::new(())).await.unwrap());
    }
    held() - before
}

#[test]
fn a_response_takes_its_fields_alone() {
    for layer in [SecurityHeadersLayer::new(), SecurityHeadersLayer::owasp()] {
        alone(async {
            // A map of up to 28 fields, whose values are shared.
            let taken = taken(layer).await;
            assert!(taken <= COUNT * 4 * KIB, "{taken}");
        });
    }
}

#[test]
fn a_nonce_takes_the_text_of_its_policy() {
    alone(async {
        // The text of the policy, and a map with room for more fields.
        let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]);
        let with_nonce = taken(SecurityHeadersLayer::new().set(policy).unwrap()).await;
        let without = taken(SecurityHeadersLayer::new()).await;
        assert!(with_nonce <= without + COUNT * 2 * KIB, "{with_nonce} and {without}");
        assert!(with_nonce > without, "the policy is of the response");
    });
}
