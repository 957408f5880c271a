// Gives sets of options to helmet, and writes a line of JSON for each: the options, the headers that
// differ from helmet's defaults, and the expectation for the layer:
//
//   same      both send the same headers
//   refused   both refuse the options
//   stricter  helmet sends them, and the layer's error has this directive and this value
//   looser    the layer sends them, and helmet refuses
//   other     the layer sends this header instead of helmet's
//
// The first line has helmet's version, the order of its headers, its defaults, and the reasons for
// each kind of difference. `scripts/record-helmet` runs it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import helmet from "helmet";

const { version } = JSON.parse(readFileSync(new URL("node_modules/helmet/package.json", import.meta.url)));
const YEAR = 31536000;
const NONCE = "AAAAAAAAAAAAAAAAAAAAAA";
const POWERED_BY = "x-powered-by";

// All headers of helmet, in the order in which it sends them.
const ORDER = [
  "content-security-policy",
  "content-security-policy-report-only",
  "cross-origin-embedder-policy",
  "cross-origin-opener-policy",
  "cross-origin-resource-policy",
  "origin-agent-cluster",
  "referrer-policy",
  "strict-transport-security",
  "x-content-type-options",
  "x-dns-prefetch-control",
  "x-download-options",
  "x-frame-options",
  "x-permitted-cross-domain-policies",
  "x-xss-protection",
  POWERED_BY,
];

// The options of helmet, and their aliases.
const KEYS = {
  contentSecurityPolicy: [],
  crossOriginEmbedderPolicy: [],
  crossOriginOpenerPolicy: [],
  crossOriginResourcePolicy: [],
  originAgentCluster: [],
  referrerPolicy: [],
  strictTransportSecurity: ["hsts"],
  xContentTypeOptions: ["noSniff"],
  xDnsPrefetchControl: ["dnsPrefetchControl"],
  xDownloadOptions: ["ieNoOpen"],
  xFrameOptions: ["frameguard"],
  xPermittedCrossDomainPolicies: ["permittedCrossDomainPolicies"],
  xPoweredBy: ["hidePoweredBy"],
  xXssProtection: ["xssFilter"],
};
const names = Object.keys(KEYS);
const spellings = (key) => [key, ...KEYS[key]];

// The values of each option, and the name of the member that has them.
const REFERRER = [
  "no-referrer",
  "no-referrer-when-downgrade",
  "same-origin",
  "origin",
  "strict-origin",
  "origin-when-cross-origin",
  "strict-origin-when-cross-origin",
  "unsafe-url",
];
const VALUES = {
  crossOriginEmbedderPolicy: ["policy", ["require-corp", "credentialless", "unsafe-none"]],
  crossOriginOpenerPolicy: [
    "policy",
    ["same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"],
  ],
  crossOriginResourcePolicy: ["policy", ["same-origin", "same-site", "cross-origin"]],
  referrerPolicy: ["policy", REFERRER],
  xFrameOptions: ["action", ["deny", "DENY", "Deny", "sameorigin", "SAMEORIGIN", "sameOrigin"]],
  xPermittedCrossDomainPolicies: [
    "permittedPolicies",
    ["none", "master-only", "by-content-type", "all"],
  ],
};

const DIRECTIVES = [
  "base-uri", "child-src", "connect-src", "default-src", "fenced-frame-src", "font-src",
  "form-action", "frame-ancestors", "frame-src", "img-src", "manifest-src", "media-src",
  "object-src", "report-to", "report-uri", "require-trusted-types-for", "sandbox", "script-src",
  "script-src-attr", "script-src-elem", "style-src", "style-src-attr", "style-src-elem",
  "trusted-types", "upgrade-insecure-requests", "webrtc", "worker-src",
];
const camel = (name) => name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());

// One directive of each syntax.
const SYNTAXES = [
  "img-src", "frame-ancestors", "report-uri", "sandbox", "trusted-types", "webrtc",
  "upgrade-insecure-requests",
];

