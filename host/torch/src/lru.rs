//! A handful of values by key, the one unused longest dropped first. For loaded models and encoded prompts.

use std::cell::Cell;
use std::rc::Rc;

/// At most `capacity` entries; looking one up is linear, which is right for tens of them.
pub(crate) struct Lru<K, V> {
    /// Most recently used last.
    entries: Vec<Entry<K, V>>,
    capacity: usize,
    uses: Uses,
}

struct Entry<K, V> {
    key: K,
    value: V,
    /// The number of its last use.
    used: u64,
}

/// Numbers the uses of several caches, so that it can be told what of all of them was unused longest.
#[derive(Clone, Default)]
pub(crate) struct Uses(Rc<Cell<u64>>);

impl Uses {
    fn next(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

impl<K: PartialEq, V: Clone> Lru<K, V> {
    /// A `capacity` of 0 is taken as 1.
    pub(crate) fn new(capacity: usize) -> Self {
        Self::among(capacity, &Uses::default())
    }

    /// One of several caches whose uses are numbered together.
    pub(crate) fn among(capacity: usize, uses: &Uses) -> Self {
        Self { entries: Vec::new(), capacity: capacity.max(1), uses: uses.clone() }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let place = self.entries.iter().position(|entry| entry.key == *key)?;
        let Entry { key, value, .. } = self.entries.remove(place);
        self.push(key, value.clone());
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
        self.entries.iter().any(|entry| entry.key == *key)
    }

    /// The keys, the one unused longest first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|entry| &entry.key)
    }

    /// The values, the one unused longest first.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|entry| &entry.value)
    }

    /// The key unused longest of those that may go, and the number of its last use.
    pub(crate) fn oldest(&self, may_go: impl Fn(&K, &V) -> bool) -> Option<(&K, u64)> {
        let oldest = self.entries.iter().find(|entry| may_go(&entry.key, &entry.value))?;
        Some((&oldest.key, oldest.used))
    }

    /// Drops the entry unused longest of those that may go; `false` where there is none.
    pub(crate) fn drop_oldest(&mut self, may_go: impl Fn(&K, &V) -> bool) -> bool {
        let oldest = self.entries.iter().position(|entry| may_go(&entry.key, &entry.value));
        oldest.map(|place| self.entries.remove(place)).is_some()
    }

    pub(crate) fn retain(&mut self, stays: impl Fn(&K, &V) -> bool) {
        self.entries.retain(|entry| stays(&entry.key, &entry.value));
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.entries.retain(|entry| entry.key != key);
        self.make_room();
        self.push(key, value);
    }

    /// [`Lru::insert`] without dropping any other, whatever the capacity: for callers that choose what goes.
    pub(crate) fn insert_beside(&mut self, key: K, value: V) {
        self.entries.retain(|entry| entry.key != key);
        self.push(key, value);
    }

    fn push(&mut self, key: K, value: V) {
        let used = self.uses.next();
        self.entries.push(Entry { key, value, used });
    }
}

/// A cache of values that others may hold too, whatever they are. An idle one is held by the cache alone.
pub(crate) trait Idle {
    /// The number of the last use of what was idle longest; `None` where nothing is.
    fn idle_since(&self) -> Option<u64>;

    /// Drops what was idle longest; whether there was any.
    fn drop_longest_idle(&mut self) -> bool;

    /// Drops all that is idle; whether there was any.
    fn drop_idle(&mut self) -> bool;
}

impl<K: PartialEq, V> Idle for Lru<K, Rc<V>> {
    fn idle_since(&self) -> Option<u64> {
        self.oldest(|_, value| is_idle(value)).map(|(_, used)| used)
    }

    fn drop_longest_idle(&mut self) -> bool {
        self.drop_oldest(|_, value| is_idle(value))
    }

    fn drop_idle(&mut self) -> bool {
        let before = self.entries.len();
        self.retain(|_, value| !is_idle(value));
        self.entries.len() < before
    }
}

/// Nothing but its cache holds it.
pub(crate) fn is_idle<V>(held: &Rc<V>) -> bool {
    Rc::strong_count(held) == 1
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
    fn of_several_caches_it_is_told_what_was_idle_longest() {
        let uses = Uses::default();
        let (mut numbers, mut texts) = (Lru::among(3, &uses), Lru::among(3, &uses));
        numbers.insert("a", Rc::new(1));
        texts.insert("b", Rc::new("two"));
        numbers.insert("c", Rc::new(3));
        assert!(numbers.idle_since() < texts.idle_since());
        let in_use = numbers.get(&"a");
        assert!(numbers.idle_since() > texts.idle_since(), "the other was used later");
        assert!(numbers.drop_longest_idle() && !numbers.drop_longest_idle());
        assert_eq!((numbers.idle_since(), numbers.keys().count()), (None, 1));
        drop(in_use);
        assert!(texts.idle_since() < numbers.idle_since() && numbers.drop_idle() && !numbers.drop_idle());
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
