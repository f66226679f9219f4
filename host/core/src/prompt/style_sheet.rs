//! The styles of a web UI's `styles.csv`, from its text. Called by whoever keeps the file. Lenient like the reader
//! web UIs use (Python's `csv`), because people edit the file by hand: what cannot be read becomes a problem in
//! words, and every other style stays. Knows no file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A prompt's extension under a name; what a row leaves out is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Style {
    pub name: String,
    pub prompt: Option<String>,
    pub negative_prompt: Option<String>,
}

/// Every style of a file, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StyleSheet {
    pub styles: Vec<Style>,
    /// What could not be read, one sentence each, with the remedy.
    pub problems: Vec<String>,
}

impl StyleSheet {
    /// Reads a file with the columns `name`, `prompt` (`text` in files of 2022, which have no third) and
    /// `negative_prompt`, in any order and among others. Rows without a name and those whose name begins with `#` are
    /// remarks. Of equal names the last counts, at the place of the first. Never fails.
    pub fn parse(text: &str) -> Self {
        let (rows, unclosed) = rows(text.strip_prefix('\u{feff}').unwrap_or(text));
        let mut sheet = Self::default();
        sheet.problems.extend(unclosed.map(|line| {
            format!(
                "line {line} opens a quote that nothing closes; close it, until then the rest is left out"
            )
        }));
        let mut rows = rows.into_iter();
        let Some(header) = rows.next() else { return sheet };
        let column = |name: &str| header.iter().position(|column| column.trim() == name);
        let (Some(name), Some(prompt)) = (column("name"), column("prompt").or_else(|| column("text"))) else {
            let message =
                "its first line does not name the columns; begin it with name,prompt,negative_prompt";
            sheet.problems.push(message.to_owned());
            return sheet;
        };
        let negative_prompt = column("negative_prompt");
        let mut places = HashMap::new();
        for mut row in rows {
            let mut take = |place: Option<usize>| place.and_then(|at| row.get_mut(at)).map(std::mem::take);
            let Some(name) = take(Some(name)).filter(|name| !name.is_empty() && !name.starts_with('#'))
            else {
                continue;
            };
            let style = Style { name, prompt: take(Some(prompt)), negative_prompt: take(negative_prompt) };
            match places.entry(style.name.clone()) {
                Entry::Occupied(place) => sheet.styles[*place.get()] = style,
                Entry::Vacant(place) => {
                    place.insert(sheet.styles.len());
                    sheet.styles.push(style);
                }
            }
        }
        sheet
    }

    /// A file that gave no text.
    pub fn unreadable(problem: String) -> Self {
        Self { styles: Vec::new(), problems: vec![problem] }
    }

    /// The style of exactly this name.
    pub fn named(&self, name: &str) -> Option<&Style> {
        self.styles.iter().find(|style| style.name == name)
    }
}

