//! Type-erased keys, so that the key type does not appear in the type of the queue.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The key by which queued items are deduplicated.
#[derive(Clone)]
pub(super) struct Key(Arc<dyn AnyKey>);

pub(super) type KeyFn<T> = Arc<dyn Fn(&T) -> Key + Send + Sync>;

trait AnyKey: Any + Send + Sync {
    fn hash(&self, state: &mut dyn Hasher);
    fn equals(&self, other: &dyn Any) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl Key {
    pub(super) fn new<K: Hash + Eq + Send + Sync + 'static>(key: K) -> Self {
        Self(Arc::new(key))
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> AnyKey for K {
    fn hash(&self, mut state: &mut dyn Hasher) {
        Hash::hash(self, &mut state);
    }

    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<K>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        AnyKey::hash(&*self.0, state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(other.0.as_any())
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_equal_by_type_and_value() {
        let mut keys = HashSet::new();
        assert!(keys.insert(Key::new(1_u32)) && keys.insert(Key::new(2_u32)));
        assert!(keys.insert(Key::new(1_u64)) && keys.insert(Key::new("1".to_owned())));
        assert!(keys.contains(&Key::new(1_u32)) && keys.contains(&Key::new("1".to_owned())));
        assert!(!keys.contains(&Key::new(3_u32)) && !keys.contains(&Key::new(2_u64)));
    }
}
