//! The pool of codecs under a model checker, which tries the orders of the steps of its threads.

use std::cell::Cell;
use std::iter;

use shuttle::sync::mpsc::channel;
use shuttle::sync::{Arc, Barrier};
use shuttle::thread::{JoinHandle, spawn, yield_now};

use self::codec::{Codec, CodecError, CodecKind, Op};
use self::model::{Key, Pooled};

#[expect(dead_code, reason = "the codecs of this test have no history")]
#[path = "../../../src/compress/pool.rs"]
mod model;

/// The primitives of the model checker, as in `src/compress/sync.rs`.
mod sync {
    pub(super) use shuttle::thread_local;
}

#[expect(dead_code, reason = "the codecs of this test are not flushed")]
#[path = "../../../src/compress/codec.rs"]
mod codec;

thread_local! {
    // All tasks of the model run in one thread of the system.
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static MADE: Cell<usize> = const { Cell::new(0) };
}

/// A codec that appends its name to its input, and fails on [`BAD`].
struct Named {
    name: &'static str,
    level: u32,
    taken: bool,
}

impl Named {
    fn make(name: &'static str, level: u32) -> Result<Box<dyn Codec>, CodecError> {
        LIVE.set(LIVE.get() + 1);
        MADE.set(MADE.get() + 1);
        Ok(Box::new(Self { name, level, taken: false }))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        LIVE.set(LIVE.get() - 1);
    }
}

impl Codec for Named {
    fn reset(&mut self) -> bool {
        assert!(self.taken, "the codec is in the pool already");
        self.taken = false;
        true
    }

    fn prepare(&mut self, _: u8, _: Option<usize>) -> bool {
        assert!(!self.taken, "the codec is taken already");
        self.taken = true;
        true
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        _: Op,
    ) -> Result<bool, CodecError> {
        assert!(self.taken, "the codec is in the pool");
        yield_now();
        if *input == BAD {
            return Err(CodecError);
        }
        output.extend_from_slice(format!("{} {}", self.name, self.level).as_bytes());
        *input = &[];
        Ok(true)
    }
}

static FIRST: CodecKind = CodecKind { new: |level| Named::make("first", level) };
static SECOND: CodecKind = CodecKind { new: |level| Named::make("second", level) };

const BAD: &[u8] = b"bad";

/// The number of codecs of one key that a thread keeps.
const MAX_KEPT: usize = 2;

const ORDERS: usize = 300;
const THREADS: usize = 3;

/// The keys, and the output of their codecs.
const KEYS: [(Key, &str); 3] = [
    (Key { kind: &FIRST, level: 1 }, "first 1"),
    (Key { kind: &FIRST, level: 6 }, "first 6"),
    (Key { kind: &SECOND, level: 6 }, "second 6"),
];

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let whole = move || {
        // The codecs of the previous order were freed with its threads.
        assert_eq!(LIVE.get(), 0);
        MADE.set(0);
        scenario();
    };
    shuttle::check_random(whole, ORDERS);
    shuttle::check_pct(whole, ORDERS, 3);
}

fn take((key, _): (Key, &str)) -> Pooled {
    Pooled::take(key, 0, None).unwrap()
}

fn run(mut codec: Pooled, (_, expected): (Key, &str)) {
    let mut output = Vec::new();
    assert!(codec.encode(&mut &b"text"[..], &mut output, Op::Process).unwrap());
    assert_eq!(output, expected.as_bytes());
}

fn spawn_all<F: FnOnce() + Send + 'static>(thread: impl Fn() -> F) -> Vec<JoinHandle<()>> {
    (0..THREADS).map(|_| spawn(thread())).collect()
}

fn join(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn codecs_have_one_user_and_the_right_key() {
    check(|| {
        let (give, given) = channel();
        let threads = spawn_all(|| {
            let give = give.clone();
            move || {
                for key in KEYS {
                    run(take(key), key);
                    give.send((take(key), key)).unwrap();
                }
            }
        });
        drop(give);
        // Codecs of other threads go on here, while their threads take more.
        for (codec, key) in given {
            run(codec, key);
            run(take(key), key);
        }
        join(threads);
        assert!(LIVE.get() <= MAX_KEPT * KEYS.len(), "{} codecs are left", LIVE.get());
    });
}

#[test]
fn threads_keep_a_bounded_number_of_codecs() {
    check(|| {
        let barrier = Arc::new(Barrier::new(THREADS + 1));
        let threads = spawn_all(|| {
            let barrier = Arc::clone(&barrier);
            move || {
                let mut codecs: Vec<_> = iter::repeat_with(|| take(KEYS[0])).take(4).collect();
                let failed = codecs[0].encode(&mut &*BAD, &mut Vec::new(), Op::Process);
                assert!(failed.is_err());
                drop(codecs);
                barrier.wait();
                barrier.wait();
            }
        });
        barrier.wait();
        assert_eq!(LIVE.get(), MAX_KEPT * THREADS);
        barrier.wait();
        join(threads);
        assert_eq!(LIVE.get(), 0);
    });
}

#[test]
fn moved_codecs_join_the_pool_of_their_thread() {
    check(|| {
        let some = || iter::repeat_with(|| take(KEYS[0])).take(MAX_KEPT).collect::<Vec<_>>();
        let threads = spawn_all(|| {
            let codecs = some();
            move || {
                drop(codecs);
                some().into_iter().for_each(|codec| run(codec, KEYS[0]));
            }
        });
        join(threads);
        assert_eq!(MADE.get(), MAX_KEPT * THREADS);
        assert_eq!(LIVE.get(), 0);
    });
}
