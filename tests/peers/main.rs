//! Tests with the programs of others: decoders, another reader of policies, the corpora of the fuzz
//! targets, and a model checker that tries orders of threads' steps.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod coalesce;
mod compress;
mod corpora;
#[path = "../it/directives.rs"]
mod directives;
mod latency_series;
mod limit;
mod security_headers;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../it/support.rs"]
mod support;
