//! Worker processes on one port, started, replaced and restarted by their parent: what the `cluster`
//! of Node is in Rust, for whoever needs it.
//!
//! ```sh
//! cargo run --example workers --features full
//! curl -i http://127.0.0.1:3000/         # x-worker is the process that answered
//! curl -i http://127.0.0.1:3000/panic    # it ends that connection, and nothing else
//! kill -9 WORKER                         # another takes its place
//! kill -HUP PARENT                       # one by one, new workers take the place of all
//! kill PARENT                            # a stop, as by Ctrl-C: open requests are finished first
//! ```
//!
//! # Most services do not need this
//!
//! Node forks a worker for each CPU since a process of Node runs on one. A process of Tokio runs on
//! all of them, and `quickstart` is one. Measured against it, at 64 connections, two processes on a
//! port with SO_REUSEPORT gave 0.83 to 0.89 of the throughput and 4.3 times the p99: a connection
//! stays with the process that it was given to, however busy that is, and they were split as badly as
//! 1 to 7. To start a dead process anew is what systemd (`Restart=on-failure`) and Kubernetes do. A
//! panic ends its task only, which is the connection, or a stream of HTTP/2. And what a process has in
//! memory is there once for each: caches, limits, pools of connections, numbers.
//!
//! What is left for processes: what ends a whole one (an overflown stack, a crash in C, `panic =
//! "abort"`) ends a part of the connections, and a new version takes over on one host without a proxy
//! in front, and without a connection that is refused.
//!
//! # How it is done
//!
//! - **One socket.** The parent binds it, and every worker gets it as its standard input. So there is
//!   one queue of connections, and what a dead worker has not accepted goes to another. With
//!   SO_REUSEPORT each process has its own queue, which ends with it: of 200 waiting connections, 92
//!   were reset when one of two processes was killed, and none here.
//! - **A line to the parent.** A worker's standard output is a pair of sockets. It says where its numbers
//!   are when it is ready, and the parent prints what else comes. A byte from the parent lets a worker
//!   stop while others go on. Where the line ends without one, the parent stops, or was killed: then all
//!   stop, and the port is free at once.
//! - **A worker stops** by accepting no more, answering what is open, for ten seconds at most, and
//!   saying `connection: close`. Idle connections stay for five of these, since a request may be on
//!   its way: closed at once, it would be lost.
//! - **A dead worker** is replaced after 100 ms; if its successor dies within ten seconds, after twice
//!   as long, up to 10 s.
//! - **A restart** starts one new worker, of the program that has the parent's path by now, waits until
//!   it is ready, then stops an old one, and so on. If the new one does not start, the old ones stay.
//!   The parent itself stays what it is.
//!
//! # Around it
//!
//! `ADDR` is where it listens, `WORKERS` how many there are, 2 by default. For systemd: `KillMode=mixed`,
//! `ExecReload=kill -HUP $MAINPID`, and a `TimeoutStopSec` over 15.
//!
//! A scrape of the port would get the numbers of whichever worker answers, so each has `/metrics` on a
//! port of its own, on the loopback. `TARGETS` names a file that lists them for `file_sd_configs` of a
//! Prometheus, or its agent, on the same host. Sum over them: `sum without (instance) (rate(..))`.

mod parent;
mod worker;

use std::error::Error;

use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        None => Builder::new_current_thread().enable_all().build()?.block_on(parent::supervise()),
        Some(WORKER) => Builder::new_multi_thread().enable_all().build()?.block_on(worker::work()),
        Some(other) => Err(format!("there is no argument {other}").into()),
    }
}

/// The argument that makes a process a worker.
const WORKER: &str = "worker";
