//! Infotext hooks, which read along where a client's infotext is read: the trait an author implements, the macro that makes it
//! a component, and the adapter between the two.

use std::marker::PhantomData;

use crate::Fault;
use crate::bindings::infotext_hook as host;
use crate::bindings::request_hook::gesso::plugin::types;

/// A picture's text in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Infotext {
    pub prompt: String,
    pub negative_prompt: String,
    /// Names and values in their order; a name stands once.
    pub fields: Vec<(String, String)>,
}

impl Infotext {
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Gives a field a value; one that is new stands behind the others.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value,
            None => self.fields.push((name.to_owned(), value)),
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let place = self.fields.iter().position(|(known, _)| known == name)?;
        Some(self.fields.remove(place).1)
    }
}

/// Code that reads along where a client's infotext is read: of a picture that it asks about, or in the field `infotext` of a
/// request. Each call gets a fresh instance.
pub trait InfotextHook {
    /// `text` is what the client sent. What is returned takes the place of `infotext`, which is what it says, with what hooks
    /// before this one made of it.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] is a sentence for the client and ends its request; any other fault fails the plugin's call.
    fn on_infotext(text: &str, infotext: Infotext) -> Result<Infotext, Fault>;
}

/// Makes an [`InfotextHook`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest, without
/// one: `infotext_hook!(Plugin)`.
#[macro_export]
macro_rules! infotext_hook {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::infotext_hook!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::InfotextHookAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::infotext_hook::export_infotext_hook!(
                Component with_types_in $crate::__private::infotext_hook
            );
            const _: std::marker::PhantomData<Component> = std::marker::PhantomData;
        };
    };
}

#[doc(hidden)]
pub struct Adapter<T>(PhantomData<T>);

impl<T: InfotextHook> host::Guest for Adapter<T> {
    fn on_infotext(text: String, parts: host::Infotext) -> Result<host::Infotext, types::Fault> {
        let host::Infotext { prompt, negative_prompt, fields } = parts;
        let Infotext { prompt, negative_prompt, fields } =
            T::on_infotext(&text, Infotext { prompt, negative_prompt, fields })?;
        Ok(host::Infotext { prompt, negative_prompt, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_keeps_its_place_until_it_is_removed() {
        let mut text = Infotext::default();
        for (name, value) in [("Steps", "1"), ("Seed", "2"), ("Steps", "3")] {
            text.set(name, value);
        }
        assert_eq!(text.fields, [("Steps", "3"), ("Seed", "2")].map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!((text.remove("Steps").as_deref(), text.get("Steps")), (Some("3"), None));
        assert_eq!(text.remove("Steps"), None);
    }
}
