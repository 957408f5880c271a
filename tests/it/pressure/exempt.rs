//! Requests that are never shed, and layers that shed none.

use std::time::Duration;

use tower_kit::pressure::{Level, Priority};

use super::{Memory, get, told};

#[tokio::test(start_paused = true)]
async fn usual_probes_are_not_shed() {
    let layer = Memory::new(950).layer().priority(|_| Priority::Low);
    let paths = "/health /healthz /healthz/ /health/live /health/ready /health/ready/ /health/started \
                 /health/liveness /health/readiness /live /livez /livez/ /ready /readyz /startupz \
                 /liveness /readiness /alive /up /ping /healthcheck /api/health /-/healthy /-/ready \
                 /actuator/health /actuator/health/ /actuator/health/liveness \
                 /actuator/health/readiness/disk /actuator/prometheus /q/health /q/health/live \
                 /q/health/group/db /q/metrics /metrics /metrics/ /readyz?verbose \
                 /grpc.health.v1.Health/Check /grpc.health.v1.Health/Watch";
    for path in paths.split_whitespace() {
        assert_eq!(get(&layer, path).await, 200, "{path}");
    }
    let others = "/ /healthy /uploads /pingpong /live/stream /ready/x /actuator /actuator/env \
                  /actuator/healthz /q /q/healthy /api/users /x/healthz //healthz /healthz//";
    for path in others.split_whitespace() {
        assert_eq!(get(&layer, path).await, 503, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn own_exempt_paths_add_to_the_default_ones() {
    let layer = Memory::new(950).layer().skip_paths(["/checkout"]).skip_paths(["/status/**"]);
    for path in ["/checkout", "/status", "/status/db", "/healthz", "/metrics"] {
        assert_eq!(get(&layer, path).await, 200, "{path}");
    }
    for path in ["/checkout/2", "/statuses", "/"] {
        assert_eq!(get(&layer, path).await, 503, "{path}");
    }
    let none = layer.clone().skip_paths([""; 0]);
    assert_eq!(get(&none, "/healthz").await, 200);
    let only = layer.skip_only_paths(["/checkout"]).skip_paths(["/live"]);
    assert_eq!((get(&only, "/checkout").await, get(&only, "/live").await), (200, 200));
    assert_eq!((get(&only, "/status").await, get(&only, "/healthz").await), (503, 503));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_watches_only_sheds_nothing() {
    let minute = Duration::from_secs(60);
    for before in [true, false] {
        let memory = Memory::new(500);
        let layer = memory.layer().priority(|_| Priority::Low);
        let layer = if before {
            layer.watch_only().shed_duration(minute)
        } else {
            layer.shed_duration(minute).watch_only()
        };
        let (layer, events) = told(layer);
        for used in [500, 850, 950, 1000, 1000, 500] {
            memory.set(used);
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(get(&layer, "/").await, 200, "{used}");
        }
        let levels: Vec<_> = events().into_iter().map(|(_, level, _)| level).collect();
        assert_eq!(levels, [Level::High, Level::Critical, Level::Normal]);
    }
}
