//! What the benches share: cases that run side by side, timed, counted and printed as a table.
//!
//! Instructions and allocations are counted by valgrind, under which the program runs itself, one
//! case at a time. So nothing that counts is built in, and the allocator that is timed is the plain
//! one.

use std::env;
use std::future::Future;
use std::pin::pin;
use std::process::{self, Child, Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::{Body, Buf};
use tower::Service;

/// One run of a bench program, as its arguments ask for.
pub(crate) struct Bench {
    quick: bool,
    valgrind: bool,
    /// The one case to run, and how often: so it is called under valgrind.
    only: Option<(String, u64)>,
}

/// Cases that are compared with the first one of them, which is the bare service.
pub(crate) struct Group<'a> {
    bench: &'a Bench,
    title: &'static str,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    run: Box<dyn FnMut(u64)>,
}

/// What the cases of a group cost.
pub(crate) struct Costs(Vec<Cost>);

/// What one iteration costs. Without valgrind only the time is known.
struct Cost {
    name: String,
    nanoseconds: f64,
    counted: Option<Counted>,
}

#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    bytes: f64,
}

impl Bench {
    pub(crate) fn from_args() -> Self {
        let args: Vec<_> = env::args().collect();
        let only = args.iter().position(|arg| arg == "--only").and_then(|at| {
            let iterations = args.get(at + 2)?.parse().ok()?;
            Some((args[at + 1].clone(), iterations))
        });
        // Without `--bench` it is `cargo test --benches` that calls, to see whether it works.
        let quick = args.iter().any(|arg| arg == "--quick") || args.iter().all(|a| a != "--bench");
        let valgrind = only.is_none() && has_valgrind();
        if only.is_none() && !valgrind {
            println!("valgrind is not installed: nothing is counted, only timed\n");
        }
        Self { quick, valgrind, only }
    }

    pub(crate) fn group(&self, title: &'static str) -> Group<'_> {
        Group { bench: self, title, cases: Vec::new() }
    }
}

impl Group<'_> {
    /// Adds a case. `set_up` gives what one iteration does.
    pub(crate) fn case<F>(&mut self, name: impl Into<String>, set_up: impl FnOnce() -> F)
    where
        F: FnMut() + 'static,
    {
        let name = name.into();
        if self.bench.only.as_ref().is_some_and(|(only, _)| *only != self.id(&name)) {
            return;
        }
        let mut iterate = set_up();
        let mut case =
            Case { name, run: Box::new(move |times| (0..times).for_each(|_| iterate())) };
        if let Some((_, times)) = self.bench.only {
            (case.run)(WARM_UP);
            counted_part(&mut case, times);
            process::exit(0);
        }
        self.cases.push(case);
    }

    /// Runs the cases in turn, round after round, and prints what they cost.
    pub(crate) fn run(mut self) -> Costs {
        let (rounds, at_least) = if self.bench.quick { (11, 200) } else { (101, 1_000) };
        let at_least = Duration::from_micros(at_least);
        let times: Vec<_> = self.cases.iter_mut().map(|case| calibrate(case, at_least)).collect();
        let mut taken = vec![Vec::with_capacity(rounds); self.cases.len()];
        for _ in 0..rounds {
            for ((case, taken), &times) in self.cases.iter_mut().zip(&mut taken).zip(&times) {
                taken.push(time(case, times).as_secs_f64() * 1e9 / f64::from(times));
            }
        }
        let costs = self.cases.iter().zip(&mut taken).map(|(case, taken)| {
            taken.sort_by(f64::total_cmp);
            let counted = self.bench.valgrind.then(|| count(&self.id(&case.name)));
            Cost { name: case.name.clone(), nanoseconds: taken[rounds / 2], counted }
        });
        let costs = Costs(costs.collect());
        costs.print(self.title);
        costs
    }

    fn id(&self, name: &str) -> String {
        format!("{}/{name}", self.title)
    }
}

impl Costs {
    /// What is counted of a case, less what is counted of the bare one.
    pub(crate) fn net(&self, name: &str) -> Option<Counted> {
        let bare = self.0.first()?;
        let Some(cost) = self.0.iter().find(|cost| cost.name == name) else {
            panic!("there is no case {name:?}");
        };
        Some(cost.counted?.less(bare.counted?))
    }

    fn print(&self, title: &str) {
        let Some(bare) = self.0.first() else { return };
        let columns = ["ns", "x bare", "instr", "+instr", "allocs", "+allocs", "bytes", "+bytes"];
        println!("{title:<62}{}", columns.map(|column| format!("{column:>9}")).concat());
        for cost in &self.0 {
            let ratio = cost.nanoseconds / bare.nanoseconds;
            print!("  {:<60}{:>9.0}{ratio:>9.2}", cost.name, cost.nanoseconds);
            if let (Some(all), Some(bare)) = (cost.counted, bare.counted) {
                let net = all.less(bare);
                print!("{:>9.0}{:>+9.0}", all.instructions, net.instructions);
                print!("{:>9.2}{:>+9.2}", all.allocations, net.allocations);
                print!("{:>9.0}{:>+9.0}", all.bytes, net.bytes);
            }
            println!();
        }
        println!();
    }
}

