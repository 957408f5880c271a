//! The standards that the cache follows, each as stories in the form of a public suite.

mod story;

use std::time::Duration;

use tower_kit::cache::{CacheHint, CacheLayer, Exception};

use self::story::{Names, tell};

const STALE: Names = Names {
    layers: &[
        ("stale", stale),
        ("s-maxage", |layer| layer.allow(Exception::StaleSMaxAge)),
        ("stale and s-maxage", |layer| stale(layer).allow(Exception::StaleSMaxAge)),
    ],
    hints: &[
        ("stale", || CacheHint::new().stale_while_revalidate(secs(20)).stale_if_error(secs(40))),
        ("never stale", || {
            CacheHint::new().stale_while_revalidate(secs(0)).stale_if_error(secs(0))
        }),
    ],
};

const HEAD: Names = Names {
    layers: &[("fill", CacheLayer::fill_on_head)],
    hints: &[("no-store", CacheHint::no_store)],
};

fn stale(layer: CacheLayer) -> CacheLayer {
    layer.stale_while_revalidate(secs(5))
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn invalidation_follows_rfc_9111() {
    tell(include_str!("invalidation.txt"), Names::default()).await;
}

#[tokio::test]
async fn stale_responses_follow_rfc_5861() {
    tell(include_str!("stale.txt"), STALE).await;
}

#[tokio::test]
async fn head_follows_rfc_9111() {
    tell(include_str!("head.txt"), HEAD).await;
}
