//! The reference pages of the [cache](crate::cache), one for each topic.
//!
//! | page | topic |
//! |---|---|
//! | [`storage`] | which responses are stored, for how long, and what happens when they are stale |
//! | [`keys`] | which requests get the same response: keys, proxies, cookies, `vary` |
//! | [`coalescing`] | concurrent requests for one response, failures, slow services, memory |
//! | [`invalidation`] | purges by URL, prefix and tag, and unsafe methods |
//! | `redis` | processes that share their responses, with the feature `cache-redis` or `cache-redis-rs` |
//! | [`standards`] | the standards that the cache follows, with their tests |
//! | [`observability`] | `cache-status`, metrics, and why a response is not stored |

#[doc = include_str!("guide/storage.md")]
pub mod storage {}

#[doc = include_str!("guide/keys.md")]
pub mod keys {}

#[doc = include_str!("guide/coalescing.md")]
pub mod coalescing {}

#[doc = include_str!("guide/invalidation.md")]
pub mod invalidation {}

// The page links to items that exist with this feature only.
#[doc = include_str!("guide/redis.md")]
#[cfg(any(feature = "cache-redis", feature = "cache-redis-rs"))]
pub mod redis {}

#[doc = include_str!("guide/observability.md")]
pub mod observability {}

#[doc = include_str!("guide/standards.md")]
pub mod standards {}
