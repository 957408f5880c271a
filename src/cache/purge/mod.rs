//! Invalidation by comparison: an entry is current if nothing that it belongs to was purged after
//! the inner service was asked for it.
//!
//! A purge is one insertion into a table, whatever the number of entries that it affects, and it
//! also affects responses that are being fetched.

#[cfg(any(feature = "cache-redis", feature = "cache-redis-rs"))]
pub(crate) mod learn;
pub(crate) mod list;
mod scope;
pub(crate) mod table;
#[cfg(feature = "values")]
mod values;

pub(crate) use list::Standing;
pub use list::{PurgeFuture, SharedPurges};
pub(crate) use scope::ScopedPurges;
pub(crate) use table::{Purge, Stamp};