// Directives are pairs, because Rust's JSON does not keep the order of members. A pair may have a
// third member, "custom": the layer takes the name as a custom one. Special values are objects.
const SPECIAL = {
  $disabled: () => helmet.contentSecurityPolicy.dangerouslyDisableDefaultSrc,
  $endpoint: (name) => [name], // the layer has an endpoint of this name
  $function: (text) => () => text,
  $number: (text) => Number(text),
  $set: (list) => new Set(list),
  $undefined: () => undefined,
};
const revive = (value) => {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== "object") return value;
  const [[key, inner] = [], ...others] = Object.entries(value);
  if (others.length === 0 && Object.hasOwn(SPECIAL, key ?? "")) return SPECIAL[key](inner);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revive(inner)]));
};
const forHelmet = (options) => {
  const revived = revive(options);
  const policy = revived.contentSecurityPolicy;
  if (policy?.directives) policy.directives = Object.fromEntries(policy.directives);
  return revived;
};

// Returns helmet's headers by name, of a response that has `x-powered-by`, or null for an error.
const ask = (options) => {
  const lines = [];
  let isPoweredBy = true;
  const response = {
    setHeader: (name, value) => lines.push([name.toLowerCase(), value]),
    removeHeader: (name) => {
      assert.equal(name.toLowerCase(), POWERED_BY);
      isPoweredBy = false;
    },
  };
  try {
    let isCalled = false;
    helmet(forHelmet(options))({}, response, (error) => {
      if (error) throw error;
      isCalled = true;
    });
    assert(isCalled);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return null;
  }
  if (isPoweredBy) lines.push([POWERED_BY, "node"]);
  const positions = lines.map(([name]) => ORDER.indexOf(name));
  assert(positions.every((at, n) => at >= 0 && (n === 0 || at > positions[n - 1])), String(lines));
  return Object.fromEntries(lines);
};

const defaults = ask({});
const difference = (headers) => {
  const changed = ORDER.filter((name) => headers[name] !== defaults[name]);
  return Object.fromEntries(changed.map((name) => [name, headers[name] ?? null]));
};

const cases = new Set();
const reasons = {}; // by the kind of difference
const record = (expect, options, more = {}) => {
  const answer = ask(options);
  const isRefused = ["refused", "looser"].includes(expect);
  assert.equal(answer === null, isRefused, `${expect}: ${JSON.stringify(options)}`);
  const { kind, why, ...rest } = more;
  if (kind) reasons[kind] ??= why;
  const headers = ["same", "other"].includes(expect) ? { headers: difference(answer) } : {};
  cases.add(JSON.stringify({ expect, kind, ...rest, options, ...headers }));
};
const same = (options) => record("same", options);
const refused = (options) => record("refused", options);
const policy = (pairs, more = {}) => ({ contentSecurityPolicy: { ...more, directives: pairs } });
const beside = (pairs) => alone([["defaultSrc", ["'none'"]], ...pairs]);
const alone = (pairs) => policy(pairs, { useDefaults: false });

same({});

// Each option, and each two of them.
for (const [at, key] of names.entries()) {
  for (const spelling of spellings(key)) {
    for (const choice of [true, false, {}]) same({ [spelling]: choice });
  }
  for (const other of names.slice(at + 1)) same({ [key]: false, [other]: false });
  same(Object.fromEntries(names.filter((other) => other !== key).map((other) => [other, false])));
  same(Object.fromEntries(names.slice(at).map((other) => [other, false])));
}

// Each value of each option, and lists of referrer policies.
for (const [key, [member, values]] of Object.entries(VALUES)) {
  for (const spelling of spellings(key)) {
    for (const value of values) same({ [spelling]: { [member]: value } });
  }
}
for (const spelling of spellings("xDnsPrefetchControl")) {
  for (const allow of [true, false]) same({ [spelling]: { allow } });
}
for (const [at, one] of REFERRER.entries()) {
  same({ referrerPolicy: { policy: [one] } });
  same({ referrerPolicy: { policy: REFERRER.slice(at) } });
  for (const other of REFERRER.filter((other) => other !== one)) {
    same({ referrerPolicy: { policy: [one, other] } });
  }
}

