use http::HeaderValue;

use super::*;

#[test]
fn the_type_tells_documents_from_data() {
    let table = [
        (&[][..], true),
        (&["text/html; charset=utf-8"], true),
        (&["application/xhtml+xml"], true),
        (&["image/svg+xml"], true),
        (&["text/javascript"], true),
        (&["application/pdf"], true),
        (&["text/plain"], true),
        (&["Image/PNG"], false),
        (&["font/woff2"], false),
        (&["video/mp4"], false),
        (&["text/css;charset=utf-8"], false),
        (&["application/json"], false),
        (&["application/problem+json ; x=1"], false),
        (&["application/grpc-web+proto"], false),
        (&["text/event-stream"], false),
        (&["image/png, text/html"], true),
        (&["image/png", "text/html"], true),
        (&["caf\u{e9}"], true),
    ];
    for (value, expected) in table {
        let mut headers = HeaderMap::new();
        for value in value {
            headers.append(CONTENT_TYPE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(may_be_document(&headers), expected, "{value:?}");
    }
}

#[test]
fn hosts_match_without_their_port() {
    let hosts = LOOPBACK_HOSTS.map(|host| host.parse::<HostPattern>().unwrap());
    for (host, expected) in [
        ("localhost", true),
        ("localhost:3000", true),
        ("LocalHost.:3000", true),
        ("app.localhost", true),
        ("a.b.localhost:80", true),
        ("127.0.0.1:8080", true),
        ("[::1]", true),
        ("[0:0:0:0:0:0:0:1]:8080", true),
        ("user@localhost", true),
        ("localhost.example.com", false),
        ("notlocalhost", false),
        (".localhost", false),
        ("127.0.0.10", false),
        ("127.0.0.1.example.com", false),
        ("[::2]", false),
        ("localhost@example.com", false),
        ("example.com:80", false),
        ("", false),
        ("local host", false),
        ("localhost, example.com", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        let target = Uri::from_static("/localhost");
        assert_eq!(is_for_host(&hosts, &target, &headers), expected, "{host}");
        // The authority of the target wins, as over HTTP/2 and in the absolute form.
        let target = Uri::from_static("https://example.com/");
        assert!(!is_for_host(&hosts, &target, &headers));
        let target = Uri::from_static("http://localhost:1/");
        assert!(is_for_host(&hosts, &target, &headers));
        assert!(!is_for_host(&[], &target, &headers));
        // Two `host` lines match no host.
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert!(!is_for_host(&hosts, &Uri::from_static("/"), &headers));
    }
}

#[test]
fn host_patterns_have_no_port() {
    for (text, expected) in [
        ("LOCALHOST", "localhost"),
        ("localhost.", "localhost"),
        ("::1", "[::1]"),
        ("[0::1]", "[::1]"),
        ("*.Example.com", "*.example.com"),
    ] {
        assert_eq!(text.parse::<HostPattern>().unwrap().0, expected);
    }
    for text in [
        "",
        "*",
        "*.",
        "**.a",
        "a.*",
        "localhost:3000",
        "http://localhost",
        "localhost/",
        "user@localhost",
        "[::g]",
        "[::1]:80",
        "local host",
        "a,b",
        ".",
    ] {
        assert_eq!(text.parse::<HostPattern>().unwrap_err().value(), text);
    }
}

#[test]
fn the_first_proxy_tells_the_protocol() {
    let table = [
        (&["https"][..], true),
        (&["HTTPS"], true),
        (&[" https , http"], true),
        (&["http, https"], false),
        (&["http"], false),
        (&["https2"], false),
        (&[""], false),
        (&[], false),
    ];
    for (values, expected) in table {
        let mut request = http::Request::get("/");
        for value in values {
            request = request.header("x-forwarded-proto", *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(forwarded_proto(&head), expected, "{values:?}");
    }
}
