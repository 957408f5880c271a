//! The paths of requests that are never shed.

use std::borrow::Cow;

/// A path, or all paths below one: `/actuator/health/**`.
#[derive(Clone, Debug)]
pub(super) struct ExemptPath(Cow<'static, str>);

impl ExemptPath {
    pub(super) fn new(path: impl Into<Cow<'static, str>>) -> Self {
        Self(path.into())
    }

    /// Returns the paths of [`DEFAULT_EXEMPT`].
    pub(super) fn defaults() -> Vec<Self> {
        DEFAULT_EXEMPT.iter().copied().map(Self::new).collect()
    }

    /// Returns `true` for the path itself, with or without a trailing slash, and for all paths below
    /// it if it ends in `/**`.
    pub(super) fn matches(&self, path: &str) -> bool {
        let (prefix, below) = match self.0.strip_suffix("/**") {
            Some(prefix) => (prefix, true),
            None => (self.0.strip_suffix('/').unwrap_or(&self.0), false),
        };
        match path.strip_prefix(prefix) {
            // An empty exempt path matches nothing, not even `/`.
            Some("") => !path.is_empty(),
            Some("/") => below || !self.0.is_empty(),
            Some(rest) => below && rest.starts_with('/'),
            None => false,
        }
    }
}

/// The probe paths of Kubernetes, its ingresses and load balancers, Spring, Quarkus, Micronaut, .NET,
/// Rails, Prometheus and gRPC, and the usual paths of metrics.
///
/// A process that fails its liveness probe is restarted and loses all requests in progress.
const DEFAULT_EXEMPT: [&str; 36] = [
    "/health",
    "/healthz",
    "/health/live",
    "/health/liveness",
    "/health/ready",
    "/health/readiness",
    "/health/started",
    "/health/startup",
    "/healthcheck",
    "/health_check",
    "/health-check",
    "/_health",
    "/_healthz",
    "/api/health",
    "/api/healthz",
    "/live",
    "/livez",
    "/liveness",
    "/alive",
    "/ready",
    "/readyz",
    "/readiness",
    "/startup",
    "/startupz",
    "/up",
    "/ping",
    "/-/healthy",
    "/-/ready",
    "/-/live",
    "/actuator/health/**",
    "/q/health/**",
    "/metrics",
    "/q/metrics",
    "/actuator/prometheus",
    "/-/metrics",
    "/grpc.health.v1.Health/**",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_whole_or_below() {
        for (exempt, path, expected) in [
            ("/up", "/up", true),
            ("/up", "/up/", true),
            ("/up/", "/up", true),
            ("/up", "/up//", false),
            ("/up", "/upload", false),
            ("/up", "/up/x", false),
            ("/up", "/x/up", false),
            ("/up", "", false),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab", false),
            ("/a/**", "/b/a/c", false),
            ("/**", "/anything", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("", "/", false),
            ("", "", false),
            // A wildcard is `/**` at the end, and nothing else.
            ("/a**", "/ab", false),
            ("/a/*", "/a/b", false),
        ] {
            assert_eq!(ExemptPath::new(exempt).matches(path), expected, "{exempt} {path}");
        }
    }
}
