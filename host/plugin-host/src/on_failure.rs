//! What a failed call costs the request, for a plugin as a whole, by the world or by the hook that was called. Decided by the
//! admin, asked by every chain of hooks. Knows no plugin.

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// How an admin writes the worlds that are not named.
const OTHERS: &str = "*";

/// What happens to a request when a hook of this plugin fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The request fails with it.
    #[default]
    Fail,
    /// The request goes on as if the plugin were not there; the failure is counted and logged.
    Skip,
}

/// The worlds whose calls a request can go on without, and the hooks of the one that has two. Other worlds make what the request
/// asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookWorld {
    /// Of `request-hook`, as is `Before`.
    After,
    Before,
    Grid,
    Infotext,
    Picture,
    Request,
    Save,
    Step,
}

impl HookWorld {
    const ALL: [Self; 8] = [
        Self::After,
        Self::Before,
        Self::Grid,
        Self::Infotext,
        Self::Picture,
        Self::Request,
        Self::Save,
        Self::Step,
    ];

    /// The name in manifests, of the world or the hook.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::Before => "before",
            Self::Grid => "grid-hook",
            Self::Infotext => "infotext-hook",
            Self::Picture => "picture-hook",
            Self::Request => "request-hook",
            Self::Save => "save-hook",
            Self::Step => "step-hook",
        }
    }

    /// The world that stands for it where nothing is said of it by itself.
    fn world(self) -> Self {
        match self {
            Self::Before | Self::After => Self::Request,
            world => world,
        }
    }
}

/// What a failed call costs, by world. Written as one word where it is the same for all, else as an object by the names of worlds,
/// in which `*` stands for those that it does not name; a hook's name wins over that of its world.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnFailures {
    others: OnFailure,
    worlds: BTreeMap<HookWorld, OnFailure>,
}

impl OnFailures {
    /// `others` for the worlds that `worlds` does not name.
    pub fn new(others: OnFailure, worlds: impl IntoIterator<Item = (HookWorld, OnFailure)>) -> Self {
        Self { others, worlds: worlds.into_iter().collect() }
    }

    pub fn of(&self, world: HookWorld) -> OnFailure {
        let said = self.worlds.get(&world).or_else(|| self.worlds.get(&world.world()));
        said.copied().unwrap_or(self.others)
    }

    /// What stands for the worlds that are not named, and what is said of those that are, in the order of their names.
    pub fn said(&self) -> (OnFailure, impl Iterator<Item = (HookWorld, OnFailure)>) {
        (self.others, self.worlds.iter().map(|(world, said)| (*world, *said)))
    }
}

impl From<OnFailure> for OnFailures {
    fn from(others: OnFailure) -> Self {
        Self::new(others, [])
    }
}

impl Serialize for OnFailures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.worlds.is_empty() {
            return self.others.serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(1 + self.worlds.len()))?;
        map.serialize_entry(OTHERS, &self.others)?;
        for (world, said) in &self.worlds {
            map.serialize_entry(world.as_str(), said)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for OnFailures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Said)
    }
}

struct Said;

impl<'de> Visitor<'de> for Said {
    type Value = OnFailures;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`fail`, `skip`, or an object with one of them for each world")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OnFailures, E> {
        match text {
            "fail" => Ok(OnFailure::Fail.into()),
            "skip" => Ok(OnFailure::Skip.into()),
            _ => Err(E::unknown_variant(text, &["fail", "skip"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OnFailures, A::Error> {
        let mut said = OnFailures::default();
        while let Some(name) = map.next_key::<String>()? {
            let on_failure: OnFailure = map.next_value()?;
            if name == OTHERS {
                said.others = on_failure;
                continue;
            }
            let world = HookWorld::ALL.into_iter().find(|world| world.as_str() == name).ok_or_else(|| {
                let known = HookWorld::ALL.map(HookWorld::as_str).join(", ");
                <A::Error as de::Error>::custom(format!(
                    "on_failure names {name:?}; requests can go on without {known}, and {OTHERS} stands for those not named"
                ))
            })?;
            said.worlds.insert(world, on_failure);
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(said: serde_json::Value) -> Result<OnFailures, String> {
        // As a body is read, and as one of many fields is.
        let text: Result<OnFailures, _> = serde_json::from_str(&said.to_string());
        assert_eq!(text.as_ref().ok(), serde_json::from_value::<OnFailures>(said).ok().as_ref());
        text.map_err(|error| error.to_string())
    }

    #[test]
    fn one_word_is_said_of_every_world() {
        let skip = read(json!("skip")).unwrap();
        assert!(HookWorld::ALL.iter().all(|world| skip.of(*world) == OnFailure::Skip));
        assert_eq!(json!(skip), "skip", "as it was stored before there was more to say");
        assert_eq!(json!(OnFailures::default()), "fail");
    }

    #[test]
    fn an_object_says_it_by_world_and_fails_for_those_it_does_not_name() {
        let said = read(json!({"step-hook": "skip"})).unwrap();
        assert_eq!(
            (said.of(HookWorld::Step), said.of(HookWorld::Request)),
            (OnFailure::Skip, OnFailure::Fail)
        );
        let others = read(json!({"request-hook": "fail", "*": "skip"})).unwrap();
        assert_eq!(
            (others.of(HookWorld::Request), others.of(HookWorld::Save)),
            (OnFailure::Fail, OnFailure::Skip)
        );
        let written = json!(others);
        assert_eq!(written, json!({"*": "skip", "request-hook": "fail"}));
        assert_eq!(read(written).unwrap(), others);
        assert_eq!(read(json!({})).unwrap(), OnFailures::default());
    }

    #[test]
    fn what_is_said_of_a_hook_wins_over_its_world() {
        let said = read(json!({"request-hook": "skip", "after": "fail"})).unwrap();
        let of = |hooks: [HookWorld; 4]| hooks.map(|hook| said.of(hook) == OnFailure::Skip);
        let hooks = [HookWorld::Before, HookWorld::After, HookWorld::Request, HookWorld::Step];
        assert_eq!(of(hooks), [true, false, true, false]);
        assert_eq!(json!(said), json!({"*": "fail", "after": "fail", "request-hook": "skip"}));
        assert_eq!(read(json!(said)).unwrap(), said);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        assert!(read(json!("ignore")).unwrap_err().contains("expected `fail` or `skip`"));
        assert!(read(json!({"step-hook": "ignore"})).unwrap_err().contains("expected `fail` or `skip`"));
        let script = read(json!({"script": "skip"})).unwrap_err();
        assert!(script.contains("\"script\"") && script.contains("picture-hook, request-hook"), "{script}");
        assert!(read(json!(true)).unwrap_err().contains("an object with one of them for each world"));
        assert!(read(json!(["skip"])).is_err());
    }
}
