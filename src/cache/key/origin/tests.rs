use http::{HeaderName, Request};

use super::super::CacheKey;

fn origin(by: &CacheKey, uri: &str, fields: &[(&str, &str)]) -> u128 {
    let mut request = Request::get(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    by.of(&request.body(()).unwrap().into_parts().0).unwrap().origin()
}

#[test]
fn origin_is_scheme_host_and_port() {
    let by = CacheKey::new();
    let plain = origin(&by, "http://x.org/a?b", &[]);
    for (uri, fields, same) in [
        ("/", &[("host", "X.org:80")][..], true),
        ("http://x.org/other", &[("x-forwarded-host", "y.org")], true),
        ("https://x.org/", &[], false),
        ("http://x.org:8080/", &[], false),
        ("http://y.org/", &[], false),
    ] {
        assert_eq!(origin(&by, uri, fields) == plain, same, "{uri} {fields:?}");
    }
    let any = CacheKey::new().any_host();
    assert_eq!(origin(&any, "http://x.org/a", &[]), origin(&any, "https://y.org/b", &[]));
}

#[test]
fn trusted_proxy_tells_the_origin() {
    let by = CacheKey::new().with_forwarded(true).header(HeaderName::from_static("x-tenant"));
    let of = |fields: &[(&str, &str)]| origin(&by, "http://inner/a", fields);
    let plain = of(&[("x-forwarded-host", "a"), ("x-forwarded-proto", "https")]);
    for (name, value, same) in [
        ("x-forwarded-host", "b", false),
        ("x-forwarded-port", "81", false),
        ("x-forwarded-protocol", "http", false),
        ("x-forwarded-scheme", "http", false),
        ("x-forwarded-server", "b", false),
        ("x-forwarded-ssl", "on", false),
        ("x-original-host", "b", false),
        ("forwarded", "host=b", false),
        ("forwarded", "for=1.2.3.4", true),
        ("x-forwarded-for", "1.2.3.4", true),
        ("x-forwarded-prefix", "/b", true),
        ("x-tenant", "b", true),
    ] {
        let fields = [("x-forwarded-host", "a"), ("x-forwarded-proto", "https"), (name, value)];
        assert_eq!(of(&fields) == plain, same, "{name}");
    }
    // The value of another header cannot forge a line.
    let forged = [("x-tenant", "b\tx-forwarded-host=a")];
    assert_eq!(of(&forged), of(&[]));
}
