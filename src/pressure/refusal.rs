use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::policy::Level;
use crate::error_response::{ErrorFormat, Format};

/// A request that is shed.
#[derive(Clone, Debug)]
pub struct Refusal {
    level: Level,
    retry_after: Duration,
    pub(super) format: ErrorFormat,
}

impl Refusal {
    pub(super) fn new(level: Level, retry_after: Duration, format: ErrorFormat) -> Self {
        Self { level, retry_after, format }
    }

    /// How full memory is: [`Level::Critical`], or [`Level::High`] for a request of low priority.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// How long the client should wait, in whole seconds: as long as requests are shed for at a
    /// time.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// The layer's own response: 503 with `retry-after`, `cache-control: no-store`, `content-type`,
    /// `vary: accept`, and a body of one line; to gRPC 200, `grpc-status`, `grpc-message` and
    /// `grpc-retry-pushback-ms` in place of the status, `vary` and the body.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut response = self.format.write(status, "Service Unavailable", self, "");
        let seconds = HeaderValue::from(self.retry_after.as_secs());
        response.headers_mut().insert(RETRY_AFTER, seconds);
        if self.format.format == Format::Grpc {
            // Its clients heed this one (gRFC A6).
            let millis = HeaderValue::from(self.retry_after.as_secs().saturating_mul(1000));
            response.headers_mut().insert("grpc-retry-pushback-ms", millis);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// The value of the label `reason`.
    pub(super) fn reason(&self) -> &'static str {
        REASONS[usize::from(self.level == Level::Critical)]
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.retry_after.as_secs();
        write!(f, "The service is overloaded: try again in {seconds} seconds.")
    }
}

/// The values of the label `reason`.
pub(super) const REASONS: [&str; 2] = ["memory_high", "memory_critical"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json() {
        let refusal = Refusal::new(Level::Critical, Duration::from_secs(7), ErrorFormat::json());
        let response = refusal.to_response();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(response.body()).unwrap(),
            serde_json::json!({
                "type": "about:blank", "title": "Service Unavailable", "status": 503,
                "detail": "The service is overloaded: try again in 7 seconds.",
            })
        );
    }
}
