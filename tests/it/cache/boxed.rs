//! A store whose type is erased.

use tower_kit::cache::{BoxStore, CacheLayer, MemoryStore, TieredStore};

use super::rig::{MINUTE, Rig};

fn rig(store: BoxStore) -> Rig {
    let rig = Rig::over(CacheLayer::new(store).namespace("shared"));
    rig.answers_with(200, MINUTE);
    rig
}

#[tokio::test]
async fn boxed_stores_have_one_type() {
    for is_tiered in [false, true] {
        let memory = || MemoryStore::new(1 << 24);
        let store = if is_tiered {
            BoxStore::new(TieredStore::new(memory(), memory()))
        } else {
            BoxStore::new(memory())
        };
        let rig = rig(store);
        rig.get("/", &[]).await;
        assert!(rig.get("/", &[]).await.is_hit());
        assert!(rig.handle.statistics().usage.entries > 0);
        rig.handle.purge_all().await.unwrap();
        assert!(!rig.get("/", &[]).await.is_hit());
    }
}

#[tokio::test]
async fn layers_over_clones_share_entries_and_purges() {
    let memory = MemoryStore::new(1 << 24);
    let store = BoxStore::new(memory.clone());
    let [first, second] = [store.clone(), store].map(rig);
    let bare = Rig::over(CacheLayer::new(memory).namespace("shared"));
    first.get("/", &[]).await;
    assert!(second.get("/", &[]).await.is_hit() && bare.get("/", &[]).await.is_hit());
    first.handle.purge_url("http://x.org/").unwrap();
    bare.answers_with(200, &[]);
    assert!(!bare.get("/", &[]).await.is_hit());
    assert!(!second.get("/", &[]).await.is_hit());
}

/// Behind a memory, a layer finds what another one has put into the store that both share.
#[tokio::test]
async fn boxed_store_stands_behind_a_memory() {
    let behind = BoxStore::new(MemoryStore::new(1 << 24));
    let near = || BoxStore::new(TieredStore::new(MemoryStore::new(1 << 24), behind.clone()));
    let [first, second] = [near(), near()].map(rig);
    first.get("/", &[]).await;
    assert!(second.get("/", &[]).await.is_hit());
    first.handle.purge_tag("none");
    first.handle.purge_url("http://x.org/").unwrap();
    assert!(!second.get("/", &[]).await.is_hit());
}
