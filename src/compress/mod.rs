//! Compresses responses: gzip at level 6, unless the request has a field `x-no-compression`.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_kit::CompressLayer;
//!
//! let app: Router =
//!     Router::new().route("/", get(|| async { "a long text" })).layer(CompressLayer::new());
//! ```
//!
//! Levels, media types and the threshold can be set; a handler can decide for its own answer:
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
//!     .when(|request, _response| !request.uri.path().starts_with("/raw/"));
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
//! | `compress-br` | `br` | when [`codings`](CompressLayer::codings) names it |
//! | `compress-zstd` | `zstd`, in C | when [`codings`](CompressLayer::codings) names it |
//!
//! Of what `accept-encoding` names the heaviest is sent (RFC 9110 §12.5.3), and of several the
//! first in the layer's order; identity is sent where it is the heaviest, and where nothing fits.
//! A malformed member is left out, the others count. A client that refuses identity (`identity;q=0`)
//! gets its coding under the threshold too; one that accepts nothing at all gets identity, since
//! the answer is there already and a 406 would help nobody.
//!
//! # Which responses
//!
//! All whose media type is worth it: what the mime database calls compressible, which is `text/*`,
//! `+json`, `+xml`, `+text`, JSON, JavaScript, WebAssembly, SVG, fonts that are not packed, and
//! more. Never touched are those
//!
//! - with a `content-encoding`, `content-range`, or `cache-control: no-transform`;
//! - with status 1xx, 204, 205, 206 or 304, and 2xx to CONNECT;
//! - of gRPC, which compresses by itself, and those of size 0;
//! - to HEAD, but for the head: see below.
//!
//! One whose known size is under the threshold is not compressed, but says that it could have been.
//!
//! # What changes in the head
//!
//! | field | |
//! |---|---|
//! | `content-encoding` | the coding |
//! | `content-length` | exact for whole bodies, removed for streams |
//! | `vary` | gains `accept-encoding`, also where the response could have been compressed and was not; where it is compressed, or the client opted out, also the field that opts out |
//! | `etag` | a strong tag becomes weak (RFC 9110 §8.8.1) |
//! | `accept-ranges`, `content-digest`, `repr-digest`, `digest`, `content-md5` | removed: they speak of other bytes |
//!
//! `If-None-Match` compares weakly (RFC 9110 §13.1.2), so a service that does it by the book finds
//! its own tag in the client's `W/"tag"`. Where it answers 304 with the strong tag, the weak one is
//! put in its place, since that is the one that the client has (RFC 9111 §4.3.4).
//!
//! The answer to HEAD has no body and so no coding, and says of all other fields what a GET would;
//! `content-length` is left out, since it is not known (RFC 9110 §8.6).
//!
//! Since a compressed response names `x-no-compression` in `vary`, a shared cache gives it to nobody
//! who opts out. Some caches (Akamai's) keep no answer whose `vary` names more than
//! `accept-encoding`: behind one, turn the field off by [`opt_out(None)`](CompressLayer::opt_out).
//!
//! # How
//!
//! A body of known size, up to 128 KiB, whose data is ready is compressed at once and sent with its
//! exact length; if it does not become smaller, it is sent as it is. All others are streams: while
//! the service has data ready, the codec takes it; when it has none, the codec is flushed, so that
//! each event leaves at once. A stream takes in 64 KiB at most before it lets other tasks run, reads nothing
//! ahead of the client, and holds one frame of the service's and 8 KiB of its own. A quarter
//! megabyte of codec goes back to its thread's pool when the stream is encoded, or dropped (but for
//! br, and for level 9 of gzip and deflate, whose codecs are made anew each time).
//!
//! With `CompressLayer::libdeflate`, bodies that are compressed at once go through libdeflate. On
//! JSON at level 6 it takes 30% less time at 1 KiB and up to 10% less from 10 KiB on, and 2% fewer
//! bytes come out at 100 KiB. Levels are 1 to 9 as ever, but not alike to the byte: against `zlib-rs`,
//! level 1 makes a quarter fewer bytes and takes up to a third longer, and 8 and 9 are slower from
//! 100 KiB on. A thread keeps 0.7 MB for each coding and level of these, and room for 128 KiB.
//!
//! Longest poll, measured on one core: 2 ms for 128 KiB at once and 1 ms for a stream at level 6 of
//! gzip; 3 ms and 1 ms at 4 of br. br from 9 on and zstd from 19 on take 25 to 330 ms, which holds up
//! other tasks: they are for answers that a cache keeps. A stream of gzip holds 380 KB from its
//! first byte to its last, one of br 0.5 to 5 MB. Clients can make that long: so there are 256
//! streams at a time, and further ones are sent as they are.
//!
//! If the service's body fails, the client gets the error, and no valid end of the coding; neither
//! does it get one if the body is shorter than it was said to be. The
//! body must be [`Unpin`], as those of hyper, axum and http-body-util are; box another one with
//! `BodyExt::boxed_unsync`.
//!
//! # Secrets
//!
//! Where a page has both a secret and text from the request, its compressed size tells how alike
//! they are, and repeated requests find the secret byte by byte
//! ([BREACH](https://www.breachattack.com)). Forbid compression for such answers with
//! [`Hint::forbid`], or, where they are large, ask for random padding with [`Hint::pad`]: it makes
//! the attack longer, not impossible. The padding stands in the header of gzip as a file's name.
//!
//! # Defaults
//!
//! | what | default | why |
//! |---|---|---|
//! | codings | gzip, deflate | every client has gzip; a feature adds a coding, it does not choose it |
//! | level | gzip, deflate 6; br 4; zstd 3 | 6 is zlib's own; the others are about as fast |
//! | threshold | 1,024 bytes | below that a packet is saved rarely, and time never |
//! | [`streams`](CompressLayer::streams) at a time | 256 | with gzip, 100 MB; clients choose how many and how long |
//! | opt-out | `x-no-compression` | what Express services look for |
//!
//! On JSON, `zlib-rs` makes level 1 much larger than 6, and level 9 slower and no smaller.
//!
//! # Where it goes
//!
//! Innermost, inside of a cache, so that the cache keeps what is compressed already.
//!
//! # Counters
//!
//! `http_compression_input_bytes_total{encoding}`, `http_compression_output_bytes_total{encoding}`,
//! and `http_compression_failures_total{encoding}` for bodies that were sent as they are, or cut,
//! because a codec failed: that takes a failing allocator.

mod accept;
mod ahead;
mod body;
#[cfg(feature = "compress-br")]
mod brotli;
mod codec;
mod coding;
mod deflate;
mod hint;
mod layer;
#[cfg(feature = "compress-libdeflate")]
mod libdeflate;
mod media;
mod policy;
mod pool;
mod service;
mod sync;
mod tally;
#[cfg(feature = "compress-zstd")]
mod zstd;

pub use body::ResponseBody;
pub use coding::{Coding, InvalidLevel};
pub use hint::Hint;
pub use layer::CompressLayer;
pub use service::{Compress, Squeeze};
