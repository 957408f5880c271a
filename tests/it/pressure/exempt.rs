//! Exempt paths.

use tower_kit::pressure::Priority;

use super::{Memory, get};

#[tokio::test(start_paused = true)]
async fn usual_probes_are_exempt() {
    let layer = Memory::new(950).layer().priority(|_| Priority::Low);
    let exempt = "/health /healthz /healthz/ /health/live /health/ready /health/ready/ /health/started \
                  /health/liveness /health/readiness /live /livez /livez/ /ready /readyz /startupz \
                  /liveness /readiness /alive /up /ping /healthcheck /api/health /-/healthy /-/ready \
                  /actuator/health /actuator/health/ /actuator/health/liveness \
                  /actuator/health/readiness/disk /actuator/prometheus /q/health /q/health/live \
                  /q/health/group/db /q/metrics /metrics /metrics/ /readyz?verbose \
                  /grpc.health.v1.Health/Check /grpc.health.v1.Health/Watch";
    for path in exempt.split_whitespace() {
        assert_eq!(get(&layer, path).await, 200, "{path}");
    }
    let others = "/ /healthy /health/records /upload /uploads /pingpong /live/stream /ready/x \
                  /actuator /actuator/env /actuator/healthz /q /q/healthy /api/users /x/healthz \
                  //healthz /healthz// /metrics/x";
    for path in others.split_whitespace() {
        assert_eq!(get(&layer, path).await, 503, "{path}");
    }
    assert_eq!(get(&layer.skip_only_paths([""; 0]), "/healthz").await, 503);
}

#[tokio::test(start_paused = true)]
async fn exempt_paths_are_added_or_replaced() {
    let layer = Memory::new(950).layer().skip_paths(["/checkout"]).skip_paths(["/status/**"]);
    for (path, status) in [
        ("/checkout", 200),
        ("/status", 200),
        ("/status/db", 200),
        ("/healthz", 200),
        ("/metrics", 200),
        ("/checkout/2", 503),
        ("/statuses", 503),
        ("/", 503),
    ] {
        assert_eq!(get(&layer, path).await, status, "{path}");
    }
    let unchanged = layer.clone().skip_paths([""; 0]);
    assert_eq!(get(&unchanged, "/healthz").await, 200);
    let replaced = layer.skip_only_paths(["/checkout"]).skip_paths(["/live"]);
    for (path, status) in [("/checkout", 200), ("/live", 200), ("/status", 503), ("/healthz", 503)]
    {
        assert_eq!(get(&replaced, path).await, status, "{path}");
    }
}
