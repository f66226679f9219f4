//! Every prompt that a template stands for, in order, up to a number of them. Variants and wildcard lines count as what they
//! are and not by their weight; several of a variant are taken in the order they are written.

use gesso_plugin::Fault;

use crate::expand::{ExpandError, MAX_BYTES, MAX_NODES};
use crate::grammar::{Choice, Node, Template, Variant, parse};
use crate::wildcards::Wildcards;

/// Wildcards within wildcards.
const MAX_DEPTH: usize = 16;

/// Options that one variant may join.
const CHOSEN_MAX: usize = 64;

/// The first `most` prompts of a template.
///
/// # Errors
/// As for one prompt by chance.
pub fn combinations<List, Read>(
    prompt: &str,
    wildcards: &mut Wildcards<List, Read>,
    most: usize,
) -> Result<Vec<String>, ExpandError>
where
    List: FnMut() -> Result<Vec<String>, Fault>,
    Read: FnMut(&str) -> Result<Vec<u8>, Fault>,
{
    Combiner { wildcards, path: Vec::new(), most, nodes: 0 }.template(&parse(prompt)?)
}

struct Combiner<'a, List, Read> {
    wildcards: &'a mut Wildcards<List, Read>,
    /// The wildcards whose lines are being expanded, outermost first.
    path: Vec<String>,
    most: usize,
    nodes: usize,
}

impl<List, Read> Combiner<'_, List, Read>
where
    List: FnMut() -> Result<Vec<String>, Fault>,
    Read: FnMut(&str) -> Result<Vec<u8>, Fault>,
{
    fn template(&mut self, template: &Template) -> Result<Vec<String>, ExpandError> {
        let mut all = vec![String::new()];
        for node in &template.0 {
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                return Err(ExpandError::TooMany);
            }
            let parts = match node {
                Node::Text(text) => vec![text.clone()],
                Node::Wildcard(name) => self.lines(name)?.concat(),
                Node::Variant(variant) => self.variant(variant)?,
            };
            all = joined(&all, &parts, "", self.most)?;
        }
        Ok(all)
    }

    /// What each line of a wildcard stands for.
    fn lines(&mut self, name: &str) -> Result<Vec<Vec<String>>, ExpandError> {
        let lines = self.wildcards.lines(name)?;
        self.path.push(format!("__{name}__"));
        if self.path.len() > MAX_DEPTH {
            return Err(ExpandError::TooDeep { path: std::mem::take(&mut self.path) });
        }
        let mut all = Vec::new();
        for line in lines.iter().take(self.most) {
            self.nodes += 1;
            let template =
                parse(&line.text).map_err(|error| ExpandError::Line { name: name.to_owned(), error })?;
            all.push(self.template(&template)?);
        }
        self.path.pop();
        Ok(all)
    }

    fn variant(&mut self, variant: &Variant) -> Result<Vec<String>, ExpandError> {
        // `{2$$__flavours__}` means two lines of the file, not the file twice.
        let options: Vec<Vec<String>> = match variant.options.as_slice() {
            [Choice { template: Template(nodes), .. }] if matches!(nodes.as_slice(), [Node::Wildcard(_)]) => {
                let [Node::Wildcard(name)] = nodes.as_slice() else { return Ok(Vec::new()) };
                self.lines(name)?
            }
            options => {
                options.iter().map(|option| self.template(&option.template)).collect::<Result<_, _>>()?
            }
        };
        let (low, high) = (variant.at_least.min(options.len()), variant.at_most.min(options.len()));
        if high > CHOSEN_MAX {
            return Err(ExpandError::TooMany);
        }
        let mut all = Vec::new();
        for wanted in low..=high.max(low) {
            if all.len() < self.most {
                self.choose(&options, wanted, &[String::new()], true, &variant.separator, &mut all)?;
            }
        }
        all.truncate(self.most);
        Ok(all)
    }

    /// Adds what `wanted` of the options stand for, joined behind `before`.
    fn choose(
        &self,
        options: &[Vec<String>],
        wanted: usize,
        before: &[String],
        is_first: bool,
        separator: &str,
        all: &mut Vec<String>,
    ) -> Result<(), ExpandError> {
        if wanted == 0 {
            all.extend_from_slice(before);
            return Ok(());
        }
        for place in 0..(options.len() + 1).saturating_sub(wanted) {
            if all.len() >= self.most {
                return Ok(());
            }
            let separator_here = if is_first { "" } else { separator };
            let with = joined(before, &options[place], separator_here, self.most)?;
            self.choose(&options[place + 1..], wanted - 1, &with, false, separator, all)?;
        }
        Ok(())
    }
}

/// Each of the first with each of the second behind it, the second changing faster.
fn joined(
    first: &[String],
    second: &[String],
    separator: &str,
    most: usize,
) -> Result<Vec<String>, ExpandError> {
    let pairs = first.iter().flat_map(|first| second.iter().map(move |second| (first, second)));
    pairs
        .take(most)
        .map(|(first, second)| {
            if first.len() + separator.len() + second.len() > MAX_BYTES {
                return Err(ExpandError::TooLong);
            }
            Ok(format!("{first}{separator}{second}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(prompt: &str, most: usize) -> Result<Vec<String>, ExpandError> {
        let files = [("colors.txt", "red\n{dark|light} blue\n"), ("circle.txt", "__circle__\n")];
        let mut wildcards = Wildcards::new(
            || Ok(files.iter().map(|(path, _)| (*path).to_owned()).collect()),
            |path: &str| {
                let (_, text) = files.iter().find(|(known, _)| *known == path).expect("only listed files");
                Ok(text.as_bytes().to_vec())
            },
        );
        combinations(prompt, &mut wildcards, most)
    }

    #[test]
    fn every_combination_comes_once_and_the_last_changes_fastest() {
        assert_eq!(all("{a|b} {1|2}", 99).unwrap(), ["a 1", "a 2", "b 1", "b 2"]);
        assert_eq!(
            all("a __colors__ hat", 99).unwrap(),
            ["a red hat", "a dark blue hat", "a light blue hat"]
        );
        assert_eq!(all("{2$$a|b|c}", 99).unwrap(), ["a, b", "a, c", "b, c"]);
        assert_eq!(all("{1-2$$ and $$a|b}", 99).unwrap(), ["a", "b", "a and b"]);
        assert_eq!(all("{2$$ $$__colors__}", 99).unwrap(), ["red dark blue", "red light blue"]);
        assert_eq!(all("plain", 99).unwrap(), ["plain"]);
    }

    #[test]
    fn no_more_are_made_than_are_wanted() {
        assert_eq!(all("{a|b}{c|d}{e|f}", 3).unwrap(), ["ace", "acf", "ade"]);
        let wide = "{a|b|c|d|e|f|g|h}".repeat(30);
        assert_eq!(all(&wide, 10).unwrap().len(), 10);
        assert!(matches!(all("__circle__", 9), Err(ExpandError::TooDeep { .. })));
        let many = format!("{{100$$ $${}}}", ["a"; 100].join("|"));
        assert_eq!(all(&many, 9), Err(ExpandError::TooMany));
    }

    proptest! {
        #[test]
        fn no_template_panics_or_gives_more(
            prompt in r"([{}|$ 0-9a-c-]|__colors__|\$\$|::|\\){0,60}",
            most in 1usize..20,
        ) {
            if let Ok(all) = all(&prompt, most) {
                prop_assert!(all.len() <= most);
            }
        }
    }
}
