//! Headers that several layers parse, and the syntax that many headers share. Pure functions.

#[cfg(any(feature = "compress", feature = "limit"))]
pub(crate) mod media_type;
#[cfg(any(feature = "cache", feature = "compress"))]
pub(crate) mod qvalue;
#[cfg(all(test, any(feature = "cache", feature = "compress")))]
pub(crate) mod test_headers;
