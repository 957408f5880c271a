//! Values of any type, under names of their own among the entries of a store.

mod error;
mod flow;
mod policy;
mod service;
mod shared;
mod tally;

pub use error::ValueCacheError;
pub use service::ValueCache;
