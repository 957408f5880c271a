//! The page of the example `quickstart`, in Chromium: each button, and the figures that it shows.

use serde_json::Value;

use super::chromium::{Chromium, Page};
use super::program::Program;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_button_of_the_page_shows_its_layer() {
    let Some(chromium) = Chromium::find("the page of the quickstart").await else { return };
    let server = Program::start("quickstart", &[]);
    let mut page = chromium.open(&server.url("/")).await;
    page.evaluate(HELPERS).await;
    let buttons = page.evaluate("[...document.querySelectorAll('button')].map(it => it.id)").await;
    assert_eq!(buttons, serde_json::json!(BUTTONS));

    cache(&mut page).await;
    compress(&mut page).await;
    dictionaries(&mut page).await;
    latency(&mut page).await;
    limit(&mut page).await;
    pressure(&mut page).await;
    batch(&mut page).await;
    security_headers(&mut page).await;

    // Two bodies were refused, and one script was blocked. Nothing else is in the console.
    let console = page.console(3).await;
    let counts =
        ["413 (Payload Too Large)", "violates the following Content Security Policy directive"]
            .map(|text| console.iter().filter(|line| line.contains(text)).count());
    assert_eq!((counts, console.len()), ([2, 1], 3), "{console:?}");

    // With all results on it, the page fits a phone.
    page.resize(360).await;
    assert_eq!(page.evaluate("document.documentElement.scrollWidth").await, 360);
    let mut backgrounds = Vec::new();
    for scheme in ["light", "dark"] {
        page.color_scheme(scheme).await;
        backgrounds.push(page.evaluate("getComputedStyle(document.body).backgroundColor").await);
    }
    assert_ne!(backgrounds[0], backgrounds[1]);
    page.close().await;
}

async fn cache(page: &mut Page) {
    // A miss and a hit, before and after the purge.
    for report in ["1", "2"] {
        let shown = press(page, "cache-twice").await;
        let [miss, hit] = &shown.rows[..] else { panic!("{shown:?}") };
        assert_eq!((&*miss[0], &*miss[2], &*hit[0], &*hit[2]), ("miss", report, "hit", report));
        assert!(miss[3].starts_with("tower-kit; fwd=") && miss[3].ends_with("; stored"));
        assert!(hit[3].starts_with("tower-kit; hit; ttl="), "{}", hit[3]);
        // The service waits for so long.
        assert!(number(&miss[1]) >= 250.0 && number(&hit[1]) > 0.0, "{shown:?}");
        let text = format!("First {} ms, then {} ms.", miss[1], hit[1]);
        assert!(shown.text.starts_with(&text), "{shown:?}");
        let purged = press(page, "cache-purge").await;
        assert_eq!(purged.text, "/report: purged. The next fetch is a miss.");
    }
    let herd = press(page, "cache-herd").await;
    assert!(herd.text.starts_with("6 requests, 1 report made."), "{herd:?}");
    assert_eq!(herd.rows.iter().filter(|row| row[0] == "miss").count(), 1, "{herd:?}");
    assert!(herd.rows.len() == 6 && herd.rows.iter().all(|row| row[2] == "3"), "{herd:?}");
}

async fn compress(page: &mut Page) {
    let shown = press(page, "compress-all").await;
    let codings: Vec<_> = shown.rows.iter().map(|row| &*row[0]).collect();
    assert_eq!(codings, ["identity", "deflate", "gzip", "br", "zstd"]);
    for row in &shown.rows {
        if row[4] == "not accepted by this browser" {
            // Older ones don't know it.
            assert!(["br", "zstd"].contains(&&*row[0]), "{row:?}");
            continue;
        }
        let (before, after) = (number(&row[1]), number(&row[2]));
        assert!(before > 20_000.0, "{row:?}");
        let most = if row[0] == "identity" { before } else { before / 5.0 };
        assert!(after > 1_000.0 && after <= most, "{row:?}");
    }
    let identity = &shown.rows[0];
    assert_eq!((&identity[1], &*identity[3]), (&identity[2], "100%"));
}