/// Rows of fields without the empty ones, and the line of a quote that is never closed; its row is not among them.
///
/// RFC 4180, and as Python reads what that leaves open: a quote counts only where a field begins, what follows a
/// closed one belongs to the field, and a row ends at either kind of line end.
fn rows(text: &str) -> (Vec<Vec<String>>, Option<usize>) {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    let (mut line, mut opened) = (1, None);
    let mut begins = true;
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match letter {
            '"' if opened.is_some() => {
                if letters.next_if_eq(&'"').is_some() {
                    field.push('"');
                } else {
                    opened = None;
                }
            }
            letter if opened.is_some() => field.push(letter),
            '"' if begins => {
                opened = Some(line);
                begins = false;
            }
            ',' => {
                row.push(std::mem::take(&mut field));
                begins = true;
            }
            '\n' | '\r' => {
                // A line of nothing is no row; one of an empty quoted field is.
                if !row.is_empty() || !field.is_empty() || !begins {
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                begins = true;
            }
            letter => {
                field.push(letter);
                begins = false;
            }
        }
    }
    if opened.is_none() && (!row.is_empty() || !field.is_empty() || !begins) {
        row.push(field);
        rows.push(row);
    }
    (rows, opened)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn style(name: &str, prompt: Option<&str>, negative_prompt: Option<&str>) -> Style {
        Style {
            name: name.into(),
            prompt: prompt.map(str::to_owned),
            negative_prompt: negative_prompt.map(str::to_owned),
        }
    }

    #[test]
    fn reads_the_columns_a_web_ui_writes() {
        let sheet = StyleSheet::parse(
            "\u{feff}name,prompt,negative_prompt\r\nInk,\"ink, \"\"black\"\"\nlines\",colour\r\n\r\n\
             Frame,a photo of {prompt},\r\nShort,only this\r\nBare\r\n# remark,x,y\r\n,nameless,\r\nLast,a,b,more",
        );
        assert_eq!(
            sheet.styles,
            [
                style("Ink", Some("ink, \"black\"\nlines"), Some("colour")),
                style("Frame", Some("a photo of {prompt}"), Some("")),
                style("Short", Some("only this"), None),
                style("Bare", None, None),
                style("Last", Some("a"), Some("b")),
            ]
        );
        assert_eq!(sheet.problems, Vec::<String>::new());
        assert_eq!(sheet.named("Short").and_then(|style| style.prompt.as_deref()), Some("only this"));
        assert_eq!(sheet.named("short"), None);
    }

    #[test]
    fn columns_may_stand_in_any_order_and_old_files_call_the_prompt_text() {
        let sheet = StyleSheet::parse("negative_prompt,id, prompt ,name\nn,7,p,a\n");
        assert_eq!(sheet.styles, [style("a", Some("p"), Some("n"))]);
        let old = StyleSheet::parse("name,text\nNone,\nInk,ink lines");
        assert_eq!(old.styles, [style("None", Some(""), None), style("Ink", Some("ink lines"), None)]);
    }

    #[test]
    fn the_last_of_equal_names_counts_at_the_place_of_the_first() {
        let sheet = StyleSheet::parse("name,prompt\na,1\nb,2\na,3");
        assert_eq!(sheet.styles, [style("a", Some("3"), None), style("b", Some("2"), None)]);
    }

    #[test]
    fn what_cannot_be_read_is_said_and_the_rest_stays() {
        let sheet = StyleSheet::parse("name,prompt\ngood,\"a\nb\"\nbad,\"open\nlost,x");
        assert_eq!(sheet.styles, [style("good", Some("a\nb"), None)]);
        assert!(sheet.problems[0].starts_with("line 4 opens a quote"), "{:?}", sheet.problems);
        let sheet = StyleSheet::parse("Ink,ink lines,\n");
        assert!(sheet.styles.is_empty() && sheet.problems[0].contains("name,prompt,negative_prompt"));
        assert_eq!(StyleSheet::parse(""), StyleSheet::default());
    }

    #[test]
    fn quotes_count_where_a_field_begins() {
        let sheet = StyleSheet::parse("name,prompt\na,5\" disk\nb,\"x\"y\nc,\"\"\n\"\",nameless");
        let prompts: Vec<_> = sheet.styles.iter().map(|style| style.prompt.as_deref()).collect();
        assert_eq!(prompts, [Some("5\" disk"), Some("xy"), Some("")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String, near in "(name,prompt\n)?[a,\"\r\n#{}]{0,60}") {
            StyleSheet::parse(&text);
            StyleSheet::parse(&near);
        }

        #[test]
        fn what_a_writer_quotes_reads_back(
            fields in prop::collection::vec(("[a-z]{1,4}", "[ -~\n\ré]{0,20}", "[ -~\n\ré]{0,20}"), 0..6),
        ) {
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let mut text = "name,prompt,negative_prompt\n".to_owned();
            for (name, prompt, negative) in &fields {
                text += &format!("{},{},{}\n", quoted(name), quoted(prompt), quoted(negative));
            }
            let sheet = StyleSheet::parse(&text);
            prop_assert_eq!(&sheet.problems, &Vec::<String>::new());
            for (name, prompt, negative) in fields.iter().rev().take(1) {
                prop_assert_eq!(sheet.named(name), Some(&style(name, Some(prompt), Some(negative))));
            }
        }
    }
}
