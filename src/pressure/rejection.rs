use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::policy::Level;
use crate::error_response::{ErrorFormat, Format};

/// A request that is shed, passed to the [`response`](super::PressureLayer::response) callback.
#[derive(Clone, Debug)]
#[doc(alias = "Refusal")]
pub struct PressureRejection {
    level: Level,
    retry_after: Duration,
    pub(super) format: ErrorFormat,
}

impl PressureRejection {
    pub(super) fn new(level: Level, retry_after: Duration, format: ErrorFormat) -> Self {
        Self { level, retry_after, format }
    }

    /// Returns the level at which the request is shed.
    ///
    /// The level is [`Level::High`] only for a request of [`Priority::Low`](super::Priority::Low).
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns the delay after which the client should retry, in whole seconds: the
    /// [`shed_duration`](super::PressureLayer::shed_duration).
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// Returns the default response.
    ///
    /// The response has status 503, the headers `retry-after`, `cache-control: no-store`,
    /// `content-type` and `vary: accept`, and a short body. For a gRPC call it has status 200, no
    /// body, and the headers `grpc-status`, `grpc-message` and `grpc-retry-pushback-ms` instead of
    /// `vary`.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut response = self.format.write(status, "Service Unavailable", self, "");
        let seconds = HeaderValue::from(self.retry_after.as_secs());
        response.headers_mut().insert(RETRY_AFTER, seconds);
        if self.format.format == Format::Grpc {
            // gRPC clients heed this header (gRFC A6), not `retry-after`.
            let millis = HeaderValue::from(self.retry_after.as_secs().saturating_mul(1000));
            response.headers_mut().insert("grpc-retry-pushback-ms", millis);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Returns the value of the label `reason`.
    pub(super) fn reason(&self) -> &'static str {
        REASONS[usize::from(self.level == Level::Critical)]
    }
}

impl fmt::Display for PressureRejection {
    // Does not mention memory: clients need not know the state of the server.
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
    fn problem_response_is_json() {
        let rejection =
            PressureRejection::new(Level::Critical, Duration::from_secs(7), ErrorFormat::json());
        let response = rejection.to_response();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(response.body()).unwrap(),
            serde_json::json!({
                "type": "about:blank", "title": "Service Unavailable", "status": 503,
                "detail": "The service is overloaded: try again in 7 seconds.",
            })
        );
    }
}
