//! Benchmark cases that run side by side, timed, counted and printed as a table.
//!
//! Valgrind counts instructions and allocations: the program runs itself under it, one case at a
//! time. No counter is built in, so that the timed allocator is the default one.

use std::env;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{self, Child, Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::{Body, Buf};
use tower::Service;

/// A run of a bench program, selected by its arguments.
pub(crate) struct Bench {
    quick: bool,
    valgrind: bool,
    only: Option<Only>,
}

/// The one case that the program is called for.
struct Only {
    id: String,
    calls: Calls,
}

enum Calls {
    /// Runs under valgrind: that many iterations, after a warm-up.
    Counted { times: u64, warm_up: u64 },
    /// Runs as many iterations as each line on standard input says, and prints the nanoseconds.
    Served,
}

/// The code of a case, which is timed.
pub(crate) trait Work {
    /// Does it that often, and says how long that takes.
    fn time(&mut self, times: u32) -> Duration;

    /// The program that has this case, to be called under valgrind.
    fn program(&self) -> PathBuf {
        env::current_exe().unwrap_or_else(|error| panic!("the program cannot find itself: {error}"))
    }
}

/// Cases that are compared with the first one of them, which is the bare service.
pub(crate) struct Group<'a> {
    bench: &'a Bench,
    title: &'static str,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    work: Box<dyn Work>,
}

/// The costs of the cases of a group.
pub(crate) struct Costs(pub(crate) Vec<Cost>);

/// The cost of one iteration. Without valgrind only the time is known, and so if an iteration takes too long
/// to be done again under it.
pub(crate) struct Cost {
    pub(crate) name: String,
    pub(crate) nanoseconds: f64,
    pub(crate) counted: Option<Counted>,
}

#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    /// Bytes that are allocated still when it is over.
    pub(crate) held: f64,
}

