//! The soak: traffic, outages, and what has to hold during them and after.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::chance::Chance;
use crate::chaos::{Chaos, Outages};
use crate::program::{Program, fetch};
use crate::support::text;
use crate::traffic::Visitor;
use crate::world::World;

/// glibc's allocator gives back what is free at once, and not when it likes to.
pub(crate) const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
];

#[tokio::main]
pub(crate) async fn soak(minutes: u64, seed: u64) {
    println!("soak: {minutes} min, seed {seed}");
    let chaos = Chaos::start(Chance::new(seed, 0));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg("serve")
        .env("REDIS_URL", chaos.url())
        .envs(ALLOCATOR)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program = Program::run(&mut command);
    let servers = [program.url(""), program.said.clone()];
    let world = Arc::new(World::new(servers));
    let mut visitors = JoinSet::new();
    for number in 1..=VISITORS {
        let visitor = Visitor::new(Arc::clone(&world), Chance::new(seed, number));
        visitors.spawn(visitor.visit());
    }
    let levels = watch(&program, &world, Duration::from_secs(60 * minutes)).await;
    world.over.store(true, Ordering::Relaxed);
    visitors.join_all().await;
    let (redis, outages) = chaos.stop();

    let mut faults = settle(&program, &world).await;
    faults.extend(growth(&levels, minutes));
    let mistakes = world.tally.mistakes();
    if mistakes > 0 {
        faults.push(format!("{mistakes} wrong answers"));
    }
    drop(redis);
    program.signal("TERM");
    program.ended();
    let errors = program.errors();
    if !errors.is_empty() {
        faults.push(format!("it says: {errors}"));
    }
    report(&world, outages, &levels, minutes, seed);
    assert!(faults.is_empty(), "{faults:?}");
}

/// The memory of the process, each second.
#[expect(clippy::disallowed_methods, reason = "it runs by the clock")]
async fn watch(program: &Program, world: &World, time: Duration) -> Vec<u64> {
    let (start, mut every) = (Instant::now(), interval(Duration::from_secs(1)));
    let mut levels = Vec::new();
    while start.elapsed() < time && world.tally.mistakes() < 100 {
        every.tick().await;
        levels.push(memory(program.id()));
        if levels.len() % 60 == 0 {
            let (minute, requests) = (levels.len() / 60, world.tally.requests());
            println!(
                "  minute {minute}: {requests} requests, {} KiB",
                levels[levels.len() - 1] >> 10
            );
        }
    }
    levels
}

/// Waits until nothing is under way any more, or says what still is.
async fn settle(program: &Program, world: &World) -> Vec<String> {
    let mut faults = Vec::new();
    for _ in 0..300 {
        faults.clear();
        for server in &world.servers {
            let state = text(fetch(&format!("{server}/state")).await).await;
            if state != "0 true false" {
                faults.push(format!("{server}: flights, in step, breaker: {state}"));
            }
        }
        let in_flight = program.metric("http_requests_in_flight", &[]).await;
        if in_flight != 1.0 {
            faults.push(format!("{in_flight} in flight"));
        }
        if faults.is_empty() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let panics = program.metric("http_cache_panics_total", &[]).await;
    if panics > 0.0 {
        faults.push(format!("{panics} panics"));
    }
    faults
}

/// Returns the growth of the last third over the second one. In the first, caches and pools fill, which is
/// not over in it where a run is short.
fn growth(levels: &[u64], minutes: u64) -> Option<String> {
    let third = levels.len() / 3;
    let (second, last) = (median(&levels[third..2 * third]), median(&levels[2 * third..]));
    let most = if minutes < 5 { second / 2 } else { second / 10 };
    (last > second + most).then(|| format!("it grows: {second}, {last} bytes"))
}

fn median(levels: &[u64]) -> u64 {
    let mut levels = levels.to_vec();
    levels.sort_unstable();
    levels[levels.len() / 2]
}

fn report(world: &World, outages: Outages, levels: &[u64], minutes: u64, seed: u64) {
    let third = levels.len() / 3;
    let kib = |levels: &[u64]| median(levels) >> 10;
    let Outages { killed, frozen, emptied } = outages;
    println!("  {}", world.tally.line());
    println!(
        "soak: {minutes} min, seed {seed}: {} requests, {} wrong; Redis killed {killed} times, frozen \
         {frozen}, emptied {emptied}; memory by thirds: {}, {}, {} KiB",
        world.tally.requests(),
        world.tally.mistakes(),
        kib(&levels[..third]),
        kib(&levels[third..2 * third]),
        kib(&levels[2 * third..]),
    );
}

/// Returns the bytes of memory that a process has written to.
pub(crate) fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

const VISITORS: u64 = 24;
