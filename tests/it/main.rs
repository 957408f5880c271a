//! The integration tests: mock services and scripted bodies for the polling rules, real servers
//! over real sockets for the seams, and the mechanical guards over the sources. Each module stands
//! behind the feature of the layer that it tests, or behind `full` where it tests several.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[cfg(feature = "full")]
mod axum;
#[cfg(feature = "batch")]
mod batch;
#[cfg(feature = "cache")]
mod cache;
#[cfg(feature = "cache")]
#[cfg(feature = "full")]
mod cache_hosts;
#[cfg(all(feature = "full", feature = "test-util"))]
mod cache_redis;
#[cfg(feature = "security-headers")]
#[cfg_attr(not(feature = "full"), expect(dead_code, reason = "tests of other features use it"))]
mod chromium;
#[cfg(feature = "full")]
mod compress;
#[cfg(feature = "full")]
mod compress_dictionary;
#[cfg(feature = "full")]
mod contract;
#[cfg(feature = "security-headers")]
mod directives;
#[cfg(feature = "full")]
mod documents;
#[cfg(feature = "full")]
mod from_express;
mod guards;
#[cfg(feature = "full")]
mod hostile;
#[cfg(feature = "full")]
mod hosts;
#[cfg(feature = "full")]
mod hyper;
#[cfg(feature = "latency")]
mod latency;
#[cfg(feature = "full")]
mod laws;
#[cfg(feature = "limit")]
mod limit;
#[cfg(feature = "limit")]
mod pinned;
#[cfg(feature = "pressure")]
mod pressure;
#[cfg_attr(not(feature = "full"), expect(dead_code, reason = "tests of other features use it"))]
mod program;
#[cfg(feature = "full")]
mod quickstart;
#[cfg(feature = "full")]
mod quickstart_page;
mod readme;
#[cfg(all(feature = "full", feature = "test-util"))]
mod redis_server;
#[cfg(feature = "cache")]
mod reverse_proxy;
#[cfg(feature = "security-headers")]
mod security_headers;
#[cfg(feature = "full")]
mod stack;
#[cfg_attr(not(feature = "full"), expect(dead_code, reason = "tests of other features use it"))]
mod support;
#[cfg(feature = "values")]
mod values;
#[cfg(feature = "full")]
mod workers;
