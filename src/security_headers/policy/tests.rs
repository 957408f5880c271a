use http::HeaderValue;

use super::super::presets;
use super::*;

const CONTEXT: Context<'_> =
    Context { is_https: true, status: StatusCode::OK, nonce: None, changes: None };

#[test]
fn headers_of_the_service_win_with_all_lines() {
    let mut headers = HeaderMap::new();
    let csp = ["default-src 'none'", "frame-ancestors *"];
    csp.iter().for_each(|value| {
        headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(value));
    });
    headers.insert("x-own", HeaderValue::from_static("kept"));
    presets::helmet().apply(&mut headers, CONTEXT);
    let lines: Vec<_> = headers.get_all(CONTENT_SECURITY_POLICY).iter().collect();
    assert_eq!(lines, csp);
    assert_eq!(headers["x-own"], "kept");
    assert_eq!(headers.keys_len(), 12 + 1);
}

#[test]
fn full_maps_stay_as_they_are() {
    let mut headers = HeaderMap::new();
    let mut fill = |n: usize| {
        let name = HeaderName::try_from(format!("x-{n}")).unwrap();
        headers.try_insert(name, HeaderValue::from(n)).is_ok()
    };
    let full = (0..).take_while(|n| fill(*n)).count();
    presets::helmet().apply(&mut headers, Context { nonce: Some("nonce"), ..CONTEXT });
    assert_eq!(headers.len(), full);
    assert!(headers.keys().all(|name| name.as_str().starts_with("x-")));
}

#[test]
fn removal_keeps_the_order() {
    let names = |policy: &Policy| {
        let mut headers = HeaderMap::new();
        policy.apply(&mut headers, CONTEXT);
        headers.keys().cloned().collect::<Vec<_>>()
    };
    let mut policy = presets::helmet();
    let mut others = names(&policy);
    others.retain(|name| *name != STRICT_TRANSPORT_SECURITY);
    policy.remove(&STRICT_TRANSPORT_SECURITY);
    let names = names(&policy);
    assert_eq!(names, others);
    assert_eq!(names.len(), 11);
}

#[test]
fn thousands_of_lines_fit() {
    let mut headers = HeaderMap::new();
    for n in 0..40_000 {
        headers.append("set-cookie", n.into());
    }
    presets::helmet().apply(&mut headers, CONTEXT);
    assert_eq!((headers.keys_len(), headers.len()), (13, 40_012));
}

#[test]
fn overrides_hold_for_headers_left_out() {
    let mut policy = presets::helmet();
    policy.override_all();
    let mut headers = HeaderMap::new();
    headers.insert(STRICT_TRANSPORT_SECURITY, "max-age=0".parse().unwrap());
    policy.apply(&mut headers, Context { is_https: false, ..CONTEXT });
    assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY));
    assert_eq!(headers.len(), 11);
}