// HSTS. The last age is the largest integer of JavaScript.
const PRELOAD = { kind: "preload that the list would not take", why: "the list refuses the site (hstspreload.org)" };
const ages = [undefined, 0, 1, 3600, YEAR - 1, YEAR, 2 * YEAR, 2 ** 53 - 1];
for (const [at, maxAge] of ages.entries()) {
  for (const includeSubDomains of [undefined, true, false]) {
    for (const preload of [undefined, true, false]) {
      const all = includeSubDomains ?? true;
      const isWrong = preload && ((maxAge ?? YEAR) < YEAR || !all);
      const value = `max-age=${maxAge ?? YEAR}${all ? "; includeSubDomains" : ""}; preload`;
      const options = { [["strictTransportSecurity", "hsts"][at % 2]]: { maxAge, includeSubDomains, preload } };
      if (isWrong) record("stricter", options, { ...PRELOAD, value });
      else same(options);
    }
  }
}

// Each directive: written in each way, over the default, alone, and left out.
const WORDS = {
  "report-uri": ["/reports", "https://reports.example/csp?a=b"],
  "require-trusted-types-for": ["'script'"],
  "sandbox": ["allow-forms", "allow-scripts"],
  "trusted-types": ["one", "two#three", "'allow-duplicates'"],
  "upgrade-insecure-requests": [],
  "webrtc": ["'block'"],
};
for (const name of DIRECTIVES.filter((name) => name !== "report-to")) {
  const words = WORDS[name] ?? ["'self'", "https://a.example", "data:"];
  for (const spelling of [name, camel(name)]) {
    same(policy([[spelling, words]]));
    const one = (value) => (name === "default-src" ? alone : beside)([[spelling, value]]);
    same(one({ $set: words }));
    if (words.length > 0) same(one(words[0]));
    if (name !== "default-src") same(policy([[spelling, null]]));
  }
  if (name === "default-src") continue;
  const pairs = [["defaultSrc", ["'none'"]], [camel(name), words]];
  same(alone(pairs));
  same(alone(pairs.toReversed()));
  const disabled = [["defaultSrc", { $disabled: true }], [camel(name), words]];
  same(policy(disabled));
  same(alone(disabled));
}
for (const flag of ["sandbox", "trustedTypes", "upgradeInsecureRequests"]) same(policy([[flag, []]]));
for (const name of ["x-own", "a", "a1", "a--b", "own-src"]) {
  same(policy([[name, ["'self'", "own:word"], "custom"]]));
  same(policy([[name, [], "custom"]]));
}

// Each word that a directive may have.
const DIGESTS = [["sha256", 43, "="], ["sha384", 64, ""], ["sha512", 86, "=="]];
const hashes = DIGESTS.map(
  ([name, length, padding]) => `'${name}-${"aZ0+/-_9".repeat(11).slice(0, length)}${padding}'`,
);
const SOURCES = [
  "'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "'unsafe-hashes'", "'strict-dynamic'",
  "'report-sample'", "'wasm-unsafe-eval'", "'inline-speculation-rules'", "'trusted-types-eval'",
  "'unsafe-webtransport-hashes'", "'report-sha256'", "'report-sha384'", "'report-sha512'", "*",
  "*:*", "*:443", "https:", "HTTPS:", "data:", "blob:", "ws:", "wss:", "filesystem:",
  "mediastream:", "custom+scheme-1.0:", "a.example", "A.Example", "*.a.example", "*.a.example:*",
  "xn--bcher-kva.example", "a-b--c.example", "localhost", "localhost:3000", "127.0.0.1:8080",
  "https://a.example", "HTTPS://a.example", "https://*", "https://*:*",
  "https://*.a.example:8443", "wss://a.example:65535/", "http://a.example/a/b.js",
  "https://a.example/a/", "https://a.example/%3B%2C~!$&'()*+=:@", "custom://a.example",
  "https://a.example.", ...hashes,
];
for (const word of SOURCES) {
  same(beside([["scriptSrc", word]]));
  if (word !== "'self'" && word !== "'none'") same(beside([["connect-src", ["'self'", word]]]));
  if (!word.startsWith("'")) same(beside([["frameAncestors", word]]));
}
const SANDBOX = [
  "allow-downloads", "allow-forms", "allow-modals", "allow-orientation-lock",
  "allow-pointer-lock", "allow-popups", "allow-popups-to-escape-sandbox", "allow-presentation",
  "allow-same-origin", "allow-scripts", "allow-storage-access-by-user-activation",
  "allow-top-navigation", "allow-top-navigation-by-user-activation",
  "allow-top-navigation-to-custom-protocols",
];
for (const flag of SANDBOX) same(beside([["sandbox", [flag]]]));
same(beside([["sandbox", SANDBOX]]));
for (const word of ["*", "'none'", "'allow-duplicates'", "default", "a-#=_/@.%9"]) {
  same(beside([["trustedTypes", [word]]]));
}
same(beside([["webrtc", ["'allow'"]]]));