async fn dictionaries(page: &mut Page) {
    let shown = press(page, "dictionaries-fetch").await;
    let Some(([.., before], again)) = shown.rows.split_last().map(|(last, rest)| (rest, last))
    else {
        panic!("{shown:?}");
    };
    assert_eq!(again[0], "dcz", "{shown:?}");
    // One price has changed, by a cent.
    let change = number(&again[1]) - number(&before[1]);
    assert!((change - 0.01).abs() < 1e-6, "{shown:?}");
    let (whole, sent) = (number(&again[2]), number(&again[3]));
    assert!(whole > 5_000.0 && sent <= 200.0, "{shown:?}");
    assert!(shown.text.starts_with(&format!("Fetch again: {sent} bytes.")), "{shown:?}");
    // The browser has decoded what clients without a dictionary get.
    let price = (number(&again[1]) * 100.0).round();
    let compared = page
        .evaluate(&format!(
            "(async () => {{
                const list = async (coding) => {{
                    const response = await fetch(`/items?price={price}&${{coding}}`);
                    return [response.headers.get('content-encoding'), await response.text()];
                }};
                const [delta, whole] = [await list('again'), await list('coding=identity')];
                return [delta[0], whole[0], delta[1] === whole[1]];
            }})()"
        ))
        .await;
    assert_eq!(compared, serde_json::json!(["dcz", null, true]));
}

async fn latency(page: &mut Page) {
    let shown = press(page, "latency-send").await;
    for (route, requests) in [("/echo", 10.0), ("/items", 10.0), ("/slow", 10.0), ("/report", 3.0)]
    {
        let row = shown.row(route);
        assert!(number(&row[1]) >= requests, "{row:?}");
        let [p50, p90, p99] = [2, 3, 4].map(|column| number(&row[column]));
        assert!(0.0 < p50 && p50 <= p90 && p90 <= p99, "{row:?}");
    }
    // Of 15 to 150 ms: no time is under half of what was asked for.
    assert!(number(&shown.row("/slow")[4]) >= 100.0, "{shown:?}");
    let bars = "[...document.querySelectorAll('#latency-result .bar')].every(it => it.children.length === 3)";
    assert_eq!(page.evaluate(bars).await, true);

    // It goes on by itself.
    let before = number(&shown.row("/metrics")[1]);
    page.evaluate("changed('latency-result')").await;
    let after = shown_in(&page.evaluate("shown('latency-result')").await);
    assert!(number(&after.row("/metrics")[1]) > before, "{after:?}");
}

async fn limit(page: &mut Page) {
    let shown = press(page, "limit-post").await;
    let (last, accepted) = shown.rows.split_last().unwrap();
    let message = "The request body is larger than 10240 bytes.";
    assert_eq!(last[..], ["11 KiB", "413", message]);
    assert_eq!(accepted.len(), 4, "{shown:?}");
    assert!(accepted.iter().all(|row| row[1..] == ["200", "accepted"]), "{shown:?}");

    // The slider posts too, where it is let go.
    for (kib, status) in [(3, "200"), (20, "413")] {
        let slide = format!("slide('limit-size', {kib}, 'limit-result')");
        let shown = shown_in(&page.evaluate(&slide).await);
        assert_eq!(shown.rows[0][..2], [format!("{kib} KiB"), status.to_owned()]);
        assert_eq!(
            page.evaluate("document.getElementById('limit-label').textContent").await,
            kib.to_string()
        );
    }
}

async fn pressure(page: &mut Page) {
    let ratio = page.evaluate("document.getElementById('pressure-ratio').textContent").await;
    let ratio = ratio.as_str().and_then(|text| text.strip_suffix('%')).map(number).unwrap();
    assert!(ratio > 0.0 && ratio < 100.0, "{ratio}");

    for (used, shed) in [(75, 0), (85, 1), (93, 11)] {
        let input = format!("document.getElementById('pressure-used').value = {used}");
        page.evaluate(&input).await;
        let shown = press(page, "pressure-rehearse").await;
        let text = format!("At {used}%, {shed} of 13 routes would be shed.");
        assert!(shown.text.starts_with(&text), "{shown:?}");
        let report = if shed > 0 { "/report 503" } else { "/report 200" };
        for route in ["/healthz 200", "/metrics 200", report] {
            assert!(shown.text.contains(route), "{shown:?}");
        }
    }
}

