//! Clients that know whether a response was complete, and one of HTTP/1 by hand.

use std::io;
use std::net::SocketAddr;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::codings::decode;
use super::h2;
use super::story::{Ask, Protocol, Upload};
use crate::support::soon;

/// A response as its client has seen it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// `None` if the connection ended, or the stream was reset, before a response began.
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
    pub(super) end: End,
    /// Bytes that the server sent on the connection after the message.
    pub(super) surplus: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    /// Ended by the end of the connection, which does not tell a complete body from a cut one.
    Closed,
    Aborted(String),
}

impl Seen {
    pub(super) fn nothing(why: &impl ToString) -> Self {
        Self {
            status: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
            trailers: HeaderMap::new(),
            end: End::Aborted(why.to_string()),
            surplus: 0,
        }
    }

    /// Returns `true` if the client takes this for a complete message.
    pub(super) fn is_complete(&self) -> bool {
        !matches!(self.end, End::Aborted(_))
    }

    pub(super) fn tag(&self) -> Option<&HeaderValue> {
        self.headers.get(ETAG)
    }

    /// The value of a header, of all its lines.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        let lines = self.headers.get_all(name).iter();
        lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect()
    }

    /// The body without the coding that `plain` does not have.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not a complete one of its coding.
    pub(super) fn decoded(&self, plain: &Self) -> Result<Vec<u8>, String> {
        let coding = self.values(CONTENT_ENCODING.as_str());
        let is_empty = self.body.is_empty();
        if coding == plain.values(CONTENT_ENCODING.as_str()) || coding.is_empty() || is_empty {
            return Ok(self.body.clone());
        }
        decode(&coding.join(", "), &self.body)
    }
}

/// Sends a request on a connection of its own, and reads all of the response.
pub(super) async fn send(
    addr: SocketAddr,
    path: &str,
    ask: &Ask,
    tag: Option<&HeaderValue>,
) -> Seen {
    let sent = async {
        match ask.protocol {
            Protocol::Http10 | Protocol::Http11 => h1(addr, path, ask, tag).await,
            Protocol::Http2 => h2::send(addr, path, ask, tag).await,
        }
    };
    soon(sent).await
}