impl Bench {
    pub(crate) fn from_args() -> Self {
        let args: Vec<_> = env::args().collect();
        let after = |flag: &str| {
            let at = args.iter().position(|arg| arg == flag)?;
            Some(&args[at + 1..])
        };
        let number = |text: Option<&String>| text.and_then(|text| text.parse().ok());
        let counted = after("--only").and_then(|words| {
            let times = number(words.get(1))?;
            let warm_up = number(words.get(2)).unwrap_or(WARM_UP);
            Some(Only { id: words[0].clone(), calls: Calls::Counted { times, warm_up } })
        });
        let served = || {
            let words = after("--serve")?;
            Some(Only { id: words.first()?.clone(), calls: Calls::Served })
        };
        let only = counted.or_else(served);
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
    pub(crate) fn case<W>(&mut self, name: impl Into<String>, set_up: impl FnOnce() -> W)
    where
        W: Work + 'static,
    {
        let name = name.into();
        if self.bench.only.as_ref().is_some_and(|only| only.id != self.id(&name)) {
            return;
        }
        let mut case = Case { name, work: Box::new(set_up()) };
        if let Some(only) = &self.bench.only {
            only.calls.answer(&mut case);
            process::exit(0);
        }
        self.cases.push(case);
    }

    /// Runs the cases in turn, round after round, and prints what they cost.
    pub(crate) fn run(mut self) -> Costs {
        if self.cases.is_empty() {
            // It is another group's case that the program is called for.
            return Costs(Vec::new());
        }
        let (rounds, at_least) = if self.bench.quick { (11, 200) } else { (101, 1_000) };
        let at_least = Duration::from_micros(at_least);
        let (times, takes): (Vec<_>, Vec<_>) =
            self.cases.iter_mut().map(|case| calibrate(case, at_least)).unzip();
        let round: Duration = takes.iter().sum();
        let rounds = rounds.min((MOST_TIMED.as_nanos() / round.as_nanos()) as usize).max(11);
        let mut taken = vec![Vec::with_capacity(rounds); self.cases.len()];
        for _ in 0..rounds {
            for ((case, taken), &times) in self.cases.iter_mut().zip(&mut taken).zip(&times) {
                taken.push(nanoseconds(case.work.time(times)) / f64::from(times));
            }
        }
        let takes = takes.iter().zip(&times).map(|(all, times)| *all / *times);
        let costs = self.cases.iter().zip(&mut taken).zip(takes).map(|((case, taken), takes)| {
            taken.sort_by(f64::total_cmp);
            // Valgrind is 50 times slower: what takes long is not done so often, or not at all.
            let times = (MOST_COUNTED.as_nanos() / takes.as_nanos().max(1)) as u64;
            let counted = self.bench.valgrind && times > 0;
            let counted =
                counted.then(|| count(case, &self.id(&case.name), times.clamp(4, COUNTED)));
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

impl<F: FnMut()> Work for F {
    #[expect(clippy::disallowed_methods, reason = "a bench is about time")]
    fn time(&mut self, times: u32) -> Duration {
        let start = Instant::now();
        (0..times).for_each(|_| self());
        start.elapsed()
    }
}

impl Calls {
    fn answer(&self, case: &mut Case) {
        match *self {
            Self::Counted { times, warm_up } => {
                case.work.time(warm_up as u32);
                counted_part(case, times as u32);
            }
            Self::Served => {
                for line in io::stdin().lines().map_while(Result::ok) {
                    let Ok(times) = line.parse() else { panic!("{line:?} is no number") };
                    println!("{}", case.work.time(times).as_nanos());
                }
            }
        }
    }
}

impl Costs {
    /// The counts of a case, less those of the bare one.
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
        let held = self.0.iter().any(|cost| cost.counted.is_some_and(|all| all.held > 1.0));
        print!("{title:<62}{}", columns.map(|column| format!(" {column:>8}")).concat());
        println!("{}", if held { "     held" } else { "" });
        for cost in &self.0 {
            let ratio = cost.nanoseconds / bare.nanoseconds;
            print!("  {:<60} {:>8.0} {ratio:>8.2}", cost.name, cost.nanoseconds);
            if let (Some(all), Some(bare)) = (cost.counted, bare.counted) {
                let net = all.less(bare);
                print!(" {:>8.0} {:>+8.0}", all.instructions, net.instructions);
                print!(" {:>8.2} {:>+8.2}", all.allocations, net.allocations);
                print!(" {:>8.0} {:>+8.0}", all.bytes, net.bytes);
                if held {
                    print!(" {:>8.0}", all.held);
                }
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
            held: self.held - bare.held,
        }
    }
}

/// Prints whether a measured value is within its bound.
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
    version_in(include_str!("../../Cargo.lock"), name)
}

/// A crate's name with its version in this lock file.
pub(crate) fn version_in(lock: &str, name: &str) -> String {
    let mut lines = lock.lines();
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

/// Returns a number of iterations that is at least that much work, and their time.
#[expect(clippy::disallowed_methods, reason = "a bench is about time")]
fn calibrate(case: &mut Case, at_least: Duration) -> (u32, Duration) {
    // A first one, since another program may have to start for it.
    case.work.time(1);
    let mut times = 1;
    loop {
        let start = Instant::now();
        if case.work.time(times) >= at_least {
            return (times, start.elapsed());
        }
        times *= 2;
    }
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

fn has_valgrind() -> bool {
    let called = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    called.is_ok_and(|status| status.success())
}

/// Counts what the case does, in three runs at once. Callgrind counts what it is told to; dhat
/// counts the whole run, so what it takes to start is known from a shorter run.
fn count(case: &Case, id: &str, times: u64) -> Counted {
    let toggle = "--toggle-collect=*::counted_part";
    let call = |options: &[&str], counted| {
        let warm_up = times.min(WARM_UP);
        let only = ["--only", id, &format!("{counted}"), &format!("{warm_up}")];
        valgrind(Command::new("valgrind").args(options).arg(case.work.program()).args(only))
    };
    let callgrind = call(&["--tool=callgrind", "--callgrind-out-file=/dev/null", toggle], times);
    let dhat =
        [0, times].map(|counted| call(&["--tool=dhat", "--dhat-out-file=/dev/null"], counted));
    let instructions = number_after(&finish(callgrind, id), "Collected : ", 0);
    let [start, whole] = dhat.map(|child| finish(child, id));
    let each = |sum| sum / times as f64;
    let more = |mark, at| each(number_after(&whole, mark, at) - number_after(&start, mark, at));
    Counted {
        instructions: each(instructions),
        allocations: more("Total: ", 3),
        bytes: more("Total: ", 0),
        held: more("At t-end: ", 0),
    }
}

/// Callgrind knows it by its name.
#[inline(never)]
fn counted_part(case: &mut Case, times: u32) {
    case.work.time(times);
}

fn valgrind(command: &mut Command) -> Child {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    child.unwrap_or_else(|error| panic!("valgrind does not start: {error}"))
}

fn finish(child: Child, id: &str) -> String {
    match child.wait_with_output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stderr).into(),
        failed => panic!("under valgrind, {id} fails: {failed:?}"),
    }
}

/// Returns the word at this place after `mark`, as a number.
fn number_after(report: &str, mark: &str, at: usize) -> f64 {
    let behind = report.lines().find_map(|line| line.split_once(mark)).map(|(_, behind)| behind);
    let word = behind.and_then(|behind| behind.split_whitespace().nth(at));
    let number = word.and_then(|word| word.replace(',', "").parse().ok());
    number.unwrap_or_else(|| panic!("valgrind says no number after {mark:?}: {report}"))
}

/// The number of iterations before the counted ones, for work that is done only once.
const WARM_UP: u64 = 256;
/// A multiple of the block of samples that a recorder allocates now and then.
const COUNTED: u64 = 1_024;
/// The maximum time, without valgrind, of the iterations that are counted. There are
/// four if one fits.
const MOST_COUNTED: Duration = Duration::from_millis(40);
/// Up to this all rounds of a group may take, but there are a few in any case.
const MOST_TIMED: Duration = Duration::from_secs(12);
