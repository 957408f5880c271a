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
    outer: None,
};

const HEAD: Names = Names {
    layers: &[("fill", CacheLayer::fill_on_head)],
    hints: &[("no-store", CacheHint::no_store)],
    outer: None,
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
    use http::request;
    use tower::Layer;
    use tower::util::BoxCloneService;
    use tower_kit::cache::MemoryStore;
    use tower_kit::cache::content_key::ContentKeyLayer;

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

#[tokio::test]
async fn stale_responses_follow_rfc_5861() {
    tell(include_str!("stale.txt"), STALE).await;
}

#[tokio::test]
async fn head_follows_rfc_9111() {
    tell(include_str!("head.txt"), HEAD).await;
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

#[tokio::test]
async fn queries_follow_no_vary_search() {
    tell(include_str!("no_vary_search.txt"), Names::default()).await;
}

#[tokio::test]
async fn variants_follow_rfc_9110() {
    tell(include_str!("vary.txt"), Names::default()).await;
}
