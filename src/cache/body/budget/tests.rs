use super::*;

fn used(budget: &Budget) -> u64 {
    budget.used.load(Ordering::Relaxed)
}

#[test]
fn charges_never_exceed_the_limit() {
    let budget = Arc::new(Budget::default());
    let first = budget.charge(100, 60).unwrap();
    assert!(budget.charge(100, 41).is_none());
    let second = budget.charge(100, 40).unwrap();
    assert!(!first.resize(61));
    assert_eq!(used(&budget), 100);
    assert!(first.resize(10) && second.resize(90));
    assert!(!second.resize(u64::MAX));
    let clone = second.clone();
    drop(second);
    assert_eq!(used(&budget), 100, "a clone holds it");
    drop((first, clone));
    assert_eq!(used(&budget), 0);
}

#[test]
fn a_charge_can_always_shrink() {
    let budget = Arc::new(Budget::default());
    let charge = budget.charge(100, 100).unwrap();
    let lowered = Charge(Arc::new(Part {
        budget: Arc::clone(&budget),
        limit: 10,
        used: AtomicU64::new(50),
        unread: AtomicU64::new(0),
    }));
    budget.used.fetch_add(50, Ordering::Relaxed);
    assert!(lowered.resize(20), "though more than the limit is used");
    drop((charge, lowered));
    assert_eq!(used(&budget), 0);
}

#[test]
fn unread_bytes_take_half_of_the_budget_at_most() {
    let budget = Arc::new(Budget::default());
    let [slow, other] = [(); 2].map(|()| budget.charge(8 * AHEAD, AHEAD).unwrap());
    slow.set_unread(2 * AHEAD);
    assert!(slow.may_read_ahead());
    slow.set_unread(4 * AHEAD);
    assert!(!slow.may_read_ahead());
    other.set_unread(AHEAD - 1);
    assert!(other.may_read_ahead(), "a little always may");
    other.set_unread(AHEAD);
    assert!(!other.may_read_ahead());
    drop(slow);
    assert!(other.may_read_ahead());
}