// Nonces, which are functions for helmet.
const nonce = { $function: `'nonce-${NONCE}'` };
for (const name of ["scriptSrc", "styleSrc", "defaultSrc", "scriptSrcElem"]) {
  for (const words of [[], ["'self'"], ["'strict-dynamic'", "'unsafe-inline'", "https:"]]) {
    same(policy([[name, [...words, nonce]]]));
  }
}
same(policy([["styleSrc", [nonce]], ["scriptSrc", [nonce]]]));

// Several directives: overridden, added and left out at once.
const SEVERAL = [
  ["connectSrc", ["'self'", "wss://live.example:8443"]],
  ["styleSrc", ["'self'"]],
  ["upgrade-insecure-requests", null],
  ["defaultSrc", ["'none'"]],
  ["worker-src", ["blob:"]],
  ["childSrc", null],
];
for (const useDefaults of [undefined, true, false]) {
  for (const reportOnly of [undefined, true, false]) {
    for (const length of [4, 5, 6]) same(policy(SEVERAL.slice(0, length), { useDefaults, reportOnly }));
    if (useDefaults !== false) same({ contentSecurityPolicy: { useDefaults, reportOnly } });
  }
}
const defaultNames = defaults["content-security-policy"].split(";").map((one) => one.split(" ")[0]);
for (const at of defaultNames.keys()) {
  const pair = (name) => [name, name === "upgrade-insecure-requests" ? [] : ["https://turned.example"]];
  same(policy(defaultNames.slice(at).reverse().map(pair)));
  const removed = defaultNames.filter((name, other) => other !== at && name !== "default-src");
  same(policy(removed.map((name) => [name, null])));
}

// Choices for all options at once.
const choices = names.map((key) => {
  const [member, values] = VALUES[key] ?? ["", []];
  const more = {
    contentSecurityPolicy: [{ reportOnly: true }, { directives: [["imgSrc", ["*"]]] }],
    xDnsPrefetchControl: [{ allow: true }, { allow: false }],
    strictTransportSecurity: [
      { maxAge: 0, includeSubDomains: false },
      { maxAge: 2 * YEAR, preload: true },
    ],
  };
  return [key, [true, false, {}, ...values.map((value) => ({ [member]: value })), ...(more[key] ?? [])]];
});
for (let n = 1; n <= 40; n++) {
  const pick = ([key, all], at) => [key, all[(n * (at + 1) + Math.floor(n / all.length)) % all.length]];
  same(Object.fromEntries(choices.map(pick)));
}

