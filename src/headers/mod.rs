//! Headers that several layers parse, and the syntax that many headers share. Pure functions.

pub(crate) mod accept_encoding;
pub(crate) mod coding;
pub(crate) mod content_length;
pub(crate) mod list;
pub(crate) mod media_type;
pub(crate) mod qvalue;
#[cfg(test)]
pub(crate) mod test_headers;
pub(crate) mod token;
