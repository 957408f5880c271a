//! Invalidation by comparison: an entry is current if nothing that it belongs to was purged after
//! the inner service was asked for it.
//!
//! A purge is one insertion into a table, whatever the number of entries that it affects, and it
//! also affects responses that are being fetched.

mod list;
mod scope;
mod table;

pub(crate) use list::Purges;
#[cfg(feature = "cache-redis")]
pub(crate) use list::{LocalPurge, PurgeLog};
pub use list::{PurgeFuture, SharedPurges};
pub(crate) use scope::ScopedPurges;
#[cfg(feature = "cache-redis")]
pub(crate) use table::PurgeTarget;
pub(crate) use table::{Purge, Stamp};
