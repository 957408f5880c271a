use super::super::store::Store;
use super::*;

const BODY: &[u8] = &[b'a'; 10_000];

fn prepare() -> Option<PreparedDictionary> {
    PreparedDictionary::new(BODY, 3)
}

/// Returns a dictionary with the first id of its store.
fn dictionary() -> Arc<Dictionary> {
    Store::new(1 << 20, 1).keep(1, &mut [BODY].into_iter(), BODY.len()).unwrap()
}

fn held(prepared: &Prepared) -> usize {
    prepared.lock().iter().filter(|entry| entry.prepared.is_some()).count()
}

#[test]
fn second_use_prepares() {
    let prepared = Prepared::new(16 << 20);
    let (one, other) = (dictionary(), dictionary());
    assert!(prepared.get(&one, 3, || panic!("not for the first use")).is_none());
    let second = prepared.get(&one, 3, prepare).unwrap();
    let third = prepared.get(&one, 3, || panic!("prepared already")).unwrap();
    assert!(Arc::ptr_eq(&second, &third));
    assert!(prepared.get(&one, 4, || panic!("another level")).is_none());
    assert_eq!(one.id, other.id);
    assert!(prepared.get(&other, 3, || panic!("of another store")).is_none());
}

#[test]
fn prepared_bytes_are_bounded() {
    let size = prepare().unwrap().size();
    let prepared = Prepared::new(3 * size);
    let dictionaries: Vec<_> = (0..1_000).map(|_| dictionary()).collect();
    for dictionary in &dictionaries {
        assert!(prepared.get(dictionary, 3, prepare).is_none());
        assert!(prepared.get(dictionary, 3, prepare).is_some());
        assert!(held(&prepared) <= 3);
    }
    assert!(prepared.lock().len() <= MAX_ENTRIES);
    for (max, expected) in [(0, false), (size - 1, false), (size, true)] {
        let (prepared, dictionary) = (Prepared::new(max), dictionary());
        assert!(prepared.get(&dictionary, 3, prepare).is_none());
        assert_eq!(prepared.get(&dictionary, 3, prepare).is_some(), expected, "{max}");
    }
}

#[test]
fn evicted_dictionaries_are_not_held() {
    let (prepared, dictionary) = (Prepared::new(16 << 20), dictionary());
    assert!(prepared.get(&dictionary, 3, prepare).is_none());
    assert_eq!(Arc::strong_count(&dictionary), 1);
}
