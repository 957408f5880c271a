//! The headers in Chromium.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Nonce};

use super::example::{Site, between};
use crate::chromium::Chromium;
use crate::support::{Server, text};

fn html(page: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let response = Response::builder().header("content-type", "text/html; charset=utf-8");
    response.body(Full::new(page.into())).unwrap()
}

fn not_found() -> Response<Full<Bytes>> {
    Response::builder().status(404).body(Full::default()).unwrap()
}

type Answer = Result<Response<Full<Bytes>>, Infallible>;

/// Starts a server whose page at `/` runs a script without a policy. The script can `log` texts and
/// load URLs in `frame`s. Chromium dumps the document after the script has ended. `others` responds to
/// all other paths.
async fn stage<S>(script: impl Into<String>, others: S) -> Server
where
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>> + Clone + Send + 'static,
    S::Error: Debug,
    S::Future: Send,
{
    // The image loads when the script has ended, and Chromium waits for it.
    let page = format!(
        r#"<!doctype html><ol id="log"></ol><img src="/held"><script>
const log = (text) => {{
  const item = document.createElement("li");
  item.append(text);
  document.getElementById("log").append(item);
}};
const frame = async (url) => {{
  const frame = document.createElement("iframe");
  const loaded = new Promise((resolve) => {{ frame.onload = resolve; }});
  frame.src = url;
  document.body.append(frame);
  await loaded;
  return frame;
}};
const play = async () => {{ {} }};
play().catch((error) => log(`failed: ${{error}}`)).finally(() => fetch("/done"));
</script>"#,
        script.into()
    );
    let ended = Arc::new(Notify::new());
    Server::start(service_fn(move |request: Request<Incoming>| {
        let (page, ended, others) = (page.clone(), Arc::clone(&ended), others.clone());
        async move {
            match request.uri().path() {
                "/" => return Answer::Ok(html(page)),
                "/held" => ended.notified().await,
                "/done" => ended.notify_one(),
                // Chromium requests it at any time.
                "/favicon.ico" => {}
                _ => return Ok(others.oneshot(request).await.unwrap()),
            }
            Ok(not_found())
        }
    }))
    .await
}

/// Returns the texts that the script of a stage has logged.
fn logged(dom: &str) -> Vec<&str> {
    let items = between(dom, "<ol id=\"log\">", "</ol>").split("<li>").skip(1);
    items.map(|item| item.strip_suffix("</li>").unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_scripts_with_the_nonce_run() {
    let Some(chromium) = Chromium::find("scripts of the page and of a user").await else { return };
    let site = Site::start(None);
    let dom = chromium.dom(&site.url("/")).await;
    assert_eq!(between(&dom, "<p id=\"status\">", "</p>"), "The page ran its script. ");

    // The same page without the headers runs all scripts.
    let page = text(site.get("/").await).await;
    let bare = Server::start(service_fn(move |request: Request<Incoming>| {
        let answer = if request.uri().path() == "/" { html(page.clone()) } else { not_found() };
        async { Answer::Ok(answer) }
    }));
    let dom = chromium.dom(&bare.await.url("/")).await;
    let status = between(&dom, "<p id=\"status\">", "</p>");
    for ran in
        ["The page ran its script. ", "A comment ran a script. ", "A comment ran a handler. "]
    {
        assert!(status.contains(ran), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cached_pages_run_scripts_after_a_304() {
    let Some(chromium) = Chromium::find("a page after a 304").await else { return };
    const POLICY: Csp = Csp::from_static("default-src 'self';script-src 'nonce'");
    let twice = r#"
        for (let i = 0; i < 2; i++) {
          const page = (await frame("/page")).contentDocument;
          log(page.getElementById("status").textContent);
        }"#;
    for has_policy_of_its_own in [false, true] {
        let statuses = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&statuses);
        let page = move |request: Request<Incoming>| {
            let nonce = request.extensions().get::<Nonce>().expect("the layer gives one");
            let mut response = html(format!(
                "<p id=status></p>\
                 <script>document.getElementById('status').append('injected')</script>\
                 <script nonce={nonce}>document.getElementById('status').append('ran')</script>"
            ));
            if request.headers().contains_key("if-none-match") {
                response = Response::builder().status(304).body(Full::default()).unwrap();
                if has_policy_of_its_own {
                    let policy = format!("script-src 'nonce-{nonce}'").parse().unwrap();
                    response.headers_mut().insert("content-security-policy", policy);
                }
            }
            response.headers_mut().insert("etag", "\"1\"".parse().unwrap());
            response.headers_mut().insert("cache-control", "no-cache".parse().unwrap());
            seen.lock().unwrap().push(response.status().as_u16());
            async { Answer::Ok(response) }
        };
        let layer = SecurityHeadersLayer::new().set(POLICY).unwrap();
        let server = stage(twice, layer.layer(service_fn(page))).await;
        let dom = chromium.dom(&server.url("/")).await;
        assert_eq!(*statuses.lock().unwrap(), [200, 304]);
        // The policy of the 304 becomes that of the stored page, which has the old nonce.
        let second = if has_policy_of_its_own { "" } else { "ran" };
        assert_eq!(logged(&dom), ["ran", second], "{dom}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_the_partner_frames_the_widget() {
    let Some(chromium) = Chromium::find("the widget in a frame").await else { return };
    let own = service_fn(|_| async {
        Answer::Ok(html("<script>parent.postMessage({ height: 'own' }, '*')</script>"))
    });
    // Messages of two frames come in any order: Chromium runs each site in a process of its own.
    let listen = r#"
        const query = new URLSearchParams(location.search);
        const heard = [];
        const end = new Promise((resolve) => {
          onmessage = ({ data, origin }) => {
            heard.push(origin === query.get("site") ? "widget" : data.height);
            if (heard.length === Number(query.get("frames"))) resolve();
          };
        });
        await frame(`${query.get("site")}/widget`);
        await frame("/own");
        await end;
        heard.sort().forEach(log);"#;
    let (partner, stranger) = (stage(listen, own).await, stage(listen, own).await);
    let site = Site::start(Some(partner.url("").as_str()));
    let path = |frames| format!("/?site={}&frames={frames}", site.url(""));
    assert_eq!(logged(&chromium.dom(&partner.url(&path(2))).await), ["own", "widget"]);
    assert_eq!(logged(&chromium.dom(&stranger.url(&path(1))).await), ["own"]);
}
