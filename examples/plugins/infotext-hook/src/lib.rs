//! Puts the template that a prompt was made of back in its place: plugins that fill templates leave them in the infotext, and
//! who draws again wants to fill them anew.

use gesso_plugin::{Fault, Infotext, InfotextHook};

struct Plugin;

impl InfotextHook for Plugin {
    fn on_infotext(_text: &str, infotext: Infotext) -> Result<Infotext, Fault> {
        Ok(with_template(infotext))
    }
}

gesso_plugin::infotext_hook!(Plugin, manifest = "manifest.json");

fn with_template(mut infotext: Infotext) -> Infotext {
    if let Some(template) = infotext.remove("Template") {
        infotext.prompt = template;
    }
    if let Some(template) = infotext.remove("Negative Template") {
        infotext.negative_prompt = template;
    }
    infotext
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_the_place_of_what_was_made_of_it() -> Result<(), Fault> {
        let read = |infotext| Plugin::on_infotext("what the client sent", infotext);
        let mut text = Infotext { prompt: "a cat".into(), ..Infotext::default() };
        text.set("Seed", "1");
        let as_it_was = text.clone();
        assert_eq!(read(text.clone())?, as_it_was);
        text.set("Template", "a {cat|dog}");
        assert_eq!(read(text)?, Infotext { prompt: "a {cat|dog}".into(), ..as_it_was });
        Ok(())
    }
}