// Options that both refuse.
const WRONG = ["", "nonsense", " deny", "none ", "self", "'none'", "same-origin;", "ALL"];
const MORE_WRONG = {
  crossOriginEmbedderPolicy: ["Require-Corp", "same-origin"],
  crossOriginOpenerPolicy: ["SAME-ORIGIN", "same-site"],
  crossOriginResourcePolicy: ["Cross-Origin", "unsafe-none"],
  referrerPolicy: ["No-Referrer", "never"],
  xFrameOptions: ["ALLOW-FROM https://a.example", "allowall"],
  xPermittedCrossDomainPolicies: ["None", "by-ftp-filename"],
};
for (const [key, [member, values]] of Object.entries(VALUES)) {
  const isWrong = (value) => !values.includes(value) && !(key === "referrerPolicy" && value === "");
  for (const value of [...WRONG.filter(isWrong), ...MORE_WRONG[key]]) {
    for (const spelling of spellings(key)) refused({ [spelling]: { [member]: value } });
  }
}
for (const list of [[], ["no-referrer", "never"], ["origin", "origin"], ["a", "origin"]]) {
  refused({ referrerPolicy: { policy: list } });
}
// helmet's own list of words that need quotes, and the prefixes that it looks for.
const UNQUOTED = [
  "none", "self", "strict-dynamic", "report-sample", "inline-speculation-rules", "unsafe-inline",
  "unsafe-eval", "unsafe-hashes", "wasm-unsafe-eval", "nonce-", "nonce-abc", "sha256-abc",
  "sha384-abc", "sha512-abc",
];
for (const word of [...UNQUOTED, "a;b", "a,b", ";", ",", "https://a.example/;x"]) {
  for (const name of SYNTAXES) refused(policy([[name, word]]));
  refused(policy([["img-src", ["https:", word]]]));
}
for (const name of DIRECTIVES) refused(policy([[name, "self"]]));
for (const separator of [";", ","]) refused(policy([["own-src", [separator], "custom"]]));
refused(alone([]));
refused(alone([["imgSrc", ["'self'"]]]));
refused(alone([["defaultSrc", { $disabled: true }]]));
refused(alone([["imgSrc", null]]));
for (const name of ["defaultSrc", "default-src"]) {
  refused(policy([[name, null]]));
  refused(alone([[name, null]]));
}
for (const name of DIRECTIVES.filter((name) => name.includes("-"))) {
  refused(policy([[camel(name), ["'self'"]], [name, ["'self'"]]]));
}
for (const name of ["", " ", "9", "-", "img src", "img-src;", "img_src", "img-src-", "ïmg-src", "img-src\n", "'self'"]) {
  refused(policy([[name, ["'self'"]]]));
}
for (const name of ["", "A", "Own-src", "own src", "own_src", "own-src;", "öwn-src"]) {
  refused(policy([[name, ["'self'"], "custom"]]));
}

