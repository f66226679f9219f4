//! Draws a prompt from a template: chooses options, takes wildcard lines and expands what is in them. Bounded in
//! length, depth and work, as wildcard files can refer to themselves and each other.

use gesso_plugin::{Fault, Random};

use crate::grammar::{Choice, GrammarError, Node, Template, Variant, parse};
use crate::wildcards::{WildcardError, Wildcards};

/// The longest prompt that is drawn, in bytes.
pub const MAX_BYTES: usize = 16 << 10;
/// Wildcards within wildcards.
const MAX_DEPTH: usize = 16;
/// Nodes drawn for one prompt; without it, lines that name two wildcards each would double sixteen times.
pub(crate) const MAX_NODES: usize = 20_000;

/// One prompt being drawn.
pub struct Expansion<'a, List, Read> {
    wildcards: &'a mut Wildcards<List, Read>,
    random: Random,
    /// The wildcards whose lines are being expanded, outermost first.
    path: Vec<String>,
    drawn: String,
    nodes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("{0}")]
    Grammar(#[from] GrammarError),
    #[error("in the wildcard __{name}__, {error}")]
    Line { name: String, error: GrammarError },
    #[error(transparent)]
    Wildcard(#[from] WildcardError),
    #[error("wildcards refer to each other more than {MAX_DEPTH} deep ({}); break the circle", .path.join(" → "))]
    TooDeep { path: Vec<String> },
    #[error("it grows longer than {MAX_BYTES} bytes; use fewer or shorter variants")]
    TooLong,
    #[error("it draws more than {MAX_NODES} variants and wildcards; use fewer")]
    TooMany,
}

impl ExpandError {
    /// What the client reads, with the field it is about.
    pub fn into_fault(self, field: &str) -> Fault {
        match self {
            Self::Wildcard(WildcardError::Host(fault)) => fault,
            error => {
                Fault::InvalidInput(format!("The {} cannot be drawn: {error}.", field.replace('_', " ")))
            }
        }
    }
}

impl<'a, List, Read> Expansion<'a, List, Read>
where
    List: FnMut() -> Result<Vec<String>, Fault>,
    Read: FnMut(&str) -> Result<Vec<u8>, Fault>,
{
    pub fn new(wildcards: &'a mut Wildcards<List, Read>, random: Random) -> Self {
        Self { wildcards, random, path: Vec::new(), drawn: String::new(), nodes: 0 }
    }

    /// # Errors
    /// A template that cannot be parsed, a wildcard that cannot be read, or a bound that is passed.
    pub fn run(mut self, prompt: &str) -> Result<String, ExpandError> {
        self.template(&parse(prompt)?)?;
        Ok(self.drawn)
    }

    fn template(&mut self, template: &Template) -> Result<(), ExpandError> {
        for node in &template.0 {
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                return Err(ExpandError::TooMany);
            }
            match node {
                Node::Text(text) => self.push(text)?,
                Node::Wildcard(name) => self.wildcard(name)?,
                Node::Variant(variant) => self.variant(variant)?,
            }
        }
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), ExpandError> {
        if self.drawn.len() + text.len() > MAX_BYTES {
            return Err(ExpandError::TooLong);
        }
        self.drawn.push_str(text);
        Ok(())
    }

    fn wildcard(&mut self, name: &str) -> Result<(), ExpandError> {
        let lines = self.wildcards.lines(name)?;
        let chosen = self.random.weighted(lines.iter().map(|line| line.weight));
        self.line(name, &lines[chosen].text)
    }

    fn line(&mut self, name: &str, text: &str) -> Result<(), ExpandError> {
        self.path.push(format!("__{name}__"));
        if self.path.len() > MAX_DEPTH {
            return Err(ExpandError::TooDeep { path: std::mem::take(&mut self.path) });
        }
        let template = parse(text).map_err(|error| ExpandError::Line { name: name.to_owned(), error })?;
        self.template(&template)?;
        self.path.pop();
        Ok(())
    }

    fn variant(&mut self, variant: &Variant) -> Result<(), ExpandError> {
        // `{2$$__flavours__}` means two lines of the file, not the file twice.
        if let [Choice { template: Template(nodes), .. }] = variant.options.as_slice()
            && let [Node::Wildcard(name)] = nodes.as_slice()
        {
            let lines = self.wildcards.lines(name)?;
            let weights: Vec<f64> = lines.iter().map(|line| line.weight).collect();
            return self.join(variant, &weights, |this, index| this.line(name, &lines[index].text));
        }
        let weights: Vec<f64> = variant.options.iter().map(|option| option.weight).collect();
        self.join(variant, &weights, |this, index| this.template(&variant.options[index].template))
    }

    /// Draws as many of the weighted things as the variant wants, none twice, in the order they were drawn.
    fn join(
        &mut self,
        variant: &Variant,
        weights: &[f64],
        mut write: impl FnMut(&mut Self, usize) -> Result<(), ExpandError>,
    ) -> Result<(), ExpandError> {
        let is_possible = |index: &usize| weights[*index] > 0.0;
        let mut left: Vec<usize> = (0..weights.len()).filter(is_possible).collect();
        if left.is_empty() {
            left = (0..weights.len()).collect();
        }
        let (low, high) = (variant.at_least.min(left.len()), variant.at_most.min(left.len()));
        let wanted = if low < high { low + self.random.below(high - low + 1) } else { low };
        for drawn in 0..wanted {
            if drawn > 0 {
                self.push(&variant.separator)?;
            }
            let chosen = self.random.weighted(left.iter().map(|index| weights[*index]));
            // Order among those left is part of what a seed reproduces.
            let index = left.remove(chosen);
            write(self, index)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const FILES: [(&str, &str); 8] = [
        ("broken.txt", "{a|b"),
        ("colors.txt", "red\ngreen\nblue\n"),
        ("double.txt", "__double__ __double__\n"),
        ("flavours.txt", "vanilla\n{dark|milk} chocolate\nmint\n"),
        ("long.txt", "__wide____wide____wide____wide__\n"),
        ("ping.txt", "__pong__\n"),
        ("pong.txt", "__ping__\n"),
        (
            "wide.txt",
            "{9$$ $$aaaaaaaa|bbbbbbbb|cccccccc|dddddddd|eeeeeeee|ffffffff|gggggggg|hhhhhhhh|iiiiiiii}\n",
        ),
    ];

    fn draw(prompt: &str, seed: u64) -> Result<String, ExpandError> {
        let mut wildcards = Wildcards::new(
            || Ok(FILES.iter().map(|(path, _)| (*path).to_owned()).collect()),
            |path: &str| {
                let (_, text) = FILES.iter().find(|(known, _)| *known == path).expect("only listed files");
                Ok(text.as_bytes().to_vec())
            },
        );
        Expansion::new(&mut wildcards, Random::new(seed, 0)).run(prompt)
    }

    /// Everything a prompt becomes over many seeds.
    fn all(prompt: &str) -> BTreeSet<String> {
        (0..400).map(|seed| draw(prompt, seed).unwrap()).collect()
    }

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn draws_every_option_and_no_other() {
        assert_eq!(all("a {red|green|} hat"), set(&["a red hat", "a green hat", "a  hat"]));
        assert_eq!(all("{a{1|2}|b}"), set(&["a1", "a2", "b"]));
        assert_eq!(all("{0::never|always}"), set(&["always"]));
    }

    #[test]
    fn draws_weighted_options_by_their_share() {
        let often = (0..4000).filter(|seed| draw("{a|3::b}", *seed).unwrap() == "b").count();
        assert!((2850..3150).contains(&often), "{often} of 4000");
    }

    #[test]
    fn draws_several_without_repeating_one() {
        assert_eq!(all("{2$$a|b|c}"), set(&["a, b", "a, c", "b, a", "b, c", "c, a", "c, b"]));
        assert_eq!(all("{1-2$$ and $$a|b}"), set(&["a", "b", "a and b", "b and a"]));
        assert_eq!(all("{0-1$$a}"), set(&["", "a"]));
        assert_eq!(all("{9$$a|b}"), set(&["a, b", "b, a"]));
        assert_eq!(all("{2$$a|0::b|c}"), set(&["a, c", "c, a"]));
    }

    #[test]
    fn draws_lines_and_what_is_in_them() {
        assert_eq!(all("__colors__"), set(&["red", "green", "blue"]));
        assert_eq!(all("__flavours__"), set(&["vanilla", "dark chocolate", "milk chocolate", "mint"]));
    }

    #[test]
    fn draws_several_lines_of_one_wildcard_without_repeating_one() {
        for pair in all("{2$$ $$__colors__}") {
            let (first, second) = pair.split_once(' ').unwrap();
            assert_ne!(first, second);
        }
    }

    #[test]
    fn draws_the_same_for_the_same_seed() {
        let prompt = "{3$$__colors__} {a|b|c|d|e|f|g|h} __flavours__";
        assert_eq!(draw(prompt, 42).unwrap(), draw(prompt, 42).unwrap());
        assert!(all(prompt).len() > 50);
        // The sequence is part of the promise: a seed in an old picture's infotext must draw the same prompt.
        assert_eq!(draw("{a|b|c|d|e|f|g|h} __colors__", 1234).unwrap(), "h red");
    }

    #[test]
    fn breaks_off_where_wildcards_go_in_a_circle_and_shows_it() {
        let error = draw("__ping__", 1).unwrap_err().to_string();
        assert!(error.contains("__ping__ → __pong__ → __ping__"), "{error}");
        assert!(matches!(draw("__double__", 1), Err(ExpandError::TooDeep { .. })));
    }

    #[test]
    fn names_the_wildcard_whose_line_is_broken() {
        let error = draw("__broken__", 1).unwrap_err().into_fault("negative_prompt");
        let Fault::InvalidInput(sentence) = error else { panic!("{error:?}") };
        assert!(sentence.starts_with("The negative prompt cannot be drawn: in the wildcard __broken__, "));
    }

    #[test]
    fn refuses_a_prompt_that_grows_too_long() {
        assert_eq!(draw(&"__long__".repeat(60), 1), Err(ExpandError::TooLong));
    }

    proptest! {
        #[test]
        fn no_prompt_panics_or_grows_past_the_bound(
            prompt in r"([{}|$ 0-9a-c-]|__colors__|__long__|__ping__|__x__|\$\$|::|\\){0,120}",
            seed in any::<u64>(),
        ) {
            if let Ok(drawn) = draw(&prompt, seed) {
                prop_assert!(drawn.len() <= MAX_BYTES);
            }
        }
    }
}
