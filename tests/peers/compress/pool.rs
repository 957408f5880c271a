//! `src/compress/pool.rs` under a model checker, which tries orders of its threads' steps.

use std::cell::Cell;
use std::iter;

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::sync::mpsc::channel;
use shuttle::sync::{Arc, Barrier};
use shuttle::thread::{spawn, yield_now};

use self::codec::{Codec, CodecError, Library, Op};
use self::encoding::Encoding;
use self::model::{Pooled, Semaphore, compress_whole};

#[expect(dead_code, reason = "not all of it is shared")]
#[path = "../../src/compress/pool.rs"]
mod model;

/// What is behind `src/compress/sync.rs`, but the model checker's.
mod sync {
    pub(super) use shuttle::sync::Arc;
    pub(super) use shuttle::sync::atomic::AtomicUsize;
    pub(super) use shuttle::thread_local;
}

mod encoding {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Encoding {
        Gzip,
        Deflate,
    }
}

/// As in `src/compress/codec.rs`, with codecs that are counted.
mod codec {
    use super::encoding::Encoding;

    pub(super) trait Codec: Send + Sync {
        fn reset(&mut self) -> bool;
        fn prepare(&mut self, padding: u8, size: Option<usize>) -> bool;
        fn set_history(&mut self, _history: &[u8]) -> Result<(), CodecError> {
            Err(CodecError)
        }
        fn encode(
            &mut self,
            input: &mut &[u8],
            output: &mut Vec<u8>,
            op: Op,
        ) -> Result<bool, CodecError>;
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Op {
        Process,
        Finish,
    }

    #[derive(Debug)]
    pub(super) struct CodecError;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Library {
        ZlibRs,
    }

    pub(super) fn new(
        encoding: Encoding,
        level: u32,
        _: Library,
    ) -> Result<Box<dyn Codec>, CodecError> {
        Ok(Box::new(super::Counted::new(encoding, level)))
    }
}

thread_local! {
    // All tasks of the model run in one thread of the system.
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static MADE: Cell<usize> = const { Cell::new(0) };
}

/// Writes down its encoding and level at the end, and fails if it is fed [`BAD`].
struct Counted {
    encoding: Encoding,
    level: u32,
    taken: bool,
}

impl Counted {
    fn new(encoding: Encoding, level: u32) -> Self {
        LIVE.set(LIVE.get() + 1);
        MADE.set(MADE.get() + 1);
        Self { encoding, level, taken: false }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVE.set(LIVE.get() - 1);
    }
}

impl Codec for Counted {
    fn reset(&mut self) -> bool {
        assert!(self.taken, "it was in the pool already");
        self.taken = false;
        true
    }

    fn prepare(&mut self, _: u8, _: Option<usize>) -> bool {
        assert!(!self.taken, "it is in two hands");
        self.taken = true;
        true
    }

    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        assert!(self.taken, "it is in the pool");
        yield_now();
        if *input == BAD {
            return Err(CodecError);
        }
        output.extend_from_slice(input);
        *input = &[];
        if op == Op::Finish {
            output.extend_from_slice(mark(self.encoding, self.level).as_bytes());
        }
        Ok(true)
    }
}

const BAD: &[u8] = b"bad";

/// As in the pool.
const KEPT: usize = 2;

const ORDERS: usize = 300;
const THREADS: usize = 3;
const KEYS: [(Encoding, u32); 3] = [(Encoding::Gzip, 1), (Encoding::Gzip, 6), (Encoding::Deflate, 6)];

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let whole = move || {
        // What the order before had was freed with its threads.
        assert_eq!(LIVE.get(), 0);
        MADE.set(0);
        scenario();
    };
    shuttle::check_random(whole, ORDERS);
    shuttle::check_pct(whole, ORDERS, 3);
}

fn mark(encoding: Encoding, level: u32) -> String {
    format!("{encoding:?}{level}")
}

fn take((encoding, level): (Encoding, u32)) -> Pooled {
    Pooled::take((encoding, level, Library::ZlibRs), 0, None).unwrap()
}

fn run(codec: Pooled, (encoding, level): (Encoding, u32), text: &str) {
    let chunks = [text.as_bytes()].into_iter();
    let bytes = compress_whole(codec, chunks, text.len(), true).unwrap().unwrap();
    assert_eq!(bytes, format!("{text}{}", mark(encoding, level)));
}

#[test]
fn a_codec_is_in_one_hand_and_of_the_coding_and_level_that_were_asked_for() {
    check(|| {
        let (give, given) = channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|at| {
                let give = give.clone();
                spawn(move || {
                    for key in KEYS {
                        run(take(key), key, &format!("{at}"));
                        give.send((take(key), key)).unwrap();
                    }
                })
            })
            .collect();
        drop(give);
        // What was taken elsewhere goes on here, while others are taken there.
        for (codec, key) in given {
            run(codec, key, "moved");
            run(take(key), key, "mine");
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(LIVE.get() <= KEPT * KEYS.len(), "what its threads left: {}", LIVE.get());
    });
}

#[test]
fn a_thread_keeps_no_more_than_its_bound_and_frees_them_when_it_ends() {
    check(|| {
        let barrier = Arc::new(Barrier::new(THREADS + 1));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                spawn(move || {
                    let mut codecs: Vec<_> = iter::repeat_with(|| take(KEYS[0])).take(4).collect();
                    let failed = codecs[0].encode(&mut &*BAD, &mut Vec::new(), Op::Process);
                    assert!(failed.is_err());
                    drop(codecs);
                    barrier.wait();
                    barrier.wait();
                })
            })
            .collect();
        barrier.wait();
        assert_eq!(LIVE.get(), KEPT * THREADS);
        barrier.wait();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(LIVE.get(), 0);
    });
}

#[test]
fn a_codec_that_was_moved_is_used_again_where_it_was_dropped() {
    check(|| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let codecs: Vec<_> = iter::repeat_with(|| take(KEYS[0])).take(KEPT).collect();
                spawn(move || {
                    drop(codecs);
                    let codecs: Vec<_> = iter::repeat_with(|| take(KEYS[0])).take(KEPT).collect();
                    codecs.into_iter().for_each(|codec| run(codec, KEYS[0], "again"));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(MADE.get(), KEPT * THREADS);
        assert_eq!(LIVE.get(), 0);
    });
}

#[test]
fn permits_are_bounded_and_come_back() {
    const MOST: usize = 2;
    check(|| {
        let mut semaphore = Semaphore::default();
        semaphore.permits = MOST;
        let held = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..=MOST)
            .map(|_| {
                let (semaphore, held) = (semaphore.clone(), Arc::clone(&held));
                spawn(move || {
                    for _ in 0..2 {
                        let Some(permit) = semaphore.try_acquire() else { continue };
                        assert!(held.fetch_add(1, Ordering::SeqCst) < MOST, "one too many");
                        held.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let all: Vec<_> = iter::from_fn(|| semaphore.try_acquire()).take(MOST + 1).collect();
        assert_eq!(all.len(), MOST);
    });
}