// Options that helmet sends and the layer refuses: the words, by the reason.
const DIGEST = "A".repeat(43);
const STRICT_WORDS = [
  ["a line break", "it would end the header", [
    "https://a.example\n", "\r\nx-injected:1", "'self'\r",
  ]],
  ["not visible ASCII", "servers refuse to send it, or browsers to read it; hosts have a form in ASCII", [
    "https://bücher.example", "https://a.example/\0", "a\u007f.example", "a.example\u2028", "‘self’",
  ]],
  ["a space in a source", "one value here is two to browsers", [
    "self x.example", "'self' x.example", " 'self'", "a.example ", "a.example\tb.example", " ",
  ]],
  ["an empty source", "it says nothing, and is a mistake of its author", [""]],
  ["a keyword, nonce or hash without quotes, in capitals or new", "browsers would look for a host of this name", [
    "SELF", "Self", "None", "Unsafe-Inline", "trusted-types-eval", "unsafe-webtransport-hashes",
    "report-sha256", "report-sha384", "report-sha512", "Nonce-abc", "SHA256-abc", "Sha384-abc",
    "sHa512-abc",
  ]],
  ["a scheme without its colon", "browsers would look for a host of this name", [
    "https", "HTTPS", "http", "ws", "wss", "data", "blob", "filesystem", "mediastream",
  ]],
  ["not a host", "browsers ignore words outside of the grammar (CSP3 §2.3.1)", [
    "https://", "https:/a.example", "//a.example", "/a.js", "://a.example", "1s://a.example",
    "https://a.example:", "a.example:port", "a.example:123456", "a..example", ".a.example", "*.",
    "*a.example", "a.*.example", "**", "https://*a", "a_b.example", "user@a.example",
    "https://user:secret@a.example", "https://a.example?q=1", "https://a.example/?q=1",
    "https://a.example/#f", "[::1]", "http://[::1]:3000", "\"self\"", "<script>",
  ]],
  ["a keyword that does not exist", "browsers ignore it", [
    "'slef'", "'self", "'", "''", "'self'x", "'unsafe-dynamic'",
  ]],
  ["a hash that is not a digest", "no script has this digest", [
    "'sha256-'", "'sha256-YWJj'", `'sha256-${DIGEST}'`, `'sha384-${DIGEST}='`, `'sha512-${DIGEST}='`,
  ]],
  ["a fixed nonce", "a nonce that is the same in each response protects nobody (CSP3 §7.1)", [
    "'nonce-abc'",
  ]],
];
for (const [kind, why, words] of STRICT_WORDS) {
  for (const word of words) {
    const strict = (directive, value, reportOnly) =>
      record("stricter", policy([[camel(directive), value]], { reportOnly }), { kind, why, directive, value: word });
    strict("default-src", word);
    strict("img-src", ["https:", word], true);
    strict("frame-ancestors", [word]);
  }
}
const ALONE = ["'none' beside other sources", "browsers ignore 'none' there"];
const TWICE = ["a source that is there twice", "the second says nothing, and is a mistake of its author"];
const FLAG = ["a value of a directive that has none", "browsers ignore the value"];
const ONE = ["two values of a directive that takes one", "browsers take the first"];
const OTHER = ["a word that the directive does not have", "browsers ignore it"];
const ANCESTORS = ["a keyword that frame-ancestors does not have", "frame-ancestors has no such sources (CSP3 §6.4.2)"];
const ENDPOINT = ["an endpoint that is not defined", "the reports would be dropped"];
const ENDPOINT_NAME = ["an endpoint with a name that it cannot have", "no endpoint can have this name (RFC 9651 §3.1.2)"];
const kindOf = (at) => STRICT_WORDS.find(([kind]) => kind === at).slice(0, 2);
const EMPTY = kindOf("an empty source");
const FIXED = kindOf("a fixed nonce");
const STRICT_LISTS = [
  [ALONE, "img-src", ["'none'", "https:"], "'none' https:"],
  [ALONE, "script-src", ["'self'", "'none'"], "'self' 'none'"],
  [ALONE, "frame-ancestors", ["'none'", "a.example"], "'none' a.example"],
  [ALONE, "trusted-types", ["'none'", "one"], "'none' one"],
  [TWICE, "img-src", ["'self'", "'self'"], "'self'"],
  [TWICE, "default-src", ["https:", "data:", "https:"], "https:"],
  [TWICE, "sandbox", ["allow-forms", "allow-forms"], "allow-forms"],
  [TWICE, "trusted-types", ["one", "two", "one"], "one"],
  [TWICE, "report-uri", ["/a", "/a"], "/a"],
  [FLAG, "upgrade-insecure-requests", ["'self'"], "'self'"],
  [FLAG, "upgrade-insecure-requests", ["1"], "1"],
  [FLAG, "upgrade-insecure-requests", ["true"], "true"],
  [EMPTY, "upgrade-insecure-requests", [""], ""],
  [EMPTY, "report-uri", [""], ""],
  [EMPTY, "sandbox", [""], ""],
  [ONE, "webrtc", ["'allow'", "'block'"], "'allow' 'block'"],
  [ONE, "report-to", ["one", "two"], "one two"],
  [OTHER, "webrtc", ["'maybe'"], "'maybe'"],
  [OTHER, "webrtc", ["allow"], "allow"],
  [OTHER, "require-trusted-types-for", ["script"], "script"],
  [OTHER, "require-trusted-types-for", ["'style'"], "'style'"],
  [OTHER, "sandbox", ["allow-everything"], "allow-everything"],
  [OTHER, "sandbox", ["'self'"], "'self'"],
  [OTHER, "sandbox", ["allow-forms", "allow-form"], "allow-form"],
  [OTHER, "trusted-types", ["'script'"], "'script'"],
  [OTHER, "trusted-types", ["po!icy"], "po!icy"],
  [kindOf("a space in a source"), "report-uri", ["/a /b"], "/a /b"],
  [kindOf("not visible ASCII"), "report-uri", ["/ä"], "/ä"],
  [kindOf("a line break"), "report-uri", ["/a\n"], "/a\n"],
  [ANCESTORS, "frame-ancestors", ["'unsafe-inline'"], "'unsafe-inline'"],
  [ANCESTORS, "frame-ancestors", ["'self'", "'strict-dynamic'"], "'strict-dynamic'"],
  [ANCESTORS, "frame-ancestors", ["'report-sample'"], "'report-sample'"],
  [ANCESTORS, "frame-ancestors", [`'sha256-${DIGEST}='`], `'sha256-${DIGEST}='`],
  [ENDPOINT, "report-to", ["reports"], "reports"],
  [ENDPOINT, "report-to", ["default"], "default"],
  [ENDPOINT_NAME, "report-to", ["Reports"], "Reports"],
  [ENDPOINT_NAME, "report-to", ["1"], "1"],
  [ENDPOINT_NAME, "report-to", ["https://reports.example"], "https://reports.example"],
  [FIXED, "script-src", ["'self'", "'nonce-aBc='"], "'nonce-aBc='"],
  [FIXED, "style-src", ["'Nonce-aBc'"], "'Nonce-aBc'"],
];
for (const [[kind, why], directive, words, value] of STRICT_LISTS) {
  record("stricter", policy([[camel(directive), words]]), { kind, why, directive, value });
}
const mayBeEmpty = ["sandbox", "trusted-types", "upgrade-insecure-requests"];
for (const directive of DIRECTIVES.filter((name) => !mayBeEmpty.includes(name))) {
  const more = { kind: "no value where one is needed", why: "browsers take it as 'none', which can be written", directive, value: "" };
  record("stricter", policy([[camel(directive), []]]), more);
}
for (const [kind, why, names] of [
  ["an unknown directive", "browsers ignore it: mostly it is misspelled", ["scirpt-src", "img", "default", "style", "x-own"]],
  ["an obsolete directive", "browsers ignore it", [
    "block-all-mixed-content", "navigate-to", "plugin-types", "prefetch-src", "referrer",
    "reflected-xss", "require-sri-for",
  ]],
]) {
  for (const directive of names) {
    record("stricter", policy([[directive, ["'self'"]]]), { kind, why, directive, value: "'self'" });
  }
}
for (const value of ["", "a b", "a\nb", "ä"]) {
  const more = { kind: "a custom directive with an invalid value", why: "it would end the value", directive: "own-src", value };
  record("stricter", policy([["own-src", [value], "custom"]]), more);
}
for (const value of ["SAME-ORIGIN", "same-origin", "Same-Origin"]) {
  for (const spelling of spellings("xFrameOptions")) {
    const more = { kind: "same-origin for frames", why: "helmet's own spelling of SAMEORIGIN", value };
    record("stricter", { [spelling]: { action: value } }, more);
  }
}
for (const value of ["", ["origin", ""]]) {
  const more = { kind: "an empty referrer policy", why: "browsers skip it", value: "" };
  record("stricter", { referrerPolicy: { policy: value } }, more);
}

