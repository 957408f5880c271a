//! HTTP/1: heads, bodies and pipelines that are broken, huge or cut.

use super::rig::{ROUNDS, Target, connect, each, get, last, statuses};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn heads_of_any_size_are_refused_and_forgotten() {
    let target = Target::start(&[]);
    let many = (0..100_000).fold(String::new(), |all, at| all + &format!("x-{at}: {at}\r\n"));
    // What hyper refuses by itself, or waits for the end of.
    let huge = [
        get("/items", &many),
        get("/items", &format!("x: {}\r\n", "v".repeat(1 << 20))),
        get("/items", &format!("{}: v\r\n", "n".repeat(1 << 20))),
        get("/items", &format!("cookie: {}\r\n", "a=b; ".repeat(20_000))),
        get(&format!("/items?{}", "q".repeat(1 << 20)), ""),
        "\r\n".repeat(100_000),
        " ".repeat(1 << 20),
        "A".repeat(1 << 20),
    ];
    // What it takes, and the limit layer refuses.
    let large = [
        last("/items", &"x: 1234567890\r\n".repeat(97)).replace("1234567890", &"v".repeat(200)),
        last("/items", &format!("x: {}\r\n", "v".repeat(20_000))),
        last("/items", &format!("{}: v\r\n", "n".repeat(20_000))),
        last(&format!("/items?{}", "q".repeat(9_000)), ""),
        last(&format!("/{}", "p".repeat(40_000)), ""),
    ];
    let refused = |status: &&str| ["400", "414", "431"].contains(status);
    let attack = async |_| {
        for huge in &huge {
            for _ in 0..15 {
                let answer = target.connect().await.cut(huge).await;
                assert!(statuses(&answer).iter().all(refused), "{answer}");
            }
        }
        for large in &large {
            for _ in 0..20 {
                let answer = target.connect().await.exchange(large).await;
                assert!(statuses(&answer).iter().all(refused) && !answer.is_empty(), "{answer}");
            }
        }
    };
    target.survives(attack).await;
    let by_layer = [("layer", "limit")];
    let counted = target.metric("http_requests_rejected_total", &by_layer).await;
    assert_eq!(counted, (ROUNDS * 20 * large.len()) as f64);
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn broken_bodies_are_no_answer_and_leave_nothing() {
    let target = Target::start(&[]);
    let post = |fields: &str, body: &str| {
        format!("POST /echo HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}")
    };
    let chunked = |body: &str| post("transfer-encoding: chunked", body);
    let attacks = [
        chunked("5\r\nhel"),
        chunked("5\r\nhello\r\n5\r\n"),
        chunked("5\r\nhello\r\n"),
        chunked("5\r\nhelloX\r\n0\r\n\r\n"),
        chunked("fffffffffffffffff\r\nx"),
        chunked("7fffffffffffffff\r\nx"),
        chunked("-5\r\nhello\r\n0\r\n\r\n"),
        chunked("zz\r\n"),
        chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "e=x;".repeat(20_000))),
        chunked(&"1;e=xxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nx\r\n".repeat(2_000)),
        chunked(&format!("0\r\n{}\r\n", "x-trailer: v\r\n".repeat(2_000))),
        chunked(&format!("0\r\nx: {}\r\n\r\n", "v".repeat(100_000))),
        post("content-length: 10", "hello"),
        post("content-length: 18446744073709551615", "hello"),
        post("content-length: 99999999999999999999", "hello"),
        post("content-length: 5, 6", "hello"),
        post("content-length: 5\r\ncontent-length: 6", "hello"),
        post("content-length: +5", "hello"),
        post("content-length: 5\r\ntransfer-encoding: gzip", "hello"),
        post("transfer-encoding: chunked, gzip", "5\r\nhello\r\n0\r\n\r\n"),
        post("transfer-encoding: xchunked", "5\r\nhello\r\n0\r\n\r\n"),
    ];
    let attack = async |_| {
        for attack in &attacks {
            for _ in 0..15 {
                let answer = target.connect().await.cut(attack).await;
                assert!(!statuses(&answer).contains(&"200"), "{attack:.300}\n{answer}");
            }
        }
    };
    target.survives(attack).await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn body_in_single_bytes_is_whole_and_freed() {
    let target = Target::start(&[]);
    let body = "1\r\nx\r\n".repeat(20_000) + "0\r\n\r\n";
    let post = "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let request = post.to_owned() + &body;
    let addr = target.addr;
    let attack = async |_| {
        each(8, |_| {
            let request = request.clone();
            async move {
                let answer = connect(addr).await.exchange(request).await;
                assert_eq!(statuses(&answer), ["200"]);
                assert!(answer.ends_with(&"x".repeat(20_000)));
            }
        })
        .await;
    };
    target.survives(attack).await;
    target.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn disconnect_at_any_byte_leaves_nothing() {
    let target = Target::start(&[]);
    let addr = target.addr;
    let post = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\n\
                transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let mut lengths = Vec::new();
    for (path, fields) in RESPONSES {
        let mut client = connect(addr).await;
        client.send(last(path, fields)).await;
        let length = client.read(64 << 10).await.len();
        assert!(length > 800, "{path}: {length}");
        lengths.push(length);
    }
    // Each byte of them is in one of the rounds, and in some of them twice.
    let attack = async |round: usize| {
        let some = |length: usize| (0..length).skip(round % 4).step_by(4);
        for at in some(post.len()) {
            connect(addr).await.send(&post[..at]).await;
        }
        for ((path, fields), length) in RESPONSES.into_iter().zip(&lengths) {
            for at in some(*length) {
                let mut victim = connect(addr).await;
                // A miss each time, where it is kept and not the same for all.
                let path = path.replace("AT", &format!("{round}-{at}"));
                victim.send(last(&path, fields)).await;
                let read = victim.read(at).await.len();
                // What follows is a few bytes more or less: other digits, in other places.
                assert!(read + 20 > at, "{read} of {at}");
            }
        }
        // While the service is at it, and while an event stream goes on.
        each(200, |at| async move {
            let mut victim = connect(addr).await;
            let path = if at % 2 == 0 { "/slow?ms=60000" } else { "/events" };
            victim.send(get(path, "accept-encoding: gzip\r\n")).await;
            if at % 2 == 1 {
                victim.read(at).await;
            }
        })
        .await;
    };
    target.survives(attack).await;
    target.stop();
}

const RESPONSES: [(&str, &str); 3] = [
    ("/items?n=3", "accept-encoding: gzip\r\n"),
    ("/items?n=3&at=AT", ""),
    ("/page.css", "accept-encoding: gzip\r\n"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn garbage_behind_a_request_is_no_request() {
    let target = Target::start(&[]);
    let noise = crate::support::noise(4_096);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(50);
    let attacks: [&[u8]; 14] = [
        &noise,
        &hello,
        super::frames::PREFACE,
        b"GET /items HTTP/9.9\r\nhost: a\r\n\r\n",
        b"GET /items\r\n\r\n",
        b"GET /items HTTP/1.1\r\nhost a\r\n\r\n",
        b"GET /items HTTP/1.1\r\nhost : a\r\n\r\n",
        b"GET /items HTTP/1.1\r\n host: a\r\n\r\n",
        b"GET /items HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        b"GET /items HTTP/1.1\rhost: a\r\r",
        b"GET \xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /it ems HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"{}[]()<>!?\n\n\n\n\n\n",
    ];
    // What one server takes for a body, and another one for a request: never both.
    let smuggled = "GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n";
    let smuggling = format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\n\r\n{smuggled}",
        smuggled.len() + 5,
    );
    let attack = async |_| {
        for attack in attacks {
            for _ in 0..15 {
                let mut victim = target.connect().await;
                victim.send([get("/healthz", "").as_bytes(), attack].concat()).await;
                let first = victim.text_until("ok\n").await;
                assert_eq!(statuses(&first), ["200"], "{first}");
                let answer = victim.cut("").await;
                let refused = |status: &&str| ["400", "404", "505"].contains(status);
                assert!(statuses(&answer).iter().all(refused), "{attack:?}: {answer}");
            }
        }
        let answer = target.connect().await.exchange(&smuggling).await;
        assert_eq!(statuses(&answer), ["200"], "{answer}");
        // A pipeline that nobody reads.
        for _ in 0..10 {
            target.connect().await.push(get("/items?n=3", "").repeat(2_000)).await;
        }
    };
    target.survives(attack).await;
    target.stop();
}
