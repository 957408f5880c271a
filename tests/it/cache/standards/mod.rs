//! The standards that the cache follows, each as stories in the form of a public suite.

mod story;

use tower_kit::cache::Exception;

use self::story::{Names, tell};

#[tokio::test]
async fn invalidation_follows_rfc_9111() {
    tell(include_str!("invalidation.txt"), Names::default()).await;
}

#[tokio::test]
async fn ranges_follow_rfc_9110() {
    let names = Names {
        layers: &[
            ("six_bytes", |layer| layer.max_entry_size(6)),
            ("no_parts", |layer| layer.max_entry_size(6).max_parts(0)),
            ("any_status", |layer| layer.allow(Exception::AnyStatus)),
            ("heeds_requests", |layer| layer.max_entry_size(6).honor_request_control()),
        ],
        ..Names::default()
    };
    tell(include_str!("ranges.txt"), names).await;
}