pub(super) async fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn h1(addr: SocketAddr, path: &str, ask: &Ask, tag: Option<&HeaderValue>) -> Seen {
    let mut stream = connect(addr).await;
    let version = if ask.protocol == Protocol::Http10 { "1.0" } else { "1.1" };
    let target = if ask.absolute_form { format!("http://{addr}{path}") } else { path.to_owned() };
    let mut head = format!("{} {target} HTTP/{version}\r\nhost: {addr}\r\n", ask.method);
    for (name, value) in &ask.headers(tag) {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let (framing, body) = ask.upload.map_or_else(Default::default, h1_upload);
    head += &framing;
    head += "\r\n";
    let mut received = Received::new(ask);
    // A server that has responded already may have closed the connection.
    let sent = async {
        stream.write_all(head.as_bytes()).await?;
        if ask.upload.is_some_and(|upload| upload.expects_continue) {
            received.until_head(&mut stream).await?;
        }
        if !received.has_final_head() {
            stream.write_all(&body).await?;
        }
        io::Result::Ok(())
    };
    drop(sent.await);
    received.finish(stream).await
}

fn h1_upload(upload: Upload) -> (String, Vec<u8>) {
    let data = vec![b'u'; upload.len];
    let expect =
        if upload.expects_continue { format!("{EXPECT}: 100-continue\r\n") } else { String::new() };
    if !upload.chunked {
        return (format!("{expect}{CONTENT_LENGTH}: {}\r\n", upload.len), data);
    }
    let mut chunks = Vec::new();
    for chunk in data.chunks(1_000) {
        chunks.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    (format!("{expect}{TRANSFER_ENCODING}: chunked\r\n"), chunks)
}

/// Bytes that were read from an HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Received {
    method: Method,
    keeps_chunks: bool,
    bytes: Vec<u8>,
    /// The start of the body, and its framing.
    head: Option<(usize, StatusCode, HeaderMap, Framing)>,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunked,
    Closed,
}

/// A body, its trailers, and where it ends.
type Message = (Vec<u8>, HeaderMap, usize);

impl Received {
    pub(super) fn new(ask: &Ask) -> Self {
        let keeps_chunks = ask.protocol == Protocol::Http10;
        Self { method: ask.method.clone(), keeps_chunks, bytes: Vec::new(), head: None }
    }

    fn has_final_head(&self) -> bool {
        self.head.is_some()
    }

    /// Reads until a head is there, which may be one of `100 Continue`.
    async fn until_head(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while !self.bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Ok(());
            }
        }
        self.parse_head();
        Ok(())
    }

    /// Reads the response, and whatever follows until the server closes the connection.
    async fn finish(mut self, mut stream: TcpStream) -> Seen {
        let message = self.fill(&mut stream).await;
        if matches!(message, Ok(Some(_))) {
            // The server closes a connection whose client does.
            drop(stream.shutdown().await);
            while stream.read_buf(&mut self.bytes).await.is_ok_and(|read| read > 0) {}
        }
        self.seen(message)
    }

    /// Reads the response.
    pub(super) async fn read(mut self, stream: &mut (impl AsyncRead + Unpin)) -> Seen {
        let message = self.fill(stream).await;
        self.seen(message)
    }

    /// `None` if the connection ends first.
    async fn fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Message>, String> {
        loop {
            if let Some(message) = self.message()? {
                return Ok(Some(message));
            }
            let read = stream.read_buf(&mut self.bytes).await;
            if read.map_err(|error| error.to_string())? == 0 {
                return Ok(None);
            }
        }
    }

    fn seen(self, message: Result<Option<Message>, String>) -> Seen {
        let Some((at, status, headers, framing)) = self.head else {
            return Seen::nothing(&message.err().unwrap_or_else(|| "closed before a head".into()));
        };
        let rest = || (self.bytes[at..].to_vec(), HeaderMap::new());
        let ((body, trailers), end, surplus) = match (message, framing) {
            (Err(error), _) => (rest(), End::Aborted(error), 0),
            (Ok(Some((body, trailers, at))), _) => {
                ((body, trailers), End::Complete, self.bytes.len() - at)
            }
            (Ok(None), Framing::Closed) => (rest(), End::Closed, 0),
            (Ok(None), _) => (rest(), End::Aborted("closed within the body".into()), 0),
        };
        Seen { status: Some(status.as_u16()), headers, body, trailers, end, surplus }
    }

    /// The message, if it is complete and its end does not depend on the connection's.
    fn message(&mut self) -> Result<Option<Message>, String> {
        self.parse_head();
        let Some((at, _, _, framing)) = &self.head else { return Ok(None) };
        match *framing {
            Framing::Length(len) if self.bytes.len() >= at + len => {
                Ok(Some((self.bytes[*at..at + len].to_vec(), HeaderMap::new(), at + len)))
            }
            Framing::Length(_) | Framing::Closed => Ok(None),
            Framing::Chunked => chunked(&self.bytes, *at),
        }
    }

    fn parse_head(&mut self) {
        while self.head.is_none() {
            let end = self.bytes.windows(4).position(|window| window == b"\r\n\r\n");
            let Some(end) = end else { return };
            let (status, headers) = parse_head(&self.bytes[..end]);
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                self.bytes.drain(..end + 4);
                continue;
            }
            let framing = self.framing(status, &headers);
            self.head = Some((end + 4, status, headers, framing));
        }
    }

    /// RFC 9112 §6.3.
    fn framing(&self, status: StatusCode, headers: &HeaderMap) -> Framing {
        let bodiless = self.method == Method::HEAD || [204, 304].contains(&status.as_u16());
        if bodiless {
            return Framing::Length(0);
        }
        if headers.contains_key(TRANSFER_ENCODING) && !self.keeps_chunks {
            return Framing::Chunked;
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        length.and_then(|length| length.parse().ok()).map_or(Framing::Closed, Framing::Length)
    }
}

fn parse_head(head: &[u8]) -> (StatusCode, HeaderMap) {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status line"), parse_fields(lines))
}

fn parse_fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let at = line.iter().position(|byte| *byte == b':').expect("a colon");
        let name = HeaderName::from_bytes(&line[..at]).unwrap();
        headers.append(name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).unwrap());
    }
    headers
}

/// RFC 9112 §7.1; `None` if more is to come.
fn chunked(bytes: &[u8], mut at: usize) -> Result<Option<Message>, String> {
    let mut body = Vec::new();
    loop {
        let Some(end) = line_end(bytes, at) else { return Ok(None) };
        let size = String::from_utf8_lossy(&bytes[at..end]).into_owned();
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("a chunk of {size:?}"))?;
        at = end + 2;
        if size == 0 {
            break;
        }
        let Some(data) = bytes.get(at..at + size) else { return Ok(None) };
        body.extend_from_slice(data);
        at += size + 2;
    }
    let mut lines = Vec::new();
    loop {
        let Some(end) = line_end(bytes, at) else { return Ok(None) };
        let line = &bytes[at..end];
        at = end + 2;
        if line.is_empty() {
            return Ok(Some((body, parse_fields(lines.into_iter()), at)));
        }
        lines.push(line);
    }
}

fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(2).position(|window| window == b"\r\n").map(|at| from + at)
}
