use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, LINK, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::entry::Entry;
use super::*;

const KEY: &str = "http://example.com/ä\nb";

fn sample() -> Entry {
    let mut headers = places();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.append(LINK, HeaderValue::from_static("</a>"));
    headers.append("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    headers.append(LINK, HeaderValue::from_static(""));
    let mut secret = HeaderValue::from_static("a=1");
    secret.set_sensitive(true);
    headers.append(SET_COOKIE, secret);
    let freshness = Freshness {
        received: 1_700_000_000_000,
        age: 1,
        lifetime: 60_000,
        while_revalidate: 2,
        if_error: 3,
        soft_limit: Some(6),
        took: 4,
        validate: true,
        strict: false,
        shared: true,
        stated: false,
    };
    let codings = [1, 4].map(|bits| Codings::from_bits(bits).unwrap());
    let variant = Variant {
        fields: vec![
            (HeaderName::from_static("accept-language"), Some(b"de,en".to_vec())),
            (HeaderName::from_static("x-none"), None),
        ],
        coding: Some(Negotiated { heaviest: codings[0], answer: codings[1] }),
    };
    Entry::new(EntryKind::Response(StoredResponse {
        status: StatusCode::NOT_FOUND,
        headers,
        body: Bytes::from_static(b"the body"),
        freshness,
        variant,
        tags: vec!["items".to_owned(), "ü".to_owned()],
        links: Links::new(vec!["rate".into(), "é".into()], vec!["rates".to_owned()]),
        watermark: Watermark::at(5),
    }))
}

fn value_sample() -> Entry {
    Entry::new(EntryKind::Value(StoredValue {
        codec: Bytes::from_static(b"json"),
        bytes: Bytes::from_static(b"[7]"),
        freshness: Freshness {
            received: 1,
            lifetime: 2,
            while_revalidate: 3,
            ..Freshness::default()
        },
        tags: vec!["user".to_owned()],
        watermark: Watermark::at(5),
        decoded_size: 9,
        decoded: OnceLock::from(Arc::new(7) as Arc<dyn Any + Send + Sync>),
    }))
}

/// Returns the headers that have no bytes.
fn places() -> HeaderMap {
    let mut headers = HeaderMap::new();
    add_places(&mut headers);
    headers
}

fn shown(entry: &Entry) -> String {
    format!("{:?}", entry.kind())
}

#[test]
fn bytes_are_stable_within_a_version() {
    // A change here requires another version.
    assert_eq!(VERSION, 4);
    let bytes = sample().to_bytes(KEY);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, SNAPSHOT);
    let read = Entry::from_bytes(bytes, KEY).unwrap();
    assert_eq!(read.stored(), sample().stored());
    assert_eq!(shown(&read), shown(&sample()), "including the sensitive flags, which `==` ignores");
}

#[test]
fn bytes_of_a_value_are_stable() {
    let bytes = value_sample().to_bytes("k");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, VALUE_SNAPSHOT);
    let read = Entry::from_bytes(bytes.clone(), "k").unwrap();
    assert_eq!(read.to_bytes("k"), bytes);
    let EntryKind::Value(value) = read.kind() else { panic!("another kind: {read:?}") };
    assert!(value.decoded.get().is_none(), "the decoded value stays in its process");
    assert!(read.stored().is_none(), "a value is no response");
}

#[test]
fn value_counts_its_decoded_size() {
    let sized = |decoded_size| {
        let EntryKind::Value(value) = value_sample().kind().clone() else { return 0 };
        Entry::new(EntryKind::Value(StoredValue { decoded_size, ..value })).size()
    };
    assert_eq!(sized(1_000), sized(0) + 1_000);
    assert_eq!(sized(u32::MAX), sized(0) + u64::from(u32::MAX));
    let read = Entry::from_bytes(value_sample().to_bytes(KEY), KEY).unwrap();
    assert_eq!(read.into_owned_memory().size(), value_sample().size());
}

