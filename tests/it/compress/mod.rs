//! The compression layer over real sockets and beneath the cache.

mod bodies;
mod flush;
mod heads;
mod opt_out;

mod scarcity;
mod support;
mod tags;
