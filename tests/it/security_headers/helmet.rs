//! The layer beside helmet 8.3.0, whose responses `scripts/record-helmet` has recorded.
//! `tests/helmet/record.mjs` lists the options, and says where the layer differs and why.

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderName, Request, Response};
use serde_json::{Map, Value};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    Coep, Coop, Corp, CrossDomainPolicies, Csp, Directive, DnsPrefetch, Endpoint, FrameOptions,
    Hsts, InvalidHeader, Nonce, OriginAgentCluster, ReferrerPolicy, Source,
};

use crate::directives::DIRECTIVES;
use crate::support::now;

const RECORD: &str = include_str!("helmet.jsonl");
const POWERED_BY: &str = "x-powered-by";
/// The nonce of the record, which replaces that of each response.
const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

type Headers = Map<String, Value>;

/// The first line of the record.
struct Helmet {
    order: Vec<String>,
    defaults: Headers,
}

impl Helmet {
    /// Returns helmet's headers in order, from their difference to the defaults.
    fn headers(&self, difference: &Value) -> Vec<(String, String)> {
        let value = |name: &String| {
            let value = difference.get(name).or(self.defaults.get(name))?.as_str()?;
            Some((name.clone(), value.to_owned()))
        };
        self.order.iter().filter_map(value).collect()
    }
}

