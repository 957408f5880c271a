//! The standards that the cache follows, each as stories in the form of a public suite.

mod story;

use self::story::{Names, tell};

#[tokio::test]
async fn invalidation_follows_rfc_9111() {
    tell(include_str!("invalidation.txt"), Names::default()).await;
}
