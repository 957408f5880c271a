//! The example `job_queue`, as processes, with a mailer that does as the test says.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

mod support;
use support::{Program, Redis, soon, text, until};

// A mailer.

struct Mailer {
    url: String,
    calls: mpsc::UnboundedReceiver<Call>,
    _tasks: JoinSet<()>,
}

/// An attempt to send an email, which waits for its answer.
struct Call {
    key: String,
    email: Value,
    answer: oneshot::Sender<StatusCode>,
}

impl Mailer {
    async fn start() -> Self {
        let (tell, calls) = mpsc::unbounded_channel();
        let take = async move |headers: HeaderMap, Json(email): Json<Value>| {
            let key = headers["idempotency-key"].to_str().unwrap().to_owned();
            let (answer, answered) = oneshot::channel();
            tell.send(Call { key, email, answer }).unwrap();
            // A call that the test drops is never answered.
            let Ok(status) = answered.await else { return std::future::pending().await };
            status
        };
        let app = Router::new().route("/send", axum::routing::post(take));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/send", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, calls, _tasks: tasks }
    }

    async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.unwrap()
    }

    /// Answers the next calls, which are all for this job.
    async fn answer(&mut self, id: &str, statuses: &[u16]) {
        for &number in statuses {
            let call = self.call().await;
            assert_eq!(call.key, id);
            call.answer.send(StatusCode::from_u16(number).unwrap()).unwrap();
        }
    }

    /// Starts calls that wait.
    async fn hold(&mut self, calls: usize) -> Vec<Call> {
        let mut held = Vec::new();
        for _ in 0..calls {
            held.push(self.call().await);
        }
        held
    }

    fn is_idle(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

fn release(calls: Vec<Call>) {
    for call in calls {
        call.answer.send(StatusCode::OK).unwrap();
    }
}

// The example.

const EXAMPLE: &str = env!("CARGO_BIN_EXE_example-job-queue");

struct Site {
    program: Program,
    log: BufReader<UnixStream>,
}

impl Site {
    fn start(mailer: &Mailer, redis: Option<&Redis>, env: &[(&str, &str)]) -> Self {
        let (log, stderr) = UnixStream::pair().unwrap();
        log.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut command = Command::new(EXAMPLE);
        command.env("MAILER_URL", &mailer.url);
        command.env("ATTEMPT_SECS", "600").env("BACKOFF_MS", "1").env("TAKE_OVER_SECS", "3");
        command.env_remove("RUST_LOG");
        match redis {
            Some(redis) => command.env("REDIS_URL", redis.url()),
            None => command.env_remove("REDIS_URL"),
        };
        command.envs(env.iter().copied()).stderr(Stdio::from(OwnedFd::from(stderr)));
        let program = Program::start(&mut command);
        let place = if redis.is_some() { "Redis" } else { "memory" };
        assert_eq!(program.said, format!("with its queue in {place}"));
        Self { program, log: BufReader::new(log) }
    }

    async fn post(&self, body: impl Into<Body>) -> Response<Body> {
        self.program.ask(Method::POST, "/emails", body).await
    }

    /// Requests an email, and returns the id of its job.
    async fn send(&self, subject: &str) -> String {
        let response = self.post(email(subject).to_string()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        let id = body["id"].as_str().unwrap().to_owned();
        assert_eq!(location, format!("/jobs/{id}"));
        id
    }

    async fn state(&self, id: &str) -> Value {
        let response = self.program.get(&format!("/jobs/{id}")).await;
        assert_eq!(response.status(), StatusCode::OK);
        serde_json::from_str(&text(response).await).unwrap()
    }

    async fn wait_for_state(&self, id: &str, state: &Value) {
        soon(async { while self.state(id).await != *state {} }).await;
    }

    async fn wait_for_size(&self, size: f64) {
        let labels = [("queue", "emails")];
        soon(async { while self.program.metric("job_queue_size", &labels).await != size {} }).await;
    }

    /// Waits until requests reach Redis: the first one after a lost connection finds the loss.
    async fn wait_for_redis(&self) {
        soon(async { while self.program.metric("job_queue_size", &[]).await.is_nan() {} }).await;
    }

    async fn count(&self, outcome: &str) -> f64 {
        self.program.metric("jobs_total", &[("queue", "emails"), ("outcome", outcome)]).await
    }

    /// The next line of its log that has this.
    fn logged(&mut self, what: &str) -> String {
        tokio::task::block_in_place(|| {
            let mut lines = (&mut self.log).lines().map(Result::unwrap);
            lines.find(|line| line.contains(what)).unwrap_or_else(|| panic!("no line of {what}"))
        })
    }
}

fn email(subject: &str) -> Value {
    json!({ "to": "ada@example.com", "subject": subject, "body": "How are you?" })
}

fn done() -> Value {
    json!({ "state": "done" })
}

/// The length of a list, a set, a sorted set or a hash.
fn length(redis: &Redis, command: &str, key: &str) -> i64 {
    redis.ask(&[command, key])
}

/// Requests `count` emails, and returns the ids of their jobs.
async fn send_all(site: &Site, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(site.send("Hello").await);
    }
    ids
}

/// Waits until these jobs have ended, and checks that the mailer gets no call besides those that it
/// had by then: no job of any worker is left to run.
#[track_caller]
fn all_ended_once(redis: &Redis, mailer: &mut Mailer, ids: &[String]) {
    let is_done = |id: &String| redis.ask::<bool>(&["SISMEMBER", "emails:done", id]);
    until("all are done", || ids.iter().all(is_done));
    let left = redis.ask::<Vec<String>>(&["KEYS", "emails:inflight:*"]);
    assert_eq!(left, Vec::<String>::new());
    for (command, key) in [("LLEN", "emails:active"), ("ZCARD", "emails:scheduled")] {
        assert_eq!(length(redis, command, key), 0, "{key}");
    }
    assert!(mailer.is_idle());
}

// The tests.

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_is_taken_at_once_and_done_later() {
    let redis = Redis::start();
    for redis in [None, Some(&redis)] {
        let mut mailer = Mailer::start().await;
        let mut site = Site::start(&mailer, redis, &[]);
        let id = site.send("Hello").await;
        let call = mailer.call().await;
        assert_eq!((&call.key, &call.email), (&id, &email("Hello")));
        site.wait_for_state(&id, &json!({ "state": "running" })).await;
        call.answer.send(StatusCode::NO_CONTENT).unwrap();
        site.wait_for_state(&id, &done()).await;
        assert_eq!(site.count("done").await, 1.0);
        // It stays as it is: the next response is stored, and those after that come from the cache.
        site.program.get(&format!("/jobs/{id}")).await;
        let kept = site.program.get(&format!("/jobs/{id}")).await;
        assert_eq!(kept.headers()["cache-control"], "max-age=60");
        assert!(kept.headers()["cache-status"].to_str().unwrap().contains("; hit"));
        assert_eq!(kept.headers()["x-content-type-options"], "nosniff");
        assert_eq!(site.program.get("/jobs/job-1").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(site.program.get("/healthz").await.status(), StatusCode::OK);
        assert!(mailer.is_idle());
        site.program.signal("TERM");
        assert!(site.program.ended().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn third_attempt_has_the_same_key() {
    let redis = Redis::start();
    for redis in [None, Some(&redis)] {
        let mut mailer = Mailer::start().await;
        let mut site = Site::start(&mailer, redis, &[]);
        let id = site.send("Hello").await;
        mailer.answer(&id, &[500, 429, 200]).await;
        site.wait_for_state(&id, &done()).await;
        let first = site.logged(&format!("id={id}"));
        assert!(first.contains("attempt=1 error=the mailer answered 500"), "{first}");
        let second = site.logged(&format!("id={id}"));
        assert!(second.contains("attempt=2 error=the mailer answered 429"), "{second}");
        assert_eq!((site.count("done").await, site.count("failed").await), (1.0, 0.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn third_failure_is_logged_and_final() {
    let redis = Redis::start();
    for redis in [None, Some(&redis)] {
        let mut mailer = Mailer::start().await;
        let mut site = Site::start(&mailer, redis, &[]);
        let id = site.send("Hello").await;
        mailer.answer(&id, &[500, 500, 503]).await;
        let error = "the mailer answered 503 Service Unavailable";
        site.wait_for_state(&id, &json!({ "state": "failed", "error": error })).await;
        let last = site.logged("attempt=3");
        let expected = format!("the email is given up id={id} attempt=3 error={error}");
        assert!(last.contains("ERROR") && last.ends_with(&expected), "{last}");
        assert_eq!((site.count("done").await, site.count("failed").await), (0.0, 1.0));
        if let Some(redis) = redis {
            // Where it would wait for its fourth attempt.
            for (command, key) in [("ZCARD", "emails:scheduled"), ("LLEN", "emails:active")] {
                assert_eq!(length(redis, command, key), 0, "{key}");
            }
            assert_eq!(redis.ask::<i64>(&["SISMEMBER", "emails:dead", &id]), 1);
        }
        // The next job has the next call.
        let next = site.send("Hello again").await;
        mailer.answer(&next, &[200]).await;
        site.wait_for_state(&next, &done()).await;
        assert!(mailer.is_idle());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn missing_mailer_is_a_failure_with_its_cause() {
    let mailer = Mailer::start().await;
    let site = Site::start(&mailer, None, &[("MAILER_URL", "http://127.0.0.1:9/")]);
    let id = site.send("Hello").await;
    let soon_failed = async {
        loop {
            let state = site.state(&id).await;
            if state["state"] == "failed" {
                break state["error"].as_str().unwrap().to_owned();
            }
        }
    };
    let error = soon(soon_failed).await;
    assert!(error.contains("tcp connect error: "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_mailer_that_hangs_is_tried_again() {
    let mut mailer = Mailer::start().await;
    let mut site = Site::start(&mailer, None, &[("ATTEMPT_SECS", "1")]);
    let id = site.send("Hello").await;
    drop(mailer.call().await);
    let line = site.logged("attempt=1");
    assert!(line.ends_with("error=the mailer does not answer"), "{line}");
    mailer.answer(&id, &[200]).await;
    site.wait_for_state(&id, &done()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_mailer_emails_are_printed() {
    let mut command = Command::new(EXAMPLE);
    command.env_remove("MAILER_URL").env_remove("REDIS_URL");
    let program = Program::start(command.stderr(Stdio::null()));
    let mut site = Site { program, log: BufReader::new(UnixStream::pair().unwrap().0) };
    let id = site.send("Hello").await;
    assert_eq!(site.program.line(), format!("{id} goes to ada@example.com: Hello"));
    site.program.signal("TERM");
    assert!(site.program.ended().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_email_is_refused_and_says_why() {
    let mailer = Mailer::start().await;
    let site = Site::start(&mailer, None, &[]);
    let to = |to: &str| json!({ "to": to, "subject": "Hello", "body": "" }).to_string();
    let subject = |subject: &str| email(subject).to_string();
    for (body, status, says) in [
        ("{".to_owned(), 400, "parse"),
        (r#"{"to": "ada@example.com"}"#.to_owned(), 422, "missing field `subject`"),
        (r#"{"to": 1, "subject": "", "body": ""}"#.to_owned(), 422, "to: invalid type"),
        (r#"{"to": "a@b", "subject": "", "body": "", "cc": ""}"#.to_owned(), 422, "field `cc`"),
        (to("ada"), 422, "`to` must be"),
        (to("@example.com"), 422, "`to` must be"),
        (to("ada@"), 422, "`to` must be"),
        (to("a@b@c"), 422, "`to` must be"),
        (to("a@b, c"), 422, "`to` must be"),
        (to("a@b\r\nbcc:x"), 422, "`to` must be"),
        (to(&format!("a@{}", "b".repeat(253))), 422, "`to` must be"),
        (subject("Hello\nbcc: x@example.com"), 422, "`subject` must be"),
        (subject(&"x".repeat(901)), 422, "`subject` must be"),
        (email("Hello").to_string() + &" ".repeat(64 * 1024), 413, "larger than 65536 bytes"),
    ] {
        let response = site.post(body.clone()).await;
        assert_eq!(response.status().as_u16(), status, "{body:.80}");
        let text = text(response).await;
        assert!(text.contains(says), "{body:.80}: {text}");
    }
    let untyped = site.program.post_untyped("/emails", email("Hello").to_string()).await;
    assert_eq!(untyped.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(site.program.get("/emails").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(site.program.metric("jobs_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_gauge_is_how_many_jobs_wait() {
    let redis = Redis::start();
    for redis in [None, Some(&redis)] {
        let mut mailer = Mailer::start().await;
        let site = Site::start(&mailer, redis, &[]);
        site.wait_for_size(0.0).await;
        for _ in 0..12 {
            site.send("Hello").await;
        }
        let running = mailer.hold(10).await;
        site.wait_for_size(2.0).await;
        release(running);
        release(mailer.hold(2).await);
        site.wait_for_size(0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_queue_in_memory_that_is_full_takes_no_more() {
    let mut mailer = Mailer::start().await;
    let site = Site::start(&mailer, None, &[]);
    site.send("Hello").await;
    let first = mailer.hold(1).await;
    let mut accepted = 0;
    let refused = loop {
        let response = site.post(email("Hello").to_string()).await;
        if response.status() != StatusCode::ACCEPTED {
            break response;
        }
        accepted += 1;
        assert!(accepted < 1_010, "it grows without bound");
        text(response).await;
    };
    // Nine more ran by then, unless the last of them was still to be taken.
    assert!((1_000..1_010).contains(&accepted), "{accepted}");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(text(refused).await, "too many jobs wait\n");
    release(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_queue_in_redis_that_is_full_takes_no_more() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let site = Site::start(&mailer, Some(&redis), &[]);
    // In the year 2100.
    let fill = "for n = 0, 999 do redis.call('ZADD', KEYS[1], 4102444800, 'job-' .. n) end";
    let () = redis.ask(&["EVAL", fill, "1", "emails:scheduled"]);
    let refused = site.post(email("Hello").to_string()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    let () = redis.ask(&["ZREM", "emails:scheduled", "job-0"]);
    let id = site.send("Hello").await;
    mailer.answer(&id, &[200]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_sends_all_that_waits_in_memory() {
    let mut mailer = Mailer::start().await;
    let mut site = Site::start(&mailer, None, &[]);
    for _ in 0..12 {
        site.send("Hello").await;
    }
    let running = mailer.hold(10).await;
    site.program.signal("TERM");
    assert_eq!(site.program.line(), "stopping");
    release(running);
    release(mailer.hold(2).await);
    assert!(site.program.ended().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stop_that_is_too_short_counts_lost_jobs() {
    let mut mailer = Mailer::start().await;
    let mut site = Site::start(&mailer, None, &[("BACKOFF_MS", "600000")]);
    for _ in 0..2 {
        site.send("Hello").await;
    }
    for call in mailer.hold(2).await {
        call.answer.send(StatusCode::INTERNAL_SERVER_ERROR).unwrap();
    }
    site.logged("attempt=1");
    site.logged("attempt=1");
    site.program.signal("TERM");
    assert!(site.program.ended().success());
    assert!(site.logged("stopped too late").ends_with("2 jobs are lost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stop_finishes_running_jobs_and_leaves_others() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let mut site = Site::start(&mailer, Some(&redis), &[]);
    for _ in 0..14 {
        site.send("Hello").await;
    }
    let mut running = mailer.hold(10).await;
    site.wait_for_size(4.0).await;
    site.program.signal("TERM");
    assert_eq!(site.program.line(), "stopping");
    // What has ended is acknowledged while others run, and attempts go on.
    let last = running.pop().unwrap();
    release(running);
    until("they are done", || length(&redis, "SCARD", "emails:done") >= 9);
    last.answer.send(StatusCode::INTERNAL_SERVER_ERROR).unwrap();
    // One more was about to be taken.
    release(mailer.hold(2).await);
    assert!(site.program.ended().success());
    assert_eq!(length(&redis, "SCARD", "emails:done"), 11);
    assert!(mailer.is_idle());

    let site = Site::start(&mailer, Some(&redis), &[]);
    site.wait_for_size(0.0).await;
    release(mailer.hold(3).await);
    until("all are done", || length(&redis, "SCARD", "emails:done") == 14);
    assert!(mailer.is_idle());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn job_of_a_killed_process_is_taken_over() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let killed = Site::start(&mailer, Some(&redis), &[]);
    let id = killed.send("Hello").await;
    let call = mailer.call().await;
    killed.wait_for_state(&id, &json!({ "state": "running" })).await;
    killed.program.signal("KILL");
    drop(call);

    let other = Site::start(&mailer, Some(&redis), &[]);
    mailer.answer(&id, &[500, 200]).await;
    other.wait_for_state(&id, &done()).await;
    assert_eq!(length(&redis, "SCARD", "emails:done"), 1);
    assert!(mailer.is_idle());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn long_jobs_of_live_processes_are_kept() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let sites = [(); 2].map(|()| Site::start(&mailer, Some(&redis), &[]));
    // All slots of both.
    let ids = send_all(&sites[0], 20).await;
    let running = mailer.hold(20).await;
    let seconds = || redis.ask::<(u64, u64)>(&["TIME"]).0;
    let start = seconds();
    until("it is late enough to take over", || seconds() > start + 8);
    // They would wait, as there is no free slot.
    assert_eq!(length(&redis, "LLEN", "emails:active"), 0);
    assert_eq!(length(&redis, "ZCARD", "emails:workers"), 2);
    release(running);
    all_ended_once(&redis, &mut mailer, &ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_fail_soon_while_redis_is_silent() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let site = Site::start(&mailer, Some(&redis), &[("TAKE_OVER_SECS", "15")]);
    redis.freeze();
    let refused = site.post(email("Hello").to_string()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(refused).await, "the queue is out of reach\n");
    assert!(site.program.metric("job_queue_size", &[]).await.is_nan());
    redis.thaw();
    site.wait_for_redis().await;
    let id = site.send("Hello again").await;
    mailer.answer(&id, &[200]).await;
    site.wait_for_state(&id, &done()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pause_of_redis_repeats_no_email() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let sites = [(); 2].map(|()| Site::start(&mailer, Some(&redis), &[]));
    // Up to `TAKE_OVER_SECS`. The last email of a pause is sent after it, the others while it lasts.
    for pause in [100, 800, 1_500, 3_000] {
        let ids = send_all(&sites[0], 20).await;
        let mut running = mailer.hold(20).await;
        redis.pause(Duration::from_millis(pause));
        let last = running.pop().unwrap();
        release(running);
        assert_eq!(redis.ask::<String>(&["PING"]), "PONG");
        release(vec![last]);
        all_ended_once(&redis, &mut mailer, &ids);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_pause_repeats_no_email_of_one_process() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let mut site = Site::start(&mailer, Some(&redis), &[("TAKE_OVER_SECS", "2")]);
    let ids = send_all(&site, 10).await;
    let running = mailer.hold(10).await;
    redis.freeze();
    site.logged("the worker has ended");
    redis.thaw();
    release(running);
    all_ended_once(&redis, &mut mailer, &ids);
    site.wait_for_redis().await;
    let id = site.send("Hello again").await;
    mailer.answer(&id, &[200]).await;
    site.wait_for_state(&id, &done()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_restart_of_redis_repeats_no_email() {
    let mut redis = Redis::start();
    let mut mailer = Mailer::start().await;
    // Far longer than the outage lasts.
    let env = [("TAKE_OVER_SECS", "15")];
    let mut sites = [(); 2].map(|()| Site::start(&mailer, Some(&redis), &env));
    let ids = send_all(&sites[0], 20).await;
    let mut running = mailer.hold(20).await;
    redis.kill();
    for site in &mut sites {
        site.logged("the worker has ended");
    }
    // Some of each process end while connections are refused, and the others afterwards.
    release(running.split_off(20 - 11));
    for site in &mut sites {
        site.logged("a job waits for Redis");
    }
    redis.run();
    release(running);
    all_ended_once(&redis, &mut mailer, &ids);
    sites[0].wait_for_redis().await;
    let ids = send_all(&sites[0], 20).await;
    release(mailer.hold(20).await);
    all_ended_once(&redis, &mut mailer, &ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lost_connections_repeat_no_email() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let env = [("TAKE_OVER_SECS", "15")];
    let mut sites = [(); 2].map(|()| Site::start(&mailer, Some(&redis), &env));
    let ids = send_all(&sites[0], 20).await;
    let running = mailer.hold(20).await;
    let () = redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    for site in &mut sites {
        site.logged("the worker has ended");
    }
    release(running);
    all_ended_once(&redis, &mut mailer, &ids);
    sites[0].wait_for_redis().await;
    let ids = send_all(&sites[0], 20).await;
    release(mailer.hold(20).await);
    all_ended_once(&redis, &mut mailer, &ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn job_of_a_frozen_process_keeps_its_key() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let mut stopped = Site::start(&mailer, Some(&redis), &[]);
    let id = stopped.send("Hello").await;
    let first = mailer.call().await;
    stopped.program.signal("STOP");
    let other = Site::start(&mailer, Some(&redis), &[]);
    let second = mailer.call().await;
    assert_eq!((&first.key, &second.key), (&id, &id));
    stopped.program.signal("CONT");
    first.answer.send(StatusCode::OK).unwrap();
    stopped.logged("another worker has taken the job over");
    other.wait_for_state(&id, &json!({ "state": "running" })).await;
    second.answer.send(StatusCode::OK).unwrap();
    other.wait_for_state(&id, &done()).await;
    // The process that was stopped works again.
    let ids = send_all(&stopped, 20).await;
    release(mailer.hold(20).await);
    all_ended_once(&redis, &mut mailer, &ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_of_another_version_fails_alone() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let mut site = Site::start(&mailer, Some(&redis), &[]);
    let () = redis.ask(&["HSET", "emails:data", "job-old", r#"{"mail": 1}"#]);
    let meta = ["attempts", "0", "max_attempts", "25", "status", "Pending"];
    let () = redis.ask(&[["HSET", "emails:meta:job-old"].as_slice(), &meta].concat());
    let () = redis.ask(&["RPUSH", "emails:active", "job-old"]);
    let line = site.logged("id=job-old");
    assert!(line.contains("missing field `id`"), "{line}");
    let error = json!({ "state": "failed", "error": "missing field `id`" });
    site.wait_for_state("job-old", &error).await;
    assert_eq!(site.count("failed").await, 1.0);
    let id = site.send("Hello").await;
    mailer.answer(&id, &[200]).await;
    site.wait_for_state(&id, &done()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_ended_jobs_are_deleted_from_redis() {
    let redis = Redis::start();
    let mut mailer = Mailer::start().await;
    let site = Site::start(&mailer, Some(&redis), &[("KEEP_SECS", "0")]);
    let running = site.send("Hello").await;
    let call = mailer.call().await;
    for statuses in [[200].as_slice(), &[500, 500, 500]] {
        let id = site.send("Hello").await;
        mailer.answer(&id, statuses).await;
    }
    // Only the one that runs is left.
    until("ended jobs are deleted", || {
        length(&redis, "SCARD", "emails:done") == 0
            && length(&redis, "SCARD", "emails:dead") == 0
            && length(&redis, "HLEN", "emails:data") == 1
    });
    let left: Vec<String> = redis.ask(&["KEYS", "emails:meta:*"]);
    assert_eq!(left, [format!("emails:meta:{running}")]);
    call.answer.send(StatusCode::OK).unwrap();
    until("the last one too", || length(&redis, "HLEN", "emails:data") == 0);
    assert_eq!(site.count("done").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn redis_keeps_a_bounded_number_of_ended_jobs() {
    let redis = Redis::start();
    // In the year 2100.
    let fill = "for n = 1, 10600 do
        local id = KEYS[1] .. n
        redis.call('SADD', KEYS[1], id)
        redis.call('HSET', 'emails:meta:' .. id, 'done_at', '4102444800')
    end";
    for ended in ["emails:done", "emails:dead"] {
        let () = redis.ask(&["EVAL", fill, "1", ended]);
    }
    let mailer = Mailer::start().await;
    let _site = Site::start(&mailer, Some(&redis), &[]);
    for ended in ["emails:done", "emails:dead"] {
        until("the surplus is deleted", || length(&redis, "SCARD", ended) == 10_000);
    }
}
