//! Headless Chromium, which connects to the loopback only.
//!
//! Where there is none, tests skip, and say so; with `TOWER_KIT_CHROMIUM=required` they fail instead.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// A browser with a profile of its own.
#[derive(Debug)]
pub(crate) struct Chromium {
    program: &'static str,
    profile: PathBuf,
}

/// A page in a browser, driven by the DevTools protocol.
#[derive(Debug)]
pub(crate) struct Page {
    process: Child,
    requests: ChildStdin,
    messages: BufReader<ChildStdout>,
    session: Option<String>,
    last_id: u64,
    console: Vec<String>,
    /// Removes the profile.
    _chromium: Chromium,
}

impl Chromium {
    /// Returns `None`, and says that `test` is skipped, where no Chromium is installed.
    pub(crate) async fn find(test: &str) -> Option<Self> {
        for program in ["chromium", "chromium-browser", "google-chrome"] {
            let mut version = Command::new(program);
            let version = version.arg("--version").kill_on_drop(true).output();
            let version = timeout(PATIENCE, version).await;
            if version.is_ok_and(|ran| ran.is_ok_and(|output| output.status.success())) {
                return Some(Self::new(program));
            }
        }
        let required = std::env::var("TOWER_KIT_CHROMIUM").is_ok_and(|value| value == "required");
        assert!(!required, "there is no Chromium");
        // Not by a macro, whose output the test harness keeps to itself.
        let line = format!("SKIPPED: {test}: there is no Chromium\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        None
    }

    fn new(program: &'static str) -> Self {
        static PROFILES: AtomicU32 = AtomicU32::new(0);
        let number = PROFILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-kit-chromium-{}-{number}", std::process::id());
        let profile = std::env::temp_dir().join(name);
        // Left by one that was killed and had this id.
        drop(fs::remove_dir_all(&profile));
        fs::create_dir(&profile).unwrap();
        Self { program, profile }
    }

    /// Returns the document when all of it is loaded, including its frames and images.
    pub(crate) async fn dom(&self, url: &str) -> String {
        let mut command = Command::new(self.program);
        command.args(ARGUMENTS).arg(self.profile_argument()).args(["--dump-dom", url]);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = timeout(PATIENCE, output).await.expect("Chromium ends").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !output.stdout.is_empty(), "{url}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Opens a page, and waits until it is loaded.
    pub(crate) async fn open(self, url: &str) -> Page {
        // Chromium reads requests from descriptor 3, and writes messages to descriptor 4.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 >&2", "sh", self.program])
            .args(ARGUMENTS)
            .arg(self.profile_argument())
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut page = Page {
            requests: process.stdin.take().unwrap(),
            messages: BufReader::new(process.stdout.take().unwrap()),
            process,
            session: None,
            last_id: 0,
            console: Vec::new(),
            _chromium: self,
        };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = page.call("Target.attachToTarget", target).await;
        page.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        let navigated = page.call("Page.navigate", json!({ "url": url })).await;
        assert_eq!(navigated["errorText"], Value::Null, "{url}");
        while page.message().await["method"] != "Page.loadEventFired" {}
        page
    }

    fn profile_argument(&self) -> String {
        format!("--user-data-dir={}", self.profile.display())
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.profile));
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // Before the profile is removed. Ended already, if the page was closed.
        drop(self.process.start_kill());
    }
}

impl Page {
    /// Evaluates an expression, which may be a promise, and returns its value.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", params).await;
        assert_eq!(result["exceptionDetails"], Value::Null, "{expression}");
        result["result"]["value"].take()
    }

    /// Lays the page out for a screen of this width, in CSS pixels.
    pub(crate) async fn resize(&mut self, width: u32) {
        let metrics =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": true });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Sets `prefers-color-scheme`: `light` or `dark`.
    pub(crate) async fn color_scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Waits until the console has this many lines, and returns all of them.
    pub(crate) async fn console(&mut self, at_least: usize) -> &[String] {
        while self.console.len() < at_least {
            self.message().await;
        }
        &self.console
    }

    /// Ends the browser.
    pub(crate) async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({})).await;
        timeout(PATIENCE, self.process.wait()).await.expect("Chromium ends").unwrap();
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut request = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        let request = format!("{request}\0");
        self.requests.write_all(request.as_bytes()).await.unwrap();
        loop {
            let mut message = self.message().await;
            if message["id"] == self.last_id {
                assert_eq!(message["error"], Value::Null, "{request}");
                return message["result"].take();
            }
        }
    }

    /// Returns the next message: a response or an event.
    async fn message(&mut self) -> Value {
        let mut message = Vec::new();
        let read = self.messages.read_until(0, &mut message);
        timeout(PATIENCE, read).await.expect("Chromium goes on").unwrap();
        assert_eq!(message.pop(), Some(0), "Chromium has ended");
        let message: Value = serde_json::from_slice(&message).unwrap();
        let params = &message["params"];
        let line = match message["method"].as_str() {
            Some("Log.entryAdded") => &params["entry"]["text"],
            Some("Runtime.consoleAPICalled") => &params["args"],
            Some("Runtime.exceptionThrown") => &params["exceptionDetails"],
            _ => return message,
        };
        self.console.push(line.as_str().map_or_else(|| line.to_string(), str::to_owned));
        message
    }
}

/// The timeout of a step of Chromium, which needs a second.
const PATIENCE: Duration = Duration::from_secs(60);

const ARGUMENTS: [&str; 11] = [
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    // It has no sandbox as root, and needs none for these pages.
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--disable-extensions",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];
