//! The standards that the cache follows, each as stories in the form of a public suite.

mod story;

use self::story::{Names, tell};

#[tokio::test]
async fn invalidation_follows_rfc_9111() {
    tell(include_str!("invalidation.txt"), Names::default()).await;
}

#[tokio::test]
async fn soft_purged_responses_are_stale() {
    let names = Names {
        layers: &[("honor_request_control", |layer| layer.honor_request_control())],
        ..Names::default()
    };
    tell(include_str!("soft_purge.txt"), names).await;
}

#[tokio::test]
async fn groups_follow_rfc_9875() {
    let names = Names {
        layers: &[
            ("trust_forwarded", |layer| layer.trust_forwarded()),
            ("strip_tags", |layer| layer.strip_tags()),
        ],
        ..Names::default()
    };
    tell(include_str!("groups.txt"), names).await;
}
