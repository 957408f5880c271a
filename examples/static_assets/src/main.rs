//! The files of a directory behind a cache: ranges, 304s, files that are compressed already, and a
//! purge by tag when a new version is deployed.
//!
//! ```sh
//! cargo run -p example-static-assets
//! curl -i http://127.0.0.1:3000/
//! curl -i http://127.0.0.1:3000/app.3f9a1c.js -H 'range: bytes=0-9'
//! curl -i http://127.0.0.1:3000/app.3f9a1c.js --compressed -o /dev/null -D -
//! curl -i -X POST http://127.0.0.1:3001/purge/pages
//! ```
//!
//! Send each twice, and look at `cache-status`. `ASSETS` is the directory; without it, one is made for
//! the demonstration, where a page can be edited before the purge. `ADDR` is where it listens, and
//! `PURGES` where it is told to purge. Ctrl-C or SIGTERM stops it, once open requests are finished.
//!
//! # How long
//!
//! | | browsers | here | tag |
//! |---|---|---|---|
//! | a name with a hash in it, `app.3f9a1c.js` | a year, `immutable` | the same | `assets` |
//! | anything else | `no-cache`: they ask each time, and get a 304 | a day, or until a purge | `pages` |
//! | 404 | `no-cache` | 10 s, or until a purge | `pages` |
//!
//! A deploy first puts the new assets there, then the pages, each by a rename, since a file that is
//! written in place is served in part; then it purges `pages`. It leaves the assets of the version
//! before, which pages that are open still ask for. Tags (`etag`) are made of time and size: a deploy
//! that gives its files the same time again, as archives that build the same bytes do, has browsers
//! keep a page whose size has not changed.
//!
//! Whoever can purge can have every page read from the disk again, so that listens on the loopback
//! only. A purge reaches this process: for several, put the entries into Redis, as `cache_redis` does.
//!
//! # Compressed by whom
//!
//! By the build: where there is `app.3f9a1c.js.gz`, or `.br`, `ServeDir` sends it to who takes it. It
//! was made once, at the best level, and has a strong `etag`, and ranges. `CompressLayer` is for what
//! has no such file, such as pages that are written by hand; it alone heeds `x-no-compression`. Either
//! way a hit comes out of memory: no disk, no codec.
//!
//! A `range` is a part of what would be sent without it, so of the compressed bytes where these are,
//! and says so. One that finds no entry is answered from the disk, as is any file over 1 MiB, which is
//! the most that an entry may have.
//!
//! # What is not given out
//!
//! What has a name that begins with a dot, such as `.env` and `.git`, is not there, but for
//! `.well-known`; `ServeDir` itself would give it out. It refuses `..`. It follows links: so a deploy
//! may be a link that is changed, and a link in the directory gives out what it leads to.

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
use tower_kit::cache::{CacheHandle, CacheLayer, Hint, KeyBy, MemoryStore};
use tower_kit::{CompressLayer, MIB};

/// The files under a directory, without those that are hidden.
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
        // A file is the same by any of them, and clients must not fill the memory with copies.
        .key(KeyBy::new().any_host().no_query())
        // Nor have the disk read by a reload: a purge tells what is new.
        .ignore_request_control();
    let purges = Router::new().route("/purge/{tag}", post(purge)).with_state(cache.handle());
    let files = ServeDir::with_backend(&assets, Visible(assets.clone()))
        .precompressed_br()
        .precompressed_gzip();
    let app = Router::new().fallback_service(files).layer((
        cache,
        CompressLayer::new(),
        from_fn(say_how_long),
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

/// Between the cache and the files: what browsers are told, and what the cache is.
async fn say_how_long(request: Request, next: Next) -> Response {
    let has_hash = has_hash(request.uri().path());
    let mut response = next.run(request).await;
    let (browsers, here) = match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED if has_hash => {
            ("public, max-age=31536000, immutable", Hint::new().tag("assets"))
        }
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => {
            ("no-cache", Hint::new().tag("pages").ttl(DAY))
        }
        StatusCode::NOT_FOUND => ("no-cache", Hint::new().tag("pages").ttl(TEN_SECONDS)),
        // A redirect to a directory's `/` has the query of the request, which is not in the key.
        _ => return response,
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(browsers));
    response.extensions_mut().insert(here);
    response
}

/// Whether a part of the name, between dots, is a hash: six hexadecimal digits at least, both letters
/// and numbers among them, since `report.20240131.pdf` and `the.facade.html` are none. Bundlers differ;
/// what is not recognised is a page, which is never wrong.
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
    // It holds already; to wait would be for other processes.
    drop(cache.purge_tag(&tag));
}

impl Visible {
    /// `path` is decoded already, and has no `..` in it.
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

/// A page, and a script as a bundler leaves it.
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

/// Ready at Ctrl-C or SIGTERM.
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
