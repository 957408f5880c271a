//! A refusal is seen by its client, also by one that is still sending.

use std::net::SocketAddr;

use http::Request;
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::AsyncWriteExt;
use tower_kit::KIB;

use super::client::{End, Received, Seen, connect};
use super::stacks::{ALL, Boxed, Kind, Layered, Stack, from_fn};
use super::story::{Ask, Protocol};
use super::{check, h2, runtime};
use crate::support::{BoxError, Scripted, boxed, data, full, soon};

#[test]
fn refusals_reach_clients_that_still_send() {
    let runtime = runtime();
    let start = |stack: &Stack| runtime.block_on(Layered::start(stack, reader()));
    let servers = STACKS.iter().map(start).collect::<Vec<_>>();
    let strategy = (uploads(), 0..servers.len());
    check(100, &strategy, |(upload, stack)| {
        let server = &servers[stack];
        if !upload.refusal.is_made_by(server) {
            return Ok(());
        }
        let seen = runtime.block_on(async {
            if server.has(Kind::Pressure) {
                let short = upload.refusal == Refusal::Shed;
                server.parts.set_short(&server.server, short).await;
            }
            upload.send(server.server.addr).await
        });
        let seen = seen.map_err(|error| format!("{:?}: {error}", server.stack))?;
        let length = seen.values("content-length").join(",");
        let whole = seen.end == End::Complete && length == seen.body.len().to_string();
        if seen.status == Some(upload.refusal.status()) && whole && !seen.body.is_empty() {
            return Ok(());
        }
        Err(format!("{:?}: {seen:#?}", server.stack))
    });
}

/// A request that is refused, and how its client sends it.
#[derive(Clone, Copy, Debug)]
struct Refused {
    refusal: Refusal,
    protocol: Protocol,
    len: usize,
    is_declared: bool,
    reads_along: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BodyTooLarge,
    TargetTooLong,
    HeadersTooLarge,
    Shed,
}

impl Refusal {
    fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::HeadersTooLarge => 431,
            Self::Shed => 503,
        }
    }

    fn is_made_by(self, server: &Layered) -> bool {
        server.has(if self == Self::Shed { Kind::Pressure } else { Kind::Limit })
    }
}

impl Refused {
    fn target(self) -> String {
        let len = if self.refusal == Refusal::TargetTooLong { 9_000 } else { 10 };
        format!("/{}", "t".repeat(len))
    }

    /// Header sections over a limit of the layer are under those of hyper: it takes 100 lines over
    /// HTTP/1, and 16 KiB over HTTP/2.
    fn fields(self) -> Vec<(String, String)> {
        let (count, len) = match (self.refusal, self.protocol) {
            (Refusal::HeadersTooLarge, Protocol::Http2) => (110, 1),
            (Refusal::HeadersTooLarge, _) => (80, 240),
            _ => (0, 0),
        };
        let mut fields = vec![("content-type".into(), "application/json".into())];
        fields.extend((0..count).map(|number| (format!("x-{number}"), "v".repeat(len))));
        fields
    }

    async fn send(self, addr: SocketAddr) -> Result<Seen, String> {
        match self.protocol {
            Protocol::Http2 => Ok(soon(self.h2(addr)).await),
            Protocol::Http10 | Protocol::Http11 => soon(self.h1(addr)).await,
        }
    }

    async fn h2(self, addr: SocketAddr) -> Seen {
        let body = if self.is_declared {
            full(vec![b'u'; self.len])
        } else {
            let pieces = (0..self.len / PIECE).map(|_| data::<BoxError>(PIECE));
            boxed(Scripted::new(pieces.collect::<Vec<_>>()))
        };
        let mut request = Request::post(format!("http://{addr}{}", self.target()));
        for (name, value) in self.fields() {
            request = request.header(name, value);
        }
        h2::send_request(addr, request.body(body).unwrap()).await
    }

    async fn h1(self, addr: SocketAddr) -> Result<Seen, String> {
        let stream = connect(addr).await;
        let mut head = format!("POST {} HTTP/1.1\r\nhost: {addr}\r\n", self.target());
        for (name, value) in self.fields() {
            head += &format!("{name}: {value}\r\n");
        }
        head += &if self.is_declared {
            format!("content-length: {}\r\n\r\n", self.len)
        } else {
            "transfer-encoding: chunked\r\n\r\n".to_owned()
        };
        let (mut reads, mut writes) = stream.into_split();
        let write = async {
            writes.write_all(head.as_bytes()).await?;
            let piece = "u".repeat(PIECE);
            for _ in 0..self.len / PIECE {
                let chunk = format!("{PIECE:x}\r\n{piece}\r\n");
                let piece = if self.is_declared { &piece } else { &chunk };
                writes.write_all(piece.as_bytes()).await?;
            }
            if !self.is_declared {
                writes.write_all(b"0\r\n\r\n").await?;
            }
            std::io::Result::Ok(())
        };
        let received = Received::new(&Ask::get());
        if !self.reads_along {
            write.await.map_err(|error| format!("while sending: {error}"))?;
            return Ok(received.read(&mut reads).await);
        }
        // As `fetch` of Node.js: it fails if either does.
        let read = received.read(&mut reads);
        let (wrote, seen) = tokio::join!(write, read);
        wrote.map_err(|error| format!("while sending and reading: {error}"))?;
        Ok(seen)
    }
}

/// A service that reads its request to the end.
fn reader() -> Boxed {
    from_fn(|request| async {
        let read = request.into_body().collect().await?.to_bytes().len();
        Ok(http::Response::new(full(read.to_string())))
    })
}

fn uploads() -> impl Strategy<Value = Refused> {
    let refusal = select(vec![
        Refusal::BodyTooLarge,
        Refusal::TargetTooLong,
        Refusal::HeadersTooLarge,
        Refusal::Shed,
    ]);
    let kib = KIB as usize;
    let declared = select(vec![20 * kib, 100 * kib, 2_048 * kib, 8_192 * kib]);
    // Twice the limit is read of a body whose length is not known.
    let sizes = prop_oneof![
        3 => declared.prop_map(|len| (len, true)),
        1 => select(vec![11 * kib, 15 * kib]).prop_map(|len| (len, false)),
    ];
    let protocol = select(vec![Protocol::Http11, Protocol::Http2]);
    (refusal, protocol, sizes, any::<bool>()).prop_map(
        |(refusal, protocol, (len, is_declared), reads_along)| Refused {
            refusal,
            protocol,
            len,
            is_declared,
            reads_along,
        },
    )
}

const STACKS: [Stack; 7] = [
    &[Kind::Limit],
    &[Kind::Pressure],
    &[Kind::Cache, Kind::Limit],
    &[Kind::Limit, Kind::Cache],
    &[Kind::Cache, Kind::Pressure],
    &[Kind::Pressure, Kind::Cache],
    &ALL,
];

/// The bytes that a client sends at once.
const PIECE: usize = 1_024;
