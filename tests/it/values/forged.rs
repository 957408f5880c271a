//! Entries that are not values, under the names of values.

use bytes::Bytes;
use tower_kit::MIB;
use tower_kit::cache::{MemoryStore, Store, contract};

use super::{Rig, SECOND};

#[tokio::test]
async fn response_under_a_name_is_no_value() {
    let store = MemoryStore::new(16 * MIB);
    let rig = Rig::with(store.clone(), |cache| cache);
    let page = contract::entry(Bytes::from_static(b"7"));
    store.put("value=:key", page, SECOND).await.unwrap();
    assert_eq!(rig.cache.get::<i32>("key").await, None);
    assert_eq!(rig.cache.typed::<i32>().get("key").await, None);
    assert_eq!(rig.errors("decode"), 2);
}
