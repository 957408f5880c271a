//! Ranges over a service whose representation changes, and that lies now and then.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, request};
use proptest::prelude::*;
use proptest::sample::select;
use tokio::runtime::Builder;

use super::rig::{Answer, Got, Rig, idle, reply, request};

/// One event of a story.
#[derive(Clone, Debug)]
enum Step {
    Get {
        /// None for the whole.
        range: Option<String>,
        /// The condition names this version.
        if_range: Option<u8>,
        origin: Origin,
    },
    Change,
    Wait(u64),
    Purge,
}

/// The behavior of the service towards a range.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    Honest,
    IgnoresRanges,
    /// Names other bytes than it sends.
    Shifts,
    /// Sends one byte less than it names, or one more.
    Short,
    Long,
    /// Names a whole that ends before the part.
    Misstates,
    SaysNothing,
}

fn step() -> impl Strategy<Value = Step> {
    let range = prop_oneof![
        4 => (0_u64..22, 0_u64..8).prop_map(|(first, more)| format!("bytes={first}-{}", first + more)),
        2 => select(vec!["bytes=0-4", "bytes=5-9", "bytes=-4", "bytes=3-"]).prop_map(str::to_owned),
        1 => (0_u64..22).prop_map(|first| format!("bytes={first}-")),
        1 => (0_u64..22).prop_map(|last| format!("bytes=-{last}")),
        1 => select(vec!["bytes=0-1,4-5", "bytes=9-2", "lines=1-2"]).prop_map(str::to_owned),
    ];
    let origin = prop_oneof![
        8 => Just(Origin::Honest),
        1 => Just(Origin::IgnoresRanges),
        1 => select(vec![
            Origin::Shifts, Origin::Short, Origin::Long, Origin::Misstates, Origin::SaysNothing,
        ]),
    ];
    let range = proptest::option::weighted(0.85, range);
    let if_range = proptest::option::weighted(0.15, 0_u8..3);
    prop_oneof![
        12 => (range, if_range, origin)
            .prop_map(|(range, if_range, origin)| Step::Get { range, if_range, origin }),
        1 => Just(Step::Change),
        1 => select(vec![10, 59, 61]).prop_map(Step::Wait),
        1 => Just(Step::Purge),
    ]
}

/// The bytes of a version.
fn whole(version: u8) -> String {
    (0..20_u8).map(|at| char::from(b'a' + (at * 3 + version * 7) % 26)).collect()
}

fn tag(version: u8) -> String {
    format!("\"{version}\"")
}

/// Returns the bytes of a single range, as RFC 9110 §14.1.2 has it. None is ignored, and an empty one
/// unsatisfiable.
fn bytes_of(range: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => Some((first, size.min(last + 1))),
        (Ok(first), Err(_)) if last.is_empty() => Some((first, size)),
        (Err(_), Ok(last)) if first.is_empty() => Some((size.saturating_sub(last), size)),
        _ => None,
    }
}

fn answer(head: &request::Parts, version: u8, origin: Origin) -> Answer {
    let (whole, tag) = (whole(version), tag(version));
    let fields = [("cache-control", "max-age=60"), ("etag", &*tag)];
    let asked = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
    if asked("if-none-match") == Some(&*tag) {
        return Ok(reply(304, &fields, ""));
    }
    let range = asked("range").and_then(|range| bytes_of(range, whole.len()));
    let is_same = asked("if-range").is_none_or(|given| given == tag);
    let Some((first, end)) = range.filter(|_| is_same && origin != Origin::IgnoresRanges) else {
        return Ok(reply(200, &fields, &whole));
    };
    if first >= end {
        return Ok(reply(416, &[("content-range", "bytes */20")], ""));
    }
    let (mut from, mut to, mut total, mut body) =
        (first, end - 1, 20, whole[first..end].to_owned());
    match origin {
        Origin::Shifts => (from, to) = (from + 1, to + 1),
        Origin::Short => drop(body.pop()),
        Origin::Long => body.push('!'),
        Origin::Misstates => total = to,
        _ => {}
    }
    let stated = format!("bytes {from}-{to}/{total}");
    let mut fields = fields.to_vec();
    if origin != Origin::SaysNothing {
        fields.push(("content-range", &stated));
    }
    Ok(reply(206, &fields, &body))
}

/// Checks that a response has the bytes of the version that its tag names.
fn check(got: &Got, range: Option<&str>) -> Result<(), TestCaseError> {
    let tag = got.field("etag").unwrap_or_default().trim_matches('"').parse::<u8>();
    let size = whole(0).len();
    match got.status {
        200 => prop_assert_eq!(&got.body, &whole(tag.unwrap())),
        206 => {
            let (first, end) = bytes_of(range.expect("a range"), size).expect("a single range");
            let stated = format!("bytes {first}-{}/{size}", end - 1);
            prop_assert_eq!(got.field("content-range"), Some(&*stated));
            prop_assert_eq!(&*got.body, &whole(tag.unwrap())[first..end]);
        }
        416 => {
            let (first, end) = bytes_of(range.expect("a range"), size).expect("a single range");
            prop_assert!(first >= end);
        }
        other => prop_assert!(false, "{}", other),
    }
    Ok(())
}

async fn tell(max_entry_size: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let rig = Rig::with(&[], |layer| layer.max_entry_size(max_entry_size));
    let mut version = 0_u8;
    for step in steps {
        match step {
            Step::Change => version = (version + 1) % 3,
            Step::Wait(seconds) => rig.clock.pass(seconds),
            Step::Purge => rig.handle.purge_url("http://x.org/").unwrap().await.unwrap(),
            Step::Get { range, if_range, origin } => {
                let condition = if_range.filter(|_| range.is_some()).map(tag);
                let mut fields = Vec::new();
                fields.extend(range.as_deref().map(|range| ("range", range)));
                fields.extend(condition.as_deref().map(|tag| ("if-range", tag)));
                let asked: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
                let seen = Arc::clone(&asked);
                rig.answers(move |head| {
                    seen.lock().unwrap().push(head.headers.clone());
                    answer(head, version, origin)
                });
                let got = rig.ask(request("GET", "/", &fields)).await.unwrap();
                idle().await;
                // A lie passes to the one client that it was told.
                let asked = asked.lock().unwrap();
                let may_lie = !matches!(origin, Origin::Honest | Origin::IgnoresRanges);
                if !(may_lie && asked.iter().any(|headers| headers.contains_key("range"))) {
                    check(&got, range.as_deref())?;
                    let is_part = got.status == 206;
                    if let (true, Some(tag)) = (is_part, &condition) {
                        prop_assert_eq!(got.field("etag"), Some(&**tag), "if-range");
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn ranges_have_the_bytes_of_their_version(
        max_entry_size in select(vec![6, 1000]),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(tell(max_entry_size, steps))?;
    }
}
