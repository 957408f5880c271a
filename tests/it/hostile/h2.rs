//! HTTP/2: floods of each kind of frame, header sections without an end, and windows without room.

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, SETTINGS, WINDOW,
    WINDOW_UPDATE, frame, get, head, integer, literal, reset, settings, streams, window,
};
use super::rig::{Target, connect, each};

/// ENHANCE_YOUR_CALM, as far as the client still gets to read it.
const CALM: [Option<u32>; 2] = [Some(11), None];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn rapid_resets_cancel_their_requests() {
    let target = Target::start(&[]);
    let flood = |path: &str| -> Vec<u8> {
        streams(200).flat_map(|stream| [get(stream, path), reset(stream)].concat()).collect()
    };
    let floods = [flood("/slow?ms=60000"), flood("/items?n=100"), flood("/events")];
    let attack = async |_| {
        for flood in &floods {
            for _ in 0..5 {
                let mut victim = target.connect_h2(&[]).await;
                victim.push(flood).await;
            }
        }
        // One after the other, each when its response has begun.
        let mut victim = target.connect_h2(&[]).await;
        for stream in streams(100) {
            victim.send(get(stream, "/events")).await;
            victim.until(HEADERS, stream).await;
            victim.send(reset(stream)).await;
        }
    };
    target.survives(attack).await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn endless_header_sections_end_the_connection() {
    let target = Target::start(&[]);
    let field = literal("x-field", &"v".repeat(1_000));
    let attack = async |_| {
        for continued in [&field[..], &[]] {
            for _ in 0..20 {
                let mut victim = target.connect_h2(&[]).await;
                let mut taken = victim.send(frame(HEADERS, END_STREAM, 1, &head("GET", "/"))).await;
                let mut sent = 0;
                while taken && sent < 50_000 {
                    taken = victim.send(frame(CONTINUATION, 0, 1, continued)).await;
                    sent += 1;
                }
                assert!(sent < 50_000, "it takes any number of them");
                assert!(CALM.contains(&victim.goaway().await));
            }
        }
    };
    target.survives(attack).await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn header_sections_that_inflate_are_refused() {
    let target = Target::start(&[]);
    // A field of 4,000 bytes goes into the table of the server, and each further byte names it.
    let mut bomb = head("GET", "/items");
    bomb.push(0x40);
    for text in ["x-bomb", &"v".repeat(4_000)] {
        bomb.extend(integer(0, 7, text.len()));
        bomb.extend(text.as_bytes());
    }
    bomb.extend(vec![0x80 | 62; 12_000]);
    let many: Vec<u8> = (0..900).flat_map(|at| literal(&format!("x-{at}"), "v")).collect();
    let many = [head("GET", "/items"), many].concat();
    // Names of fields and tables that are not there, and lengths that do not end.
    let broken: [&[u8]; 4] =
        [&[0xff; 40], &[0x80], &[0x3f, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0xc2; 3]];
    let attack = async |_| {
        for section in [&bomb, &many] {
            for _ in 0..20 {
                let mut victim = target.connect_h2(&[]).await;
                for stream in streams(20) {
                    victim.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, section)).await;
                }
                // 431, of the static table by its first digit: never 200, whose index is 8.
                while let Some((kind, _, _, payload)) = victim.frame().await {
                    let refused = kind != HEADERS || payload[0] != 0x88;
                    assert!(refused, "{payload:?}");
                    if kind == HEADERS {
                        break;
                    }
                }
            }
        }
        for section in broken {
            for _ in 0..20 {
                let mut victim = target.connect_h2(&[]).await;
                victim.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, section)).await;
                victim.goaway().await;
            }
        }
    };
    target.survives(attack).await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unread_responses_go_with_their_connection() {
    let target = Target::start(&[]);
    let addr = target.addr;
    let attack = async |round: usize| {
        // In none of them, or in a single byte: then all of the body goes from hyper to h2.
        let room = u32::try_from(round % 2).unwrap();
        each(8, move |_| async move {
            let mut victim = connect(addr).await;
            victim.send([PREFACE, &settings(&[(WINDOW, 0)])].concat()).await;
            for stream in streams(100) {
                // One of its own for each, which is not kept.
                let fields = literal("cache-control", "no-store");
                let fields = [head("GET", "/items?n=200"), fields].concat();
                victim.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)).await;
                if room > 0 {
                    victim.send(window(stream, room)).await;
                }
            }
            let mut begun = 0;
            while begun < 100 {
                let (kind, ..) = victim.frame().await.expect("it has its responses, if no room");
                begun += u32::from(kind == HEADERS);
            }
        })
        .await;
    };
    target.survives(attack).await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn frames_that_ask_for_nothing_cost_nothing() {
    let target = Target::start(&[]);
    let empty = |kind, flags, stream| frame(kind, flags, stream, &[]);
    let open = frame(HEADERS, END_HEADERS, 1, &head("POST", "/echo"));
    let floods: [Vec<u8>; 11] = [
        frame(PING, 0, 0, &[0; 8]).repeat(20_000),
        frame(PING, ACK, 0, &[0; 8]).repeat(20_000),
        settings(&[(WINDOW, 1)]).repeat(20_000),
        empty(SETTINGS, ACK, 0).repeat(20_000),
        window(0, 1).repeat(20_000),
        window(0, 0x7fff_ffff).repeat(100),
        [open.clone(), empty(DATA, 0, 1).repeat(20_000)].concat(),
        [open.clone(), frame(DATA, 0, 1, b"x").repeat(20_000)].concat(),
        [open.clone(), frame(DATA, 0, 1, &vec![b'x'; 16_384]).repeat(100)].concat(),
        [open, reset(1).repeat(20_000)].concat(),
        // Frames of a kind that nobody knows, of priorities, and larger than agreed.
        [
            frame(0xfa, 0, 0, &[0; 100]).repeat(5_000),
            frame(2, 0, 3, &[0, 0, 0, 1, 9]).repeat(5_000),
        ]
        .concat(),
    ];
    let attack = async |_| {
        for flood in &floods {
            for _ in 0..6 {
                let mut victim = target.connect_h2(&[]).await;
                victim.push(flood).await;
            }
        }
        for _ in 0..20 {
            let mut victim = target.connect_h2(&[]).await;
            victim.send(frame(DATA, 0, 0, &vec![0; 100_000])).await;
            victim.goaway().await;
            // Frames on streams that are not open, or not the client's to open.
            for stream in [0, 2, 99] {
                let mut victim = target.connect_h2(&[]).await;
                victim.send(frame(DATA, END_STREAM, stream, b"x")).await;
                victim.goaway().await;
            }
        }
    };
    target.survives(attack).await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn disconnect_at_any_frame_leaves_nothing() {
    let target = Target::start(&[]);
    let addr = target.addr;
    let attack = async |_| {
        each(100, move |at| async move {
            let mut victim = connect(addr).await;
            let requests: Vec<u8> = streams(10)
                .flat_map(|stream| get(stream, &format!("/items?n=5&at={at}-{stream}")))
                .collect();
            let start = [PREFACE, &settings(&[]), &requests].concat();
            victim.send(start).await;
            victim.read(at * 40).await;
        })
        .await;
    };
    target.survives(attack).await;
    let updates = frame(WINDOW_UPDATE, 0, 0, &[0; 4]);
    let mut victim = target.connect_h2(&[]).await;
    victim.send(updates).await;
    assert!(victim.goaway().await.is_some(), "an update of nothing is an error");
    target.stop();
}
