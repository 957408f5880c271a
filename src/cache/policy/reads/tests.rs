use super::*;

fn read(count: usize, length: usize) -> ReadValues {
    let mut reads = Reads::default();
    for number in 0..count {
        let name: Arc<str> = format!("{number:0length$}").into();
        reads.name(&name);
        reads.name(&name);
    }
    // All of them once more, in the same order.
    (0..count).for_each(|number| reads.name(&format!("{number:0length$}").into()));
    reads.end()
}

#[test]
fn links_are_bounded_in_number_and_length() {
    for (count, length, is_stored) in [
        (0, 1, true),
        (1, MAX_TEXT, true),
        (1, MAX_TEXT + 1, false),
        (MAX_LINKS, 8, true),
        (MAX_LINKS, MAX_TEXT / MAX_LINKS, true),
        (MAX_LINKS, MAX_TEXT / MAX_LINKS + 1, false),
        (MAX_LINKS + 1, 8, false),
        (10 * MAX_LINKS, 8, false),
    ] {
        let links = read(count, length).links();
        assert_eq!(links.is_some(), is_stored, "{count} of {length}");
        assert!(links.is_none_or(|links| links.names().len() == count));
    }
    let mut reads = Reads::default();
    let tags: Vec<_> = (0..=MAX_LINKS).map(|number| number.to_string()).collect();
    reads.value(&tags[1..], 1);
    reads.value(&tags[1..], 1);
    reads.value(&tags[..1], 1);
    assert!(reads.end().links().is_none(), "too many tags");
}

#[test]
fn shortest_value_bounds_the_lifetime() {
    let freshness = Freshness { lifetime: 600, age: 100, ..Freshness::default() };
    let shortened = |values: &[u64], took| {
        let mut reads = Reads::default();
        values.iter().for_each(|left| reads.value(&[], *left));
        reads.end().shorten(freshness, took).map(|freshness| freshness.lifetime)
    };
    for (values, took, lifetime) in [
        (&[][..], 900, Some(600)),
        (&[900], 0, Some(600)),
        (&[500], 0, Some(600)),
        (&[900, 200, 300], 0, Some(300)),
        (&[200], 50, Some(250)),
        (&[200], 199, Some(101)),
        (&[200], 200, None),
        (&[200], 201, None),
        (&[900, 0], 0, None),
    ] {
        assert_eq!(shortened(values, took), lifetime, "{values:?}, took {took}");
    }
}
