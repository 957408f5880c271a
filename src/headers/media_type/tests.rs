use proptest::prelude::*;

use super::*;

#[test]
fn value_has_one_media_type_or_is_malformed() {
    for (value, whole) in [
        ("a/b", "a/b"),
        ("Text/HTML", "Text/HTML"),
        (" \ta/b ", "a/b"),
        ("a/b;c=d", "a/b"),
        ("a/b \t; c=d; e/f", "a/b"),
        ("a/b;", "a/b"),
        ("x-a/y.z+json;v=1", "x-a/y.z+json"),
    ] {
        let essence = essence(value.as_bytes()).unwrap();
        assert_eq!(essence.whole, whole.as_bytes(), "{value:?}");
        let parts = [essence.class, b"/", essence.subtype].concat();
        assert_eq!(parts, whole.as_bytes(), "{value:?}");
    }
    for bad in [
        "", " ", "a", "a/", "/b", "a /b", "a/ b", "a/b/c", "a/b c", "a/b, c/d", "a;/b", "a/;",
        "ä/b",
    ] {
        assert!(essence(bad.as_bytes()).is_none(), "{bad:?}");
    }
}

#[test]
fn streams_and_calls_are_known_by_their_type() {
    for (value, grpc, grpc_web, events) in [
        ("application/grpc", true, false, false),
        ("Application/GRPC+proto; v=1", true, false, false),
        ("application/grpc-web", false, true, false),
        ("application/grpc-web-text+proto", false, true, false),
        ("application/grpcx", false, false, false),
        ("application/grp", false, false, false),
        ("text/grpc", false, false, false),
        ("Text/Event-Stream; charset=utf-8", false, false, true),
        ("text/event-streams", false, false, false),
    ] {
        let found = essence(value.as_bytes()).unwrap();
        let found = (found.is_grpc(), found.is_grpc_web(), found.is_event_stream());
        assert_eq!(found, (grpc, grpc_web, events), "{value}");
    }
}

#[test]
fn suffix_follows_the_last_plus() {
    for (value, suffix) in
        [("a/b", None), ("a/b+c", Some("c")), ("a/b+c+d", Some("d")), ("a+b/c", None)]
    {
        let found = essence(value.as_bytes()).unwrap().suffix();
        assert_eq!(found, suffix.map(str::as_bytes), "{value}");
    }
}

proptest! {
    #[test]
    fn essence_has_its_two_parts(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        if let Some(found) = essence(&bytes) {
            prop_assert_eq!(&[found.class, b"/", found.subtype].concat(), found.whole);
        }
    }
}
