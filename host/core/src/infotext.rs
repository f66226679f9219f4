//! The text that describes a picture and travels inside it, in the layout that web UIs write and image browsers
//! read: prompt, negative prompt, one line of `Key: value`. Called where pictures are encoded and where they are
//! read back. Knows nothing of image files.

mod quote;
mod read;
mod write;

pub use write::{DrawnWith, of};

/// Names the program; the last field, or the one before the user.
const VERSION: &str = "Version";
/// Names who asked.
const USER: &str = "User";

/// A picture's text in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Infotext {
    pub prompt: String,
    pub negative_prompt: String,
    /// In the order they are printed.
    pub fields: Vec<(String, String)>,
}

impl Infotext {
    pub fn new(prompt: &str, negative_prompt: &str) -> Self {
        Self { prompt: prompt.to_owned(), negative_prompt: negative_prompt.to_owned(), fields: Vec::new() }
    }

    /// Appends a field. A key printed before keeps its place and takes the new value.
    pub fn field(mut self, key: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        match self.fields.iter_mut().find(|(known, _)| known == key) {
            Some(known) => known.1 = value,
            None => self.fields.push((key.to_owned(), value)),
        }
        self
    }

    /// Appends a field that may be absent.
    pub fn optional_field(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    /// The text with these fields behind its own, the version and the user still last; a key that it has takes the new value.
    pub fn extended(text: &str, fields: &[(String, String)]) -> String {
        let mut infotext = Self::parse(text);
        let user = infotext.fields.pop_if(|(key, _)| key == USER);
        let version = infotext.fields.pop_if(|(key, _)| key == VERSION);
        let mut infotext = fields.iter().fold(infotext, |text, (key, value)| text.field(key, value));
        infotext.fields.extend(version.into_iter().chain(user));
        infotext.to_string()
    }

    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Reads the parts back, from any text: what is no field is prompt. Never fails.
    ///
    /// Lines lose the blanks at their ends, and a field equal to its key (printed as the key alone) is not found
    /// again; both are losses of the layout.
    pub fn parse(text: &str) -> Self {
        read::parse(text)
    }

    /// The pairs in a field's value, where it holds several, as ControlNet's units do.
    pub fn pairs(value: &str) -> Vec<(String, String)> {
        read::fields(value)
    }

    /// The text as web UIs of today write it: what those of earlier versions wrote elsewhere, and, where that is wanted
    /// `by_version`, what they meant without a word.
    pub fn migrated(&self, by_version: bool) -> Self {
        read::migrated(self, by_version)
    }

    /// Fields that a text [as of today](Self::migrated) does not have, with what web UIs take that to mean; no prompts.
    ///
    /// A field of the text that was `sent` is none of them: who took it out, as plugins do, wants what stands without it.
    pub fn unsaid_beside(&self, sent: &Self) -> Self {
        read::unsaid_beside(self, sent)
    }

    /// The parts as web UIs hand them to clients, of the text [as of today](Self::migrated): `Prompt` and `Negative prompt`
    /// first, a `WxH` value as two fields `Key-1` and `Key-2`, then what is [unsaid](Self::unsaid_beside) beside what was `sent`.
    /// Order is as printed.
    pub fn web_ui_parameters(&self, sent: &Self, by_version: bool) -> Vec<(String, String)> {
        read::web_ui_parameters(self, sent, by_version)
    }
}

impl std::fmt::Display for Infotext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.prompt.clone();
        if !self.negative_prompt.is_empty() {
            text.push_str("\nNegative prompt: ");
            text.push_str(&self.negative_prompt);
        }
        text.push('\n');
        for (i, (key, value)) in self.fields.iter().enumerate() {
            text.push_str(if i == 0 { "" } else { ", " });
            text.push_str(key);
            if key != value {
                text.push_str(": ");
                text.push_str(&quote::quote(value));
            }
        }
        f.write_str(text.trim())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_set_twice_keeps_its_place() {
        let text = Infotext::new("p", "").field("A1", 1).field("B1", 2).field("A1", 3).to_string();
        assert_eq!(text, "p\nA1: 3, B1: 2");
    }

    #[test]
    fn more_fields_stand_before_the_version() {
        let fields = [("ADetailer model", "a, b"), ("Steps", "9")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let text = Infotext::extended("p\nNegative prompt: n\nSteps: 4, Seed: 1, Version: x", &fields);
        assert_eq!(text, "p\nNegative prompt: n\nSteps: 9, Seed: 1, ADetailer model: \"a, b\", Version: x");
    }

    /// Prompts as the layout can hold them: no blanks at the ends of a line, no line that reads as a negative prompt.
    pub(super) fn prompts() -> impl Strategy<Value = String> {
        prop::collection::vec("[!-~é]([ -~é]{0,20}[!-~é])?", 0..4)
            .prop_filter("a line of its own meaning", |lines| {
                !lines.iter().any(|line| line.starts_with("Negative prompt:"))
            })
            .prop_map(|lines| lines.join("\n"))
    }

    /// Values with what must be quoted, what looks quoted, and other scripts.
    fn values() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~\n\t\u{1}é😀]{0,20}", "\"[a-z]{0,5}\"", "[0-9]{1,4}x[0-9]{1,4}", any::<String>()]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(
            prompt in prompts(),
            negative_prompt in prompts(),
            fields in prop::collection::btree_map("[A-Z][a-z0-9 /-]{1,12}[a-z]", values(), 3..8),
        ) {
            prop_assume!(fields.iter().all(|(key, value)| key != value));
            let infotext = Infotext { prompt, negative_prompt, fields: fields.into_iter().collect() };
            prop_assert_eq!(Infotext::parse(&infotext.to_string()), infotext);
        }

        #[test]
        fn reading_never_panics(text: String, line in "[A-Za-z:,\"\\\\ \n1-9x]{0,200}") {
            for text in [text, line] {
                let text = Infotext::parse(&text);
                text.web_ui_parameters(&text, true);
            }
        }
    }
}
