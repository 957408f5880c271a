//! Static files behind a cache: ranges, 304s, precompressed files, and a purge by tag on deployment.
//!
//! ```sh
//! cargo run -p example-static-assets
//! curl -i http://127.0.0.1:3000/
//! curl -i http://127.0.0.1:3000/app.3f9a1c.js -H 'range: bytes=0-9'
//! curl -i http://127.0.0.1:3000/app.3f9a1c.js --compressed -o /dev/null -D -
//! curl -i -X POST http://127.0.0.1:3001/purge/pages
//! ```
//!
//! Send each request twice and compare `cache-status`. Ctrl-C or SIGTERM stops the server, once open
//! requests have finished.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `ASSETS` | the directory to serve | a directory made for the demonstration, where a page can be edited |
//! | `ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `PURGES` | the address that takes purges | `127.0.0.1:3001` |
//!
//! # Freshness
//!
//! | file | browsers | this cache | tag |
//! |---|---|---|---|
//! | a name with a hash, `app.3f9a1c.js` | a year, `immutable` | a year | `assets` |
//! | any other file | `no-cache`: revalidate each time | a day, or until a purge | `pages` |
//! | 404 | `no-cache` | 10 s, or until a purge | `pages` |
//!
//! A deployment writes the new assets first and then the pages, each by a rename: a file that is
//! overwritten in place is served in part. It then purges `pages`. It leaves the assets of the previous
//! version, which open pages still request. An `etag` is made of time and size: if a deployment gives
//! its files the same times again, as archives of reproducible builds do, browsers keep a page whose
//! size has not changed.
//!
//! A purge makes the next requests read the disk, so the purge address listens on the loopback only. It
//! reaches this process. For several processes, keep the entries in Redis, as `cache_redis` does.
//!
//! # Compression
//!
//! If the build has written `app.3f9a1c.js.gz` or `.br`, `ServeDir` sends that file to clients that
//! accept its coding. It was compressed once, at the best level, and has a strong `etag` and ranges.
//! `CompressLayer` compresses files without such a copy, such as pages written by hand; it alone honors
//! `x-no-compression`. Either way a hit needs neither disk nor codec.
//!
//! A `range` selects from the representation that a request without `range` would get, so from the
//! compressed bytes where there are any. A range request that misses the cache is answered from the
//! disk, as is any file over 1 MiB, the maximum size of an entry.
//!
//! # Hidden files
//!
//! Names that begin with a dot, such as `.env` and `.git`, answer 404, except `.well-known`; `ServeDir`
//! alone would serve them. `ServeDir` rejects `..`. It follows links: a deployment may replace a link,
//! and a link inside the directory exposes its target.

use std::error::Error;
use std::fs;
use std::future::{Future, IntoFuture, ready};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::extract::{self, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::post;
use flate2::{Compression, write::GzEncoder};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, TokioBackend, TokioFile};
use tower_kit::cache::{CacheHandle, CacheHint, CacheKey, CacheLayer, MemoryStore};
use tower_kit::{CompressLayer, MIB};

/// The files of a directory except the hidden ones.
#[derive(Clone)]
struct Visible(PathBuf);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let demo = std::env::temp_dir().join(format!("tower-kit-assets-{}", std::process::id()));
    let given = std::env::var_os("ASSETS").map(PathBuf::from);
    let assets = std::path::absolute(given.as_ref().unwrap_or(&demo))?;
    if given.is_none() {
        write_demo(&demo)?;
    }

    let cache = CacheLayer::new(MemoryStore::new(256 * MIB))
        // The file does not depend on them, and clients must not fill the memory with copies.
        .key(CacheKey::new().any_host().no_query());
    let purges = Router::new().route("/purge/{tag}", post(purge)).with_state(cache.handle());
    let files = ServeDir::with_backend(&assets, Visible(assets.clone()))
        .precompressed_br()
        .precompressed_gzip();
    let app = Router::new().fallback_service(files).layer((
        cache,
        CompressLayer::new(),
        from_fn(set_freshness),
    ));

    let listener = TcpListener::bind(variable("ADDR", "127.0.0.1:3000")).await?;
    let own = TcpListener::bind(variable("PURGES", "127.0.0.1:3001")).await?;
    let (addr, own_addr) = (listener.local_addr()?, own.local_addr()?);
    println!("listening on http://{addr}, purges on http://{own_addr}");
    println!("the files are in {}", assets.display());
    tokio::try_join!(
        axum::serve(listener, app).with_graceful_shutdown(stop_signal()?).into_future(),
        axum::serve(own, purges).with_graceful_shutdown(stop_signal()?).into_future(),
    )?;
    if given.is_none() {
        fs::remove_dir_all(&demo)?;
    }
    Ok(())
}

