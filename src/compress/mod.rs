//! Compresses responses for clients that accept it: gzip at level 6, and br and zstd with their
//! features, unless the request has a header `x-no-compression`.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_kit::CompressLayer;
//!
//! let app: Router =
//!     Router::new().route("/", get(|| async { "a long text" })).layer(CompressLayer::new());
//! ```
//!
//! Levels, media types and the threshold can be set; a handler can decide for its own response:
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use tower_kit::compress::{Coding, CompressLayer, Hint};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = CompressLayer::new()
//!     .level(Coding::Gzip, 4)?
//!     .threshold(512)
//!     .media_type("application/vnd.sqlite3")?
//!     .only_if(|request, _response| !request.uri.path().starts_with("/raw/"));
//! let token = || async { (Extension(Hint::forbid()), "a secret beside what the client sent") };
//! let app: Router = Router::new().route("/token", get(token)).layer(layer);
//! # Ok(())
//! # }
//! ```
//!
//! # Codings
//!
//! | feature | codings | on |
//! |---|---|---|
//! | `compress` | `gzip`, `deflate`, in pure Rust (`flate2` over `zlib-rs`) | by default |
//! | `compress-libdeflate` | `gzip`, `deflate` of whole bodies, in C (`libdeflate`) | when `CompressLayer::libdeflate` asks for it |
//! | `compress-br` | `br` | by default, before gzip |
//! | `compress-zstd` | `zstd`, in C | by default, before br |
//!
//! Of the codings that `accept-encoding` names, the heaviest is sent (RFC 9110 §12.5.3), and of
//! several the first in the layer's order: zstd, br, gzip, deflate, unless
//! [`codings`](CompressLayer::codings) pins others. Identity is sent where it is the heaviest, and where
//! nothing fits. A malformed member refuses what it names (`gzip;q=0.0000, *` does not get gzip), and
//! of several members of one name a refusal counts. A client that refuses identity (`identity;q=0`)
//! gets its coding under the threshold too; one that accepts nothing at all gets identity, since the
//! response is there already and a 406 would help nobody.
//!
//! # Which responses
//!
//! Those whose media type is worth it: the types that the mime database calls compressible, which are
//! `text/*`, `+json`, `+xml`, `+yaml`, JSON and its sequences, JavaScript, YAML, CSV, protobuf,
//! WebAssembly, SVG, fonts that are not packed, and more. Never touched are those
//!
//! - with a `content-encoding`, `content-range`, or `cache-control: no-transform`;
//! - with a `transfer-encoding` other than `chunked`, or a `content-length` that cannot be read: the
//!   server refuses or sends them as it does without this layer;
//! - with status 1xx, 204, 205, 206 or 304, and 2xx to CONNECT;
//! - of gRPC, which compresses by itself, and those of size 0.
//!
//! A body under the threshold is not compressed, but says in `vary` that it could have been. Where
//! its size is not known, it is read ahead until the threshold is reached, it ends, or it pauses.
//!
//! # Headers
//!
//! | header | |
//! |---|---|
//! | `content-encoding` | the coding |
//! | `content-length` | exact for whole bodies, removed for streams, and where the service has set `transfer-encoding` |
//! | `vary` | gains `accept-encoding`, also where the response could have been compressed and was not |
//! | `etag` | a strong tag gets a suffix, see below |
//! | `accept-ranges`, `content-digest`, `repr-digest`, `digest`, `content-md5` | removed: they describe other bytes |
//! | `cache-control` | begins with `private` where the client has opted out of compression |
//!
//! The response to HEAD has the headers of the response to GET (RFC 9110 §9.3.2), but for
//! `content-length`, which is not known. Whether a body becomes smaller is not known either: it is
//! taken for one that does.
//!
//! # Entity tags
//!
//! A strong tag names bytes, and the compressed bytes are others than those that the service has
//! tagged. By default `"v1"` becomes `"v1--gzip"`, and in `if-match` and `if-none-match` the service
//! sees `"v1"` again, so that a client can make a change conditional on what it has read. In
//! `if-range` such a tag asks for a part of bytes that the service does not have: the request then
//! gets the whole. [`EtagMode`] has the alternatives: weak tags, as most servers send them, make every
//! `if-match` fail; tags that stay the same let clients and caches mix up the bytes of two codings.
//! Weak tags are true of every coding, and stay as they are.
//!
//! A 304 has the `vary` of the 200 and the tag that the client has named, or else the one that the
//! 200 would have (RFC 9110 §15.4.5). A `last-modified` is the same for all codings: a client that
//! resumes by `if-range` with a date has to compare the codings itself.
//!
//! # Caches
//!
//! `vary` names `accept-encoding` alone, since the CDNs of Google and Akamai store nothing whose
//! `vary` names more. What it does not name is the header by which a client opts out:
//!
//! - The response to a request that has opted out, and would have been compressed otherwise, is
//!   `private`, and has no `cdn-cache-control` or other header that would overrule that.
//! - The cache of this crate, outside of this layer, learns the header's name from the response, and
//!   gives a compressed entry to nobody who opts out.
//! - Another shared cache in front may give a client that opts out the compressed response that it
//!   has stored. Clients behind one should send `accept-encoding: identity` instead.
//!
//! A response that is sent uncompressed because all streams are in use, or a codec failed, is not
//! stored by the cache of this crate: the next one may be compressed again.
//!
//! # Streams
//!
//! A body of known size, up to 128 KiB, whose data is ready is compressed at once and sent with its
//! exact length; if it does not become smaller, it is sent as it is. All others are streams: a
//! stream takes in 64 KiB at most before it lets other tasks run, reads nothing ahead of the client,
//! and holds one frame of the service's and 8 KiB of its own.
//!
//! While the service has data ready, the codec takes it. When there is no more, what was written is
//! flushed after [`flush_after`](CompressLayer::flush_after), 10 ms by default: each flush costs
//! bytes, and the packets of one burst are better compressed together. Event streams
//! (`text/event-stream`) are flushed whenever the service pauses, so that each event leaves at once.
//!
//! A codec takes 380 KB for gzip, and at the default levels 4 MB for br and 2 MB for zstd: far more at
//! levels for files, up to 40 MB for br at 9 and 700 MB for zstd at 22. Clients choose how long a stream
//! is open. So at most 256 streams hold one ([`streams`](CompressLayer::streams)); further responses are
//! sent as they are. A stream in gzip or deflate that has been flushed and has nothing to do holds
//! no codec, but the last 8 KiB that it was given, with which it goes on later. Event streams
//! prefer these two codings, and never count against the 256; those in br and zstd, for clients that
//! take nothing else, have another 256 for themselves.
//!
//! With `CompressLayer::libdeflate`, bodies that are compressed at once go through libdeflate. Levels
//! are 1 to 9 as ever, but not alike to the byte. A thread keeps 0.7 MB for each coding and level of
//! these, and room for 128 KiB.
//!
//! br from 9 on and zstd from 19 on take 25 to 330 ms for a piece, which holds up other tasks: they
//! are for responses that a cache keeps.
//!
//! # Failures
//!
//! If the inner body fails, if it has fewer or more bytes than its `content-length` (or exact size
//! hint) has promised, or if a codec fails, the body ends with a [`BodyError`] and without the
//! coding's own end. The server then aborts the connection or resets the stream, so that neither a
//! client nor a cache takes the response for a complete one. The service's own errors pass untouched.
//!
//! # Secrets
//!
//! Where a page has both a secret and text from the request, its compressed size tells how alike
//! they are, and repeated requests find the secret byte by byte
//! ([BREACH](https://www.breachattack.com)). Forbid compression for such responses with
//! [`Hint::forbid`], or, where they are large, ask for random padding with [`Hint::pad`]: it makes
//! the attack longer, not impossible. The padding stands in the header of gzip as a file's name.
//!
//! # Metrics
//!
//! `http_compression_input_bytes_total{encoding}` and `http_compression_output_bytes_total{encoding}`
//! count bytes of compressed bodies, `http_compression_fallbacks_total{encoding}` responses that were
//! sent uncompressed because all streams were in use or a codec failed, and
//! `http_compression_failures_total{encoding}` codecs that failed: that takes a failing allocator.
//!
//! # Defaults
//!
//! | what | default | why |
//! |---|---|---|
//! | codings | zstd, br, gzip, deflate | all whose feature is on; where a client likes several equally, in this order |
//! | level | gzip, deflate 6; br 4; zstd 3 | 6 is zlib's own; the others are about as fast |
//! | threshold | 1,024 bytes | below that a packet is saved rarely, and time never |
//! | [`streams`](CompressLayer::streams) at a time | 256 | with gzip, 100 MB; clients choose how many and how long |
//! | [`flush_after`](CompressLayer::flush_after) | 10 ms | longer than the gaps within a burst, too short to be seen |
//! | [`etags`](CompressLayer::etags) | [`EtagMode::Suffix`] | the only mode in which both `if-match` and caches work |
//! | opt-out | `x-no-compression` | the header that Express services look for |
//!
//! # Placement
//!
//! Innermost, inside of a cache, so that the cache keeps what is compressed already.

mod accept;
mod body;
#[cfg(feature = "compress-br")]
mod brotli;
mod codec;
mod coding;
mod deflate;
mod error;
mod etag;
mod head;
mod hint;
mod layer;
#[cfg(feature = "compress-libdeflate")]
mod libdeflate;
mod media;
mod peekable;
mod policy;
mod pool;
mod resumable;
mod service;
mod stream;
mod sync;
mod tally;
#[cfg(feature = "compress-zstd")]
mod zstd;

pub use body::ResponseBody;
pub use coding::{Coding, InvalidLevel};
pub use error::BodyError;
pub use etag::EtagMode;
pub use hint::Hint;
pub use layer::CompressLayer;
pub use service::{Compress, Squeeze};
