// The page of the quickstart: each button sends requests, and shows what a layer did with them.

const byId = (id) => document.getElementById(id);

/** Makes an element: a tag with classes behind dots, and its children. */
function make(selector, ...children) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag);
  element.classList.add(...classes);
  element.append(...children);
  return element;
}

/** Makes a bar with one part for each class, of widths from 0 to 1; the widest first. */
function bar(parts) {
  const spans = Object.entries(parts).map(([name, width]) => {
    const span = make(`span.${name}`);
    span.style.width = `${Math.min(1, Math.max(0, width)) * 100}%`;
    return span;
  });
  return make("div.bar", ...spans);
}

/** Makes a table: columns of numbers have a name that starts with `#`. */
function table(names, rows) {
  const cell = (tag, index, content) =>
    make(names[index].startsWith("#") ? `${tag}.number` : tag, content);
  const head = names.map((name, index) => cell("th", index, name.replace("#", "")));
  const body = rows.map((row) => make("tr", ...row.map((it, index) => cell("td", index, it))));
  return make("table", make("tr", ...head), ...body);
}

const summary = (...children) => make("p.summary", ...children);

/** Runs `work` when the button is pressed, which is disabled until the work ends. */
function onPress(id, work) {
  const button = byId(id);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      button.closest(".card").querySelector(".result").replaceChildren(`It failed: ${error}`);
    } finally {
      button.disabled = false;
    }
  });
}

/** Shows the value of a slider in its label. */
function label(slider, text) {
  byId(slider).addEventListener("input", () => { byId(text).textContent = byId(slider).value; });
}

const ms = (time) => (time < 10 ? time.toFixed(1) : Math.round(time).toString());

async function timed(url) {
  const start = performance.now();
  const response = await fetch(url);
  const body = await response.json();
  return { time: performance.now() - start, status: response.headers.get("cache-status"), body };
}

// Cache.

/** Reads `cache-status` (RFC 9211): a collapsed request shared the response to another one. */
function cacheRow({ time, status, body }) {
  const isHit = / hit/.test(status);
  const kind = isHit ? "hit" : /collapsed/.test(status) ? "coalesced" : "miss";
  const word = make(kind === "miss" ? "b.bad" : "b.good", kind);
  return [word, ms(time), `${body.report}`, status];
}

function showFetches(fetches, ...text) {
  const rows = fetches.map(cacheRow);
  const names = ["", "#ms", "#report", "cache-status"];
  byId("cache-result").replaceChildren(summary(...text), table(names, rows));
}

onPress("cache-twice", async () => {
  const fetches = [await timed("/report"), await timed("/report")];
  const [first, second] = fetches.map(({ time }) => `${ms(time)} ms`);
  showFetches(fetches, `First ${first}, then ${second}.`);
});

onPress("cache-herd", async () => {
  await fetch("/purge", { method: "POST" });
  // Browsers send requests for one URL one after the other. The cache's key leaves `client` out.
  const clients = [1, 2, 3, 4, 5, 6];
  const fetches = await Promise.all(clients.map((client) => timed(`/report?client=${client}`)));
  const made = new Set(fetches.map(({ body }) => body.report)).size;
  showFetches(fetches, `6 requests, ${made} report${made === 1 ? "" : "s"} made.`);
});

onPress("cache-purge", async () => {
  const response = await fetch("/purge", { method: "POST" });
  const text = (await response.text()).trim();
  byId("cache-result").replaceChildren(summary(`/report: ${text}. The next fetch is a miss.`));
});

// Compress.

/** Fetches a URL. Returns its coding, its bytes as they were sent and as they are, and the text. */
async function measured(url) {
  // The entry is there when the body has been read, or shortly after.
  const entry = new Promise((resolve) => {
    const observer = new PerformanceObserver((list) => {
      const found = list.getEntries().find((it) => it.name.endsWith(url));
      if (found) {
        observer.disconnect();
        resolve(found);
      }
    });
    observer.observe({ type: "resource" });
  });
  const response = await fetch(url);
  const text = await response.text();
  const { encodedBodySize, decodedBodySize } = await entry;
  const sent = response.headers.get("content-encoding") ?? "identity";
  return { sent, before: decodedBodySize, after: encodedBodySize, text };
}

onPress("compress-all", async () => {
  const rows = [];
  for (const coding of ["identity", "deflate", "gzip", "br", "zstd"]) {
    const { sent, before, after } = await measured(`/items?n=300&coding=${coding}`);
    if (sent === coding) {
      const percent = `${Math.round((100 * after) / before)}%`;
      const [was, is] = [before.toLocaleString("en"), after.toLocaleString("en")];
      rows.push([coding, was, is, percent, bar({ part: after / before })]);
    } else {
      rows.push([coding, "", "", "", "not accepted by this browser"]);
    }
  }
  const names = ["coding", "#bytes", "#sent", "#", ""];
  byId("compress-result").replaceChildren(table(names, rows));
});

