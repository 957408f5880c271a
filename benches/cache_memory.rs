//! The memory that the cache takes, compared with the count of its store: each case is a process that
//! requests distinct URLs and reads its memory from the system.

use std::env;
use std::fs;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::cache::{CacheLayer, MemoryStore, Store};
use tower_kit::{KIB, MIB};

use support::bar;

#[expect(dead_code, reason = "no case of this bench is timed")]
mod support;

struct Case {
    name: &'static str,
    capacity: u64,
    /// The numbers of URLs and the sizes of their bodies, one size after the other.
    loads: &'static [(u64, usize)],
    /// Requests two variants of each URL.
    varies: bool,
    /// The number of further headers of a response, each with a value of its own.
    fields: usize,
}

const CASES: [Case; 7] = [
    case("1,000,000 of 100 B", 256 * MIB, &[(1_000_000, 100)]),
    case("1,000,000 of 100 B", 16 * MIB, &[(1_000_000, 100)]),
    case("1,000,000 of 1 KiB", 256 * MIB, &[(1_000_000, 1_024)]),
    Case { varies: true, ..case("250,000 of 100 B, two variants", 256 * MIB, &[(250_000, 100)]) },
    Case { fields: 12, ..case("500,000 of 100 B, 12 more fields", 256 * MIB, &[(500_000, 100)]) },
    case("a burst of 160 MiB, 100 KiB each", 16 * MIB, &[(1_600, 102_400)]),
    case("1,000,000 of 100 B, then a burst", 16 * MIB, &[(1_000_000, 100), (1_600, 102_400)]),
];

const fn case(name: &'static str, capacity: u64, loads: &'static [(u64, usize)]) -> Case {
    Case { name, capacity, loads, varies: false, fields: 0 }
}

fn main() -> io::Result<()> {
    if let Some(number) = env::args().nth(1).and_then(|text| text.parse::<usize>().ok()) {
        return run(&CASES[number]);
    }
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "MiB", "capacity", "entries", "stated", "most", "taken", "most"
    );
    let program = env::current_exe()?;
    let mut taken = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let output = Command::new(&program).arg(number.to_string()).output()?;
        let output = String::from_utf8_lossy(&output.stdout);
        let Some((line, percent)) = output.trim_end().split_once('\n') else {
            return Err(io::Error::other(format!("{}: {output}", case.name)));
        };
        println!("{line}");
        taken.push((case, percent.parse().ok()));
    }
    println!();
    for (case, percent) in taken {
        let text =
            format!("memory, % of the capacity: {} in {} MiB", case.name, case.capacity / MIB);
        bar(&text, percent, 105.0);
    }
    Ok(())
}

fn run(measured: &Case) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // What the process takes for itself, and what the allocator does not give back at once.
        let warm_up = Case { varies: true, fields: 12, ..case("", MIB, &[(1_000, 1_000)]) };
        fill(&MemoryStore::new(warm_up.capacity), &warm_up).await?;
        let store = MemoryStore::new(measured.capacity);
        let most = fill(&store, measured).await?;
        let (usage, mib) = (store.usage(), |bytes: u64| bytes as f64 / MIB as f64);
        println!(
            "{:<34} {:>9.1} {:>9} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
            measured.name,
            mib(measured.capacity),
            usage.entries,
            mib(usage.bytes),
            mib(most.stated),
            mib(most.last),
            mib(most.taken),
        );
        println!("{}", 100.0 * most.taken as f64 / measured.capacity as f64);
        Ok(())
    })
}

#[derive(Default)]
struct Most {
    stated: u64,
    taken: u64,
    /// The memory at the end.
    last: u64,
}

/// Requests many URLs, and reads the memory after every thousand.
async fn fill(store: &MemoryStore, case: &Case) -> io::Result<Most> {
    let Case { loads, varies, fields, .. } = *case;
    let size = Arc::new(AtomicUsize::new(0));
    let of = Arc::clone(&size);
    let service = service_fn(move |request: Request<Empty<Bytes>>| {
        let mut response =
            Response::new(Full::new(Bytes::from(vec![b'x'; of.load(Ordering::Relaxed)])));
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=600"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let tag = format!("\"{}\"", request.uri().path());
        headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
        for at in 0..fields {
            let value = HeaderValue::try_from(format!("{} {at}", request.uri().path()));
            let name = HeaderName::try_from(format!("x-field-{at}"));
            headers.extend(name.ok().zip(value.ok()));
        }
        if varies {
            headers.insert(VARY, HeaderValue::from_static("accept-language"));
        }
        async { Ok::<_, io::Error>(response) }
    });
    let mut cache = CacheLayer::new(store.clone()).layer(service);
    let before = resident()?;
    let mut most = Most::default();
    for (load, (urls, bytes)) in loads.iter().enumerate() {
        size.store(*bytes, Ordering::Relaxed);
        for at in 0..*urls {
            for language in if varies { &["de", "en"][..] } else { &["de"] } {
                let request = Request::get(format!("http://example.com/items/{load}/{at:07}"))
                    .header("accept-language", *language)
                    .body(Empty::new())
                    .map_err(io::Error::other)?;
                let response = cache.ready().await?.call(request).await?;
                response.into_body().collect().await.map_err(io::Error::other)?;
            }
            if at % 1_000 == 999 || at % 100 == 99 && *bytes > 10_000 {
                most.stated = most.stated.max(store.usage().bytes);
                most.last = resident()?.saturating_sub(before);
                most.taken = most.taken.max(most.last);
            }
        }
    }
    Ok(most)
}

/// Bytes of memory that the process has written to.
fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * KIB).ok_or_else(|| io::Error::other("/proc/self/status has no RssAnon"))
}