// Options that helmet refuses and the layer sends.
const looser = (kind, why, options) => record("looser", options, { kind, why });
for (const value of ["no-referrer,origin", "no-referrer, same-origin ,unsafe-url"]) {
  looser("referrer policies in one text", "the layer parses the header; helmet takes an array", { referrerPolicy: { policy: value } });
}
const withDefault = (pair) => alone([pair, ["default-src", ["'self'"]]]);
for (const name of ["Img-Src", "IMG-SRC", "ScRipt-src"]) {
  looser("the name of a directive in capitals", "names are parsed in any case (CSP3 §2.2.1)", withDefault([name, ["'self'"]]));
}
for (const name of ["1a", "-a", "a-", "-", "9"]) {
  looser("custom directives that do not start and end with letters", "digits and hyphens are allowed everywhere (CSP3 §2.3)", withDefault([name, ["'self'"], "custom"]));
}
for (const word of UNQUOTED) {
  looser("a keyword without quotes in a custom directive", "of a custom directive only the characters are checked", withDefault(["own-src", [word], "custom"]));
}

// Options that both send, each in its way: the header of the layer.
const other = (kind, why, pair, header, value) =>
  record("other", beside(pair), { kind, why, header, value });
for (const word of ["'SELF'", "'None'", "'Unsafe-Inline'", "'strict-Dynamic'"]) {
  other("a quoted keyword in capitals", "the case of keywords does not matter (CSP3 §2.3.1): they are sent in lower case",
    [["scriptSrc", word]], "content-security-policy", `default-src 'none';script-src ${word.toLowerCase()}`);
}
other("'nonce' as text", "to helmet it is a word like any other; here it is the nonce of the response",
  [["scriptSrc", "'nonce'"]], "content-security-policy", `default-src 'none';script-src 'nonce-${NONCE}'`);
