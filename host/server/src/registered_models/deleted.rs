//! Models that were registered and are not any more: remembered for a while, so that whoever follows one hears that it is
//! gone. Knows no files, and forgets everything with the process.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Attributes;
use crate::lock::lock;

/// How long one is remembered.
const KEPT: Duration = Duration::from_secs(60 * 60);

#[derive(Default)]
pub(super) struct Deleted(Mutex<BTreeMap<String, (Instant, Attributes)>>);

impl Deleted {
    pub(super) fn note(&self, model: Attributes, now: Instant) {
        let mut all = lock(&self.0);
        all.retain(|_, (since, _)| is_kept(*since, now));
        all.insert(model.name.clone(), (now, model));
    }

    /// Whatever the name's case, as where models are looked up.
    pub(super) fn get(&self, name: &str, now: Instant) -> Option<Attributes> {
        let all = lock(&self.0);
        let is_one = |(known, (since, _)): &(&String, &(Instant, Attributes))| {
            known.eq_ignore_ascii_case(name) && is_kept(*since, now)
        };
        all.iter().find(is_one).map(|(_, (_, model))| model.clone())
    }
}

fn is_kept(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < KEPT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Kind;

    fn model(name: &str) -> Attributes {
        let (oss_path, etag) = (format!("models/{name}"), String::new());
        Attributes { kind: Kind::Lora, name: name.into(), oss_path, etag }
    }

    #[test]
    fn a_deleted_model_is_remembered_for_an_hour_and_then_takes_no_memory() {
        let (deleted, start) = (Deleted::default(), Instant::now());
        deleted.note(model("a.safetensors"), start);
        let soon = start + Duration::from_secs(59 * 60);
        assert_eq!(deleted.get("A.safetensors", soon), Some(model("a.safetensors")));
        assert_eq!(deleted.get("b.safetensors", soon), None);
        deleted.note(model("A.safetensors"), start - Duration::from_secs(1));
        assert_eq!(
            deleted.get("a.safetensors", start + KEPT - Duration::from_millis(1)),
            Some(model("a.safetensors")),
            "that of another case is forgotten by then"
        );
        let late = start + KEPT;
        assert_eq!(deleted.get("a.safetensors", late), None);
        deleted.note(model("b.safetensors"), late);
        assert_eq!(lock(&deleted.0).len(), 1);
    }
}
