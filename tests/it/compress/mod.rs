//! The compression layer over real sockets and beneath the cache.

mod bodies;
mod etag;
mod flush_delay;
mod head;
mod max_streams;
mod opt_out;
mod support;
