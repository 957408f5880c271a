use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use tower::Layer;

use super::support::{Client, changing, fresh, layer, list};
use crate::support::{BoxBody, Server, full, h1_client, h2_client, soon};

#[tokio::test]
async fn deltas_pass_both_versions_of_http() {
    for (client, name) in [(h1_client(), "h1"), (h2_client(), "h2")] {
        let (service, _) = changing(|_, version| fresh(list(10_240, 3, version)));
        let server = Server::start(layer().layer(service)).await;
        let mut dictionary = Client::default();
        for version in 0..4 {
            let request: Request<BoxBody> =
                dictionary.request(&server.url("/items")).map(|()| full(""));
            let (head, body) = soon(client.request(request)).await.unwrap().into_parts();
            let bytes: Bytes = soon(body.collect()).await.unwrap().to_bytes();
            let response = http::Response::from_parts(head, full(bytes));
            let read = dictionary.read(response).await;
            assert_eq!(read.text, list(10_240, 3, version), "{name}");
            assert_eq!(read.is_delta(), version > 0, "{name}");
            assert_eq!(read.header("content-length"), Some(read.sent.to_string().as_str()));
        }
    }
}