/// Sets the freshness for browsers and for the cache. Stands between the cache and the files.
async fn set_freshness(request: Request, next: Next) -> Response {
    let has_hash = has_hash(request.uri().path());
    let mut response = next.run(request).await;
    let (browsers, here) = match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED if has_hash => {
            ("public, max-age=31536000, immutable", CacheHint::new().tag("assets"))
        }
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => {
            ("no-cache", CacheHint::new().tag("pages").ttl(DAY))
        }
        StatusCode::NOT_FOUND => ("no-cache", CacheHint::new().tag("pages").ttl(TEN_SECONDS)),
        // A redirect to a directory's `/`, and errors: cheap to make, and not worth a place.
        _ => return response,
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(browsers));
    response.extensions_mut().insert(here);
    response
}

/// Returns `true` if a part of the name between dots is a hash: at least six hexadecimal digits, with
/// both letters and numbers, since `report.20240131.pdf` and `the.facade.html` have none. A hash of
/// another form is not recognized, and the file is served as a page, which is safe.
fn has_hash(path: &str) -> bool {
    let parts: Vec<_> = path.rsplit('/').next().unwrap_or_default().split('.').collect();
    let [_, between @ .., _] = &parts[..] else { return false };
    between.iter().any(|part| {
        part.len() >= 6
            && part.bytes().all(|byte| byte.is_ascii_hexdigit())
            && part.bytes().any(|byte| byte.is_ascii_digit())
            && part.bytes().any(|byte| byte.is_ascii_alphabetic())
    })
}

async fn purge(State(cache): State<CacheHandle>, extract::Path(tag): extract::Path<String>) {
    // This process has purged it already; awaiting would wait for other processes.
    drop(cache.purge_tag(&tag));
}

impl Visible {
    /// Returns `true` if no part of a decoded path without `..` is hidden.
    fn shows(&self, path: &Path) -> bool {
        let is_hidden = |part: Component<'_>| {
            let name = part.as_os_str();
            name.as_encoded_bytes().starts_with(b".") && name != ".well-known"
        };
        path.strip_prefix(&self.0).is_ok_and(|path| !path.components().any(is_hidden))
    }
}

impl Backend for Visible {
    type File = TokioFile;
    type Metadata = fs::Metadata;
    type OpenFuture = <TokioBackend as Backend>::OpenFuture;
    type MetadataFuture = <TokioBackend as Backend>::MetadataFuture;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        if self.shows(&path) { TokioBackend.open(path) } else { Box::pin(ready(Err(absent()))) }
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        if self.shows(&path) { TokioBackend.metadata(path) } else { Box::pin(ready(Err(absent()))) }
    }
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// Writes a page, and a script as a bundler leaves it.
fn write_demo(dir: &Path) -> io::Result<()> {
    let script = "console.log('It was a dark and stormy night.');\n".repeat(100);
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(script.as_bytes())?;
    fs::create_dir(dir)?;
    fs::write(dir.join("app.3f9a1c.js"), script)?;
    fs::write(dir.join("app.3f9a1c.js.gz"), packed.finish()?)?;
    let text = "<p>It was a dark and stormy night.\n".repeat(100);
    fs::write(dir.join("index.html"), format!("{PAGE}{text}"))
}

/// Completes at Ctrl-C or SIGTERM.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const TEN_SECONDS: Duration = Duration::from_secs(10);

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Static assets</title>
<script type=\"module\" src=\"/app.3f9a1c.js\"></script>
";
