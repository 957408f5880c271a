//! The keys of entries.

mod cache_key;
mod origin;
mod query;
mod request_key;

pub use cache_key::CacheKey;
#[cfg(test)]
pub(crate) use request_key::NO_KEY;
pub(crate) use request_key::{Key, NoKey};