async fn batch(page: &mut Page) {
    let shown = press(page, "batch-send").await;
    let text = shown.text.lines().next().unwrap();
    let (items, batches) = text.split_once(" items in, ").unwrap();
    let (count, sizes) = batches.trim_end_matches('.').split_once(" batches out: ").unwrap();
    let sizes: Vec<_> = sizes.split(", ").map(number).collect();
    assert_eq!((items, sizes.iter().sum(), sizes.len() as f64), ("50", 50.0, number(count)));
    assert!(sizes.iter().all(|size| *size <= 20.0), "{text}");
    let squares = "document.querySelectorAll('#batch-result i').length";
    assert_eq!(page.evaluate(squares).await, 50);
}

async fn security_headers(page: &mut Page) {
    press(page, "headers-inject").await;
    let verdict = page.evaluate("document.getElementById('headers-verdict').textContent").await;
    let verdict = verdict.as_str().unwrap();
    assert!(verdict.starts_with("Blocked by script-src-elem: document.body"), "{verdict}");
    assert_eq!(page.evaluate("document.body.dataset.injected ?? 'blocked'").await, "blocked");

    press(page, "headers-read").await;
    let count = |tag| format!("document.querySelectorAll('#headers-result {tag}').length");
    for (tag, expected) in [("section", 4), ("dt", 12), ("dd", 12)] {
        assert_eq!(page.evaluate(&count(tag)).await, expected, "{tag}");
    }
    let policy = page.evaluate("document.querySelector('#headers-result dt').textContent").await;
    let policy = policy.as_str().unwrap();
    assert!(policy.starts_with("content-security-policy: default-src 'none';script-src 'nonce-"));
}

/// The result of a card.
#[derive(Debug)]
struct Shown {
    text: String,
    /// The cells of its table, without the head.
    rows: Vec<Vec<String>>,
}

impl Shown {
    fn row(&self, first: &str) -> &[String] {
        let row = self.rows.iter().find(|row| row[0] == first);
        row.unwrap_or_else(|| panic!("{first} is missing: {self:?}"))
    }
}

/// Presses a button, waits until it can be pressed again, and reads the result of its card.
async fn press(page: &mut Page, button: &str) -> Shown {
    shown_in(&page.evaluate(&format!("press('{button}')")).await)
}

fn shown_in(value: &Value) -> Shown {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| row.as_array().unwrap().iter().map(text).collect();
    let rows = value["rows"].as_array().unwrap().iter().map(row).collect();
    Shown { text: text(&value["text"]), rows }
}

fn number(text: &str) -> f64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// All of the page, in its order.
const BUTTONS: [&str; 11] = [
    "cache-twice",
    "cache-herd",
    "cache-purge",
    "compress-all",
    "dictionaries-fetch",
    "latency-send",
    "limit-post",
    "pressure-rehearse",
    "batch-send",
    "headers-inject",
    "headers-read",
];

const HELPERS: &str = r#"
const find = (id) => document.getElementById(id);
const mutation = (element, options, isDone) => new Promise((resolve) => {
  const observer = new MutationObserver(() => {
    if (isDone()) {
      observer.disconnect();
      resolve();
    }
  });
  observer.observe(element, options);
});
window.shown = (id) => ({
  text: find(id).innerText,
  rows: [...find(id).querySelectorAll("tr:has(td)")].map((row) =>
    [...row.cells].map((cell) => cell.innerText.trim())),
});
window.changed = (id) => mutation(find(id), { childList: true }, () => true);
window.press = async (id) => {
  const button = find(id);
  const enabled = mutation(button, { attributes: true }, () => !button.disabled);
  button.click();
  await enabled;
  return shown(button.closest(".card").querySelector(".result").id);
};
window.slide = async (id, value, result) => {
  const done = changed(result);
  find(id).value = value;
  find(id).dispatchEvent(new Event("input"));
  find(id).dispatchEvent(new Event("change"));
  await done;
  return shown(result);
};
"#;
