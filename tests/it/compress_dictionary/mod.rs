//! Dictionaries of the compression layer, with clients that decode by the dictionary that they hold.

mod bounds;
mod browser;
mod caches;
mod deltas;
mod refusals;
mod sockets;
mod streams;
mod support;
mod users;
