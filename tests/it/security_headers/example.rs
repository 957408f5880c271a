//! The example `security_headers` as a process.

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::program::{Program, built};
use crate::support::{boxed, empty, h1_client, soon, text};

pub(super) struct Site(Program);

impl Site {
    pub(super) fn start(partner: Option<&str>) -> Self {
        let partner = partner.map(|partner| ("PARTNER", partner));
        Self(Program::start("security_headers", partner.as_slice()))
    }

    pub(super) fn url(&self, path: &str) -> String {
        self.0.url(path)
    }

    async fn ask(&self, method: &str, path: &str, proto: &str) -> Response<Incoming> {
        let request = Request::builder().method(method).uri(self.url(path));
        let request = request.header("x-forwarded-proto", proto).body(boxed(empty())).unwrap();
        soon(h1_client().request(request)).await.unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> Response<Incoming> {
        self.ask("GET", path, "http").await
    }
}

/// Returns a header that the response has once or not at all.
#[track_caller]
fn field<'a>(response: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    let mut lines = response.headers().get_all(name).iter();
    let first = lines.next().map(|value| value.to_str().unwrap());
    assert_eq!(lines.next(), None, "{name} is there twice");
    first
}

/// Returns the text between two others in a page.
#[track_caller]
pub(super) fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("no {before} in {page}"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after} in {page}")).0
}

/// Returns the policy with these sources in `script-src` and `frame-ancestors`.
fn policy(scripts: &str, ancestors: &str) -> String {
    format!(
        "default-src 'self';script-src {scripts}'strict-dynamic';object-src 'none';\
         base-uri 'none';form-action 'self';frame-ancestors 'self'{ancestors}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_script_has_the_nonce_of_its_page() {
    let site = Site::start(None);
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let response = site.get("/").await;
        let sent = field(&response, "content-security-policy").unwrap().to_owned();
        assert_eq!(field(&response, "cache-control"), Some("no-store"));
        assert_eq!(field(&response, "x-frame-options"), Some("SAMEORIGIN"));
        let page = text(response).await;
        let nonce = between(&page, "<script nonce=\"", "\">");
        assert_eq!(nonce.len(), 22, "{nonce}");
        assert_eq!(sent, policy(&format!("'nonce-{nonce}' "), ""));
        // The script of the comment has no nonce.
        assert_eq!(page.matches("<script").count(), 2, "{page}");
        assert_eq!(page.matches("<script>").count(), 1, "{page}");
        nonces.push(nonce.to_owned());
    }
    assert_ne!(nonces[0], nonces[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn https_headers_follow_the_proxy() {
    let site = Site::start(None);
    for (proto, is_https) in [("http", false), ("https", true)] {
        let response = site.ask("GET", "/search?q=lovely", proto).await;
        let hsts = field(&response, "strict-transport-security");
        assert_eq!(hsts, is_https.then_some("max-age=31536000; includeSubDomains"));
        let upgrade = if is_https { ";upgrade-insecure-requests" } else { "" };
        let expected = policy("", "") + upgrade;
        assert_eq!(field(&response, "content-security-policy"), Some(expected.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_example_does_not_repeat_a_search() {
    let site = Site::start(None);
    let response = site.get("/search?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    let page = text(response).await;
    assert!(page.contains("<h1>Comments found: 0</h1>"), "{page}");
    assert!(!page.contains("script"), "{page}");
    let page = text(site.get("/search?q=lovely").await).await;
    assert_eq!(page.matches("<article>").count(), 1, "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_partner_may_frame_the_widget_only() {
    for (partner, origin) in
        [(None, "https://partner.example"), (Some("http://127.0.0.1:8"), "http://127.0.0.1:8")]
    {
        let site = Site::start(partner);
        let response = site.get("/widget").await;
        assert_eq!(field(&response, "x-frame-options"), None);
        let sent = field(&response, "content-security-policy").unwrap().to_owned();
        // The other headers do not change.
        assert_eq!(field(&response, "x-content-type-options"), Some("nosniff"));
        let page = text(response).await;
        let nonce = format!("'nonce-{}' ", between(&page, "<script nonce=\"", "\">"));
        assert_eq!(sent, policy(&nonce, &format!(" {origin}")));
        let response = site.get("/search?q=").await;
        assert_eq!(field(&response, "x-frame-options"), Some("SAMEORIGIN"));
        assert_eq!(field(&response, "content-security-policy"), Some(policy("", "").as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wrong_partner_stops_the_start() {
    let built = built("security_headers");
    for partner in ["", "self; script-src *", "https://a.example, https://b.example"] {
        let mut command = tokio::process::Command::new(&built);
        let command = command.env("ADDR", "127.0.0.1:0").env("PARTNER", partner);
        let output = soon(command.kill_on_drop(true).output()).await.unwrap();
        assert!(!output.status.success(), "{partner}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("not a host"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_api_adds_to_its_preset() {
    let site = Site::start(None);
    let response = site.ask("GET", "/api/comments", "https").await;
    let expected = [
        ("content-security-policy", "default-src 'none';frame-ancestors 'none'"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("referrer-policy", "no-referrer"),
    ];
    for (name, value) in expected {
        assert_eq!(field(&response, name), Some(value), "{name}");
    }
    let comments: Vec<String> = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(comments.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_log_out_clears_site_data() {
    let site = Site::start(None);
    let response = site.ask("POST", "/logout", "http").await;
    assert_eq!((response.status().as_u16(), field(&response, "location")), (303, Some("/")));
    assert_eq!(field(&response, "clear-site-data"), Some("\"cookies\", \"storage\""));
    for path in ["/", "/search?q=", "/widget", "/api/comments"] {
        assert_eq!(field(&site.get(path).await, "clear-site-data"), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn errors_have_the_headers_too() {
    let site = Site::start(None);
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/nowhere", 404),
        ("GET", "/search", 400),
        ("GET", "/logout", 405),
    ] {
        let response = site.ask(method, path, "http").await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let sent = field(&response, "content-security-policy");
        assert_eq!(sent, Some(policy("", "").as_str()), "{path}");
        assert_eq!(field(&response, "cache-control"), Some("no-store"), "{path}");
        soon(response.into_body().collect()).await.unwrap();
    }
}
