//! Compresses response bodies with gzip, deflate, Brotli or Zstandard for clients that accept them.
//!
//! Use [`CompressLayer`] over any hyper-based service whose responses are text, JSON or event
//! streams, and that no proxy in front compresses already.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_kit::CompressLayer;
//!
//! let app: Router =
//!     Router::new().route("/", get(|| async { "a long text" })).layer(CompressLayer::new());
//! ```
//!
//! Levels, the threshold and the media types can be set, and a handler can decide for its own
//! response:
//!
//! ```
//! use axum::{Extension, Router, routing::get};
//! use tower_kit::compress::{CompressHint, CompressLayer, Encoding};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = CompressLayer::new()
//!     .level(Encoding::Gzip, 4)?
//!     .threshold(512)
//!     .media_type("application/vnd.sqlite3")?
//!     .only_if(|request, _response| !request.uri.path().starts_with("/raw/"));
//! let token = || async { (Extension(CompressHint::forbid()), "a secret beside user input") };
//! let app: Router = Router::new().route("/token", get(token)).layer(layer);
//! # Ok(())
//! # }
//! ```
//!
//! # Behavior
//!
//! ## Encodings
//!
//! | feature | encodings | used |
//! |---|---|---|
//! | `compress` | `gzip`, `deflate`, in Rust (`flate2` with `zlib-rs`) | by default |
//! | `compress-br` | `br`, in Rust | by default, before gzip |
//! | `compress-zstd` | `zstd`, in C | by default, before br |
//! | `compress-libdeflate` | `gzip`, `deflate` for whole bodies, in C | with `CompressLayer::libdeflate` |
//! | `compress-dictionary` | `dcz`, zstd with an earlier response as the dictionary, in C | with `CompressLayer::dictionaries` |
//!
//! The layer chooses the encoding with the highest weight in `accept-encoding` (RFC 9110 §12.5.3),
//! and among equals the first of [`encodings`](CompressLayer::encodings). A response stays
//! uncompressed if `identity` has the highest weight, or if the client accepts no encoding of the
//! layer; the layer never responds with 406. If the client refuses identity (`identity;q=0`),
//! bodies under the threshold are compressed too. A malformed member, such as `br;q=x`,
//! refuses the encoding that it names.
//!
//! ## Eligible responses
//!
//! A response is compressed if its media type compresses well: `text/*`, `+json`, `+xml`, `+yaml`,
//! and the types that the mime database lists, such as JSON, JavaScript, CSV, protobuf,
//! WebAssembly, SVG and unpacked fonts. [`media_type`](CompressLayer::media_type),
//! [`skip_media_type`](CompressLayer::skip_media_type) and
//! [`media_type_if`](CompressLayer::media_type_if) change the list, and
//! [`only_if`](CompressLayer::only_if) and [`CompressHint`] select single responses.
//!
//! The layer never compresses a response
//!
//! - with `content-encoding`, `content-range` or `cache-control: no-transform`;
//! - with a `transfer-encoding` other than `chunked`, or an invalid `content-length`;
//! - with status 1xx, 204, 205, 206 or 304, or 2xx to CONNECT;
//! - of gRPC, which compresses its messages, or without a body.
//!
//! ## Headers
//!
//! | header | change |
//! |---|---|
//! | `content-encoding` | the encoding |
//! | `content-length` | exact for whole bodies, removed for streams and beside `transfer-encoding` |
//! | `vary` | gains `accept-encoding`, also if only this request or the size left an eligible response uncompressed |
//! | `etag` | a strong tag gets a suffix, as [`EtagMode`] describes |
//! | `accept-ranges`, `content-digest`, `repr-digest`, `digest`, `content-md5` | removed, since they describe the uncompressed bytes |
//! | `cache-control` | begins with `private` if the response is uncompressed because the client opted out |
//!
//! The response to HEAD has the headers of the response to GET (RFC 9110 §9.3.2), but no
//! `content-length`. A 304 has the `vary` and the entity tag of the 200 (RFC 9110 §15.4.5). A
//! `last-modified` is the same in all encodings: a client that resumes a download by `if-range`
//! with a date has to compare the encodings itself.
//!
//! ## Whole bodies and streams
//!
//! A body of known size, up to 128 KiB, whose data is ready is compressed in one go, and sent with
//! its exact length; if it does not become smaller, it is sent uncompressed. All other bodies are
//! streams. A stream is compressed as the client reads it, at most 64 KiB before other tasks run.
//! When the inner service has no more data ready, the stream is flushed after
//! [`flush_delay`](CompressLayer::flush_delay). An event stream (`text/event-stream`) is flushed at
//! once.
//!
//! A stream holds a codec: 380 KB for gzip, at the default levels 4 MB for br and 2 MB for zstd,
//! and far more at high levels. [`max_streams`](CompressLayer::max_streams) bounds their number. A
//! flushed gzip or deflate stream that waits for data holds none, only the last 8 KiB of its input.
//! Each thread keeps two codecs of each encoding and level for later responses (none of br).
//!
//! ## Caches
//!
//! `vary` names `accept-encoding` alone, since some CDNs store no response whose `vary` names more. With
//! dictionaries, it has to name `available-dictionary`, too.
//! So `vary` does not name the header that opts out ([`opt_out_header`](CompressLayer::opt_out_header)):
//!
//! - The response to a request that opts out, and would be compressed otherwise, is `private`, and
//!   loses `cdn-cache-control` and the like.
//! - The [cache](crate#the-stack) of this crate, outside this layer, learns the header from the
//!   response, and gives no compressed entry to a client that opts out.
//! - Another shared cache may give its compressed entry to a client that opts out. Clients behind
//!   such a cache should send `accept-encoding: identity` instead.
//!
//! ## Failures
//!
//! If the inner body fails or does not have the length that it declared, or if a codec fails, the
//! body ends with a [`CompressError`] and without the end marker of the encoding. The server aborts
//! the connection, or resets the stream, so that no client or cache takes the response for
//! complete. Errors of the inner service pass unchanged.
//!
//! ## Secrets
//!
//! If a page contains both a secret and text from the request, its compressed size tells how
//! similar they are, and repeated requests find the secret byte by byte
//! ([BREACH](https://www.breachattack.com)). Forbid compression of such responses with
//! [`CompressHint::forbid`]. For large ones, [`CompressHint::max_padding`] adds random bytes, which
//! make the attack longer, but not impossible.
//!
//! # Metrics
//!
//! | counter | counts |
//! |---|---|
//! | `http_compression_input_bytes_total{encoding}` | bytes of response bodies before compression |
//! | `http_compression_output_bytes_total{encoding}` | bytes of response bodies after compression |
//! | `http_compression_fallbacks_total{encoding}` | responses sent uncompressed because `max_streams` was reached or a codec failed |
//! | `http_compression_failures_total{encoding}` | codec failures, which take a failing allocator |
//!
//! # Defaults
//!
//! | setter | default | reason |
//! |---|---|---|
//! | [`encodings`](CompressLayer::encodings) | zstd, br, gzip, deflate | all whose feature is on, those that save the most for their time first |
//! | [`level`](CompressLayer::level) | gzip, deflate 6; br 4; zstd 3 | 6 is the default of zlib; the others are about as fast |
//! | [`threshold`](CompressLayer::threshold) | 1,024 bytes | a smaller body fits into a packet either way |
//! | [`max_streams`](CompressLayer::max_streams) | 256 | 100 MB for gzip; clients choose how long a stream is open |
//! | [`flush_delay`](CompressLayer::flush_delay) | 10 ms | longer than the gaps in a burst, too short to be noticed |
//! | [`etag_mode`](CompressLayer::etag_mode) | [`EtagMode::Suffix`] | the only mode in which both `if-match` and caches work |
//! | [`opt_out_header`](CompressLayer::opt_out_header) | `x-no-compression` | the header that Express services look for |
//!
//! # Placement in the stack
//!
//! Put the layer innermost, inside the cache: the cache then stores compressed responses, and a hit
//! costs no codec.
//!
//! # What it does not do
//!
//! - It does not decompress requests: [`LimitLayer`](crate#the-stack) does.
//! - It does not serve precompressed files.
//! - It does not store anything: slow levels need a cache outside it.

mod body;
#[cfg(feature = "compress-br")]
mod brotli;
mod codec;
mod deflate;
#[cfg(feature = "compress-dictionary")]
pub mod dictionary;
mod dictionary_source;
mod encoding;
mod envelope;
mod error;
mod etag;
mod future;
mod head;
mod hint;
mod layer;
#[cfg(feature = "compress-libdeflate")]
mod libdeflate;
mod media_types;
mod metrics;
mod peekable;
mod policy;
mod pool;
mod resumable;
mod service;
mod settings;
mod stream;
mod sync;
mod whole;
#[cfg(feature = "compress-zstd")]
mod zstd;

pub use body::ResponseBody;
pub use encoding::{Encoding, InvalidLevel};
pub use error::CompressError;
pub use etag::EtagMode;
pub use future::ResponseFuture;
pub use hint::CompressHint;
pub use layer::CompressLayer;
pub use service::Compress;
