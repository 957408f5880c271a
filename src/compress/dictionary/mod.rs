//! Sends a returning client only what has changed: dictionaries for [`CompressLayer`] (RFC 9842).
//!
//! A client that has an earlier response offers it as a dictionary for the next one. The layer then
//! compresses the next response with it (`content-encoding: dcz`): of a list in which one item has
//! changed, little more than that item is sent, and compressed in a fraction of the time. Use it for
//! responses that clients fetch again and that change in part: lists that are polled, pages with one
//! frame. Chromium does its part by itself, for `fetch()`, too.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_kit::CompressLayer;
//! use tower_kit::compress::dictionary::Dictionaries;
//!
//! let list = || async { ([("cache-control", "max-age=60")], "a long list") };
//! let layer = CompressLayer::new().dictionaries(Dictionaries::new());
//! let app: Router = Router::new().route("/items", get(list)).layer(layer);
//! ```
//!
//! Pages of one shape can be dictionaries for each other, users can be told apart by other headers,
//! and a handler can decide for its own response with [`DictionaryHint`]:
//!
//! ```
//! use http::HeaderName;
//! use tower_kit::CompressLayer;
//! use tower_kit::compress::dictionary::Dictionaries;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dictionaries = Dictionaries::new()
//!     .pattern("/products/*")?
//!     .user_headers([HeaderName::from_static("x-api-key")])
//!     .max_bytes(64 * 1024 * 1024);
//! let layer = CompressLayer::new().dictionaries(dictionaries);
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! # The exchange
//!
//! ```text
//! client                                        layer
//!   │ GET /items                                  │
//!   │ accept-encoding: gzip, zstd                 │
//!   ├────────────────────────────────────────────►│
//!   │ 200, content-encoding: zstd                 │  keeps the list
//!   │ use-as-dictionary: match="/items"           │
//!   │ vary: accept-encoding, available-dictionary │
//!   │◄────────────────────────────────────────────┤
//!   │  keeps the list                             │
//!   ┆                                             ┆  one item changes
//!   │ GET /items                                  │
//!   │ accept-encoding: gzip, zstd, dcz            │
//!   │ available-dictionary: :SHA-256 of the list: │
//!   ├────────────────────────────────────────────►│  finds the list by its hash
//!   │ 200, content-encoding: dcz                  │  keeps the new list, too
//!   │ use-as-dictionary: match="/items"           │
//!   │◄────────────────────────────────────────────┤
//!   │  the new list = the old one + the body      │
//! ```
//!
//! # Behavior
//!
//! ## Dictionaries
//!
//! A response becomes a dictionary if the layer compresses it, its body has 256 bytes to 128 KiB and
//! is ready when the inner service responds, and the response
//!
//! - is a 200 to GET of a client whose `accept-encoding` names `zstd`: others never come back for a
//!   delta;
//! - may be used again by its client: `cache-control` has a positive `max-age` or
//!   `stale-while-revalidate`, and neither `no-cache`, nor `no-store`, nor an unknown directive. A
//!   client may offer a dictionary only that long (RFC 9842 §2.2.1);
//! - has no `set-cookie`, and no `use-as-dictionary` of the service;
//! - has no name in `vary` but those of [`user_headers`](Dictionaries::user_headers), `origin` and
//!   `accept` with its kin.
//!
//! A poll that must see each change asks past the browser's cache, by `fetch(url, { cache: "no-cache"
//! })`; or the response says `max-age=0, stale-while-revalidate=3600`.
//!
//! ## Deltas
//!
//! A response is compressed with a dictionary if the client offers one that the layer knows for the
//! same origin, pattern and user, and accepts `dcz` with at least the weight of the best other
//! encoding. Whole bodies have their exact length; if the body does not become smaller than it is,
//! another encoding is used. Streams and event streams are flushed as in other encodings. The level is
//! that of zstd. A response with `no-store` never has a dictionary, and a malformed, unknown or evicted
//! hash is as none.
//!
//! The strong entity tag of a delta ends in `--dcz`, as [`EtagMode`](super::EtagMode) describes.
//!
//! ## Safety
//!
//! - **Users.** A dictionary serves the user from whose response it comes: it is found only by requests
//!   with the same `authorization` and `cookie`, or other [`user_headers`](Dictionaries::user_headers).
//!   A response that says `cache-control: public` is the same for all users: it serves public responses
//!   to any of them, and no others.
//!   A user who guesses the page of another one, and offers its hash, gets the response as without a
//!   dictionary, and learns nothing. `private` responses need such a header. If users are told apart by
//!   something else, such as a client certificate, forbid dictionaries with [`DictionaryHint::forbid`].
//! - **Origins.** The host is a part of the key, and patterns are paths. A page of another origin
//!   (`sec-fetch-site`) gets no delta, not even with CORS.
//! - **BREACH.** The size of a delta tells how similar the response and the dictionary are. If a response
//!   has both a secret and text from the request, [`CompressHint::forbid`](super::CompressHint::forbid)
//!   forbids deltas, too, and padding uses gzip without a dictionary.
//! - **Memory.** The bodies and the prepared dictionaries are bounded in bytes and number. Those that
//!   clients use outlive a storm of new URLs. Clients decode with a window of at most 512 KiB.
//!
//! Hashes are not compared in constant time: they are no secrets, since a user finds only dictionaries
//! of responses that the same user got.
//!
//! ## Caches
//!
//! With the [cache](crate#the-stack) outside, the delta between two versions is made once, and stored
//! as a variant. If requests have cookies, say `public` in responses that are the same for all: only the
//! user of the request that the cache has forwarded gets deltas otherwise. Put [`filter`](Dictionaries::filter) outside of the cache: requests with unknown hashes
//! then get what is stored for clients without a dictionary. Without the filter, the cache stores
//! nothing for them, and the service answers each.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_kit::CompressLayer;
//! use tower_kit::compress::dictionary::Dictionaries;
//!
//! let dictionaries = Dictionaries::new();
//! let layers = ServiceBuilder::new()
//!     .layer(dictionaries.filter())
//!     // The cache goes here.
//!     .layer(CompressLayer::new().dictionaries(dictionaries));
//! # drop(layers);
//! ```
//!
//! Some CDNs store no response whose `vary` names more than `accept-encoding`.
//!
//! # Clients
//!
//! Chromium offers dictionaries over HTTPS and on localhost since version 130. Other browsers get other
//! encodings until they offer any. A program of your own keeps the decoded body and its SHA-256, sends
//! both headers above, checks the first 40 bytes of a `dcz` body (eight fixed ones and the hash), and
//! decodes the rest with any zstd and the old body as a raw dictionary.
//!
//! # Metrics
//!
//! The counters of [`compress`](super#metrics) have deltas as `encoding="dcz"`.
//!
//! | counter | counts |
//! |---|---|
//! | `http_compression_dictionary_lookups_total{result}` | requests that offer a dictionary: `hit` or `miss` |
//!
//! # Defaults
//!
//! | setter | default | reason |
//! |---|---|---|
//! | [`pattern`](Dictionaries::pattern) | the path, with any query | what resembles a response most is its earlier version |
//! | [`user_headers`](Dictionaries::user_headers) | `authorization`, `cookie` | the headers by which HTTP tells users apart |
//! | [`max_bytes`](Dictionaries::max_bytes) | 16 MiB | 1,500 lists of 10 KiB |
//! | [`max_count`](Dictionaries::max_count) | 10,000 | bounds the table if the bodies are small |
//! | [`max_size`](Dictionaries::max_size) | 128 KiB | larger bodies are streams, which are not kept |
//! | [`max_prepared_bytes`](Dictionaries::max_prepared_bytes) | 16 MiB | 70 lists of 10 KiB in use at a time |
//!
//! # What it does not do
//!
//! - It keeps no streams as dictionaries, and no bodies over 128 KiB.
//! - It sends no `dcb`, and no static dictionaries by `link`.
//! - It sends no `match-dest`, which would part a preload from its use, and no `id`: a hash must be
//!   checked in any case, since a proxy may have changed the body that the client keeps.
//! - Processes do not share dictionaries. To another process, the hash is unknown: the client gets the
//!   response as without a dictionary, in zstd or its other best encoding, and a dictionary of that
//!   process with it. Route a client to the same process, if you can.
//! - It does not pay for responses that clients fetch once, or that are new from end to end.
//!
//! [`CompressLayer`]: crate::CompressLayer

mod dictionaries;
mod exchange;
mod filter;
mod hint;
mod metrics;
mod pattern;
mod policy;
mod prepared;
mod shared;
mod store;
mod zstd;

pub use dictionaries::Dictionaries;
pub use filter::{Filter, FilterLayer};
pub use hint::DictionaryHint;
pub use pattern::InvalidPattern;
