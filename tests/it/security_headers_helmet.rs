//! `SecurityHeadersLayer` beside helmet 8.3.0 itself, which `tests/helmet/dump.mjs` runs: of each
//! set of options, helmet's JSON and the layer are made.
//!
//! It needs node and `npm ci --prefix tests/helmet`. Without them it says so and passes, but not
//! where `TOWER_KIT_HELMET=required`, which is what `scripts/test` sets where there is npm.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderName, Request, Response};
use serde_json::{Map, Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    Coep, Coop, Corp, CrossDomainPolicies, Csp, Directive, Directive::*, DnsPrefetch, Endpoint,
    FrameOptions, Hsts, InvalidField, Nonce, OriginAgentCluster, ReferrerPolicy,
};

use crate::directives::DIRECTIVES;

/// What helmet sends and the layer refuses.
const STRICTER_THAN_HELMET: [(&str, &str); 25] = [
    (LINE_BREAK, "it would end the field"),
    (NOT_ASCII, "servers refuse to send it, or browsers to read it; hosts have a form in ASCII"),
    (SPACE, "what is one value here is two to browsers"),
    (EMPTY, "it says nothing, and is a mistake of whatever has made it"),
    (NO_VALUE, "browsers take it as 'none', which can be said"),
    (NONE_BESIDE, "browsers ignore 'none' there"),
    (TWICE, "the second says nothing, and is a mistake of whatever has made it"),
    (UNQUOTED, "browsers would look for a host of this name"),
    (SCHEME, "browsers would look for a host of this name"),
    (NOT_A_HOST, "browsers ignore what does not follow the grammar (CSP3 §2.3.1)"),
    (KEYWORD, "browsers ignore it"),
    (HASH, "no script has this digest"),
    (NONCE_FIXED, "a nonce that is the same in each response protects nobody (CSP3 §7.1)"),
    (FLAG, "browsers ignore the value"),
    (ONE_VALUE, "browsers take the first"),
    (OTHER_WORD, "browsers ignore it"),
    (ANCESTORS, "frame-ancestors has no such sources (CSP3 §6.4.2)"),
    (ENDPOINT, "the reports would be dropped"),
    (ENDPOINT_NAME, "no endpoint can have this name (RFC 9651 §3.1.2)"),
    (UNKNOWN, "browsers ignore it: mostly it is misspelled"),
    (OBSOLETE, "browsers ignore it"),
    (CUSTOM_VALUE, "it would end the value"),
    (PRELOAD, "the list refuses the site (hstspreload.org)"),
    (FRAMES, "a spelling of helmet's own, of what is SAMEORIGIN in the field"),
    (NO_REFERRER_POLICY, "browsers skip it"),
];
const LINE_BREAK: &str = "a line break";
const NOT_ASCII: &str = "not visible ASCII";
const SPACE: &str = "a space in a source";
const EMPTY: &str = "an empty source";
const NO_VALUE: &str = "no value where one is needed";
const NONE_BESIDE: &str = "'none' beside others";
const TWICE: &str = "a source that is there twice";
const UNQUOTED: &str = "a keyword, nonce or hash without quotes, in capitals or new";
const SCHEME: &str = "a scheme without its colon";
const NOT_A_HOST: &str = "what is no host";
const KEYWORD: &str = "a keyword that does not exist";
const HASH: &str = "a hash that is no digest";
const NONCE_FIXED: &str = "a fixed nonce";
const FLAG: &str = "a value of a directive that has none";
const ONE_VALUE: &str = "two values of a directive that has one";
const OTHER_WORD: &str = "a word that the directive does not have";
const ANCESTORS: &str = "a keyword that frame-ancestors does not have";
const ENDPOINT: &str = "an endpoint that is not defined";
const ENDPOINT_NAME: &str = "an endpoint with a name that it cannot have";
const UNKNOWN: &str = "an unknown directive";
const OBSOLETE: &str = "an obsolete directive";
const CUSTOM_VALUE: &str = "a custom directive with a value that is none";
const PRELOAD: &str = "preload that the list would not take";
const FRAMES: &str = "same-origin for frames";
const NO_REFERRER_POLICY: &str = "an empty referrer policy";

/// What helmet refuses and the layer sends.
const LOOSER_THAN_HELMET: [(&str, &str); 4] = [
    (ONE_TEXT, "a list of policies is parsed as it stands in the field; helmet has an array"),
    (CAPITALS, "the names of directives are parsed in any case (CSP3 §2.2.1)"),
    (CUSTOM_NAME, "a name may begin and end with a digit or a hyphen (CSP3 §2.3)"),
    (CUSTOM_WORDS, "of a custom directive only the characters are checked"),
];
const ONE_TEXT: &str = "referrer policies in one text";
const CAPITALS: &str = "the name of a directive in capitals";
const CUSTOM_NAME: &str = "custom directives whose names do not begin and end with letters";
const CUSTOM_WORDS: &str = "a keyword without quotes in a custom directive";

/// What both send, each in its way.
const OTHER_THAN_HELMET: [(&str, &str); 3] = [
    (KEYWORD_CASE, "the case of keywords does not count (CSP3 §2.3.1): they are sent in lower"),
    (NONCE_TEXT, "to helmet it is a word like any other; here it is the nonce of the response"),
    (DEFINED, "the layer defines the endpoints that it names"),
];
const KEYWORD_CASE: &str = "a quoted keyword in capitals";
const NONCE_TEXT: &str = "'nonce' as text";
const DEFINED: &str = "an endpoint that is defined";

/// What a response says where it has a nonce.
const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAA";
const YEAR: u64 = 31_536_000;