other("an endpoint that is defined", "the layer defines the endpoints that it names",
  [["scriptSrc", "'self'"], ["reportTo", { $endpoint: "reports" }]], "reporting-endpoints", 'reports="/reports"');

// Options that the types of the crate cannot express: only helmet is asked.
const impossible = (isSent, options, why) =>
  assert.equal(ask(options) !== null, isSent, `${JSON.stringify(options)} (${why})`);
for (const key of names) {
  for (const alias of KEYS[key]) impossible(false, { [key]: true, [alias]: true }, "a header has one name");
}
for (const wrong of ["maxage", "includeSubdomains"]) impossible(false, { hsts: { [wrong]: 1 } }, "the compiler knows the setters");
for (const maxAge of [-1, "1", null, { $number: "NaN" }, { $number: "Infinity" }]) {
  impossible(false, { hsts: { maxAge } }, "the seconds are a u64");
}
impossible(true, { hsts: { maxAge: 1.5 } }, "the seconds are a u64: helmet rounds");
for (const value of [false, true, 0, 1, { $undefined: true }]) impossible(false, policy([["imgSrc", value]]), "a value has a type");
impossible(true, policy([["imgSrc", [1, null]]]), "a value has a type: helmet sends both");
impossible(false, { contentSecurityPolicy: null }, "a value has a type");
impossible(false, { crossOriginEmbedderPolicy: { policy: 1 } }, "a value has a type");
impossible(false, { referrerPolicy: { policy: 1 } }, "a value has a type");
impossible(false, { frameguard: { action: null } }, "a value has a type");
impossible(true, { dnsPrefetchControl: { allow: "false" } }, "a value has a type: this is on");
impossible(true, { noSniff: { setTo: null } }, "a value has a type: helmet warns");
impossible(true, { expectCt: true, pragma: 1 }, "obsolete headers are not offered");
impossible(false, policy([["imgSrc", { $disabled: true }]]), "only default-src can be disabled, by a method of its own");
for (const [isSent, text] of [[true, "https:"], [false, "self"], [false, "a;b"]]) {
  impossible(isSent, policy([["imgSrc", [{ $function: text }]]]), "a function is for nonces; the rest is Overrides");
}

console.log(JSON.stringify({ helmet: version, order: ORDER, defaults, reasons }));
for (const line of cases) console.log(line);
