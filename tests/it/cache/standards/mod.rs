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

#[cfg(feature = "cache-query")]
#[tokio::test]
async fn query_follows_rfc_10008() {
    use std::time::Duration;

    use http::request;
    use tower::Layer;
    use tower::util::BoxCloneService;
    use tower_kit::CacheLayer;
    use tower_kit::cache::content_key::ContentKeyLayer;
    use tower_kit::cache::{CacheHint, Exception, MemoryStore};

    fn only_reads(_: &request::Parts, content: &[u8]) -> bool {
        assert_ne!(content, b"panic", "the callback panics");
        content.starts_with(b"query")
    }

    let names = Names {
        layers: &[
            ("ttl", |_| CacheLayer::with_ttl(MemoryStore::new(1 << 24), Duration::from_secs(60))),
            ("any-authorization", |layer| layer.allow(Exception::Authorization)),
            ("skip-search", |layer| layer.skip_if(|request| request.uri.path() == "/search")),
        ],
        hints: &[
            ("tagged", || CacheHint::new().tag("items")),
            ("minute", || CacheHint::new().ttl(Duration::from_secs(60))),
        ],
        outer: Some(|cache| {
            BoxCloneService::new(ContentKeyLayer::new().post_if(only_reads).layer(cache))
        }),
    };
    tell(include_str!("query.txt"), names).await;
}
