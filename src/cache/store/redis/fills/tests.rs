use super::*;

#[test]
fn late_fill_is_found_by_a_later_exchange() {
    let fills = Fills::default();
    let removed = |name: u128, watermark: Stamp| name == 1 && watermark < 5;
    let early = fills.begin_round();
    let [late, other, in_time] = [(1, "late", 4), (2, "other", 4), (3, "new", 5)]
        .map(|(name, key, at)| fills.begin(name, key, at));
    assert_eq!(fills.confirm(early, removed), [], "they are under way");
    drop((late, other, in_time));
    assert_eq!(fills.confirm(early, |_, _| false), [], "it began before they were done");
    let later = fills.begin_round();
    let late = LateFill { name: 1, key: "late".into(), watermark: 4 };
    assert_eq!(fills.confirm(later, removed), [late]);
    let table = fills.lock();
    assert!(table.by_name.is_empty() && table.bytes == 0, "{table:?}");
}

#[test]
fn later_fill_replaces_an_earlier_one() {
    let fills = Fills::default();
    let first = fills.begin(1, "key", 4);
    let second = fills.begin(1, "key", 6);
    drop((first, second));
    assert_eq!(fills.confirm(fills.begin_round(), |_, at| at < 5), []);
    assert_eq!(fills.lock().bytes, 0);
}

#[test]
fn own_removal_takes_over_what_is_done() {
    let fills = Fills::default();
    let under_way = fills.begin(1, "key", 4);
    drop(fills.begin(2, "done", 4));
    for name in [1, 2, 3] {
        fills.forget(name);
    }
    drop(under_way);
    let late = LateFill { name: 1, key: "key".into(), watermark: 4 };
    assert_eq!(fills.confirm(fills.begin_round(), |_, _| true), [late]);
    assert_eq!(fills.lock().bytes, 0);
}

#[test]
fn number_of_fills_is_bounded() {
    let fills = Fills::default();
    let begun = (0..).map(|name| fills.begin(name, &"k".repeat(8192), 0));
    let begun: Vec<_> = begun.take_while(Option::is_some).collect();
    assert_eq!(begun.len(), MAX_BYTES / (8192 + OVERHEAD));
    assert!(fills.begin(0, "k", 1).is_some(), "in place of an earlier one");
    drop(begun);
    fills.confirm(fills.begin_round(), |_, _| false);
    assert!(fills.begin(1 << 20, "k", 0).is_some());
}
