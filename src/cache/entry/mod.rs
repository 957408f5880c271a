//! Entries of a store: a stored response, or the list of a URL's variants. `codec.rs` defines both as
//! bytes.

mod codec;
#[expect(clippy::module_inception, reason = "the file of the type of this name")]
mod entry;
mod freshness;
mod headers;
mod response;

pub use codec::InvalidEntry;
pub use entry::Entry;
pub(crate) use freshness::Freshness;
pub(crate) use headers::{Added, copy_headers, head_size, http_date};
pub(crate) use response::{EntryKind, MAX_COPIED_BODY, StoredResponse, Watermark};
