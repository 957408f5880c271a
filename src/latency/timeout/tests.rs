use super::*;

type BoxError = Box<dyn Error + Send + Sync>;

#[test]
fn timeouts_are_found_in_the_sources() {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let boxed = |error: io::Error| -> BoxError { Box::new(error) };
    let in_axum = |error: BoxError| axum_core::Error::new(error);
    assert!(is_timeout(&timed_out()));
    assert!(is_timeout(&Elapsed::new()));
    assert!(is_timeout(&boxed(timed_out())));
    assert!(is_timeout(&boxed(io::Error::other(Elapsed::new()))));
    assert!(is_timeout(&boxed(io::Error::other(boxed(io::Error::other(timed_out()))))));
    assert!(is_timeout(&in_axum(Box::new(Elapsed::new()))));
    assert!(is_timeout(&in_axum(boxed(timed_out()))));
    assert!(is_timeout(&in_axum(Box::new(in_axum(boxed(io::Error::other(Elapsed::new())))))));
    assert!(is_timeout(&in_axum("operation timed out".into())));
    let unsendable: Box<dyn Error> = Box::new(timed_out());
    assert!(is_timeout(&unsendable));
    let sendable: Box<dyn Error + Send> = Box::new(timed_out());
    assert!(is_timeout(&sendable));
    assert!(!is_timeout(&in_axum("refused".into())));
    assert!(!is_timeout(&boxed(io::Error::other("refused"))));
    assert!(!is_timeout(&boxed(io::Error::other("the header `timeout` is no number"))));
    assert!(!is_timeout(&io::Error::from(io::ErrorKind::BrokenPipe)));
    assert!(!is_timeout(&"operation timed out"), "not an error type");
}

#[test]
fn cyclic_sources_terminate() {
    #[derive(Debug)]
    struct Cyclic;
    impl std::fmt::Display for Cyclic {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("cyclic")
        }
    }
    impl Error for Cyclic {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(self)
        }
    }
    assert!(!is_timeout(&(Box::new(Cyclic) as BoxError)));
}
