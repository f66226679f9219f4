//! A handful of values by key, the one unused longest dropped first. For loaded models and encoded prompts.

/// At most `capacity` entries; looking one up is linear, which is right for tens of them.
pub(crate) struct Lru<K, V> {
    /// Most recently used last.
    entries: Vec<(K, V)>,
    capacity: usize,
}

impl<K: PartialEq, V: Clone> Lru<K, V> {
    /// A `capacity` of 0 is taken as 1.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity: capacity.max(1) }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let place = self.entries.iter().position(|(known, _)| known == key)?;
        let entry = self.entries.remove(place);
        let value = entry.1.clone();
        self.entries.push(entry);
        Some(value)
    }

    /// Drops entries until one more fits. For values so big that the new one must not be made beside the old.
    pub(crate) fn make_room(&mut self) {
        while self.entries.len() >= self.capacity {
            self.entries.remove(0);
        }
    }

    /// Whether something has to go for one more to fit.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.iter().any(|(known, _)| known == key)
    }

    /// The keys, the one unused longest first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// The values, the one unused longest first.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Drops the entry unused longest of those that may go; `false` where there is none.
    pub(crate) fn drop_oldest(&mut self, may_go: impl Fn(&K, &V) -> bool) -> bool {
        let oldest = self.entries.iter().position(|(key, value)| may_go(key, value));
        oldest.map(|place| self.entries.remove(place)).is_some()
    }

    pub(crate) fn retain(&mut self, stays: impl Fn(&K, &V) -> bool) {
        self.entries.retain(|(key, value)| stays(key, value));
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.entries.retain(|(known, _)| *known != key);
        self.make_room();
        self.entries.push((key, value));
    }

    /// [`Lru::insert`] without dropping any other, whatever the capacity: for callers that choose what goes.
    pub(crate) fn insert_beside(&mut self, key: K, value: V) {
        self.entries.retain(|(known, _)| *known != key);
        self.entries.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_the_entry_unused_longest() {
        let mut lru = Lru::new(2);
        lru.insert("a", 1);
        lru.insert("b", 2);
        assert_eq!(lru.get(&"a"), Some(1));
        lru.insert("c", 3);
        assert_eq!((lru.get(&"a"), lru.get(&"b"), lru.get(&"c")), (Some(1), None, Some(3)));
    }

    #[test]
    fn what_is_put_beside_the_others_drops_none_of_them() {
        let mut lru = Lru::new(1);
        lru.insert("a", 1);
        assert!(lru.is_full());
        lru.insert_beside("b", 2);
        lru.insert_beside("b", 3);
        assert_eq!((lru.get(&"a"), lru.get(&"b")), (Some(1), Some(3)));
    }

    #[test]
    fn holds_one_entry_for_a_key() {
        let mut lru = Lru::new(2);
        lru.insert("a", 1);
        lru.insert("b", 2);
        lru.insert("a", 3);
        assert_eq!((lru.get(&"a"), lru.get(&"b")), (Some(3), Some(2)));
    }
}
