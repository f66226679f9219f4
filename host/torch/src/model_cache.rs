//! Which checkpoints, and variants of them, stay in memory: bounded by number and by bytes, the one unused longest
//! dropped first. Tensors that several share count once. What pictures in flight hold is not dropped: it would go on
//! taking its memory uncounted. Called by `Resident`; knows neither files nor networks.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use gesso_engine::backend::{ModelFile, Tier};

use crate::lru::{Idle, Lru, Uses, is_idle};

/// Variants kept beside those that pictures in flight hold. One takes what its LoRAs change: up to the UNet's size.
const VARIANTS_KEPT: usize = 2;

/// What lies in memory.
pub(crate) trait Held {
    /// Address and bytes of each piece; pieces at one address are one.
    fn pieces(&self) -> impl Iterator<Item = (usize, u64)>;
}

/// A checkpoint with something laid over it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VariantKey {
    pub(crate) model: Arc<ModelFile>,
    /// The VAE and the LoRAs.
    pub(crate) patches: String,
    pub(crate) seamless: bool,
}

/// The cache. `V` is networks.
pub(crate) struct ModelCache<V> {
    checkpoints: Lru<Arc<ModelFile>, Rc<V>>,
    variants: Lru<VariantKey, Rc<V>>,
    bytes_max: u64,
    /// What goes is what was unused longest, whatever it is; else variants go before checkpoints.
    by_use: bool,
    /// Bytes of the bound that are for something else at present.
    reserved: u64,
    /// Bytes that lie beside what is in here, within the same bound.
    beside: u64,
    /// What is told of it, counted when it is first asked for after a change.
    told: OnceCell<Tier>,
}

impl<V: Held> ModelCache<V> {
    /// Keeps `checkpoints` of them (0 is taken as 1), or as many as are in use, as long as all in it takes `bytes_max` at
    /// most. A checkpoint, or its variant, that is larger alone is kept alone.
    pub(crate) fn new(checkpoints: usize, bytes_max: u64) -> Self {
        Self::of(checkpoints, bytes_max, false, &Uses::default())
    }

    /// For a device to which checkpoints are copied: bounded by bytes alone, and what goes is told by its last use, which is
    /// numbered with those of what lies beside.
    pub(crate) fn on_device(bytes_max: u64, uses: &Uses) -> Self {
        Self::of(usize::MAX, bytes_max, true, uses)
    }

    fn of(checkpoints: usize, bytes_max: u64, by_use: bool, uses: &Uses) -> Self {
        let (checkpoints, variants) = (Lru::among(checkpoints, uses), Lru::among(VARIANTS_KEPT, uses));
        Self { checkpoints, variants, bytes_max, by_use, reserved: 0, beside: 0, told: OnceCell::new() }
    }

    pub(crate) fn checkpoint(&mut self, model: &Arc<ModelFile>) -> Option<Rc<V>> {
        self.checkpoints.get(model)
    }

    /// The checkpoints that are there.
    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<ModelFile>> {
        self.checkpoints.keys()
    }

    /// What it holds and may hold. A VAE that was made wide since the last change is counted with the next: counting takes
    /// a look at every tensor, and this is asked after every step.
    pub(crate) fn tier(&self) -> Tier {
        self.told.get_or_init(|| self.counted()).clone()
    }

    fn counted(&self) -> Tier {
        let mut models = Vec::new();
        for (model, checkpoint) in self.checkpoints.keys().zip(self.checkpoints.values()) {
            let variants = self.variants.keys().zip(self.variants.values());
            let own = variants.filter(|(key, _)| key.model == *model).map(|(_, variant)| variant);
            models.push((model.clone(), bytes(own.chain([checkpoint]))));
        }
        Tier { models, bytes: self.bytes(), bytes_max: self.bytes_max }
    }

    pub(crate) fn variant(&mut self, key: &VariantKey) -> Option<Rc<V>> {
        self.variants.get(key)
    }

    /// Drops what must go for its number before another checkpoint comes.
    pub(crate) fn make_place(&mut self) {
        self.told = OnceCell::new();
        while self.checkpoints.is_full() && self.drop_checkpoint(Spare::None) {}
        self.drop_orphans();
    }

