//! The keys of entries.

mod cache_key;
#[cfg_attr(not(any(feature = "cache-query", test)), expect(dead_code, reason = "for its layer"))]
mod content;
mod cookies;
mod origin;
mod query;
mod request_key;
mod search_rule;

pub use cache_key::CacheKey;
pub(crate) use content::{Content, ContentMethod, Unread};
#[cfg(test)]
pub(crate) use request_key::NO_KEY;
pub(crate) use request_key::{Key, NoKey, only_host};
pub(crate) use search_rule::SearchRule;
