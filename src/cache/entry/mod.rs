//! Entries of a store: a stored response, the list of a URL's variants, or a value. `codec.rs` defines
//! them as bytes.

mod codec;
#[expect(clippy::module_inception, reason = "the file of the type of this name")]
mod entry;
mod freshness;
mod headers;
mod links;
mod response;
pub(crate) mod value;
mod watermark;

pub use codec::InvalidEntry;
pub use entry::Entry;
pub(crate) use freshness::Freshness;
pub(crate) use headers::{Added, copy_headers, head_size, http_date};
pub(crate) use links::Links;
pub(crate) use response::{EntryKind, MAX_COPIED_BODY, StoredResponse};
pub(crate) use watermark::Watermark;
