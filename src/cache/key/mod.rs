//! The keys of entries.

mod cache_key;
mod query;
mod request_key;

pub use cache_key::CacheKey;
pub(crate) use request_key::{Key, NoKey};
