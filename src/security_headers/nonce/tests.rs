use super::*;

fn misses() -> Arc<Misses> {
    Arc::new(Misses::new(Metrics::default()))
}

#[test]
fn nonces_are_drawn_once() {
    let (nonce, is_new) = Nonce::of(&mut Extensions::new(), &misses());
    assert!(is_new && !nonce.is_used());
    let text = nonce.as_str().to_owned();
    assert!(nonce.is_used());
    assert_eq!(text.len(), 22);
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    nonce.close();
    assert_eq!(nonce.to_string(), text);
    assert!(!format!("{nonce:?}").contains(&text));
}

#[test]
fn late_nonces_are_empty() {
    let (nonce, _) = Nonce::of(&mut Extensions::new(), &misses());
    nonce.close();
    assert!(!nonce.is_used());
    assert!(nonce.get().unwrap_err().is_late() && !nonce.get().unwrap_err().is_random());
    assert_eq!(nonce.as_str(), "");
    assert!(nonce.is_used());
    assert_eq!(nonce.drawn(), None);
}

#[test]
fn requests_keep_their_nonce() {
    let mut request = Extensions::new();
    let (first, _) = Nonce::of(&mut request, &misses());
    let (second, is_new) = Nonce::of(&mut request, &misses());
    assert!(!is_new);
    assert_eq!(first.as_str(), second.as_str());
}
