//! Methods and custom labels.

use super::*;

#[test]
fn unregistered_methods_are_other() {
    let label = |name: &str| {
        let metrics = Metrics::new();
        let method = Method::from_bytes(name.as_bytes()).unwrap();
        drop(body_of(&layer(&metrics), method, empty_response(404)));
        metrics.sample(DURATION).0["method"].clone()
    };
    for method in ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
        assert_eq!(label(method), method);
    }
    for method in ["QUERY", "PROPFIND", "VERSION-CONTROL"] {
        assert_eq!(label(method), method, "registered at IANA");
    }
    for method in ["PURGE", "get", "X", "_OTHER"] {
        assert_eq!(label(method), "_OTHER");
    }
}

#[test]
fn extra_methods_keep_their_names() {
    let metrics = Metrics::new();
    let parse = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
    let layer = layer(&metrics).extra_methods(["PURGE", "BAN"].map(parse));
    for method in ["PURGE", "BAN", "QUERY", "FLUSH"] {
        drop(body_of(&layer, parse(method), empty_response(200)));
    }
    assert_eq!(values(&metrics, DURATION, "method"), ["BAN", "PURGE", "QUERY", "_OTHER"]);
}

#[test]
fn labels_never_contain_error_texts_or_paths() {
    let metrics = Metrics::new();
    record_error(&layer(&metrics), get());
    let (labels, _) = metrics.sample(DURATION);
    let values = labels.values().cloned().collect::<String>();
    assert!(!values.contains("gone") && !values.contains("items"), "{labels:?}");
}

#[test]
fn custom_labels_come_from_both_messages() {
    #[derive(Clone)]
    struct Plan(&'static str);
    let metrics = Metrics::new();
    let layer = layer(&metrics)
        .request_label("tenant", |request| request.headers.get("x-tenant")?.to_str().ok())
        .unwrap()
        .response_label("plan", |response| response.extensions.get().map(|plan: &Plan| plan.0))
        .unwrap();
    let mut request = get();
    request.headers_mut().insert("x-tenant", "acme".parse().unwrap());
    let mut response = Response::new(full("x"));
    response.extensions_mut().insert(Plan("free"));
    drop(call::<_, _, Infallible>(&layer, request, Ok(response)));
    record_error(&layer, get());
    let labels: Vec<_> = metrics.samples(DURATION).into_iter().map(|(it, _)| it).collect();
    let of = |outcome: &str| labels.iter().find(|it| it["outcome"] == outcome).unwrap();
    assert_eq!((&*of("disconnect")["tenant"], &*of("disconnect")["plan"]), ("acme", "free"));
    assert!(!of("service_error").contains_key("tenant"));
    assert!(!of("service_error").contains_key("plan"));
}

/// Records `requests` requests, each with a tenant of its own. Returns the tenants that are labels.
fn tenants(max_label_values: usize, requests: usize) -> Vec<String> {
    let metrics = Metrics::new();
    let layer = layer(&metrics)
        .max_label_values(max_label_values)
        .request_label("tenant", |request| request.uri.query())
        .unwrap();
    for n in 0..requests {
        record(&layer, get_path(&format!("/?{n}")));
    }
    let mut tenants = values(&metrics, DURATION, "tenant");
    assert_eq!(tenants.len(), requests);
    tenants.dedup();
    tenants
}

#[test]
fn values_over_the_maximum_are_other() {
    assert_eq!(tenants(3, 1_000), ["0", "1", "2", "other"]);
    // Numbers out of range count as the nearest one in range.
    for (given, taken) in [(0, 0), (250, 250), (251, 250), (usize::MAX, 250)] {
        assert_eq!(tenants(given, 300).len(), taken + 1, "{given}");
    }
}