#[test]
fn value_in_own_memory_shares_no_buffer() {
    let bytes = value_sample().to_bytes(KEY);
    let range = bytes.as_ptr_range();
    let entry = Entry::from_bytes(bytes.clone(), KEY).unwrap();
    for entry in [entry.clone().into_owned_memory(), entry.into_owned_memory()] {
        assert_eq!(entry.to_bytes(KEY), bytes);
        let EntryKind::Value(value) = entry.kind() else { panic!("another kind: {entry:?}") };
        assert!(!range.contains(&value.bytes.as_ptr()) && !range.contains(&value.codec.as_ptr()));
    }
}

#[test]
fn wrong_length_is_refused() {
    let bytes = sample().to_bytes(KEY);
    for length in 0..bytes.len() {
        let read = Entry::from_bytes(bytes.slice(..length), KEY);
        assert!(read.is_err(), "the first {length} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Entry::from_bytes(longer.into(), KEY).is_err());
}

#[test]
fn each_flipped_bit_is_noticed() {
    let bytes = sample().to_bytes(KEY);
    for at in 0..bytes.len() * 8 {
        let mut other = bytes.to_vec();
        other[at / 8] ^= 1 << (at % 8);
        let fault = Entry::from_bytes(other.into(), KEY).unwrap_err();
        assert_eq!(fault.is_other_version(), at / 8 == 4, "bit {at}");
        assert!(!fault.is_other_key(), "bit {at}");
    }
}

#[test]
fn other_key_is_refused() {
    let bytes = sample().to_bytes(KEY);
    for key in ["", "http://example.com/", "http://example.com/ä\nc"] {
        let fault = Entry::from_bytes(bytes.clone(), key).unwrap_err();
        assert!(fault.is_other_key(), "{key}");
        assert_eq!(fault.to_string(), "the cache entry belongs to another key");
    }
}

/// The sample's frame with other bytes at a place in its head, and a checksum that is right.
fn forged(place: Range<usize>, with: &[u8]) -> Result<Entry, InvalidEntry> {
    let mut bytes = sample().to_bytes(KEY).to_vec();
    let head = FIXED + KEY.len();
    bytes.splice(head + place.start..head + place.end, with.iter().copied());
    resummed(bytes)
}

fn resummed(mut bytes: Vec<u8>) -> Result<Entry, InvalidEntry> {
    bytes.truncate(bytes.len() - SUM);
    bytes.put_u32(crc32fast::hash(&bytes));
    Entry::from_bytes(bytes.into(), KEY)
}

#[test]
fn forged_heads_are_refused() {
    // Where it is in the head; see the snapshot.
    let table: &[(Range<usize>, &[u8], &str)] = &[
        (0..0, &[], ""),
        (0..2, &[0, 99], "the status"),
        (50..51, &[32], "the flags"),
        (67..71, &[0, 0, 0x10, 1], "a number"),
        (67..71, &[0, 0, 0x10, 0], "a length"),
        (71..75, &[0xff; 4], "a length"),
        (75..76, b"A", "the name of a header"),
        (90..91, &[2], "a flag"),
        (112..113, &[16], "the codings"),
        (114..118, &[0xff; 4], "a number"),
        (122..123, &[0xff], "a tag"),
        (149..150, &[0xff], "a tag"),
        (193..194, b"\n", "a header"),
    ];
    for (place, with, expected) in table {
        let said =
            forged(place.clone(), with).map_or_else(|fault| fault.to_string(), |_| String::new());
        let wanted = format!("the cache entry is damaged: {expected} is invalid");
        assert_eq!(said, if expected.is_empty() { "" } else { &wanted }, "{place:?}");
    }
}

#[test]
fn header_names_occur_once_with_lines() {
    let mut stored = sample().stored().unwrap().clone();
    stored.headers = HeaderMap::new();
    let head = |headers: &[u8]| {
        let mut head = Writer::default();
        head.response(&stored);
        head.0.truncate(head.0.len() - 4);
        head.0.put_slice(headers);
        Reader(head.0.into()).response(Bytes::new()).map(|stored| stored.headers.len())
    };
    let line = |name: u8| [0, 0, 0, 1, name, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    let lines = |names: [u8; 2]| [&[0, 0, 0, 2][..], &line(names[0]), &line(names[1])].concat();
    assert_eq!(head(&lines(*b"ab")), Ok(PLACES.len() + 2));
    assert!(head(&lines(*b"aa")).is_err());
    assert!(head(&[0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 0]).is_err());
}

#[test]
fn oversized_entries_are_refused() {
    let refused = |entry: Entry| {
        let fault = Entry::from_bytes(entry.to_bytes(KEY), KEY).unwrap_err();
        assert!(!fault.is_other_key() && !fault.is_other_version());
    };
    let mut stored = sample().stored().unwrap().clone();
    for _ in 0..4096 {
        stored.headers.append(LINK, HeaderValue::from_static(""));
    }
    refused(Entry::new(EntryKind::Response(stored.clone())));
    stored.headers = HeaderMap::new();
    stored.tags = vec!["a".repeat(1024 * 1024)];
    refused(Entry::new(EntryKind::Response(stored)));
    refused(Entry::new(EntryKind::Variants(vec![Variant::default(); 4097])));
}

#[test]
fn body_and_values_share_the_buffer() {
    let bytes = sample().to_bytes(KEY);
    let range = bytes.as_ptr_range();
    let entry = Entry::from_bytes(bytes, KEY).unwrap();
    let stored = entry.stored().unwrap();
    assert!(range.contains(&stored.body.as_ptr()));
    for value in stored.headers.values() {
        assert!(value.is_empty() || range.contains(&value.as_bytes().as_ptr()), "{value:?}");
    }
}

prop_compose! {
    fn variants()(
        fields in vec(("[a-z][a-z0-9-]{0,80}", option::of(vec(any::<u8>(), 0..40))), 0..4),
        coding in option::of((0_u8..16, 0_u8..16)),
    ) -> Variant {
        let name = |name: String| HeaderName::try_from(name).unwrap();
        let coding = coding.map(|(heaviest, answer)| Negotiated {
            heaviest: Codings::from_bits(heaviest).unwrap(),
            answer: Codings::from_bits(answer).unwrap(),
        });
        let fields = fields.into_iter().map(|(of, value)| (name(of), value)).collect();
        Variant { fields, coding }
    }
}

prop_compose! {
    fn headers()(
        lines in vec(("[a-z]{1,2}|content-type|[A-Za-z][a-z0-9-]{0,80}",
            vec((0x20_u8..).prop_filter("is allowed", |byte| *byte != 0x7f), 0..40),
            any::<bool>()), 0..20),
    ) -> HeaderMap {
        let mut headers = if lines.is_empty() { HeaderMap::new() } else { places() };
        for (name, value, sensitive) in lines {
            let mut value = HeaderValue::from_bytes(&value).unwrap();
            value.set_sensitive(sensitive);
            headers.append(HeaderName::try_from(name).unwrap(), value);
        }
        headers
    }
}

prop_compose! {
    fn responses()(
        status in 100_u16..1000,
        headers in headers(),
        body in vec(any::<u8>(), 0..300),
        millis in any::<[u64; 7]>(),
        flags in any::<[bool; 4]>(),
        soft_limit in option::of(any::<u64>()),
        variant in variants(),
        tags in vec(any::<String>(), 0..4),
        names in vec(any::<String>(), 0..4),
        value_tags in vec(any::<String>(), 0..4),
    ) -> EntryKind {
        let [received, age, lifetime, while_revalidate, if_error, took, stamp] = millis;
        let [validate, strict, shared, stated] = flags;
        EntryKind::Response(StoredResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.into(),
            freshness: Freshness {
                received, age, lifetime, while_revalidate, if_error, took, validate, strict,
                shared, stated, soft_limit,
            },
            variant,
            tags,
            links: Links::new(names.into_iter().map(Arc::from).collect(), value_tags),
            watermark: Watermark::at(stamp),
        })
    }
}

prop_compose! {
    fn values()(
        response in responses(),
        codec in "[a-z/0-9]{0,20}",
        bytes in vec(any::<u8>(), 0..300),
        decoded_size in any::<u32>(),
    ) -> EntryKind {
        let EntryKind::Response(StoredResponse { freshness, tags, watermark, .. }) = response else {
            unreachable!("it is a response")
        };
        let (codec, bytes, decoded) = (codec.into(), bytes.into(), OnceLock::new());
        EntryKind::Value(StoredValue { codec, bytes, freshness, tags, watermark, decoded_size, decoded })
    }
}

proptest! {
    #[test]
    fn any_entry_survives_a_round_trip(
        kind in prop_oneof![
            3 => responses(),
            1 => vec(variants(), 0..5).prop_map(EntryKind::Variants),
            1 => values(),
        ],
        key in any::<String>(),
    ) {
        let entry = Entry::new(kind);
        let bytes = entry.to_bytes(&key);
        let read = Entry::from_bytes(bytes.clone(), &key).unwrap();
        prop_assert_eq!(shown(&read), shown(&entry));
        prop_assert_eq!(read.stored(), entry.stored());
        prop_assert_eq!(read.to_bytes(&key), bytes);
    }

    #[test]
    fn no_head_causes_a_panic(kind in 0_u8..4, head in vec(any::<u8>(), 0..200)) {
        let mut bytes = sample().to_bytes(KEY).to_vec();
        bytes.truncate(FIXED + KEY.len());
        bytes[5] = kind;
        bytes[10..14].copy_from_slice(&(head.len() as u32).to_be_bytes());
        bytes[14..22].fill(0);
        bytes.extend(head);
        bytes.put_u32(0);
        if let Ok(entry) = resummed(bytes.clone()) {
            let same = bytes.len() - SUM;
            prop_assert_eq!(&entry.to_bytes(KEY)[..same], &bytes[..same]);
        }
    }
}

const SNAPSHOT: &str = concat!(
    "746b6365",
    "04",
    "00",
    "00000017",
    "00000117",
    "0000000000000008",
    "687474703a2f2f6578616d706c652e636f6d2fc3a40a62",
    // Status, six times in milliseconds, flags, the soft limit, watermark.
    "0194",
    "0000018bcfe56800",
    "0000000000000001",
    "000000000000ea60",
    "0000000000000002",
    "0000000000000003",
    "0000000000000004",
    "15",
    "0000000000000006",
    "0000000000000005",
    // The variant: fields, codings.
    "00000002",
    "0000000f6163636570742d6c616e6775616765",
    "01",
    "0000000564652c656e",
    "00000006782d6e6f6e65",
    "00",
    "01",
    "0104",
    // Tags.
    "00000002",
    "000000056974656d73",
    "00000002c3bc",
    // The names and tags of values.
    "00000002",
    "0000000472617465",
    "00000002c3a9",
    "00000001",
    "000000057261746573",
    // Fields.
    "00000004",
    "0000000c636f6e74656e742d74797065",
    "00000001",
    "00",
    "0000000a746578742f706c61696e",
    "000000046c696e6b",
    "00000002",
    "00",
    "000000043c2f613e",
    "00",
    "00000000",
    "00000007782d6c6174696e",
    "00000001",
    "00",
    "00000004636166e9",
    "0000000a7365742d636f6f6b6965",
    "00000001",
    "01",
    "00000003613d31",
    // Body and checksum.
    "74686520626f6479",
    "c7ec7ebb",
);

const VALUE_SNAPSHOT: &str = concat!(
    "746b6365",
    "04",
    "02",
    "00000001",
    "00000051",
    "0000000000000003",
    "6b",
    // Six times in milliseconds, flags, watermark.
    "0000000000000001",
    "0000000000000000",
    "0000000000000002",
    "0000000000000003",
    "0000000000000000",
    "0000000000000000",
    "00",
    "0000000000000005",
    // Tags, the codec, the size of the decoded value.
    "00000001",
    "0000000475736572",
    "000000046a736f6e",
    "00000009",
    // Bytes and checksum.
    "5b375d",
    "5bc7d75d",
);
