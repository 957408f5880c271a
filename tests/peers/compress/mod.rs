//! The compression layer, decoded by flate2, by tower-http and by the programs of others, and
//! compared with the layer of tower-http.

mod endings;
mod harness;
mod head;
mod hint;
mod metrics;
mod policy;
mod pool;
mod properties;
mod service;
mod stream;
mod tower_http;
mod whole;