    /// Drops what must go before a checkpoint of this many bytes is read, and gives back the checkpoints that stay: the
    /// new one must not be made beside the old.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Vec<Rc<V>> {
        self.make_place();
        self.shrink(bytes, Spare::None);
        self.checkpoints.values().cloned().collect()
    }

    /// How many bytes are too many once so many more have come.
    pub(crate) fn excess(&self, coming: u64) -> u64 {
        let all = [self.bytes(), self.beside, self.reserved, coming];
        all.into_iter().fold(0, u64::saturating_add).saturating_sub(self.bytes_max)
    }

    /// Bytes of all that is in here or beside it.
    pub(crate) fn bytes_with_beside(&self) -> u64 {
        self.tier().bytes.saturating_add(self.beside)
    }

    pub(crate) fn set_beside(&mut self, bytes: u64) {
        self.beside = bytes;
    }

    /// Drops what is over the bound but for the checkpoint used last.
    pub(crate) fn settle(&mut self) {
        self.shrink(0, Spare::Last);
    }

    /// Sets what of the bound is kept free from the next time on that something comes or is settled.
    pub(crate) fn reserve(&mut self, bytes: u64) {
        self.reserved = bytes;
    }

    /// Drops all that no picture in flight holds; whether there was anything.
    pub(crate) fn drop_unused(&mut self) -> bool {
        self.told = OnceCell::new();
        let before = self.held().count();
        while self.drop_oldest(Spare::None) {}
        self.held().count() < before
    }

    pub(crate) fn insert_checkpoint(&mut self, model: Arc<ModelFile>, networks: Rc<V>) {
        self.told = OnceCell::new();
        self.checkpoints.insert_beside(model, networks);
    }

    /// The variant's own checkpoint is the one used last; it stays, because the variant's next use asks for it.
    pub(crate) fn insert_variant(&mut self, key: VariantKey, networks: Rc<V>) {
        self.told = OnceCell::new();
        while self.variants.is_full() && self.variants.drop_longest_idle() {}
        // By use, what lies beside may have to go first: the caller settles it all.
        if !self.by_use {
            let with_it = bytes(self.held().chain([&networks]));
            self.shrink(with_it - self.bytes(), Spare::Last);
        }
        self.variants.insert_beside(key, networks);
    }

    /// Drops what nothing holds until `coming` bytes more are within the bound. All that makes room does it here.
    fn shrink(&mut self, coming: u64, spare: Spare) {
        self.told = OnceCell::new();
        self.drop_orphans();
        while self.excess(coming) > 0 && self.drop_oldest(spare) {}
    }

    /// The number of the last use of what [`ModelCache::drop_oldest`] would drop, where that goes by use.
    pub(crate) fn idle_since(&self, spare: Spare) -> Option<u64> {
        let checkpoint = self.oldest_checkpoint(spare).map(|(_, used)| used);
        [checkpoint, self.variants.idle_since()].into_iter().flatten().min()
    }

    /// Drops the variant or the checkpoint unused longest, where it goes by use. Else, and of one checkpoint, a variant goes
    /// first. Whether there was one.
    pub(crate) fn drop_oldest(&mut self, spare: Spare) -> bool {
        self.told = OnceCell::new();
        let variant = self.variants.idle_since();
        let is_older = |used: &u64| self.by_use && variant.is_none_or(|variant| *used < variant);
        match self.oldest_checkpoint(spare).filter(|(_, used)| is_older(used)) {
            Some((model, _)) => {
                self.variants.drop_oldest(|key, variant| key.model == model && is_idle(variant))
                    || self.drop_checkpoint(spare)
            }
            None => self.variants.drop_longest_idle() || self.drop_checkpoint(spare),
        }
    }

    /// Drops the checkpoint unused longest; whether there was one. One whose variant is held stays, because the variant
    /// goes on holding all its tensors.
    fn drop_checkpoint(&mut self, spare: Spare) -> bool {
        let Some((oldest, _)) = self.oldest_checkpoint(spare) else { return false };
        self.checkpoints.drop_oldest(|model, _| *model == oldest)
    }

    /// The checkpoint unused longest of those that may go, and the number of its last use.
    fn oldest_checkpoint(&self, spare: Spare) -> Option<(Arc<ModelFile>, u64)> {
        let last = self.checkpoints.values().last().map(Rc::as_ptr).filter(|_| spare == Spare::Last);
        let variants = &self.variants;
        let is_drawn_with = |model: &Arc<ModelFile>| {
            let mut all = variants.keys().zip(variants.values());
            all.any(|(key, variant)| key.model == *model && !is_idle(variant))
        };
        let oldest = self.checkpoints.oldest(|model, checkpoint| {
            is_idle(checkpoint) && last != Some(Rc::as_ptr(checkpoint)) && !is_drawn_with(model)
        });
        oldest.map(|(model, used)| (model.clone(), used))
    }

    /// A variant holds every tensor of its checkpoint, so it goes with it.
    fn drop_orphans(&mut self) {
        let checkpoints = &self.checkpoints;
        self.variants.retain(|key, _| checkpoints.contains(&key.model));
    }

    fn held(&self) -> impl Iterator<Item = &Rc<V>> {
        self.checkpoints.values().chain(self.variants.values())
    }

    fn bytes(&self) -> u64 {
        bytes(self.held())
    }
}