// Deltas.

let price = 1_000 + Math.floor(Math.random() * 500_000);

onPress("dictionaries-fetch", async () => {
  const rows = [];
  let again;
  // The browser stores the dictionary shortly after it has read the response.
  for (let count = 0; count < 2 || (again.sent !== "dcz" && count < 8); count++) {
    if (count > 0) await new Promise((resolve) => setTimeout(resolve, 250));
    price += 1;
    again = await measured(`/items?price=${price}`);
    const shown = JSON.parse(again.text).items[49].price.toFixed(2);
    const [was, is] = [again.before.toLocaleString("en"), again.after.toLocaleString("en")];
    rows.push([again.sent, shown, was, is, bar({ part: again.after / again.before })]);
  }
  const text = again.sent === "dcz"
    ? `Fetch again: ${again.after} bytes.`
    : "This browser offers no dictionaries, and gets the whole list each time.";
  const names = ["coding", "#price of item 50", "#bytes", "#sent", ""];
  byId("dictionaries-result").replaceChildren(summary(text), table(names, rows));
});

// Latency and pressure, from the page of metrics.

/** Parses Prometheus' text format: its samples, with their labels. */
function parseMetrics(text) {
  const lines = text.split("\n").filter((line) => line && !line.startsWith("#"));
  return lines.map((line) => {
    const [, name, labels, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    const pairs = [...(labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
    return { name, labels: Object.fromEntries(pairs.map((it) => it.slice(1))), value: +value };
  });
}

/** Adds the buckets of all histograms of each route: how many requests took at most so long. */
function routes(samples) {
  const found = new Map();
  for (const { name, labels, value } of samples) {
    if (name !== "http_request_duration_seconds_bucket") continue;
    const buckets = found.get(labels.route) ?? new Map();
    const le = labels.le === "+Inf" ? Infinity : +labels.le;
    buckets.set(le, (buckets.get(le) ?? 0) + value);
    found.set(labels.route, buckets);
  }
  return [...found].map(([route, buckets]) => [route, [...buckets].sort(([a], [b]) => a - b)]);
}

/** Estimates a quantile as Prometheus does: linearly within its bucket. */
function quantile(part, buckets) {
  const rank = part * buckets.at(-1)[1];
  let [low, below] = [0, 0];
  for (const [high, count] of buckets) {
    if (count >= rank && count > below) {
      return high === Infinity ? low : low + (high - low) * ((rank - below) / (count - below));
    }
    [low, below] = [high, count];
  }
  return low;
}

/** From 0.1 ms to 10 s, as parts of a bar. */
const onScale = (seconds) => Math.log10(Math.max(seconds, 1e-4) / 1e-4) / 5;

function showLatency(samples) {
  const found = routes(samples).filter(([, buckets]) => buckets.at(-1)[1] > 0);
  found.sort(([a], [b]) => a.localeCompare(b));
  const rows = found.map(([route, buckets]) => {
    const [p50, p90, p99] = [0.5, 0.9, 0.99].map((part) => quantile(part, buckets));
    const bars = bar({ p99: onScale(p99), p90: onScale(p90), p50: onScale(p50) });
    const times = [p50, p90, p99].map((time) => ms(time * 1000));
    return [route, `${buckets.at(-1)[1]}`, ...times, bars];
  });
  const names = ["route", "#sent", "#p50 ms", "#p90", "#p99", ""];
  byId("latency-result").replaceChildren(table(names, rows));
}

function showPressure(samples) {
  const ratio = samples.find(({ name }) => name === "process_memory_usage_ratio")?.value;
  if (ratio === undefined) return;
  const percent = ratio * 100;
  byId("pressure-bar").style.width = `${percent}%`;
  byId("pressure-ratio").textContent = `${percent < 10 ? percent.toPrecision(2) : Math.round(percent)}%`;
}

async function readMetrics() {
  const samples = parseMetrics(await (await fetch("/metrics")).text());
  showLatency(samples);
  showPressure(samples);
}

/** Reads the metrics every two seconds, while somebody looks and the server is there. */
async function follow() {
  if (!document.hidden) {
    try {
      await readMetrics();
    } catch {
      byId("latency-result").replaceChildren("The server is gone: start it, and reload this page.");
      return;
    }
  }
  setTimeout(follow, 2000);
}

onPress("latency-send", async () => {
  const json = { method: "POST", headers: { "content-type": "application/json" }, body: "[1, 2]" };
  const sent = [];
  for (let number = 1; number <= 10; number++) {
    sent.push(fetch(`/items?n=${number * 100}`), fetch(`/slow?ms=${number * 15}`), fetch("/echo", json));
  }
  // A response counts when its last byte is there.
  await Promise.all(sent.map(async (response) => (await response).arrayBuffer()));
  await readMetrics();
});

// Limit.

async function post(kib) {
  byId("limit-size").value = kib;
  byId("limit-label").textContent = kib;
  const headers = { "content-type": "application/json" };
  const body = "1".repeat(kib * 1024);
  const response = await fetch("/echo", { method: "POST", headers, body });
  const text = response.ok ? "accepted" : (await response.text()).trim();
  const status = make(response.ok ? "b.good" : "b.bad", `${response.status}`);
  return { ok: response.ok, row: [`${kib} KiB`, status, text] };
}

const showPosts = (rows) => byId("limit-result").replaceChildren(table(["body", "", ""], rows));

byId("limit-size").addEventListener("change", async () => {
  showPosts([(await post(+byId("limit-size").value)).row]);
});

onPress("limit-post", async () => {
  const rows = [];
  const largest = +byId("limit-size").max;
  for (let kib = Math.min(+byId("limit-size").value, 10); kib <= largest; kib++) {
    const { ok, row } = await post(kib);
    rows.push(row);
    showPosts(rows);
    if (!ok) break;
  }
});

// Pressure.

onPress("pressure-rehearse", async () => {
  const used = byId("pressure-used").value;
  const statuses = await (await fetch(`/rehearsal?used=${used}`)).json();
  const paths = Object.keys(statuses);
  const shed = paths.filter((path) => statuses[path] === 503);
  const chip = (path) => {
    const kind = statuses[path] === 503 ? "bad" : "good";
    return make(`span.${kind}`, `${path} ${statuses[path]}`);
  };
  byId("pressure-result").replaceChildren(
    summary(`At ${used}%, ${shed.length} of ${paths.length} routes would be shed.`),
    make("div.chips", ...paths.map(chip)),
  );
});

// Batch.

onPress("batch-send", async () => {
  const items = +byId("batch-size").value;
  const batches = await (await fetch(`/views?n=${items}`, { method: "POST" })).json();
  const squares = (size) => make("div", ...Array.from({ length: size }, () => make("i")));
  byId("batch-result").replaceChildren(
    summary(`${items} items in, ${batches.length} batches out: ${batches.join(", ")}.`),
    make("div.batches", ...batches.map(squares)),
  );
});

// Security headers.

const GROUPS = {
  "What the page may run and load": {
    "content-security-policy": "Scripts and styles need this response's nonce, and nothing is loaded from elsewhere: an injected script does not run.",
    "x-content-type-options": "A file is what its content-type says, so that an upload is never taken for a script.",
    "x-xss-protection": "Turns an old filter off, which could itself be abused.",
  },
  "Who may embed or read it": {
    "x-frame-options": "Other sites cannot frame it to steal clicks; for browsers without frame-ancestors.",
    "cross-origin-opener-policy": "A window that another site opens gets no handle to this one.",
    "cross-origin-resource-policy": "Other sites cannot load its responses as images or scripts.",
    "origin-agent-cluster": "The browser may keep this origin in a process of its own.",
    "x-permitted-cross-domain-policies": "Flash and Acrobat may not read across sites.",
  },
  "What it tells others": {
    "referrer-policy": "Links to other sites do not say where the visitor comes from.",
    "x-dns-prefetch-control": "The names that it links to are not looked up before a click.",
  },
  "How it travels": {
    "strict-transport-security": "After one visit by HTTPS, browsers use nothing else for a year. Ignored over plain HTTP, as here.",
    "x-download-options": "Old Internet Explorer does not open downloads in the site's context.",
  },
};

onPress("headers-read", async () => {
  const { headers } = await fetch("/");
  const groups = Object.entries(GROUPS).map(([title, reasons]) => {
    const sent = Object.entries(reasons).filter(([name]) => headers.has(name));
    const items = sent.flatMap(([name, reason]) => [
      make("dt", make("b", name), `: ${headers.get(name)}`),
      make("dd", reason),
    ]);
    return make("section", make("h3", title), make("dl", ...items));
  });
  byId("headers-result").replaceChildren(make("div.groups", ...groups));
});

onPress("headers-inject", async () => {
  const blocked = new Promise((resolve) => {
    document.addEventListener("securitypolicyviolation", resolve, { once: true });
  });
  const script = make("script", "document.body.dataset.injected = 'ran';");
  document.body.append(script);
  script.remove();
  const ran = document.body.dataset.injected !== undefined;
  const verdict = byId("headers-verdict");
  verdict.className = `verdict ${ran ? "bad" : "good"}`;
  if (ran) {
    verdict.textContent = "The injected script ran.";
    return;
  }
  const { effectiveDirective, sample } = await blocked;
  verdict.replaceChildren(
    make("b", "Blocked"),
    ` by ${effectiveDirective}: `,
    make("code", sample),
    " The page's own script, which has the nonce, runs on.",
  );
});

label("limit-size", "limit-label");
label("pressure-used", "pressure-label");
label("batch-size", "batch-label");

await follow();
