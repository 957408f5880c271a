//! Clients that hold a connection and do as little as they can. There are few seats here, and they
//! take all of them: that another client gets in shows that they have lost theirs.

use std::io::ErrorKind::WouldBlock;
use std::time::Duration;

use super::frames::{ACK, DATA, END_HEADERS, HEADERS, PING, PREFACE, SETTINGS, WINDOW};
use super::frames::{frame, get as get_h2, head, settings, streams};
use super::rig::{Target, Victim, connect, get, last, statuses};
use crate::support::soon;

const SEATS: usize = 8;

fn start(patience: &str) -> Target {
    Target::start(&[("CONNECTIONS", "8"), ("PATIENCE_MS", patience)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn there_are_no_more_connections_than_seats() {
    let target = start("60000");
    let mut seated = take_all_seats(&target).await;
    let mut late = target.connect().await;
    late.send(last("/page.js", "")).await;
    // That somebody else is asked meanwhile shows that it waits, and for no timer.
    for victim in &mut seated {
        victim.text_until("event 2\n\n").await;
    }
    assert!(late.0.try_read(&mut [0]).is_err_and(|error| error.kind() == WouldBlock));
    seated.pop();
    assert_eq!(statuses(&late.rest().await), ["200"]);
    drop(seated);
    target.is_well().await;
    target.stop();
}

/// Waits until clients that come later have all of the seats; how many responses each of the
/// others got before it was turned out.
async fn are_turned_out(target: &Target, victims: Vec<Victim>) -> Vec<usize> {
    assert_eq!(victims.len(), SEATS);
    drop(take_all_seats(target).await);
    let mut answered = Vec::new();
    for mut victim in victims {
        answered.push(statuses(&victim.rest().await).len());
    }
    target.is_well().await;
    answered
}

/// Opens event streams, and waits for their first event.
async fn take_all_seats(target: &Target) -> Vec<Victim> {
    let mut seated = Vec::new();
    for _ in 0..SEATS {
        let mut victim = target.connect().await;
        victim.send(get("/events", "")).await;
        victim.text_until("event 1\n\n").await;
        seated.push(victim);
    }
    seated
}

/// Sends bytes one by one until the server has ended the connection.
async fn drip(mut victim: Victim) -> String {
    let mut read = Vec::new();
    let dripping = async {
        loop {
            tokio::select! {
                more = tokio::io::AsyncReadExt::read_buf(&mut victim.0, &mut read) => {
                    if !more.is_ok_and(|more| more > 0) {
                        break;
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(20)) => {
                    drop(tokio::io::AsyncWriteExt::write_all(&mut victim.0, b"x").await);
                }
            }
        }
    };
    soon(dripping).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn idle_connections_are_closed() {
    let target = start("300");
    let whole = get("/healthz", "");
    let pieces: [&[u8]; 6] = [
        b"",
        &PREFACE[..1],
        &PREFACE[..23],
        PREFACE,
        &whole.as_bytes()[..whole.len() - 2],
        b"\r\n",
    ];
    for piece in pieces {
        let mut victims = Vec::new();
        for _ in 0..SEATS {
            let mut victim = target.connect().await;
            victim.send(piece).await;
            victims.push(victim);
        }
        let answered = are_turned_out(&target, victims).await;
        assert_eq!(answered, [0; SEATS], "{piece:?}");
    }
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn slow_headers_and_bodies_are_cut_off() {
    let target = start("300");
    let mut victim = target.connect().await;
    victim.send("GET /healthz HTTP/1.1\r\nx: ").await;
    assert!(!drip(victim).await.contains("HTTP/1.1 200"));
    let mut victim = target.connect().await;
    let post = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\n";
    victim.send(format!("{post}content-length: 100000\r\n\r\n")).await;
    assert_eq!(statuses(&drip(victim).await), ["400"]);
    let slow = [("route", "/echo"), ("status_code", "400")];
    assert_eq!(target.metric("http_request_duration_seconds", &slow).await, 1.0);
    // Over HTTP/2, where the connection is not held up by it.
    let mut victim = target.connect_h2(&[]).await;
    victim.send(frame(HEADERS, END_HEADERS, 1, &head("POST", "/echo"))).await;
    victim.send(frame(DATA, 0, 1, b"x")).await;
    assert_eq!(victim.until(HEADERS, 1).await[0], 0x8c, "400, of the static table");
    target.is_well().await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_does_not_read_is_turned_out() {
    let target = start("50");
    let mut victims = Vec::new();
    for number in 0..SEATS {
        let mut victim = target.connect().await;
        // Far more than what the system buffers.
        let requests = get(&format!("/items?n=5000&of={number}"), "").repeat(20);
        victim.send(requests).await;
        victims.push(victim);
    }
    let answered = are_turned_out(&target, victims).await;
    assert!(answered.iter().all(|answered| *answered < 20), "{answered:?}");
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stalled_windows_are_closed_despite_pings() {
    let target = start("50");
    let mut answering = tokio::task::JoinSet::new();
    for number in 0..SEATS {
        let mut victim = connect(target.addr).await;
        let requests: Vec<u8> = streams(20)
            .flat_map(|stream| get_h2(stream, &format!("/items?n=500&of={number}-{stream}")))
            .collect();
        victim.send([PREFACE, &settings(&[(WINDOW, 0)]), &requests].concat()).await;
        answering.spawn(async move {
            while let Some((kind, flags, _, payload)) = victim.frame().await {
                match (kind, flags & ACK) {
                    (PING, 0) => drop(victim.send(frame(PING, ACK, 0, &payload)).await),
                    (SETTINGS, 0) => drop(victim.send(frame(SETTINGS, ACK, 0, &[])).await),
                    _ => {}
                }
            }
        });
    }
    let answer = target.connect().await.exchange(last("/healthz", "")).await;
    assert_eq!(statuses(&answer), ["200"]);
    while let Some(ended) = soon(answering.join_next()).await {
        ended.unwrap();
    }
    target.is_well().await;
    target.stop();
}