/// helmet's options, by their names, of which some are aliases.
#[derive(Clone, Debug, Default)]
struct Options(Vec<(&'static str, Choice)>);

#[derive(Clone, Debug)]
enum Choice {
    /// `true`
    On,
    /// `false`
    Off,
    /// `{}`
    Default,
    Policy(String),
    Policies(Vec<&'static str>),
    Allow(bool),
    Hsts {
        max_age: Option<u64>,
        subdomains: Option<bool>,
        preload: Option<bool>,
    },
    Csp(Policy),
}

#[derive(Clone, Debug, Default)]
struct Policy {
    use_defaults: Option<bool>,
    report_only: Option<bool>,
    directives: Vec<(Name, Words)>,
    /// Reports to this endpoint, which is defined.
    report_to: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Name {
    Dashed(Directive),
    Camel(Directive),
    /// One that the crate has not, through text.
    Text(&'static str),
    /// One that the crate has not, through [`Directive::Custom`].
    Custom(&'static str),
}

#[derive(Clone, Debug)]
enum Words {
    One(String),
    List(Vec<String>),
    /// helmet's set.
    Set(Vec<String>),
    /// These and the nonce of the response, which is a function for helmet.
    Nonce(Vec<String>),
    /// `null`
    Removed,
    /// `contentSecurityPolicy.dangerouslyDisableDefaultSrc`
    Disabled,
}

#[derive(Clone, Debug)]
struct Case {
    options: Options,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Expected {
    Same,
    BothRefuse,
    /// Of a kind, with the directive and the value in the error.
    Stricter(&'static str, Option<&'static str>, String),
    Looser(&'static str),
    /// This field is another one, or is not helmet's.
    Other(&'static str, &'static str, String),
}

impl Case {
    /// Which only [`Directive::Custom`] can say.
    fn has_custom(&self) -> bool {
        let is_custom = |(name, _): &(Name, Words)| matches!(name, Name::Custom(_));
        self.options.0.iter().any(|(_, choice)| match choice {
            Choice::Csp(policy) => policy.directives.iter().any(is_custom),
            _ => false,
        })
    }
}

type Lines = Vec<(String, String)>;

#[derive(Debug)]
enum Answer {
    Sent { lines: Lines, removed: Vec<String> },
    Refused(String),
}

// Asking both.

struct Helmet {
    cases: Vec<(Case, Answer)>,
    impossible: Vec<Answer>,
}

/// What helmet answers, or why it does not.
static HELMET: LazyLock<Result<Helmet, String>> = LazyLock::new(|| {
    let cases = cases();
    let impossible = impossible().into_iter().map(|(_, set, _)| set);
    let sets: Vec<_> = cases.iter().map(|case| case.options.json()).chain(impossible).collect();
    let mut answers = ask_helmet(&sets)?;
    assert_eq!(answers.len(), sets.len());
    let impossible = answers.split_off(cases.len());
    Ok(Helmet { cases: cases.into_iter().zip(answers).collect(), impossible })
});

/// `None` where helmet is not installed and need not be.
fn helmet() -> Option<&'static Helmet> {
    let why = match HELMET.as_ref() {
        Ok(helmet) => return Some(helmet),
        Err(why) => why,
    };
    let required = std::env::var_os("TOWER_KIT_HELMET").is_some_and(|how| how == "required");
    assert!(!required, "{why}");
    say(&format!("SKIPPED: nothing is compared with helmet: {why}"));
    None
}

#[expect(clippy::explicit_write, reason = "what tests print that pass is not shown")]
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").unwrap();
}

/// Runs helmet over all sets, in one process.
fn ask_helmet(sets: &[Value]) -> Result<Vec<Answer>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helmet");
    let install = "`npm ci --prefix tests/helmet` installs it";
    let manifest = std::fs::read_to_string(folder.join("node_modules/helmet/package.json"))
        .map_err(|error| format!("tests/helmet/node_modules/helmet: {error}: {install}"))?;
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    if manifest["version"] != "8.3.0" {
        return Err(format!("tests/helmet has helmet {}: {install}", manifest["version"]));
    }
    let mut node = Command::new("node")
        .arg(folder.join("dump.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("node does not start: {error}"))?;
    let input = serde_json::to_vec(sets).unwrap();
    let written = node.stdin.take().unwrap().write_all(&input);
    let output = node.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && written.is_ok(), "tests/helmet/dump.mjs: {errors}");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    Ok(answers.iter().map(Answer::of).collect())
}

impl Answer {
    fn of(answer: &Value) -> Self {
        if let Some(error) = answer["error"].as_str() {
            return Self::Refused(error.to_owned());
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let line = |line: &Value| (text(&line[0]).to_ascii_lowercase(), text(&line[1]));
        let list = |name| answer[name].as_array().unwrap().iter();
        let removed = list("removed").map(|name| text(name).to_ascii_lowercase()).collect();
        Self::Sent { lines: list("headers").map(line).collect(), removed }
    }

    /// The fields of a response that had `x-powered-by`.
    fn lines(&self) -> Result<Lines, String> {
        match self {
            Self::Refused(error) => Err(error.clone()),
            Self::Sent { lines, removed } => {
                let own = (POWERED_BY.to_owned(), "node".to_owned());
                let kept = (!removed.contains(&own.0)).then_some(own);
                Ok(lines.iter().cloned().chain(kept).collect())
            }
        }
    }
}

/// What the layer makes of a response that has `x-powered-by` and uses its nonce.
async fn lines_of(layer: &SecurityHeadersLayer) -> Lines {
    let page = |request: Request<()>| async move {
        let nonce = request.extensions().get::<Nonce>().map(Nonce::to_string);
        let page = Response::builder().header(POWERED_BY, "node").body(nonce).unwrap();
        Ok::<_, Infallible>(page)
    };
    let response = layer.layer(service_fn(page)).oneshot(Request::new(())).await.unwrap();
    let nonce = response.body().as_deref();
    let line = |(name, value): (&HeaderName, &http::HeaderValue)| {
        let value = value.to_str().unwrap();
        let value = nonce.map_or_else(|| value.to_owned(), |nonce| value.replace(nonce, NONCE));
        (name.to_string(), value)
    };
    response.headers().iter().map(line).collect()
}

/// Helmet leaves it to the application to keep a used nonce out of caches.
fn without_private(lines: Lines) -> Lines {
    let has_nonce = lines.iter().any(|(_, value)| value.contains("'nonce-"));
    let is_added = |(name, value): &(String, String)| name == "cache-control" && value == "private";
    assert_eq!(lines.iter().any(is_added), has_nonce, "{lines:?}");
    lines.into_iter().filter(|line| !is_added(line)).collect()
}

/// Whether the answers are as the set expects them, or what is wrong.
async fn check(case: &Case, helmet: &Answer) -> Result<(), String> {
    let helmet = helmet.lines();
    let ours = match case.options.layer() {
        Ok(layer) => Ok(without_private(lines_of(&layer).await)),
        Err(error) => Err(error),
    };
    let is_fine = match (&case.expected, &helmet, &ours) {
        (Expected::Same, Ok(helmet), Ok(ours)) => helmet == ours,
        (Expected::BothRefuse, Err(_), Err(_)) | (Expected::Looser(_), Err(_), Ok(_)) => true,
        (Expected::Stricter(_, directive, value), Ok(_), Err(error)) => {
            let field = case.options.0.first().map_or("", |(key, _)| field_of(key));
            error.field().trim_end_matches("-report-only") == field
                && error.directive() == *directive
                && error.value() == value
        }
        (Expected::Other(_, field, value), Ok(helmet), Ok(ours)) => {
            let mut expected = helmet.clone();
            expected.retain(|(name, _)| name != field);
            let at = ours.iter().position(|(name, _)| name == field).unwrap_or(0);
            expected.insert(at, ((*field).to_owned(), value.clone()));
            helmet != ours && expected == *ours
        }
        _ => false,
    };
    if is_fine {
        return Ok(());
    }
    let (options, expected) = (case.options.json(), &case.expected);
    let (helmet, ours) = match (helmet, ours) {
        (Ok(helmet), Ok(ours)) => {
            let but = |lines: &Lines, others: &Lines| {
                let lines: Vec<_> = lines.iter().filter(|line| !others.contains(line)).collect();
                format!("sends {lines:?}, and the same")
            };
            (but(&helmet, &ours), but(&ours, &helmet))
        }
        (Err(helmet), Ok(_)) => (helmet, "sends it".to_owned()),
        (Ok(_), Err(ours)) => ("sends it".to_owned(), ours.to_string()),
        (Err(helmet), Err(ours)) => (helmet, ours.to_string()),
    };
    Err(format!("{options}: {expected:?}\n  helmet: {helmet}\n  the layer: {ours}"))
}

/// Checks the sets that are chosen; says how many these are.
async fn compare(chosen: impl Fn(&Expected) -> bool) -> usize {
    let Some(Helmet { cases, .. }) = helmet() else { return 0 };
    let (mut count, mut wrong) = (0, Vec::new());
    for (case, helmet) in cases.iter().filter(|(case, _)| chosen(&case.expected)) {
        count += 1;
        wrong.extend(check(case, helmet).await.err());
    }
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    count
}

/// That each kind of a list has a set, and each set a kind.
fn assert_listed(list: &[(&str, &str)], kind_of: impl Fn(&Expected) -> Option<&'static str>) {
    let mut counts: BTreeMap<_, _> = list.iter().map(|(kind, _)| (*kind, 0)).collect();
    for kind in cases().iter().filter_map(|case| kind_of(&case.expected)) {
        *counts.get_mut(kind).unwrap_or_else(|| panic!("{kind} is not listed")) += 1;
    }
    assert!(counts.values().all(|count| *count > 0), "{counts:?}");
}

#[tokio::test]
async fn helmet_and_the_layer_send_the_same_bytes_in_the_same_order() {
    let same = compare(|expected| matches!(expected, Expected::Same)).await;
    let Some(Helmet { cases, .. }) = helmet() else { return };
    assert!(same >= 200, "only {same} sets");
    say(&format!("{same} sets of options give what helmet sends, of {} in all", cases.len()));
}

#[tokio::test]
async fn what_helmet_refuses_is_refused() {
    compare(|expected| matches!(expected, Expected::BothRefuse)).await;
}

#[tokio::test]
async fn what_is_refused_although_helmet_sends_it_is_listed() {
    compare(|expected| matches!(expected, Expected::Stricter(..))).await;
    assert_listed(&STRICTER_THAN_HELMET, |expected| match expected {
        Expected::Stricter(kind, ..) => Some(kind),
        _ => None,
    });
}

#[tokio::test]
async fn what_is_sent_although_helmet_refuses_it_is_listed() {
    compare(|expected| matches!(expected, Expected::Looser(_))).await;
    assert_listed(&LOOSER_THAN_HELMET, |expected| match expected {
        Expected::Looser(kind) => Some(kind),
        _ => None,
    });
}

#[tokio::test]
async fn what_is_sent_otherwise_than_by_helmet_is_listed() {
    compare(|expected| matches!(expected, Expected::Other(..))).await;
    assert_listed(&OTHER_THAN_HELMET, |expected| match expected {
        Expected::Other(kind, ..) => Some(kind),
        _ => None,
    });
}

/// What helmet sends is text too.
#[test]
fn the_policies_of_helmet_are_parsed_and_written_as_they_were() {
    let Some(Helmet { cases, .. }) = helmet() else { return };
    let (mut count, mut wrong) = (0, Vec::new());
    for (case, helmet) in cases.iter().filter(|(case, _)| matches!(case.expected, Expected::Same)) {
        let lines = helmet.lines().unwrap();
        let policy = lines.iter().find(|(name, _)| name.starts_with(CSP)).map(|(_, text)| text);
        let is_said = |text: &&String| !text.contains("'nonce-") && !case.has_custom();
        let Some(text) = policy.filter(is_said) else { continue };
        count += 1;
        match text.parse::<Csp>() {
            Ok(policy) if policy.to_string() == *text => {}
            other => wrong.push(format!("{text}\n  {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 200, "only {count} policies");
}

/// Options of helmet that the types of the crate have no words for, and why.
#[test]
fn what_helmet_does_with_what_cannot_be_said_here_is_known() {
    let Some(Helmet { impossible: answers, .. }) = helmet() else { return };
    let impossible = impossible();
    assert_eq!(impossible.len(), answers.len());
    for ((sends, set, why), answer) in impossible.into_iter().zip(answers) {
        assert_eq!(matches!(answer, Answer::Sent { .. }), sends, "{set} ({why}): {answer:?}");
    }
}

/// Whether helmet sends something, for what, and why there is no such thing here.
fn impossible() -> Vec<(bool, Value, &'static str)> {
    let mut all = Vec::new();
    for (alias, field) in &KEYS[14..] {
        let name = keys_of(field).next().unwrap();
        all.push((false, json!({ *alias: true, name: true }), "a field has one name"));
    }
    for wrong in ["maxage", "includeSubdomains"] {
        all.push((false, json!({ "hsts": { wrong: 1 } }), "the compiler knows the setters"));
    }
    let seconds = "the seconds are a u64";
    for number in [json!(-1), json!("1"), json!(null), json!({ "$number": "NaN" })] {
        all.push((false, json!({ "hsts": { "maxAge": number } }), seconds));
    }
    all.push((false, json!({ "hsts": { "maxAge": { "$number": "Infinity" } } }), seconds));
    all.push((true, json!({ "hsts": { "maxAge": 1.5 } }), "the seconds are a u64: helmet rounds"));
    let directive = |name: &str, value: Value| {
        let directives = json!({ "$entries": [[name, value]] });
        json!({ "contentSecurityPolicy": { "directives": directives } })
    };
    let typed = "a value has a type";
    for value in [json!(false), json!(true), json!(0), json!(1), json!({ "$undefined": true })] {
        all.push((false, directive("imgSrc", value), typed));
    }
    all.push((
        true,
        directive("imgSrc", json!([1, null])),
        "a value has a type: helmet sends both",
    ));
    all.push((false, json!({ "contentSecurityPolicy": null }), typed));
    all.push((false, json!({ "crossOriginEmbedderPolicy": { "policy": 1 } }), typed));
    all.push((false, json!({ "referrerPolicy": { "policy": 1 } }), typed));
    all.push((false, json!({ "frameguard": { "action": null } }), typed));
    all.push((
        true,
        json!({ "dnsPrefetchControl": { "allow": "false" } }),
        "a value has a type: this is on",
    ));
    all.push((true, json!({ "noSniff": { "setTo": null } }), "a value has a type: helmet warns"));
    all.push((true, json!({ "expectCt": true, "pragma": 1 }), "what is obsolete is not offered"));
    let disabled = "only default-src can be disabled, by a method of its own";
    all.push((false, directive("imgSrc", json!({ "$disabled": true })), disabled));
    let function =
        "a function is for nonces, which are a source of their own: the rest is Overrides";
    all.push((true, directive("imgSrc", json!([{ "$function": "https:" }])), function));
    all.push((false, directive("imgSrc", json!([{ "$function": "self" }])), function));
    all.push((false, directive("imgSrc", json!([{ "$function": "a;b" }])), function));
    all
}

// To JSON.

impl Options {
    fn json(&self) -> Value {
        self.0.iter().map(|(key, choice)| ((*key).to_owned(), choice.json(key))).collect()
    }
}

impl Choice {
    fn json(&self, key: &str) -> Value {
        let key = match field_of(key) {
            "x-frame-options" => "action",
            "x-permitted-cross-domain-policies" => "permittedPolicies",
            _ => "policy",
        };
        match self {
            Self::On => json!(true),
            Self::Off => json!(false),
            Self::Default => json!({}),
            Self::Policy(policy) => json!({ key: policy }),
            Self::Policies(policies) => json!({ key: policies }),
            Self::Allow(allow) => json!({ "allow": allow }),
            Self::Hsts { max_age, subdomains, preload } => object([
                ("maxAge", max_age.map(Value::from)),
                ("includeSubDomains", subdomains.map(Value::from)),
                ("preload", preload.map(Value::from)),
            ]),
            Self::Csp(policy) => policy.json(),
        }
    }
}

impl Policy {
    fn json(&self) -> Value {
        let directives =
            self.directives.iter().map(|(name, words)| json!([name.key(), words.json()]));
        let report_to = self.report_to.map(|name| json!(["reportTo", [name]]));
        let directives: Vec<_> = directives.chain(report_to).collect();
        object([
            ("useDefaults", self.use_defaults.map(Value::from)),
            ("reportOnly", self.report_only.map(Value::from)),
            ("directives", (!directives.is_empty()).then(|| json!({ "$entries": directives }))),
        ])
    }
}

impl Name {
    fn key(self) -> String {
        match self {
            Self::Dashed(directive) => directive.to_string(),
            Self::Camel(directive) => {
                let mut words = directive.name().split('-');
                let first = words.next().unwrap_or_default().to_owned();
                words.fold(first, |name, word| name + &word[..1].to_ascii_uppercase() + &word[1..])
            }
            Self::Text(name) | Self::Custom(name) => name.to_owned(),
        }
    }
}

impl Words {
    fn json(&self) -> Value {
        match self {
            Self::One(word) => json!(word),
            Self::List(words) => json!(words),
            Self::Set(words) => json!({ "$set": words }),
            Self::Nonce(words) => {
                let nonce = json!({ "$function": format!("'nonce-{NONCE}'") });
                words.iter().map(|word| json!(word)).chain([nonce]).collect()
            }
            Self::Removed => Value::Null,
            Self::Disabled => json!({ "$disabled": true }),
        }
    }
}

fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

// To a layer.

impl Options {
    fn layer(&self) -> Result<SecurityHeadersLayer, InvalidField> {
        let is_powered_by = |(key, choice): &(&str, Choice)| {
            field_of(key) == POWERED_BY && matches!(choice, Choice::Off)
        };
        let layer = match self.0.iter().any(is_powered_by) {
            true => SecurityHeadersLayer::new().keep(HeaderName::from_static(POWERED_BY)),
            false => SecurityHeadersLayer::new(),
        };
        self.0.iter().try_fold(layer, |layer, (key, choice)| choice.apply(layer, field_of(key)))
    }
}

impl Choice {
    fn apply(
        &self,
        layer: SecurityHeadersLayer,
        field: &'static str,
    ) -> Result<SecurityHeadersLayer, InvalidField> {
        let before = layer.clone();
        // What is set then has to find its place again.
        let layer = layer.remove(HeaderName::from_static(field));
        match (self, field) {
            // Their values cannot be made outside of the crate.
            (Self::On | Self::Default, NO_SNIFF | NO_OPEN | NO_XSS_FILTER) => Ok(before),
            (_, POWERED_BY) | (Self::Off, _) => Ok(layer),
            (Self::On | Self::Default, _) => by_default(layer, field),
            (Self::Csp(policy), _) => policy.apply(layer),
            (Self::Allow(true), _) => layer.set(DnsPrefetch::ON),
            (Self::Allow(false), _) => layer.set(DnsPrefetch::OFF),
            (Self::Hsts { max_age, subdomains, preload }, _) => {
                let mut hsts = Hsts::new(Duration::from_secs(max_age.unwrap_or(YEAR)));
                if subdomains.unwrap_or(true) {
                    hsts = hsts.include_subdomains();
                }
                layer.set(if preload.unwrap_or(false) { hsts.preload() } else { hsts })
            }
            (Self::Policies(policies), _) => {
                let mut policies = policies.iter().map(|policy| policy.parse::<ReferrerPolicy>());
                let first = policies.next().unwrap_or_else(|| "".parse())?;
                layer.set(
                    policies
                        .try_fold(first, |policy, newer| newer.map(|newer| policy.or(newer)))?,
                )
            }
            (Self::Policy(policy), COEP) => layer.set(policy.parse::<Coep>()?),
            (Self::Policy(policy), COOP) => layer.set(policy.parse::<Coop>()?),
            (Self::Policy(policy), CORP) => layer.set(policy.parse::<Corp>()?),
            (Self::Policy(policy), REFERRER) => layer.set(policy.parse::<ReferrerPolicy>()?),
            (Self::Policy(policy), FRAME) => layer.set(policy.parse::<FrameOptions>()?),
            (Self::Policy(policy), CROSS_DOMAIN) => {
                layer.set(policy.parse::<CrossDomainPolicies>()?)
            }
            (Self::Policy(_), other) => panic!("{other} has no policies"),
        }
    }
}

fn by_default(
    layer: SecurityHeadersLayer,
    field: &str,
) -> Result<SecurityHeadersLayer, InvalidField> {
    match field {
        CSP => layer.set(Csp::helmet()),
        COEP => layer.set(Coep::REQUIRE_CORP),
        COOP => layer.set(Coop::SAME_ORIGIN),
        CORP => layer.set(Corp::SAME_ORIGIN),
        "origin-agent-cluster" => layer.set(OriginAgentCluster::ON),
        REFERRER => layer.set(ReferrerPolicy::NO_REFERRER),
        HSTS => layer.set(Hsts::new(Duration::from_secs(YEAR)).include_subdomains()),
        DNS => layer.set(DnsPrefetch::OFF),
        FRAME => layer.set(FrameOptions::SAMEORIGIN),
        CROSS_DOMAIN => layer.set(CrossDomainPolicies::NONE),
        other => panic!("{other} is no field of helmet"),
    }
}

impl Policy {
    fn apply(&self, layer: SecurityHeadersLayer) -> Result<SecurityHeadersLayer, InvalidField> {
        let mut policy = if self.use_defaults == Some(false) { Csp::new() } else { Csp::helmet() };
        let mut seen = Vec::new();
        for (name, words) in &self.directives {
            let directive = match *name {
                Name::Dashed(directive) | Name::Camel(directive) => Some(directive),
                Name::Custom(name) => Some(Custom(name)),
                Name::Text(_) => None,
            };
            policy = match (directive, words) {
                (Some(directive), _) if !seen.contains(&directive) => {
                    seen.push(directive);
                    words.apply(policy, directive)
                }
                // A builder cannot say it twice, nor what it does not know: text can.
                (_, Words::List(words)) => {
                    let name = directive.map_or_else(|| name.key(), |known| known.to_string());
                    format!("{policy};{name} {}", words.join(" ")).parse()?
                }
                (_, words) => panic!("not for text: {words:?}"),
            };
        }
        if let Some(name) = self.report_to {
            policy = policy.report_to(&Endpoint::new(name, "/reports"));
        }
        layer.set(if self.report_only == Some(true) { policy.report_only() } else { policy })
    }
}

impl Words {
    fn apply(&self, policy: Csp, directive: Directive) -> Csp {
        match self {
            Self::One(word) => policy.set(directive, [word.as_str()]),
            Self::List(words) | Self::Set(words) if words.is_empty() => policy.flag(directive),
            Self::List(words) | Self::Set(words) => policy.set(directive, words.clone()),
            Self::Nonce(words) => {
                let words = words.iter().map(String::as_str);
                policy.set(directive, words.chain(["'nonce'"]))
            }
            Self::Removed => policy.remove(directive),
            Self::Disabled => policy.remove(directive).without_default_src(),
        }
    }
}

const CSP: &str = "content-security-policy";
const COEP: &str = "cross-origin-embedder-policy";
const COOP: &str = "cross-origin-opener-policy";
const CORP: &str = "cross-origin-resource-policy";
const REFERRER: &str = "referrer-policy";
const HSTS: &str = "strict-transport-security";
const DNS: &str = "x-dns-prefetch-control";
const NO_SNIFF: &str = "x-content-type-options";
const NO_OPEN: &str = "x-download-options";
const NO_XSS_FILTER: &str = "x-xss-protection";
const FRAME: &str = "x-frame-options";
const CROSS_DOMAIN: &str = "x-permitted-cross-domain-policies";
const POWERED_BY: &str = "x-powered-by";

/// helmet's options, with the aliases.
const KEYS: [(&str, &str); 22] = [
    ("contentSecurityPolicy", CSP),
    ("crossOriginEmbedderPolicy", COEP),
    ("crossOriginOpenerPolicy", COOP),
    ("crossOriginResourcePolicy", CORP),
    ("originAgentCluster", "origin-agent-cluster"),
    ("referrerPolicy", REFERRER),
    ("strictTransportSecurity", HSTS),
    ("xContentTypeOptions", NO_SNIFF),
    ("xDnsPrefetchControl", DNS),
    ("xDownloadOptions", NO_OPEN),
    ("xFrameOptions", FRAME),
    ("xPermittedCrossDomainPolicies", CROSS_DOMAIN),
    ("xPoweredBy", POWERED_BY),
    ("xXssProtection", NO_XSS_FILTER),
    ("hsts", HSTS),
    ("noSniff", NO_SNIFF),
    ("dnsPrefetchControl", DNS),
    ("ieNoOpen", NO_OPEN),
    ("frameguard", FRAME),
    ("permittedCrossDomainPolicies", CROSS_DOMAIN),
    ("hidePoweredBy", POWERED_BY),
    ("xssFilter", NO_XSS_FILTER),
];

fn field_of(key: &str) -> &'static str {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, field)| *field).unwrap()
}

fn keys_of(field: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |(_, of)| *of == field).map(|(key, _)| *key)
}

// The sets.

fn cases() -> Vec<Case> {
    let mut cases = vec![Case { options: Options::default(), expected: Expected::Same }];
    let groups = [switches(), values(), hsts(), directives(), sources(), policies(), mixtures()];
    cases.extend(groups.into_iter().flatten());
    cases.extend([refused(), stricter(), looser(), others()].into_iter().flatten());
    cases
}

fn same(choices: impl Into<Vec<(&'static str, Choice)>>) -> Case {
    Case { options: Options(choices.into()), expected: Expected::Same }
}

/// Each option, and each two of them.
fn switches() -> Vec<Case> {
    let mut cases = Vec::new();
    for (key, _) in KEYS {
        let all = [Choice::On, Choice::Off, Choice::Default];
        cases.extend(all.map(|choice| same([(key, choice)])));
    }
    let keys: Vec<_> = KEYS[..14].iter().map(|(key, _)| *key).collect();
    for (at, one) in keys.iter().enumerate() {
        let without = |other: &&'static str| (*other, Choice::Off);
        cases.extend(keys[at + 1..].iter().map(|other| same([without(one), without(other)])));
        let others: Vec<_> = keys.iter().filter(|other| *other != one).map(without).collect();
        cases.push(same(others));
        cases.push(same(keys[at..].iter().map(without).collect::<Vec<_>>()));
    }
    cases
}

/// Each value of each field, and all lists of two referrer policies.
fn values() -> Vec<Case> {
    let mut cases = Vec::new();
    for (field, policies) in POLICIES {
        for key in keys_of(field) {
            let policy = |policy: &&str| same([(key, Choice::Policy((*policy).to_owned()))]);
            cases.extend(policies.iter().map(policy));
        }
    }
    for key in keys_of(DNS) {
        cases.extend([true, false].map(|allow| same([(key, Choice::Allow(allow))])));
    }
    let referrer = |policies: &[&'static str]| Choice::Policies(policies.to_vec());
    let (_, all) = POLICIES[3];
    for (at, one) in all.iter().enumerate() {
        cases.push(same([("referrerPolicy", referrer(&[one]))]));
        let others = all.iter().filter(|other| *other != one);
        cases.extend(others.map(|other| same([("referrerPolicy", referrer(&[one, other]))])));
        cases.push(same([("referrerPolicy", referrer(&all[at..]))]));
    }
    cases
}

fn hsts() -> Vec<Case> {
    let mut cases = Vec::new();
    let ages = [None, Some(0), Some(1), Some(3600), Some(YEAR - 1), Some(YEAR), Some(2 * YEAR)];
    // What a number of JavaScript can hold.
    let ages = ages.into_iter().chain([Some((1 << 53) - 1)]);
    for (at, max_age) in ages.enumerate() {
        for subdomains in [None, Some(true), Some(false)] {
            for preload in [None, Some(true), Some(false)] {
                let choice = Choice::Hsts { max_age, subdomains, preload };
                let keys = ["strictTransportSecurity", "hsts"];
                let options = Options(vec![(keys[at % 2], choice)]);
                let age = max_age.unwrap_or(YEAR);
                let (all, list) = (subdomains.unwrap_or(true), preload.unwrap_or(false));
                let expected = if list && (age < YEAR || !all) {
                    let subdomains = if all { "; includeSubDomains" } else { "" };
                    let value = format!("max-age={age}{subdomains}; preload");
                    Expected::Stricter(PRELOAD, None, value)
                } else {
                    Expected::Same
                };
                cases.push(Case { options, expected });
            }
        }
    }
    cases
}

/// Each directive: said in each way, over the default, alone, and left out.
fn directives() -> Vec<Case> {
    let mut cases = Vec::new();
    for directive in DIRECTIVES {
        let words = match directive {
            RequireTrustedTypesFor => vec!["'script'"],
            ReportTo => continue, // needs an endpoint: `others`
            ReportUri => vec!["/reports", "https://reports.example/csp?a=b"],
            Sandbox => vec!["allow-forms", "allow-scripts"],
            TrustedTypes => vec!["one", "two#three", "'allow-duplicates'"],
            UpgradeInsecureRequests => vec![],
            Webrtc => vec!["'block'"],
            _ => vec!["'self'", "https://a.example", "data:"],
        };
        let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
        for name in [Name::Dashed(directive), Name::Camel(directive)] {
            let mut said = vec![Words::List(words.clone()), Words::Set(words.clone())];
            said.extend(words.first().map(|word| Words::One(word.clone())));
            if directive != DefaultSrc {
                said.push(Words::Removed);
            }
            cases.extend(said.into_iter().map(|words| csp([(name, words)])));
        }
        let name = Name::Camel(directive);
        let alone = vec![(Name::Camel(DefaultSrc), list(&["'none'"])), (name, Words::List(words))];
        if directive != DefaultSrc {
            let first = alone.iter().rev().cloned().collect();
            cases.extend([alone.clone(), first].map(|directives| {
                of_policy(Policy { use_defaults: Some(false), directives, ..Policy::default() })
            }));
            let mut without = alone;
            without[0].1 = Words::Disabled;
            cases.extend([None, Some(false)].map(|use_defaults| {
                let directives = without.clone();
                of_policy(Policy { use_defaults, directives, ..Policy::default() })
            }));
        }
    }
    for flag in [Sandbox, TrustedTypes, UpgradeInsecureRequests] {
        cases.push(csp([(Name::Camel(flag), list(&[]))]));
    }
    for name in ["x-own", "a", "a1", "a--b", "own-src"] {
        cases.push(csp([(Name::Custom(name), list(&["'self'", "own:word"]))]));
        cases.push(csp([(Name::Custom(name), list(&[]))]));
    }
    cases
}

/// Each word that a directive of sources may have.
fn sources() -> Vec<Case> {
    let mut cases = Vec::new();
    let hashes = [("sha256", 43, "="), ("sha384", 64, ""), ("sha512", 86, "==")];
    let hash =
        |(name, length, padding)| format!("'{name}-{}{padding}'", &"aZ0+/-_9".repeat(11)[..length]);
    let words = SOURCES.map(str::to_owned).into_iter().chain(hashes.map(hash));
    for word in words {
        let self_and = vec!["'self'".to_owned(), word.clone()];
        cases.push(csp([(Name::Camel(ScriptSrc), Words::One(word.clone()))]));
        if word != "'self'" && word != "'none'" {
            cases.push(csp([(Name::Dashed(ConnectSrc), Words::List(self_and))]));
        }
        if !word.starts_with('\'') {
            cases.push(csp([(Name::Camel(FrameAncestors), Words::One(word))]));
        }
    }
    for flag in SANDBOX {
        cases.push(csp([(Name::Camel(Sandbox), list(&[flag]))]));
    }
    cases.push(csp([(Name::Camel(Sandbox), list(&SANDBOX))]));
    for word in ["*", "'none'", "'allow-duplicates'", "default", "a-#=_/@.%9"] {
        cases.push(csp([(Name::Camel(TrustedTypes), list(&[word]))]));
    }
    cases.push(csp([(Name::Camel(Webrtc), list(&["'allow'"]))]));
    for directive in [ScriptSrc, StyleSrc, DefaultSrc, ScriptSrcElem] {
        for words in [vec![], vec!["'self'"], vec!["'strict-dynamic'", "'unsafe-inline'", "https:"]]
        {
            let words = words.into_iter().map(str::to_owned).collect();
            cases.push(csp([(Name::Camel(directive), Words::Nonce(words))]));
        }
    }
    cases.push(csp([
        (Name::Camel(StyleSrc), Words::Nonce(vec![])),
        (Name::Camel(ScriptSrc), Words::Nonce(vec![])),
    ]));
    cases
}

/// Several directives: overridden, added and left out at once.
fn policies() -> Vec<Case> {
    let several = || {
        vec![
            (Name::Camel(ConnectSrc), list(&["'self'", "wss://live.example:8443"])),
            (Name::Camel(StyleSrc), list(&["'self'"])),
            (Name::Dashed(UpgradeInsecureRequests), Words::Removed),
            (Name::Camel(DefaultSrc), list(&["'none'"])),
            (Name::Dashed(WorkerSrc), list(&["blob:"])),
            (Name::Camel(ChildSrc), Words::Removed),
        ]
    };
    let mut cases = Vec::new();
    for use_defaults in [None, Some(true), Some(false)] {
        for report_only in [None, Some(true), Some(false)] {
            for length in 4..=several().len() {
                let directives = several()[..length].to_vec();
                let policy = Policy { use_defaults, report_only, directives, report_to: None };
                cases.push(of_policy(policy));
            }
            if use_defaults != Some(false) {
                cases.push(of_policy(Policy { use_defaults, report_only, ..Policy::default() }));
            }
        }
    }
    let defaults: Vec<_> = Csp::helmet().to_string().split(';').map(directive_of).collect();
    for (at, one) in defaults.iter().enumerate() {
        // From here on they come last, in another order.
        let turned =
            defaults[at..].iter().rev().map(|directive| (Name::Camel(*directive), list(&[])));
        let value = |(name, _)| match name {
            Name::Camel(UpgradeInsecureRequests) => (name, list(&[])),
            _ => (name, list(&["https://turned.example"])),
        };
        let turned: Vec<_> = turned.map(value).collect();
        cases.push(csp(turned.clone()));
        let kept = defaults.iter().filter(|other| *other != one && **other != DefaultSrc);
        cases
            .push(csp(kept.map(|other| (Name::Camel(*other), Words::Removed)).collect::<Vec<_>>()));
    }
    cases
}

/// Choices for all options at once.
fn mixtures() -> Vec<Case> {
    let switch = vec![Choice::On, Choice::Off, Choice::Default];
    let choices: Vec<_> = KEYS[..14]
        .iter()
        .map(|(key, field)| {
            let mut choices = switch.clone();
            let known = POLICIES.iter().find(|(of, _)| of == field);
            let policies = known.into_iter().flat_map(|(_, policies)| *policies);
            choices.extend(policies.map(|policy| Choice::Policy((*policy).to_owned())));
            match *field {
                CSP => choices.extend([
                    Choice::Csp(Policy { report_only: Some(true), ..Policy::default() }),
                    Choice::Csp(Policy {
                        directives: vec![(Name::Camel(ImgSrc), list(&["*"]))],
                        ..Policy::default()
                    }),
                ]),
                DNS => choices.extend([Choice::Allow(true), Choice::Allow(false)]),
                HSTS => choices.extend([
                    Choice::Hsts { max_age: Some(0), subdomains: Some(false), preload: None },
                    Choice::Hsts { max_age: Some(2 * YEAR), subdomains: None, preload: Some(true) },
                ]),
                _ => {}
            }
            (*key, choices)
        })
        .collect();
    let mixture = |n: usize| {
        let pick = |(at, (key, choices)): (usize, &(&'static str, Vec<Choice>))| {
            (*key, choices[(n * (at + 1) + n / choices.len()) % choices.len()].clone())
        };
        same(choices.iter().enumerate().map(pick).collect::<Vec<_>>())
    };
    (1..=120).map(mixture).collect()
}

/// What helmet throws for.
fn refused() -> Vec<Case> {
    let mut all = Vec::new();
    for (field, policies) in POLICIES {
        let wrong = ["", "nonsense", " deny", "none ", "self", "'none'", "same-origin;", "ALL"];
        let is_known = |wrong: &&str| policies.contains(wrong) || (field, *wrong) == (REFERRER, "");
        for wrong in wrong.into_iter().filter(|wrong| !is_known(wrong)) {
            all.extend(keys_of(field).map(|key| (key, Choice::Policy(wrong.to_owned()))));
        }
    }
    for (field, wrong) in [
        (COEP, "Require-Corp"),
        (COEP, "same-origin"),
        (COOP, "SAME-ORIGIN"),
        (COOP, "same-site"),
        (CORP, "Cross-Origin"),
        (CORP, "unsafe-none"),
        (REFERRER, "No-Referrer"),
        (REFERRER, "never"),
        (FRAME, "ALLOW-FROM https://a.example"),
        (FRAME, "allowall"),
        (CROSS_DOMAIN, "None"),
        (CROSS_DOMAIN, "by-ftp-filename"),
    ] {
        all.extend(keys_of(field).map(|key| (key, Choice::Policy(wrong.to_owned()))));
    }
    for wrong in [&[][..], &["no-referrer", "never"], &["origin", "origin"], &["a", "origin"]] {
        all.push(("referrerPolicy", Choice::Policies(wrong.to_vec())));
    }
    let bad_words =
        UNQUOTED_WORDS.into_iter().chain(["a;b", "a,b", ";", ",", "https://a.example/;x"]);
    for word in bad_words {
        for directive in DIRECTIVES.into_iter().filter(|directive| *directive != ReportTo) {
            let words = [
                Words::One(word.to_owned()),
                Words::List(vec!["https:".to_owned(), word.to_owned()]),
            ];
            all.extend(words.map(|words| policy([(Name::Camel(directive), words)])));
        }
    }
    for separator in [";", ","] {
        all.push(policy([(Name::Custom("own-src"), list(&[separator]))]));
    }
    let none = Policy { use_defaults: Some(false), ..Policy::default() };
    let alone = |directives: Vec<_>| {
        ("contentSecurityPolicy", Choice::Csp(Policy { directives, ..none.clone() }))
    };
    all.push(alone(vec![]));
    all.push(alone(vec![(Name::Camel(ImgSrc), list(&["'self'"]))]));
    all.push(alone(vec![(Name::Camel(DefaultSrc), Words::Disabled)]));
    all.push(alone(vec![(Name::Camel(ImgSrc), Words::Removed)]));
    for name in [Name::Camel(DefaultSrc), Name::Dashed(DefaultSrc)] {
        all.push(policy([(name, Words::Removed)]));
        all.push(alone(vec![(name, Words::Removed)]));
    }
    for directive in DIRECTIVES.into_iter().filter(|directive| directive.name().contains('-')) {
        let twice = [Name::Camel(directive), Name::Dashed(directive)];
        all.push(policy(twice.map(|name| (name, list(&["'self'"])))));
    }
    for name in [
        "",
        " ",
        "9",
        "-",
        "img src",
        "img-src;",
        "img_src",
        "img-src-",
        "ïmg-src",
        "img-src\n",
        "'self'",
    ] {
        all.push(policy([(Name::Text(name), list(&["'self'"]))]));
    }
    for name in ["", "A", "Own-src", "own src", "own_src", "own-src;", "öwn-src"] {
        all.push(policy([(Name::Custom(name), list(&["'self'"]))]));
    }
    let case = |choice| Case { options: Options(vec![choice]), expected: Expected::BothRefuse };
    all.into_iter().map(case).collect()
}

fn stricter() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, word) in STRICT_WORDS {
        for directive in [DefaultSrc, ImgSrc, ScriptSrcElem, FrameAncestors] {
            let words = [Words::One(word.to_owned()), list(&[word]), list(&["https:", word])];
            cases.extend(words.map(|words| {
                let report_only = Some(directive == ImgSrc);
                let directives = vec![(Name::Camel(directive), words)];
                let policy = Policy { report_only, directives, ..Policy::default() };
                let options = Options(vec![("contentSecurityPolicy", Choice::Csp(policy))]);
                let expected = Expected::Stricter(kind, Some(directive.name()), word.to_owned());
                Case { options, expected }
            }));
        }
    }
    for (kind, directive, words, value) in STRICT_LISTS {
        let name = directive.name();
        cases.push(Case {
            options: Options(vec![policy([(Name::Camel(directive), list(words))])]),
            expected: Expected::Stricter(kind, Some(name), value.to_owned()),
        });
    }
    for directive in DIRECTIVES {
        if ![Sandbox, TrustedTypes, UpgradeInsecureRequests].contains(&directive) {
            cases.push(Case {
                options: Options(vec![policy([(Name::Camel(directive), list(&[]))])]),
                expected: Expected::Stricter(NO_VALUE, Some(directive.name()), String::new()),
            });
        }
    }
    let unknown = ["scirpt-src", "img", "default", "style", "x-own"].map(|name| (UNKNOWN, name));
    let obsolete = OBSOLETE_NAMES.map(|name| (OBSOLETE, name));
    for (kind, name) in unknown.into_iter().chain(obsolete) {
        cases.push(Case {
            options: Options(vec![policy([(Name::Text(name), list(&["'self'"]))])]),
            expected: Expected::Stricter(kind, Some(name), "'self'".to_owned()),
        });
    }
    for word in ["", "a b", "a\nb", "ä"] {
        cases.push(Case {
            options: Options(vec![policy([(Name::Custom("own-src"), list(&[word]))])]),
            expected: Expected::Stricter(CUSTOM_VALUE, Some("own-src"), word.to_owned()),
        });
    }
    for action in ["SAME-ORIGIN", "same-origin", "Same-Origin"] {
        cases.extend(keys_of(FRAME).map(|key| Case {
            options: Options(vec![(key, Choice::Policy(action.to_owned()))]),
            expected: Expected::Stricter(FRAMES, None, action.to_owned()),
        }));
    }
    for choice in [Choice::Policy(String::new()), Choice::Policies(vec!["origin", ""])] {
        let expected = Expected::Stricter(NO_REFERRER_POLICY, None, String::new());
        cases.push(Case { options: Options(vec![("referrerPolicy", choice)]), expected });
    }
    cases
}

fn looser() -> Vec<Case> {
    let alone = |name, words: &[&str]| {
        let directives = vec![(name, list(words)), (Name::Dashed(DefaultSrc), list(&["'self'"]))];
        let policy = Policy { use_defaults: Some(false), directives, ..Policy::default() };
        ("contentSecurityPolicy", Choice::Csp(policy))
    };
    let mut all = Vec::new();
    for policies in ["no-referrer,origin", "no-referrer, same-origin ,unsafe-url"] {
        all.push((ONE_TEXT, ("referrerPolicy", Choice::Policy(policies.to_owned()))));
    }
    for name in ["Img-Src", "IMG-SRC", "ScRipt-src"] {
        all.push((CAPITALS, alone(Name::Text(name), &["'self'"])));
    }
    for name in ["1a", "-a", "a-", "-", "9"] {
        all.push((CUSTOM_NAME, alone(Name::Custom(name), &["'self'"])));
    }
    for word in UNQUOTED_WORDS {
        all.push((CUSTOM_WORDS, alone(Name::Custom("own-src"), &[word])));
    }
    let case =
        |(kind, choice)| Case { options: Options(vec![choice]), expected: Expected::Looser(kind) };
    all.into_iter().map(case).collect()
}

fn others() -> Vec<Case> {
    let csp = |word: &str| format!("default-src 'none';script-src {word}");
    let of = |word: &str, report_to| {
        let directives = vec![
            (Name::Camel(DefaultSrc), list(&["'none'"])),
            (Name::Camel(ScriptSrc), Words::One(word.to_owned())),
        ];
        let policy = Policy { use_defaults: Some(false), report_only: None, directives, report_to };
        Options(vec![("contentSecurityPolicy", Choice::Csp(policy))])
    };
    let mut cases = Vec::new();
    for word in ["'SELF'", "'None'", "'Unsafe-Inline'", "'strict-Dynamic'"] {
        let expected = Expected::Other(KEYWORD_CASE, CSP, csp(&word.to_ascii_lowercase()));
        cases.push(Case { options: of(word, None), expected });
    }
    let nonce = csp(&format!("'nonce-{NONCE}'"));
    let expected = Expected::Other(NONCE_TEXT, CSP, nonce);
    cases.push(Case { options: of("'nonce'", None), expected });
    let reports = "reports=\"/reports\"".to_owned();
    let expected = Expected::Other(DEFINED, "reporting-endpoints", reports);
    cases.push(Case { options: of("'self'", Some("reports")), expected });
    cases
}

fn csp(directives: impl Into<Vec<(Name, Words)>>) -> Case {
    same([policy(directives)])
}

fn of_policy(policy: Policy) -> Case {
    same([("contentSecurityPolicy", Choice::Csp(policy))])
}

fn policy(directives: impl Into<Vec<(Name, Words)>>) -> (&'static str, Choice) {
    let policy = Policy { directives: directives.into(), ..Policy::default() };
    ("contentSecurityPolicy", Choice::Csp(policy))
}

fn list(words: &[&str]) -> Words {
    Words::List(words.iter().map(|word| (*word).to_owned()).collect())
}

fn directive_of(segment: &str) -> Directive {
    let name = segment.split(' ').next().unwrap();
    DIRECTIVES.into_iter().find(|directive| directive.name() == name).unwrap()
}

const POLICIES: [(&str, &[&str]); 6] = [
    (COEP, &["require-corp", "credentialless", "unsafe-none"]),
    (COOP, &["same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"]),
    (CORP, &["same-origin", "same-site", "cross-origin"]),
    (
        REFERRER,
        &[
            "no-referrer",
            "no-referrer-when-downgrade",
            "same-origin",
            "origin",
            "strict-origin",
            "origin-when-cross-origin",
            "strict-origin-when-cross-origin",
            "unsafe-url",
        ],
    ),
    (FRAME, &["deny", "DENY", "Deny", "sameorigin", "SAMEORIGIN", "sameOrigin"]),
    (CROSS_DOMAIN, &["none", "master-only", "by-content-type", "all"]),
];

const SOURCES: [&str; 46] = [
    "'self'",
    "'none'",
    "'unsafe-inline'",
    "'unsafe-eval'",
    "'unsafe-hashes'",
    "'strict-dynamic'",
    "'report-sample'",
    "'wasm-unsafe-eval'",
    "'inline-speculation-rules'",
    "'trusted-types-eval'",
    "'unsafe-webtransport-hashes'",
    "'report-sha256'",
    "'report-sha384'",
    "'report-sha512'",
    "*",
    "*:*",
    "*:443",
    "https:",
    "HTTPS:",
    "data:",
    "blob:",
    "ws:",
    "wss:",
    "filesystem:",
    "mediastream:",
    "custom+scheme-1.0:",
    "a.example",
    "A.Example",
    "*.a.example",
    "*.a.example:*",
    "xn--bcher-kva.example",
    "a-b--c.example",
    "localhost",
    "localhost:3000",
    "127.0.0.1:8080",
    "https://a.example",
    "HTTPS://a.example",
    "https://*",
    "https://*:*",
    "https://*.a.example:8443",
    "wss://a.example:65535/",
    "http://a.example/a/b.js",
    "https://a.example/a/",
    "https://a.example/%3B%2C~!$&'()*+=:@",
    "custom://a.example",
    // CSP3 §2.3.1: host-part ends with a dot or not.
    "https://a.example.",
];

const SANDBOX: [&str; 14] = [
    "allow-downloads",
    "allow-forms",
    "allow-modals",
    "allow-orientation-lock",
    "allow-pointer-lock",
    "allow-popups",
    "allow-popups-to-escape-sandbox",
    "allow-presentation",
    "allow-same-origin",
    "allow-scripts",
    "allow-storage-access-by-user-activation",
    "allow-top-navigation",
    "allow-top-navigation-by-user-activation",
    "allow-top-navigation-to-custom-protocols",
];

const OBSOLETE_NAMES: [&str; 7] = [
    "block-all-mixed-content",
    "navigate-to",
    "plugin-types",
    "prefetch-src",
    "referrer",
    "reflected-xss",
    "require-sri-for",
];

/// helmet's `SHOULD_BE_QUOTED`, and the beginnings that it looks for.
const UNQUOTED_WORDS: [&str; 14] = [
    "none",
    "self",
    "strict-dynamic",
    "report-sample",
    "inline-speculation-rules",
    "unsafe-inline",
    "unsafe-eval",
    "unsafe-hashes",
    "wasm-unsafe-eval",
    "nonce-",
    "nonce-abc",
    "sha256-abc",
    "sha384-abc",
    "sha512-abc",
];

/// Words that no directive of sources may have.
const STRICT_WORDS: [(&str, &str); 75] = [
    (LINE_BREAK, "https://a.example\n"),
    (LINE_BREAK, "\r\nx-injected:1"),
    (LINE_BREAK, "'self'\r"),
    (NOT_ASCII, "https://bücher.example"),
    (NOT_ASCII, "https://a.example/\0"),
    (NOT_ASCII, "a\u{7f}.example"),
    (NOT_ASCII, "a.example\u{2028}"),
    (NOT_ASCII, "‘self’"),
    (SPACE, "self x.example"),
    (SPACE, "'self' x.example"),
    (SPACE, " 'self'"),
    (SPACE, "a.example "),
    (SPACE, "a.example\tb.example"),
    (SPACE, " "),
    (EMPTY, ""),
    (UNQUOTED, "SELF"),
    (UNQUOTED, "Self"),
    (UNQUOTED, "None"),
    (UNQUOTED, "Unsafe-Inline"),
    (UNQUOTED, "trusted-types-eval"),
    (UNQUOTED, "unsafe-webtransport-hashes"),
    (UNQUOTED, "report-sha256"),
    (UNQUOTED, "report-sha384"),
    (UNQUOTED, "report-sha512"),
    (UNQUOTED, "Nonce-abc"),
    (UNQUOTED, "SHA256-abc"),
    (UNQUOTED, "Sha384-abc"),
    (UNQUOTED, "sHa512-abc"),
    (SCHEME, "https"),
    (SCHEME, "HTTPS"),
    (SCHEME, "http"),
    (SCHEME, "ws"),
    (SCHEME, "wss"),
    (SCHEME, "data"),
    (SCHEME, "blob"),
    (SCHEME, "filesystem"),
    (SCHEME, "mediastream"),
    (NOT_A_HOST, "https://"),
    (NOT_A_HOST, "https:/a.example"),
    (NOT_A_HOST, "//a.example"),
    (NOT_A_HOST, "/a.js"),
    (NOT_A_HOST, "://a.example"),
    (NOT_A_HOST, "1s://a.example"),
    (NOT_A_HOST, "https://a.example:"),
    (NOT_A_HOST, "a.example:port"),
    (NOT_A_HOST, "a.example:123456"),
    (NOT_A_HOST, "a..example"),
    (NOT_A_HOST, ".a.example"),
    (NOT_A_HOST, "*."),
    (NOT_A_HOST, "*a.example"),
    (NOT_A_HOST, "a.*.example"),
    (NOT_A_HOST, "**"),
    (NOT_A_HOST, "https://*a"),
    (NOT_A_HOST, "a_b.example"),
    (NOT_A_HOST, "user@a.example"),
    (NOT_A_HOST, "https://user:secret@a.example"),
    (NOT_A_HOST, "https://a.example?q=1"),
    (NOT_A_HOST, "https://a.example/?q=1"),
    (NOT_A_HOST, "https://a.example/#f"),
    (NOT_A_HOST, "[::1]"),
    (NOT_A_HOST, "http://[::1]:3000"),
    (NOT_A_HOST, "\"self\""),
    (NOT_A_HOST, "<script>"),
    (KEYWORD, "'slef'"),
    (KEYWORD, "'self"),
    (KEYWORD, "'"),
    (KEYWORD, "''"),
    (KEYWORD, "'self'x"),
    (KEYWORD, "'unsafe-dynamic'"),
    (HASH, "'sha256-'"),
    (HASH, "'sha256-YWJj'"),
    (HASH, "'sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'"),
    (HASH, "'sha384-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='"),
    (HASH, "'sha512-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='"),
    (NONCE_FIXED, "'nonce-abc'"),
];

const STRICT_LISTS: [(&str, Directive, &[&str], &str); 40] = [
    (NONE_BESIDE, ImgSrc, &["'none'", "https:"], "'none' https:"),
    (NONE_BESIDE, ScriptSrc, &["'self'", "'none'"], "'self' 'none'"),
    (NONE_BESIDE, FrameAncestors, &["'none'", "a.example"], "'none' a.example"),
    (NONE_BESIDE, TrustedTypes, &["'none'", "one"], "'none' one"),
    (TWICE, ImgSrc, &["'self'", "'self'"], "'self'"),
    (TWICE, DefaultSrc, &["https:", "data:", "https:"], "https:"),
    (TWICE, Sandbox, &["allow-forms", "allow-forms"], "allow-forms"),
    (TWICE, TrustedTypes, &["one", "two", "one"], "one"),
    (TWICE, ReportUri, &["/a", "/a"], "/a"),
    (FLAG, UpgradeInsecureRequests, &["'self'"], "'self'"),
    (FLAG, UpgradeInsecureRequests, &["1"], "1"),
    (FLAG, UpgradeInsecureRequests, &["true"], "true"),
    (EMPTY, UpgradeInsecureRequests, &[""], ""),
    (EMPTY, ReportUri, &[""], ""),
    (EMPTY, Sandbox, &[""], ""),
    (ONE_VALUE, Webrtc, &["'allow'", "'block'"], "'allow' 'block'"),
    (ONE_VALUE, ReportTo, &["one", "two"], "one two"),
    (OTHER_WORD, Webrtc, &["'maybe'"], "'maybe'"),
    (OTHER_WORD, Webrtc, &["allow"], "allow"),
    (OTHER_WORD, RequireTrustedTypesFor, &["script"], "script"),
    (OTHER_WORD, RequireTrustedTypesFor, &["'style'"], "'style'"),
    (OTHER_WORD, Sandbox, &["allow-everything"], "allow-everything"),
    (OTHER_WORD, Sandbox, &["'self'"], "'self'"),
    (OTHER_WORD, Sandbox, &["allow-forms", "allow-form"], "allow-form"),
    (OTHER_WORD, TrustedTypes, &["'script'"], "'script'"),
    (OTHER_WORD, TrustedTypes, &["po!icy"], "po!icy"),
    (SPACE, ReportUri, &["/a /b"], "/a /b"),
    (NOT_ASCII, ReportUri, &["/ä"], "/ä"),
    (LINE_BREAK, ReportUri, &["/a\n"], "/a\n"),
    (ANCESTORS, FrameAncestors, &["'unsafe-inline'"], "'unsafe-inline'"),
    (ANCESTORS, FrameAncestors, &["'self'", "'strict-dynamic'"], "'strict-dynamic'"),
    (ANCESTORS, FrameAncestors, &["'report-sample'"], "'report-sample'"),
    (
        ANCESTORS,
        FrameAncestors,
        &["'sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='"],
        "'sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='",
    ),
    (ENDPOINT, ReportTo, &["reports"], "reports"),
    (ENDPOINT, ReportTo, &["default"], "default"),
    (ENDPOINT_NAME, ReportTo, &["Reports"], "Reports"),
    (ENDPOINT_NAME, ReportTo, &["1"], "1"),
    (ENDPOINT_NAME, ReportTo, &["https://reports.example"], "https://reports.example"),
    (NONCE_FIXED, ScriptSrc, &["'self'", "'nonce-aBc='"], "'nonce-aBc='"),
    (NONCE_FIXED, StyleSrc, &["'Nonce-aBc'"], "'Nonce-aBc'"),
];
