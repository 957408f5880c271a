//! The integration tests: mock services and scripted bodies for the polling rules, real servers
//! over real sockets for the seams, and the mechanical guards over the sources.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod axum;
mod batch;
mod batch_example;
mod batch_hostile;
mod cache;
mod cache_herds;
mod cache_hosts;
#[cfg(feature = "cache-redis")]
mod cache_redis;
#[cfg(feature = "cache-redis")]
mod cache_redis_outage;
#[cfg(feature = "test-util")]
mod cache_store;
#[cfg(feature = "cache-service")]
mod cache_values;
mod compress;
mod compress_pool;
#[cfg(feature = "cache-redis")]
mod corpora;
mod documents;
mod flight;
mod guards;
mod hostile;
mod hosts;
mod hyper;
mod job_queue;
mod latency;
mod latency_series;
mod limit;
mod pressure;
mod pressure_example;
mod program;
mod quickstart;
mod redis_server;
mod reverse_proxy;
mod security_headers;
mod security_headers_browser;
mod security_headers_conditions;
mod security_headers_csp;
mod security_headers_example;
mod security_headers_helmet;
mod security_headers_nonce;
mod security_headers_overrides;
mod security_headers_policies;
mod security_headers_values;
mod stack;
mod static_assets;
mod support;
mod tracing;
mod workers;
