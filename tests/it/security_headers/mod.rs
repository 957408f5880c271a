//! The layer `security_headers`.

mod browser;
mod conditions;
mod custom;
mod example;
mod helmet;
mod layer;
mod loopback;
mod nonce;
mod nonce_cache;
mod nonce_sockets;
mod overrides;
mod policies;
mod refusals;
mod values;

use std::convert::Infallible;

use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Directive, Endpoint, Header, InvalidHeader, Source};

use crate::support::now;

const CSP: &str = "content-security-policy";
const ENDPOINTS: &str = "reporting-endpoints";
const REPORTS: (&str, &str) = (ENDPOINTS, r#"reports="https://reports.example.com/""#);

fn reports() -> Endpoint {
    Endpoint::new("reports", "https://reports.example.com/").unwrap()
}

fn backup() -> Endpoint {
    Endpoint::new("backup", "/reports").unwrap()
}

fn own() -> Csp {
    Csp::new().set(Directive::DEFAULT_SRC, [Source::SELF])
}

/// Returns a layer that sends one header.
fn set(
    header: impl TryInto<Header, Error: Into<InvalidHeader>>,
) -> Result<SecurityHeadersLayer, InvalidHeader> {
    SecurityHeadersLayer::none().set(header)
}

/// Returns the headers that a layer adds to a response without headers.
fn sent(layer: &SecurityHeadersLayer) -> Vec<(String, String)> {
    let service = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
    let response = now(layer.layer(service).oneshot(Request::new(()))).unwrap();
    let headers = response.headers().iter();
    headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[track_caller]
fn assert_sends(layer: Result<SecurityHeadersLayer, InvalidHeader>, headers: &[(&str, &str)]) {
    let found = sent(&layer.unwrap());
    let found: Vec<_> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(found, headers);
}

/// Asserts that the error names the header, the directive and the value.
#[track_caller]
fn assert_refused<T>(
    given: Result<T, InvalidHeader>,
    header: &str,
    directive: Option<&str>,
    value: &str,
) {
    let Err(error) = given else { panic!("{header}: {value:?} is not refused") };
    assert_eq!((error.header(), error.directive(), error.value()), (header, directive, value));
    let text = error.to_string();
    assert!(text.starts_with(&format!("{header}: ")), "{text}");
    assert!(directive.is_none_or(|directive| text.contains(directive.trim_end())), "{text}");
    assert!(text.contains(&format!("{value:?}")), "{text}");
}