/// Checks all cases with this expectation, and returns their number.
fn check(expect: &str, check: impl Fn(&Helmet, &Value) -> Result<(), String>) -> usize {
    let mut lines = RECORD.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let first = lines.next().unwrap();
    assert_eq!(first["helmet"], "8.3.0");
    let helmet = Helmet {
        order: texts(&first["order"]),
        defaults: first["defaults"].as_object().unwrap().clone(),
    };
    let cases: Vec<_> = lines.filter(|case| case["expect"] == expect).collect();
    let wrong = cases
        .iter()
        .filter_map(|case| check(&helmet, case).err().map(|error| format!("{case}\n  {error}")));
    let wrong: Vec<_> = wrong.collect();
    assert!(
        wrong.is_empty(),
        "{} of {} are wrong:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    cases.len()
}

fn equal<T: PartialEq + std::fmt::Debug>(ours: &T, helmet: &T) -> Result<(), String> {
    if ours == helmet { Ok(()) } else { Err(format!("helmet: {helmet:?}\n  layer: {ours:?}")) }
}

#[test]
fn sends_the_same_bytes_in_the_same_order() {
    let count = check("same", |helmet, case| {
        let layer = layer(&case["options"]).map_err(|error| error.to_string())?;
        equal(&sent(&layer), &helmet.headers(&case["headers"]))
    });
    assert!(count > 900, "only {count} cases");
}

#[test]
fn reads_and_writes_helmets_policies() {
    check("same", |_, case| {
        let policies = case["headers"].as_object().unwrap().iter();
        let is_known = !case.to_string().contains("\"custom\"");
        for (_, text) in policies.filter(|(name, _)| is_known && name.starts_with("content-")) {
            // The parser takes `'nonce'` only, not the nonce of a response.
            let Some(text) = text.as_str().filter(|text| !text.contains("'nonce-")) else {
                continue;
            };
            let policy = text.parse::<Csp>().map_err(|error| error.to_string())?;
            equal(&policy.to_string(), &text.to_owned())?;
        }
        Ok(())
    });
}

#[test]
fn refuses_the_options_that_helmet_refuses() {
    check("refused", |_, case| match layer(&case["options"]) {
        Ok(layer) => Err(format!("{:?}", sent(&layer))),
        Err(_) => Ok(()),
    });
}

#[test]
fn is_stricter_than_helmet_as_listed() {
    check("stricter", |_, case| {
        let (key, _) = case["options"].as_object().unwrap().iter().next().unwrap();
        let Err(error) = layer(&case["options"]) else { return Err("the layer sends it".into()) };
        let found = (error.header().trim_end_matches("-report-only"), error.directive());
        equal(&found, &(header_of(key), case["directive"].as_str()))?;
        equal(&error.value(), &case["value"].as_str().unwrap())
    });
}

#[test]
fn is_looser_than_helmet_as_listed() {
    check("looser", |_, case| match layer(&case["options"]) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
}

#[test]
fn differs_from_helmet_as_listed() {
    check("other", |helmet, case| {
        let (name, value) = (case["header"].as_str().unwrap(), case["value"].as_str().unwrap());
        let ours = sent(&layer(&case["options"]).map_err(|error| error.to_string())?);
        let mut expected = helmet.headers(&case["headers"]);
        assert_ne!(ours, expected);
        expected.retain(|(other, _)| other != name);
        let at = ours.iter().position(|(other, _)| other == name).unwrap_or(0);
        expected.insert(at, (name.to_owned(), value.to_owned()));
        equal(&ours, &expected)
    });
}

/// Returns the headers of a response that had `x-powered-by` and used its nonce.
fn sent(layer: &SecurityHeadersLayer) -> Vec<(String, String)> {
    let page = |request: Request<()>| async move {
        let nonce = request.extensions().get::<Nonce>().map(Nonce::to_string);
        let page = Response::builder().header(POWERED_BY, "node").body(nonce).unwrap();
        Ok::<_, Infallible>(page)
    };
    let response = now(layer.layer(service_fn(page)).oneshot(Request::new(()))).unwrap();
    let nonce = response.body().as_deref();
    let header = |(name, value): (&HeaderName, &http::HeaderValue)| {
        let value = value.to_str().unwrap();
        let value = nonce.map_or_else(|| value.to_owned(), |nonce| value.replace(nonce, NONCE));
        (name.to_string(), value)
    };
    let mut headers: Vec<_> = response.headers().iter().map(header).collect();
    // helmet leaves it to the application to keep a used nonce out of caches.
    let has_nonce = headers.iter().any(|(_, value)| value.contains("'nonce-"));
    let is_private =
        |(name, value): &(String, String)| name == "cache-control" && value == "private";
    assert_eq!(headers.iter().any(is_private), has_nonce, "{headers:?}");
    headers.retain(|header| !is_private(header));
    headers
}

/// Builds the layer for options of helmet.
fn layer(options: &Value) -> Result<SecurityHeadersLayer, InvalidHeader> {
    let options = options.as_object().unwrap();
    options.iter().try_fold(SecurityHeadersLayer::new(), |layer, (key, choice)| {
        let header = header_of(key);
        let is_default = *choice == true || *choice == Value::Object(Map::new());
        match header {
            POWERED_BY if *choice == false => Ok(layer.keep(HeaderName::from_static(POWERED_BY))),
            // No other value of these can be made outside of the crate.
            POWERED_BY | "x-content-type-options" | "x-download-options" | "x-xss-protection"
                if *choice != false =>
            {
                Ok(layer)
            }
            _ if *choice == false => Ok(layer.remove(HeaderName::from_static(header))),
            _ if is_default => set_default(layer, header),
            _ => set(layer, header, choice),
        }
    })
}

fn set_default(
    layer: SecurityHeadersLayer,
    header: &str,
) -> Result<SecurityHeadersLayer, InvalidHeader> {
    match header {
        "content-security-policy" => layer.set(Csp::helmet()),
        "cross-origin-embedder-policy" => layer.set(Coep::REQUIRE_CORP),
        "cross-origin-opener-policy" => layer.set(Coop::SAME_ORIGIN),
        "cross-origin-resource-policy" => layer.set(Corp::SAME_ORIGIN),
        "origin-agent-cluster" => layer.set(OriginAgentCluster::ON),
        "referrer-policy" => layer.set(ReferrerPolicy::NO_REFERRER),
        "strict-transport-security" => layer.set(hsts(&Value::Null)),
        "x-dns-prefetch-control" => layer.set(DnsPrefetch::OFF),
        "x-frame-options" => layer.set(FrameOptions::SAMEORIGIN),
        "x-permitted-cross-domain-policies" => layer.set(CrossDomainPolicies::NONE),
        other => panic!("helmet has no {other}"),
    }
}

fn set(
    layer: SecurityHeadersLayer,
    header: &str,
    choice: &Value,
) -> Result<SecurityHeadersLayer, InvalidHeader> {
    let text = || choice.as_object().unwrap().values().next().unwrap().as_str().unwrap();
    match header {
        "content-security-policy" => {
            let policy = csp(choice)?;
            let reports = choice["reportOnly"] == true;
            let layer = layer.remove(HeaderName::from_static("content-security-policy"));
            layer.set(if reports { policy.report_only() } else { policy })
        }
        "cross-origin-embedder-policy" => layer.set(text().parse::<Coep>()?),
        "cross-origin-opener-policy" => layer.set(text().parse::<Coop>()?),
        "cross-origin-resource-policy" => layer.set(text().parse::<Corp>()?),
        "referrer-policy" if choice["policy"].is_array() => {
            let policies = texts(&choice["policy"]);
            let mut policy =
                policies.first().map_or("", String::as_str).parse::<ReferrerPolicy>()?;
            for newer in policies.iter().skip(1) {
                policy = policy.or(newer.parse()?);
            }
            layer.set(policy)
        }
        "referrer-policy" => layer.set(text().parse::<ReferrerPolicy>()?),
        "strict-transport-security" => layer.set(hsts(choice)),
        "x-dns-prefetch-control" => {
            layer.set(if choice["allow"] == true { DnsPrefetch::ON } else { DnsPrefetch::OFF })
        }
        "x-frame-options" => layer.set(text().parse::<FrameOptions>()?),
        "x-permitted-cross-domain-policies" => layer.set(text().parse::<CrossDomainPolicies>()?),
        other => panic!("{other} has no values"),
    }
}

fn hsts(choice: &Value) -> Hsts {
    let max_age = choice["maxAge"].as_u64().unwrap_or(31_536_000);
    let hsts = Hsts::new(Duration::from_secs(max_age));
    let hsts = if choice["includeSubDomains"] == false { hsts } else { hsts.include_subdomains() };
    if choice["preload"] == true { hsts.preload() } else { hsts }
}

fn csp(choice: &Value) -> Result<Csp, InvalidHeader> {
    let mut policy = if choice["useDefaults"] == false { Csp::new() } else { Csp::helmet() };
    let mut seen = Vec::new();
    for pair in choice["directives"].as_array().into_iter().flatten() {
        let (name, value) = (pair[0].as_str().unwrap(), &pair[1]);
        let known = DIRECTIVES.into_iter().find(|known| camel(known.name()) == camel(name));
        let directive = match pair[2] == "custom" {
            true => Some(Directive::custom(name.to_owned().leak())?),
            false => known.filter(|known| !seen.contains(known)),
        };
        policy = match directive {
            Some(directive) => {
                seen.push(directive);
                set_directive(policy, directive, value)?
            }
            // A builder cannot set a directive twice, nor one that the crate does not know.
            None => {
                let name = known.map_or(name, |known| known.name());
                format!("{policy};{name} {}", texts(value).join(" ")).parse()?
            }
        };
    }
    Ok(policy)
}

fn set_directive(policy: Csp, directive: Directive, value: &Value) -> Result<Csp, InvalidHeader> {
    let value = match value {
        Value::Null => return Ok(policy.remove(directive)),
        Value::Object(special) if special.contains_key("$disabled") => {
            return Ok(policy.remove(directive).without_default_src());
        }
        Value::Object(special) if special.contains_key("$endpoint") => {
            let name = special["$endpoint"].as_str().unwrap();
            return Ok(policy.report_to(&Endpoint::new(name, "/reports")?));
        }
        Value::Object(special) => &special["$set"],
        value => value,
    };
    let word = |word: &Value| word.as_str().map_or(Source::NONCE, Source::from);
    Ok(match value {
        Value::Array(words) => policy.set(directive, words.iter().map(word)),
        one => policy.set(directive, [word(one)]),
    })
}

/// Returns the name of a directive in camel case, as helmet takes it too.
fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    let upper = |word: &str| word.chars().next().map(|first| first.to_ascii_uppercase());
    words.fold(first, |name, word| match upper(word) {
        Some(first) => name + &first.to_string() + &word[first.len_utf8()..],
        None => name + "-",
    })
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Returns the header of an option, which may be an alias.
fn header_of(key: &str) -> &'static str {
    match key {
        "contentSecurityPolicy" => "content-security-policy",
        "crossOriginEmbedderPolicy" => "cross-origin-embedder-policy",
        "crossOriginOpenerPolicy" => "cross-origin-opener-policy",
        "crossOriginResourcePolicy" => "cross-origin-resource-policy",
        "originAgentCluster" => "origin-agent-cluster",
        "referrerPolicy" => "referrer-policy",
        "strictTransportSecurity" | "hsts" => "strict-transport-security",
        "xContentTypeOptions" | "noSniff" => "x-content-type-options",
        "xDnsPrefetchControl" | "dnsPrefetchControl" => "x-dns-prefetch-control",
        "xDownloadOptions" | "ieNoOpen" => "x-download-options",
        "xFrameOptions" | "frameguard" => "x-frame-options",
        "xPermittedCrossDomainPolicies" | "permittedCrossDomainPolicies" => {
            "x-permitted-cross-domain-policies"
        }
        "xPoweredBy" | "hidePoweredBy" => POWERED_BY,
        "xXssProtection" | "xssFilter" => "x-xss-protection",
        other => panic!("helmet has no option {other}"),
    }
}
