//! Requests that are all well formed, and of which there are too many different ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::rig::{Target, connect, each, get, last, pipeline, statuses};

/// The memory store's, which the quickstart has.
const CAPACITY: i64 = 64 << 20;

/// The default of `Dictionaries::max_bytes`.
const DICTIONARIES: i64 = 16 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn any_number_of_urls_stays_in_the_store_bound() {
    let target = Target::start(&[]);
    let addr = target.addr;
    let before = target.memory();
    // Of a few bytes, in many small entries, and with the longest keys that are kept.
    let storm = |round: usize, length: usize, urls: usize| {
        let junk = "q".repeat(length);
        each(urls / 100, move |at| {
            let url = |url| get(&format!("/items?n=1&{round}-{at}-{url}={junk}"), "");
            let requests = pipeline(100, url);
            async move {
                let answer = connect(addr).await.exchange(requests).await;
                assert_eq!(statuses(&answer), ["200"; 100]);
            }
        })
    };
    let mut levels = Vec::new();
    for round in 0..4 {
        storm(round, 7_000, if round == 0 { 10_000 } else { 2_000 }).await;
        storm(round, 1, 500).await;
        target.is_well().await;
        levels.push(target.memory() - before);
    }
    let stored = target.metric("http_cache_stored_bytes", &[]).await;
    assert!(stored > CAPACITY as f64 * 0.9, "the store is full: {stored}");
    assert!(target.metric("http_cache_evictions_total", &[]).await > 0.0);
    let most = *levels.iter().max().unwrap();
    println!("{} MiB for a store of 64 MiB", most >> 20);
    assert!(most < CAPACITY + (24 << 20), "{levels:?}");
    assert!(levels[3] <= levels[1] + (4 << 20), "it grows: {levels:?}");
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn endless_variants_and_ranges_are_served_right() {
    let target = Target::start(&[]);
    let addr = target.addr;
    let whole = target.connect().await.exchange(last("/items?n=50", "")).await;
    let whole = whole.split_once("\r\n\r\n").unwrap().1.to_owned();
    let (whole, length): (&'static str, usize) = (Box::leak(whole.clone().into()), whole.len());
    let ranges: String = (0..1_000).map(|at| format!("{at}-{},", at + 1)).collect();
    let ranges: &'static str = Box::leak(ranges.into());
    let attack = async |_| {
        each(40, move |at| async move {
            // What the service varies by, in a spelling of its own each time.
            let vary = |of: usize| match of % 4 {
                0 => format!("x-no-compression: {at}-{of}\r\n"),
                1 => format!("accept-encoding: gzip;q=0.{of:03}, {at};q=0.5\r\n"),
                2 => format!("accept-encoding: {}\r\n", "x-unknown, ".repeat(of + at)),
                _ => format!("accept: {at}/{of}\r\naccept-language: {at}-{of}\r\ncookie: {of}\r\n"),
            };
            let requests = pipeline(100, |of| get("/items?n=50", &vary(of)));
            let answer = connect(addr).await.exchange(requests).await;
            assert!(statuses(&answer).iter().all(|status| *status == "200"), "{answer:.2000}");
        })
        .await;
        each(40, move |at| async move {
            let range = |of: usize| {
                let first = (at * 100 + of) % length;
                (first, (first + of).min(length - 1))
            };
            let one = |(first, last)| format!("range: bytes={first}-{last}\r\n");
            let first = get("/items?n=50", "");
            let requests = first + &pipeline(100, |of| get("/items?n=50", &one(range(of))));
            let answer = connect(addr).await.exchange(requests).await;
            let mut rest = answer.split_once(whole).unwrap().1;
            for of in 0..100 {
                let (first, last) = range(of);
                let (head, body) = rest.split_once("\r\n\r\n").unwrap();
                // The whole, if it is not kept any more.
                let is_part = statuses(head) == ["206"];
                let expected = if is_part { &whole[first..=last] } else { whole };
                let (part, next) = body.split_at(expected.len());
                assert_eq!(part, expected);
                rest = next;
            }
            assert!(answer.contains("HTTP/1.1 206 "));
            for bad in [ranges, "-0,", "9999999-,", "18446744073709551616-,", "5-1,", "0-,0-,0-,"] {
                let fields = format!("range: bytes={}\r\n", &bad[..bad.len() - 1]);
                let answer = connect(addr).await.exchange(last("/items?n=50", &fields)).await;
                assert!(["200", "416"].contains(&statuses(&answer)[0]), "{answer}");
            }
        })
        .await;
    };
    target.survives(attack).await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn any_number_of_dictionaries_is_bounded() {
    let target = Target::start(&[]);
    let addr = target.addr;
    let before = target.memory();
    // Each list is a dictionary of a user of its own, and each user offers one that nobody has.
    let storm = |round: usize| {
        each(40, move |at| {
            let list = |of: usize| {
                let fields = format!(
                    "accept-encoding: zstd, dcz\r\ncookie: id={round}-{at}-{of}\r\n\
                     available-dictionary: :{:0>42}A=:\r\n",
                    at * 100 + of
                );
                get(&format!("/items?n=20&price={}&{round}", 1 + at * 100 + of), &fields)
            };
            let requests = pipeline(100, list);
            async move {
                let answer = connect(addr).await.exchange(requests).await;
                assert_eq!(statuses(&answer), ["200"; 100]);
            }
        })
    };
    let mut levels = Vec::new();
    for round in 0..4 {
        storm(round).await;
        target.is_well().await;
        levels.push(target.memory() - target.metric("http_cache_stored_bytes", &[]).await as i64);
    }
    let unknown = ("result", "miss");
    let misses = target.metric("http_compression_dictionary_lookups_total", &[unknown]).await;
    assert!(misses >= 16_000.0, "{misses}");
    println!("bytes of memory after each round: {levels:?}, {before} before");
    // The 10,000 dictionaries are there in the third round.
    assert!(levels[3] <= before + DICTIONARIES + (8 << 20), "{levels:?}");
    assert!(levels[3] <= levels[2] + (2 << 20), "it grows: {levels:?}");
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bombs_stay_compressed_or_are_rejected() {
    let target = Target::start(&[]);
    let addr = target.addr;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..64 {
        bomb.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb: &'static [u8] = Box::leak(bomb.finish().unwrap().into());
    let post = |media_type: &str, fields: &str, length: usize| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {media_type}\r\n\
             {fields}content-length: {length}\r\n\r\n"
        )
    };
    let attack = async |_| {
        each(24, move |at| async move {
            let mut victim = connect(addr).await;
            match at % 4 {
                // 64 KiB that would be 64 MiB.
                0 => {
                    let head = post("text/plain", "content-encoding: gzip\r\n", bomb.len());
                    victim.send([head.as_bytes(), bomb].concat()).await;
                    let answer = victim.read(2 << 20).await;
                    assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(bomb));
                }
                1 => {
                    let head = post("application/json", "content-encoding: gzip\r\n", bomb.len());
                    victim.send([head.as_bytes(), bomb].concat()).await;
                    assert_eq!(statuses(&victim.rest().await), ["413"]);
                }
                2 => {
                    victim.send(post("text/plain", "expect: 100-continue\r\n", 1 << 40)).await;
                    assert_eq!(statuses(&victim.rest().await), ["413"]);
                }
                // Large, and within the limit: it is compressed on its way back.
                _ => {
                    let head = post("text/plain", "accept-encoding: gzip\r\n", 1 << 20);
                    victim.send([head.as_bytes(), &[b'0'; 1 << 20]].concat()).await;
                    assert_eq!(statuses(&victim.rest().await), ["200"]);
                }
            }
        })
        .await;
    };
    target.survives(attack).await;
    target.stop();
}
