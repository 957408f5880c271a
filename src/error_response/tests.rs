use super::*;

#[test]
fn json_is_sent_to_clients_that_name_it() {
    let table: &[(&[&str], Format)] = &[
        (&[], Format::Text),
        (&["*/*"], Format::Text),
        (&["text/html, */*;q=0.8"], Format::Text),
        (&["application/json"], Format::ProblemJson),
        (&["text/html", "Application/Problem+JSON ; q=0.1"], Format::ProblemJson),
        (&["application/json;q=0"], Format::Text),
        (&["application/json ; Q=0.000"], Format::Text),
        (&["application/jsonp"], Format::Text),
    ];
    for (lines, expected) in table {
        let mut headers = HeaderMap::new();
        for line in *lines {
            headers.append(ACCEPT, HeaderValue::from_static(line));
        }
        assert_eq!(format_for(&Method::POST, Version::HTTP_2, &headers), *expected, "{lines:?}");
    }
}

#[test]
fn grpc_call_is_a_post_over_http2() {
    let table: &[(Method, &str, bool)] = &[
        (Method::POST, "application/grpc", true),
        (Method::POST, "application/grpc+proto", true),
        (Method::POST, "application/grpc+json", true),
        (Method::POST, "Application/GRPC;v=1", true),
        (Method::POST, "application/grpc ; v=1", true),
        (Method::POST, "application/grpc-web", false),
        (Method::POST, "application/grpc-web-text+proto", false),
        (Method::POST, "application/grpcx", false),
        (Method::POST, "application/grp", false),
        (Method::POST, "application/json", false),
        (Method::GET, "application/grpc", false),
        (Method::HEAD, "application/grpc", false),
        (Method::PUT, "application/grpc", false),
    ];
    for (method, content_type, expected) in table {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let format = if *expected { Format::Grpc } else { Format::ProblemJson };
        let found = format_for(method, Version::HTTP_2, &headers);
        assert_eq!(found, format, "{method} {content_type}");
        assert_eq!(format_for(method, Version::HTTP_11, &headers), Format::ProblemJson);
    }
}

#[test]
fn grpc_response_has_headers_and_no_body() {
    let format = ErrorFormat { format: Format::Grpc, close: false, bodiless: false };
    for (status, code) in [
        (400, "13"),
        (408, "4"),
        (413, "8"),
        (414, "8"),
        (415, "12"),
        (431, "8"),
        (503, "14"),
        (418, "2"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let response = format.write(status, "Title", "It is over 7 bytes.", "");
        assert_eq!(response.status(), StatusCode::OK);
        let expected = [
            ("content-type", "application/grpc"),
            ("grpc-status", code),
            ("grpc-message", "It is over 7 bytes."),
        ];
        assert_eq!(response.headers().len(), expected.len());
        for (name, value) in expected {
            assert_eq!(response.headers()[name], value, "{status}");
        }
        assert!(response.body().is_empty());
    }
}