/// What stays although nothing holds it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Spare {
    None,
    /// The checkpoint used last.
    Last,
}

/// Of all of them; what several share counts once.
pub(crate) fn bytes<'a, V: Held + 'a>(all: impl Iterator<Item = &'a Rc<V>>) -> u64 {
    let mut seen = HashSet::new();
    all.flat_map(|held| held.pieces())
        .filter(|(address, _)| seen.insert(*address))
        .map(|(_, bytes)| bytes)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Vec<(usize, u64)>);

    impl Held for Fake {
        fn pieces(&self) -> impl Iterator<Item = (usize, u64)> {
            self.0.iter().copied()
        }
    }

    fn model(name: &str) -> Arc<ModelFile> {
        Arc::new(ModelFile { name: name.into(), path: name.into(), version: String::new() })
    }

    fn variant(name: &str) -> VariantKey {
        VariantKey { model: model(name), patches: "lora".into(), seamless: false }
    }

    /// A cache that keeps three and 100 bytes, loaded with checkpoints of these pieces.
    fn cache(checkpoints: &[(&str, &[(usize, u64)])]) -> ModelCache<Fake> {
        let mut cache = ModelCache::new(3, 100);
        for (name, pieces) in checkpoints {
            load(&mut cache, name, pieces);
        }
        cache
    }

    fn load(cache: &mut ModelCache<Fake>, name: &str, pieces: &[(usize, u64)]) {
        cache.make_room(pieces.iter().map(|(_, bytes)| bytes).sum());
        cache.insert_checkpoint(model(name), Rc::new(Fake(pieces.to_vec())));
    }

    fn has(cache: &ModelCache<Fake>, names: &[&str]) -> Vec<bool> {
        names.iter().map(|name| cache.checkpoints.contains(&model(name))).collect()
    }

    #[test]
    fn checkpoints_unused_longest_make_room_for_bytes() {
        let mut cache = cache(&[("a", &[(1, 40)]), ("b", &[(2, 40)])]);
        assert!(cache.checkpoint(&model("a")).is_some());
        load(&mut cache, "c", &[(3, 50)]);
        assert_eq!(has(&cache, &["a", "b", "c"]), [true, false, true]);
    }

    #[test]
    fn the_number_is_a_bound_too() {
        let cache = cache(&[("a", &[(1, 1)]), ("b", &[(2, 1)]), ("c", &[(3, 1)]), ("d", &[(4, 1)])]);
        assert_eq!(has(&cache, &["a", "b", "c", "d"]), [false, true, true, true]);
    }

    #[test]
    fn those_in_use_stay_whatever_the_number_until_another_needs_their_place() {
        let mut cache = cache(&[("a", &[(1, 1)]), ("b", &[(2, 1)]), ("c", &[(3, 1)])]);
        let in_use = ["a", "b", "c"].map(|name| cache.checkpoint(&model(name)).unwrap());
        load(&mut cache, "d", &[(4, 1)]);
        assert_eq!((has(&cache, &["a", "b", "c", "d"]), cache.bytes()), (vec![true; 4], 4));
        drop(in_use);
        load(&mut cache, "e", &[(5, 1)]);
        assert_eq!(has(&cache, &["a", "b", "c", "d", "e"]), [false, false, true, true, true]);
    }

    #[test]
    fn what_is_shared_counts_once() {
        let mut cache = cache(&[("a", &[(1, 40), (9, 40)])]);
        cache.insert_checkpoint(model("b"), Rc::new(Fake(vec![(2, 10), (9, 40)])));
        assert_eq!(cache.bytes(), 90);
    }

    #[test]
    fn what_is_told_of_each_has_its_variants_and_of_all_counts_once() {
        let mut cache = cache(&[("a", &[(1, 20), (9, 30)])]);
        let told = |cache: &ModelCache<Fake>| {
            let Tier { models, bytes, bytes_max } = cache.tier();
            let models: Vec<_> = models.iter().map(|(model, bytes)| (model.name.clone(), *bytes)).collect();
            (models, bytes, bytes_max)
        };
        assert_eq!(told(&cache), (vec![("a".into(), 50)], 50, 100));
        cache.insert_checkpoint(model("b"), Rc::new(Fake(vec![(2, 10), (9, 30)])));
        assert_eq!(told(&cache), (vec![("a".into(), 50), ("b".into(), 40)], 60, 100));
        cache.insert_variant(variant("b"), Rc::new(Fake(vec![(2, 10), (5, 10), (9, 30)])));
        assert_eq!(told(&cache), (vec![("a".into(), 50), ("b".into(), 50)], 70, 100));
        cache.reserve(60);
        cache.settle();
        assert_eq!(told(&cache), (vec![("b".into(), 40)], 40, 100));
        cache.drop_unused();
        assert_eq!(told(&cache), (vec![], 0, 100));
    }

    #[test]
    fn one_that_is_larger_than_the_bound_is_kept_alone() {
        let cache = cache(&[("a", &[(1, 40)]), ("b", &[(2, 400)])]);
        assert_eq!(has(&cache, &["a", "b"]), [false, true]);
    }

    #[test]
    fn variants_go_before_checkpoints_and_with_theirs() {
        let mut cache = cache(&[("a", &[(1, 40)]), ("b", &[(2, 20)])]);
        cache.insert_variant(variant("b"), Rc::new(Fake(vec![(2, 20), (5, 30)])));
        assert_eq!(cache.bytes(), 90);
        // Room for this is there once the variant is gone.
        load(&mut cache, "c", &[(3, 30)]);
        assert!(cache.variant(&variant("b")).is_none());
        assert_eq!(has(&cache, &["a", "b", "c"]), [true, true, true]);
        cache.insert_variant(variant("a"), Rc::new(Fake(vec![(1, 40)])));
        load(&mut cache, "d", &[(4, 1)]);
        assert!(cache.variant(&variant("a")).is_none(), "its checkpoint is gone by number");
    }

    #[test]
    fn by_use_a_checkpoint_goes_before_a_later_variant_and_after_its_own() {
        let mut cache = ModelCache::on_device(100, &Uses::default());
        load(&mut cache, "a", &[(1, 30)]);
        load(&mut cache, "b", &[(2, 30)]);
        cache.insert_variant(variant("b"), Rc::new(Fake(vec![(2, 30), (5, 20)])));
        load(&mut cache, "c", &[(3, 30)]);
        assert_eq!(has(&cache, &["a", "b", "c"]), [false, true, true]);
        assert!(cache.variant(&variant("b")).is_some());
        cache.reserve(21);
        cache.settle();
        assert!(cache.variant(&variant("b")).is_none());
        assert_eq!(has(&cache, &["a", "b", "c"]), [false, true, true]);
    }

    #[test]
    fn what_is_reserved_is_no_room_for_models() {
        let mut cache = cache(&[("a", &[(1, 40)]), ("b", &[(2, 40)])]);
        cache.reserve(20);
        cache.settle();
        assert_eq!(has(&cache, &["a", "b"]), [true, true]);
        cache.reserve(30);
        cache.settle();
        assert_eq!(has(&cache, &["a", "b"]), [false, true]);
        load(&mut cache, "c", &[(3, 31)]);
        assert_eq!(has(&cache, &["b", "c"]), [false, true]);
        // More than there is leaves the one that is in use.
        cache.reserve(1000);
        cache.settle();
        assert_eq!(has(&cache, &["c"]), [true]);
    }

    #[test]
    fn what_lies_beside_is_no_room_for_models_either() {
        let mut cache = cache(&[("a", &[(1, 40)]), ("b", &[(2, 40)])]);
        cache.set_beside(20);
        assert_eq!((cache.excess(0), cache.excess(7), cache.bytes_with_beside()), (0, 7, 100));
        cache.settle();
        assert_eq!(has(&cache, &["a", "b"]), [true, true]);
        cache.set_beside(21);
        cache.settle();
        assert_eq!(has(&cache, &["a", "b"]), [false, true]);
    }

    #[test]
    fn all_that_nothing_holds_can_be_dropped() {
        let mut cache = cache(&[("a", &[(1, 40)]), ("b", &[(2, 40)])]);
        cache.insert_variant(variant("b"), Rc::new(Fake(vec![(2, 40), (5, 10)])));
        let in_use = cache.checkpoint(&model("a")).unwrap();
        assert!(cache.drop_unused());
        assert_eq!((has(&cache, &["a", "b"]), cache.bytes()), (vec![true, false], 40));
        assert!(!cache.drop_unused());
        drop(in_use);
        assert!(cache.drop_unused());
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn what_is_in_use_stays_and_what_is_not_goes_for_it() {
        let mut cache = cache(&[("a", &[(1, 40)]), ("b", &[(2, 40)])]);
        let in_use = cache.checkpoint(&model("a")).unwrap();
        assert!(cache.checkpoint(&model("b")).is_some(), "used last");
        load(&mut cache, "c", &[(3, 50)]);
        assert_eq!(has(&cache, &["a", "b", "c"]), [true, false, true]);
        drop(in_use);
    }

    #[test]
    fn a_checkpoint_stays_for_its_variant_in_use() {
        let mut cache = cache(&[("a", &[(1, 40)])]);
        let in_use = Rc::new(Fake(vec![(1, 40), (5, 30)]));
        cache.insert_variant(variant("a"), in_use.clone());
        load(&mut cache, "b", &[(2, 100)]);
        assert_eq!((has(&cache, &["a", "b"]), cache.bytes()), (vec![true, true], 170));
        drop(in_use);
        load(&mut cache, "c", &[(3, 1)]);
        assert_eq!(has(&cache, &["a", "b", "c"]), [false, false, true]);
    }

    #[test]
    fn variants_in_use_stay_whatever_the_number_and_are_counted() {
        let mut cache = cache(&[("a", &[(1, 10)])]);
        let key = |patches: &str| VariantKey { patches: patches.into(), ..variant("a") };
        let made = |piece: usize| Rc::new(Fake(vec![(1, 10), (piece, 5)]));
        let mut in_use = Vec::new();
        for (piece, patches) in (2..).zip(["x", "y", "z"]) {
            in_use.push(made(piece));
            cache.insert_variant(key(patches), in_use[piece - 2].clone());
        }
        assert!(["x", "y", "z"].iter().all(|patches| cache.variant(&key(patches)).is_some()));
        assert_eq!(cache.bytes(), 10 + 3 * 5);
        in_use.clear();
        cache.insert_variant(key("w"), made(5));
        let left = ["x", "y", "z", "w"].map(|patches| cache.variant(&key(patches)).is_some());
        assert_eq!(left, [false, false, true, true]);
    }

    #[test]
    fn a_large_variant_leaves_its_own_checkpoint() {
        let mut cache = cache(&[("a", &[(1, 40)]), ("b", &[(2, 40)])]);
        cache.insert_variant(variant("b"), Rc::new(Fake(vec![(2, 40), (5, 400)])));
        assert_eq!(has(&cache, &["a", "b"]), [false, true]);
        assert!(cache.variant(&variant("b")).is_some());
    }
}
