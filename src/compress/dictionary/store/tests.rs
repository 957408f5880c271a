use super::*;

fn keep(store: &Store, slot: u64, body: &[u8]) -> Arc<Dictionary> {
    store.keep(slot, &mut body.chunks(7), body.len()).unwrap()
}

fn finds(store: &Store, slot: u64, body: &[u8]) -> bool {
    store.find(slot, &Sha256::digest(body).into()).is_some()
}

#[test]
fn dictionaries_are_found_in_their_slot_only() {
    let store = Store::new(1 << 20, 100);
    let first = keep(&store, 1, b"the first body");
    assert_eq!(*first.bytes, *b"the first body");
    assert!(first.hash.get().is_none(), "no client has named it");
    keep(&store, 1, b"the second body");
    assert!(finds(&store, 1, b"the first body") && finds(&store, 1, b"the second body"));
    assert!(!finds(&store, 2, b"the first body"));
    assert!(!finds(&store, 1, b"the third body"));
    // An equal body is the same dictionary.
    assert_eq!(keep(&store, 1, b"the first body").id, first.id);
    assert_ne!(keep(&store, 2, b"the first body").id, first.id);
}

#[test]
fn used_dictionaries_outlive_storms() {
    let store = Store::new(1 << 20, 10);
    keep(&store, 0, b"in use");
    for slot in 1..1_000 {
        keep(&store, slot, format!("body {slot}").as_bytes());
        assert!(finds(&store, 0, b"in use"), "{slot}");
    }
    let table = store.lock();
    assert_eq!((table.count, table.slots.len()), (10, 10));
    assert!(table.queue.len() <= 20 + MAX_VERSIONS);
}

#[test]
fn bytes_and_versions_are_bounded() {
    let store = Store::new(100_000, 10_000);
    for number in 0..1_000_u64 {
        keep(&store, number % 3, format!("{number:01000}").as_bytes());
    }
    let table = store.lock();
    let held: usize = table.slots.values().flatten().map(|it| cost(it.bytes.len())).sum();
    assert_eq!(held, table.bytes);
    assert!(held <= 100_000 && held > 95_000, "{held}");
    drop(table);
    let store = Store::new(1 << 30, 10_000);
    for number in 0..1_000_u64 {
        keep(&store, 7, format!("{number}").as_bytes());
    }
    let table = store.lock();
    assert_eq!((table.count, table.slots[&7].len()), (MAX_VERSIONS, MAX_VERSIONS));
    assert!(table.queue.len() <= 3 * MAX_VERSIONS + 1);
    drop(table);
    assert!(finds(&store, 7, b"999") && !finds(&store, 7, b"900"));
}

#[test]
fn one_request_hashes_a_bounded_number() {
    let store = Store::new(1 << 30, 10_000);
    let body = |number: u8| vec![number; 64 * 1024];
    for number in 0..20 {
        keep(&store, 7, &body(number));
    }
    assert!(!finds(&store, 7, &body(0)));
    let hashed = || {
        let table = store.lock();
        table.slots[&7].iter().filter(|it| it.hash.get().is_some()).count()
    };
    assert_eq!(hashed(), 2);
    for _ in 0..9 {
        finds(&store, 7, b"unknown");
    }
    assert_eq!(hashed(), 20);
    assert!(finds(&store, 7, &body(0)));
}

#[test]
fn bodies_over_the_bound_are_not_kept() {
    let none = Store::new(1_000, 0);
    assert!(none.keep(1, &mut [&b"body"[..]].into_iter(), 4).is_none());
    let small = Store::new(1_000, 10);
    assert!(small.keep(1, &mut [&[0; 600][..]].into_iter(), 600).is_none());
    // zstd would read it as tables, and not as content.
    let magic = [&b"\x37\xa4"[..], b"\x30\xec and more"];
    let store = Store::new(1 << 20, 10);
    assert!(store.keep(1, &mut magic.into_iter(), 13).is_none());
}
