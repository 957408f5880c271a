use std::sync::Mutex;

use super::super::super::entry::EntryKind;
use super::super::memory::MemoryStore;
use super::*;

/// Records which of its methods are called.
struct Spy(Arc<Mutex<Vec<&'static str>>>, MemoryStore);

impl Spy {
    fn note(&self, method: &'static str) {
        self.0.lock().unwrap().push(method);
    }
}

impl Store for Spy {
    fn get_now(&self, _: &str) -> Poll<Option<Entry>> {
        self.note("get_now");
        Poll::Ready(None)
    }

    async fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        self.note("get");
        Err(StoreError::new("inner"))
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.note("get_many");
        assert_eq!(keys, ["a", "b"]);
        Ok(vec![None, None])
    }

    async fn put(&self, _: &str, _: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.note("put");
        assert_eq!(ttl, Duration::from_secs(7));
        Ok(())
    }

    async fn update(
        &self,
        _: &str,
        _: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> Result<(), StoreError> {
        self.note("update");
        drop(change(None));
        Ok(())
    }

    async fn remove(&self, _: &str) -> Result<(), StoreError> {
        self.note("remove");
        Ok(())
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.note("clear");
        Ok(())
    }

    fn purges(&self) -> Option<SharedPurges> {
        self.note("purges");
        Store::purges(&self.1)
    }

    fn is_tiered(&self) -> bool {
        self.note("is_tiered");
        true
    }

    fn max_entry_size(&self) -> u64 {
        self.note("max_entry_size");
        7
    }

    async fn lease(&self, _: &str) -> Lease {
        self.note("lease");
        Lease::free()
    }

    fn usage(&self) -> Usage {
        self.note("usage");
        Usage::new(1, 2, 3)
    }
}

#[tokio::test]
async fn all_methods_reach_the_inner_store() {
    let called = Arc::default();
    let memory = MemoryStore::new(1 << 20);
    // A boxed store may be boxed again.
    let inner = BoxStore::new(Spy(Arc::clone(&called), memory.clone()));
    let store = BoxStore::new(inner.clone());
    let entry = Entry::new(EntryKind::Variants(Vec::new()));
    assert!(matches!(Store::get_now(&store, "a"), Poll::Ready(None)));
    let error = Store::get(&store, "a").await.unwrap_err();
    assert!(error.to_string().ends_with("inner"));
    assert_eq!(Store::get_many(&store, &["a", "b"]).await.unwrap().len(), 2);
    Store::put(&store, "a", entry.clone(), Duration::from_secs(7)).await.unwrap();
    Store::update(&store, "a", Duration::ZERO, &mut |_| entry.clone()).await.unwrap();
    Store::remove(&store, "a").await.unwrap();
    Store::clear(&store).await.unwrap();
    let (purges, own) = (Store::purges(&store).unwrap(), Store::purges(&memory).unwrap());
    assert!(Arc::ptr_eq(&purges.0, &own.0));
    assert!(Store::is_tiered(&store));
    assert!(!Store::lease(&store, "a").await.is_taken());
    assert_eq!(Store::max_entry_size(&store), 7);
    assert_eq!(Store::usage(&store), Usage::new(1, 2, 3));
    let expected = [
        "get_now",
        "get",
        "get_many",
        "put",
        "update",
        "remove",
        "clear",
        "purges",
        "is_tiered",
        "lease",
        "max_entry_size",
        "usage",
    ];
    assert_eq!(*called.lock().unwrap(), expected);
}
