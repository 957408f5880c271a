//! The example as a process, and the same layers around a service that fails.

use std::pin::Pin;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, yield_now};
use tokio_stream::Stream;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_kit::cache::MemoryStore;
use tower_kit::limit::Size;
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer};

mod support;
use support::{Program, soon, sum};

const COUNT: &str = "http_request_duration_seconds_count";
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

async fn channel(url: String) -> Channel {
    soon(Channel::from_shared(url).unwrap().connect()).await.unwrap()
}

fn of(service: impl Into<String>) -> tonic::Request<HealthCheckRequest> {
    tonic::Request::new(HealthCheckRequest { service: service.into() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn grpc_calls_and_streams_pass_every_layer() {
    let program = Program::start();
    let channel = channel(program.url("")).await;
    let mut client = HealthClient::new(channel.clone());

    // What a browser would say changes nothing.
    let mut check = of("");
    check.metadata_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let answer = soon(client.check(check)).await.unwrap();
    assert_eq!(answer.get_ref().status, SERVING);
    assert_eq!(answer.metadata().get("content-encoding"), None);
    assert_eq!(answer.metadata().get("cache-status").unwrap(), "tower-kit; fwd=method");
    assert_eq!(answer.metadata().get("x-content-type-options").unwrap(), "nosniff");

    // Messages that tonic compresses, both ways.
    let mut gzip = HealthClient::new(channel)
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let answer = soon(gzip.check(of(""))).await.unwrap();
    assert_eq!(answer.get_ref().status, SERVING);
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.metadata().get("content-encoding"), None);

    // Larger than any default of the layers, and than tonic's own.
    let unknown = soon(client.check(of("x".repeat(3 << 20)))).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "service not registered"));
    let large = soon(client.check(of("x".repeat(5 << 20)))).await.unwrap_err();
    assert_eq!(large.code(), Code::OutOfRange, "{large}");

    let mut watch = soon(client.watch(of(""))).await.unwrap().into_inner();
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status, SERVING);
    for (labels, count) in [
        (&[("route", "/grpc.health.v1.Health/Check"), ("outcome", "ok")], 4.0),
        // Not before it ends.
        (&[("route", "/grpc.health.v1.Health/Watch"), ("outcome", "ok")], 0.0),
    ] {
        assert_eq!(program.metric(COUNT, labels).await, count, "{labels:?}");
    }
    let passed = [("outcome", "bypass"), ("reason", "method")];
    assert_eq!(program.metric("http_cache_requests_total", &passed).await, 5.0);
    for name in ["http_cache_entries", "http_requests_rejected_total"] {
        assert_eq!(program.metric(name, &[]).await, 0.0, "{name}");
    }
    // The watch, and the one that asks.
    assert_eq!(program.metric("http_requests_in_flight", &[]).await, 2.0);

    program.terminate();
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status, NOT_SERVING);
    drop((watch, client, gzip));
    assert!(program.ended().success());
}

/// A service whose streams break off.
struct Breaks;

type Statuses = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Breaks {
    type WatchStream = Statuses;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        Err(Status::with_details(Code::Aborted, request.into_inner().service, "why".into()))
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Statuses>, Status> {
        let broken = Status::with_details(Code::DataLoss, "it broke", "why".into());
        let all = [Ok(HealthCheckResponse { status: SERVING }), Err(broken)];
        Ok(tonic::Response::new(Box::pin(tokio_stream::iter(all))))
    }
}

#[tokio::test]
async fn grpc_statuses_pass_every_layer() {
    for limit in [Size::UNLIMITED, Size::new(100)] {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let recorder = Arc::new(recorder);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let limits = LimitLayer::new().recorder(recorder.clone());
        let server = Server::builder()
            .layer((
                LatencyLayer::new().recorder(recorder).route_templates([
                    "/grpc.health.v1.Health/Check",
                    "/grpc.health.v1.Health/Watch",
                ]),
                SecurityHeadersLayer::new(),
                limits.media_type("application/grpc", limit).unwrap(),
                CacheLayer::new(MemoryStore::new(MIB)),
                CompressLayer::new(),
            ))
            .add_service(HealthServer::new(Breaks));
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let mut client = HealthClient::new(channel(format!("http://{addr}")).await);

        let alone = soon(client.check(of("a reason"))).await.unwrap_err();
        assert_eq!((alone.code(), alone.message()), (Code::Aborted, "a reason"));
        assert_eq!(alone.details(), b"why");
        let mut watch = soon(client.watch(of(""))).await.unwrap().into_inner();
        assert_eq!(soon(watch.message()).await.unwrap().unwrap().status, SERVING);
        let broken = soon(watch.message()).await.unwrap_err();
        assert_eq!((broken.code(), broken.message()), (Code::DataLoss, "it broke"));
        assert_eq!(broken.details(), b"why");

        let limited = limit != Size::UNLIMITED;
        // The second time, most of the message is still to come when the answer is there.
        let sizes = if limited { [200, 1 << 20] } else { [200, 300] };
        for size in sizes {
            let long = soon(client.check(of("x".repeat(size)))).await.unwrap_err();
            let expected = if limited {
                (Code::ResourceExhausted, "The request body is larger than 100 bytes.".to_owned())
            } else {
                (Code::Aborted, "x".repeat(size))
            };
            assert_eq!((long.code(), long.message().to_owned()), expected);
        }
        let counted = |name, label| sum(&metrics.render(), name, &[label]);
        let refused = counted("http_requests_rejected_total", ("layer", "limit"));
        assert_eq!(refused, if limited { 2.0 } else { 0.0 });

        let all = async {
            while sum(&metrics.render(), COUNT, &[]) < 4.0 {
                yield_now().await;
            }
        };
        soon(all).await;
        assert_eq!(counted(COUNT, ("route", "/grpc.health.v1.Health/Check")), 3.0);
        assert_eq!(counted(COUNT, ("route", "/grpc.health.v1.Health/Watch")), 1.0);
    }
}
