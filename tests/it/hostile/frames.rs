//! HTTP/2 written by hand (RFC 9113), with nothing of what a client has to keep to.

use super::rig::{Target, Victim};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The preface of a client.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The identifier of `INITIAL_WINDOW_SIZE`.
pub(super) const WINDOW: u16 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let values = values
        .iter()
        .flat_map(|(name, value)| name.to_be_bytes().into_iter().chain(value.to_be_bytes()));
    frame(SETTINGS, 0, 0, &values.collect::<Vec<_>>())
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    // CANCEL.
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Makes room for so many bytes; on stream 0, on the connection.
pub(super) fn window(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A field as a literal that is not indexed (RFC 7541 §6.2.2).
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        field.extend(integer(0, 7, text.len()));
        field.extend(text.as_bytes());
    }
    field
}

/// An integer behind the upper bits of its first byte (RFC 7541 §5.1).
pub(super) fn integer(upper: u8, bits: u8, value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![upper | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![upper | u8::try_from(most).unwrap()];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// The fields of a request, by the static table: `:method` GET or POST, `:scheme` http.
pub(super) fn head(method: &str, path: &str) -> Vec<u8> {
    let mut head = vec![if method == "POST" { 0x83 } else { 0x82 }, 0x86];
    head.push(0x04);
    head.extend(integer(0, 7, path.len()));
    head.extend(path.as_bytes());
    head.extend([0x01, 1, b'a']);
    head
}

/// A request without a body.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path))
}

/// The numbers of a client's streams.
pub(super) fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// A frame of the server's: its kind, its flags, its stream, and its payload.
pub(super) type Frame = (u8, u8, u32, Vec<u8>);

impl Target {
    /// A connection over which the preface and these settings have gone.
    pub(super) async fn connect_h2(&self, values: &[(u16, u32)]) -> Victim {
        let mut victim = self.connect().await;
        victim.send([PREFACE, &settings(values)].concat()).await;
        victim
    }
}

impl Victim {
    /// The next frame, or none where the server has ended the connection.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.read(9).await.try_into().ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.read(length as usize).await;
        (payload.len() == length as usize).then_some((head[3], head[4], stream, payload))
    }

    /// Reads until the server ends the connection; with which code it says so, if it does.
    pub(super) async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some((kind, _, _, payload)) = self.frame().await {
            if kind == GOAWAY {
                code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        code
    }

    /// Reads up to a frame of this kind on this stream.
    pub(super) async fn until(&mut self, kind: u8, stream: u32) -> Vec<u8> {
        loop {
            let (found, _, of, payload) = self.frame().await.expect("the connection stays");
            if (found, of) == (kind, stream) {
                return payload;
            }
        }
    }
}