impl Counted {
    fn less(self, bare: Self) -> Self {
        Self {
            instructions: self.instructions - bare.instructions,
            allocations: self.allocations - bare.allocations,
            bytes: self.bytes - bare.bytes,
        }
    }
}

/// Says whether what was measured keeps within a bar.
pub(crate) fn bar(text: &str, measured: Option<f64>, most: f64) {
    match measured {
        Some(measured) => {
            // What the whole run allocates once, such as a timer's entry, is not the layer's.
            let verdict = if measured < most + 0.05 { "ok" } else { "MISSED" };
            println!("bar: {text}: measured {measured:.1} (bar {most}) {verdict}");
        }
        None => println!("bar: {text}: not measured (bar {most})"),
    }
}

/// A crate's name with the version that this bench is built with.
pub(crate) fn versioned(name: &str) -> String {
    let mut lines = include_str!("../../Cargo.lock").lines();
    let found = lines.find(|line| *line == format!("name = \"{name}\""));
    let version = found.and_then(|_| lines.next()?.strip_prefix("version = "));
    format!("{name} {}", version.unwrap_or("?").trim_matches('"'))
}

/// Calls the service and waits for its response.
pub(crate) fn call<S, B>(service: &mut S, request: Request<B>) -> S::Response
where
    S: Service<Request<B>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    while service.poll_ready(&mut cx).is_pending() {}
    let mut future = pin!(service.call(request));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(response)) => return response,
            Poll::Ready(Err(_)) => panic!("the service failed"),
            Poll::Pending => {}
        }
    }
}

/// Reads a body as a server does: to its end, or up to the declared length, after which HTTP/1
/// servers drop it. Gives the number of bytes.
pub(crate) fn read<B: Body>(body: B, declared: Option<u64>) -> u64 {
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = pin!(body);
    let mut bytes = 0;
    while declared.is_none_or(|declared| bytes < declared) {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
            }
            Poll::Ready(Some(Err(_))) => panic!("the body failed"),
            Poll::Ready(None) => break,
            Poll::Pending => {}
        }
    }
    bytes
}

/// How many iterations take that long.
fn calibrate(case: &mut Case, at_least: Duration) -> u32 {
    let mut times = 1;
    while time(case, times) < at_least {
        times *= 2;
    }
    times
}

#[expect(clippy::disallowed_methods, reason = "a bench is about time")]
fn time(case: &mut Case, times: u32) -> Duration {
    let start = Instant::now();
    (case.run)(times.into());
    start.elapsed()
}

fn has_valgrind() -> bool {
    let called = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    called.is_ok_and(|status| status.success())
}

/// Counts what the case does, in three runs at once. Callgrind counts what it is told to; dhat
/// counts the whole run, so what it takes to start is known from a shorter run.
fn count(id: &str) -> Counted {
    let toggle = "--toggle-collect=*::counted_part";
    let callgrind =
        valgrind(&["--tool=callgrind", "--callgrind-out-file=/dev/null", toggle], id, COUNTED);
    let dhat = [0, COUNTED]
        .map(|times| valgrind(&["--tool=dhat", "--dhat-out-file=/dev/null"], id, times));
    let instructions = number_after(&finish(callgrind, id), "Collected : ", 0);
    let [start, whole] = dhat.map(|child| finish(child, id));
    let more = |at| number_after(&whole, "Total: ", at) - number_after(&start, "Total: ", at);
    let each = |sum| sum / COUNTED as f64;
    Counted { instructions: each(instructions), allocations: each(more(3)), bytes: each(more(0)) }
}

/// Callgrind knows it by its name.
#[inline(never)]
fn counted_part(case: &mut Case, times: u64) {
    (case.run)(times);
}

fn valgrind(options: &[&str], id: &str, times: u64) -> Child {
    let Ok(program) = env::current_exe() else { panic!("the program cannot find itself") };
    let child = Command::new("valgrind")
        .args(options)
        .arg(program)
        .args(["--only", id, &times.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    child.unwrap_or_else(|error| panic!("valgrind does not start: {error}"))
}

fn finish(child: Child, id: &str) -> String {
    match child.wait_with_output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stderr).into(),
        failed => panic!("under valgrind, {id} fails: {failed:?}"),
    }
}

/// In the line with `mark`, the word at this place behind it, as a number.
fn number_after(report: &str, mark: &str, at: usize) -> f64 {
    let behind = report.lines().find_map(|line| line.split_once(mark)).map(|(_, behind)| behind);
    let word = behind.and_then(|behind| behind.split_whitespace().nth(at));
    let number = word.and_then(|word| word.replace(',', "").parse().ok());
    number.unwrap_or_else(|| panic!("valgrind says no number after {mark:?}: {report}"))
}

/// So many iterations come before the counted ones, for what is done only once.
const WARM_UP: u64 = 256;
/// A multiple of the block of samples that a recorder allocates now and then.
const COUNTED: u64 = 1_024;
