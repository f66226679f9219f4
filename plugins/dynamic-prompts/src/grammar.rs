//! The grammar of Dynamic Prompts, as its syntax guide documents it: text to a tree, and nothing drawn yet. Called
//! by `expand`; it knows neither files nor chance.
//!
//! ```text
//! {a|b|2::c}        one option; weights are relative, 1 where none is given
//! {2$$a|b|c}        two different ones, joined by ", "
//! {1-2$$ and $$…}   one or two, joined by " and "; either bound may be left out
//! __name__          a line of a wildcard file; * and ** match several files
//! \{ \} \| \__      the characters themselves; every other backslash stays for the grammars that come after
//! ```

/// Deeper nesting is refused: it is no prompt, and the parser recurses.
const MAX_DEPTH: usize = 32;
const DEFAULT_SEPARATOR: &str = ", ";

/// A parsed prompt or wildcard line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Template(pub Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Text(String),
    /// The name between the underscores, with its `*` where it has any.
    Wildcard(String),
    Variant(Variant),
}

/// `{…}`: between `at_least` and `at_most` of the options, each at most once.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    pub at_least: usize,
    pub at_most: usize,
    pub separator: String,
    pub options: Vec<Choice>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub weight: f64,
    pub template: Template,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    #[error("the `{{` at character {at} is never closed; write `\\{{` for the brace itself")]
    Unclosed { at: usize },
    #[error("the `{{` at character {at} is nested more than {MAX_DEPTH} deep; nest less")]
    TooDeep { at: usize },
}

/// Whether the text holds anything this grammar would change.
pub fn is_dynamic(text: &str) -> bool {
    text.contains('{') || text.contains("__") || ["\\}", "\\|"].iter().any(|escape| text.contains(escape))
}

/// # Errors
/// An opening brace without its closing one, or too many of them. A closing brace or a bar alone is text.
pub fn parse(text: &str) -> Result<Template, GrammarError> {
    Parser { text, at: 0 }.template(0)
}

/// Splits the weight off the front of an option or a wildcard line: `2::red` is red, twice as likely.
pub fn split_weight(text: &str) -> (f64, &str) {
    let digits = text.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, rest) = digits.split_at(end);
    match (rest.trim_start().strip_prefix("::"), number.parse::<f64>()) {
        (Some(rest), Ok(weight)) if weight.is_finite() => (weight, rest),
        _ => (1.0, text),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Byte position; always on a character boundary.
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Up to the end, or inside of a variant to the `|` or `}` that ends the option.
    fn template(&mut self, depth: usize) -> Result<Template, GrammarError> {
        let mut nodes = Vec::new();
        while let Some(c) = self.rest().chars().next() {
            match c {
                '{' => nodes.push(Node::Variant(self.variant(depth + 1)?)),
                '|' | '}' if depth > 0 => break,
                '\\' => self.escape(&mut nodes),
                '_' if self.wildcard(&mut nodes) => {}
                _ => {
                    self.at += c.len_utf8();
                    push_text(&mut nodes, c);
                }
            }
        }
        Ok(Template(nodes))
    }

    fn variant(&mut self, depth: usize) -> Result<Variant, GrammarError> {
        let opened = self.at;
        let position = || self.text[..opened].chars().count() + 1;
        if depth > MAX_DEPTH {
            return Err(GrammarError::TooDeep { at: position() });
        }
        let unclosed = GrammarError::Unclosed { at: position() };
        self.at += '{'.len_utf8();
        let (at_least, at_most) = self.bounds().unwrap_or((1, 1));
        let has_bounds = self.at > opened + 1;
        let separator = if has_bounds { self.separator() } else { None };
        let mut options = Vec::new();
        loop {
            let (weight, rest) = split_weight(self.rest());
            self.at = self.text.len() - rest.len();
            options.push(Choice { weight, template: self.template(depth)? });
            let ending = self.rest().chars().next().ok_or_else(|| unclosed.clone())?;
            self.at += ending.len_utf8();
            if ending == '}' {
                let separator = separator.unwrap_or(DEFAULT_SEPARATOR).to_owned();
                return Ok(Variant { at_least, at_most, separator, options });
            }
        }
    }

    /// `2$$`, `1-2$$`, `-2$$`, `1-$$`: how many options are wanted.
    fn bounds(&mut self) -> Option<(usize, usize)> {
        let end = self.rest().find(|c: char| !c.is_ascii_digit() && c != '-' && c != ' ')?;
        let (range, rest) = self.rest().split_at(end);
        let rest = rest.strip_prefix("$$")?;
        let number = |digits: &str, absent: usize| match digits.trim() {
            "" => Some(absent),
            // More digits than a number holds are as good as all there are.
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().unwrap_or(usize::MAX))
            }
            _ => None,
        };
        let (low, high) = match range.split_once('-') {
            None if range.trim().is_empty() => return None,
            None => (number(range, 1)?, number(range, 1)?),
            Some((low, high)) => (number(low, 1)?, number(high, usize::MAX)?),
        };
        self.at = self.text.len() - rest.len();
        Some((low.min(high), low.max(high)))
    }

    /// The text between the second pair of `$$`. A bar alone may be one; in any other, a bar ends the first option.
    fn separator(&mut self) -> Option<&'a str> {
        let end = self.rest().find(['{', '}']).unwrap_or(self.rest().len());
        let (separator, _) = self.rest()[..end].split_once("$$")?;
        if separator.contains('|') && separator.trim() != "|" {
            return None;
        }
        self.at += separator.len() + "$$".len();
        Some(separator)
    }

    fn escape(&mut self, nodes: &mut Vec<Node>) {
        let rest = &self.rest()[1..];
        let escaped = match rest.chars().next() {
            Some(c @ ('{' | '}' | '|')) => {
                push_text(nodes, c);
                c.len_utf8()
            }
            Some('_') if rest.starts_with("__") => {
                push_text(nodes, '_');
                push_text(nodes, '_');
                2
            }
            // A pair stays a pair, and its second half escapes nothing.
            Some('\\') => {
                push_text(nodes, '\\');
                push_text(nodes, '\\');
                1
            }
            _ => {
                push_text(nodes, '\\');
                0
            }
        };
        self.at += 1 + escaped;
    }

    /// Takes `__name__`, and says whether there was one.
    fn wildcard(&mut self, nodes: &mut Vec<Node>) -> bool {
        let Some(after) = self.rest().strip_prefix("__") else { return false };
        let end = after.find(|c: char| !is_name_character(c)).unwrap_or(after.len());
        let Some((name, _)) = after[..end].split_once("__") else { return false };
        if name.is_empty() || name.starts_with('_') {
            return false;
        }
        nodes.push(Node::Wildcard(name.to_owned()));
        self.at += name.len() + 4;
        true
    }
}

fn is_name_character(c: char) -> bool {
    c.is_alphanumeric() || "_-/*.".contains(c)
}

fn push_text(nodes: &mut Vec<Node>, c: char) {
    if let Some(Node::Text(text)) = nodes.last_mut() {
        text.push(c);
    } else {
        nodes.push(Node::Text(c.into()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    fn only_variant(source: &str) -> Variant {
        match parse(source).unwrap().0.as_slice() {
            [Node::Variant(variant)] => variant.clone(),
            nodes => panic!("{source} is {nodes:?}"),
        }
    }

    fn options(variant: &Variant) -> Vec<(f64, Template)> {
        variant.options.iter().map(|option| (option.weight, option.template.clone())).collect()
    }

    fn plain(texts: &[(f64, &str)]) -> Vec<(f64, Template)> {
        texts
            .iter()
            .map(|(weight, t)| (*weight, Template(if t.is_empty() { vec![] } else { vec![text(t)] })))
            .collect()
    }

    #[test]
    fn reads_options_and_their_weights() {
        let variant = only_variant("{red|2::green|0.5 ::blue|}");
        assert_eq!((variant.at_least, variant.at_most), (1, 1));
        assert_eq!(options(&variant), plain(&[(1.0, "red"), (2.0, "green"), (0.5, "blue"), (1.0, "")]));
    }

    #[test]
    fn reads_how_many_are_wanted_and_what_joins_them() {
        for (source, bounds, separator) in [
            ("{2$$a|b}", (2, 2), ", "),
            ("{2$$ and $$a|b}", (2, 2), " and "),
            ("{1-2$$ and $$a|b}", (1, 2), " and "),
            ("{-2$$a|b}", (1, 2), ", "),
            ("{2-$$a|b}", (2, usize::MAX), ", "),
            ("{3-1$$a|b}", (1, 3), ", "),
            ("{0-1$$a|b}", (0, 1), ", "),
            ("{2$$|$$a|b}", (2, 2), "|"),
            ("{99999999999999999999999$$a|b}", (usize::MAX, usize::MAX), ", "),
        ] {
            let variant = only_variant(source);
            assert_eq!((variant.at_least, variant.at_most), bounds, "{source}");
            assert_eq!(variant.separator, separator, "{source}");
            assert_eq!(options(&variant), plain(&[(1.0, "a"), (1.0, "b")]), "{source}");
        }
    }

    #[test]
    fn leaves_dollars_that_ask_for_nothing_in_the_text() {
        assert_eq!(options(&only_variant("{$$a|b}")), plain(&[(1.0, "$$a"), (1.0, "b")]));
        assert_eq!(options(&only_variant("{cash $$|b}")), plain(&[(1.0, "cash $$"), (1.0, "b")]));
        assert_eq!(options(&only_variant("{1-2-3$$a}")), plain(&[(1.0, "1-2-3$$a")]));
    }

    #[test]
    fn nests() {
        let variant = only_variant("{a {b|c}|{d}}");
        let inner = &variant.options[0].template.0;
        assert_eq!(inner[0], text("a "));
        assert!(matches!(&inner[1], Node::Variant(inner) if inner.options.len() == 2));
    }

    #[test]
    fn finds_wildcards_and_leaves_other_underscores() {
        let wildcard = |name: &str| Node::Wildcard(name.to_owned());
        assert_eq!(parse("a __sky/dawn__!").unwrap().0, [text("a "), wildcard("sky/dawn"), text("!")]);
        assert_eq!(parse("__a__ __b_c*__").unwrap().0, [wildcard("a"), text(" "), wildcard("b_c*")]);
        for unharmed in ["__", "____", "a_b", "__no end", "snake__case", "__ spaced __", "__a(b=c)__"] {
            assert_eq!(parse(unharmed).unwrap().0, [text(unharmed)]);
        }
    }

    #[test]
    fn unescapes_its_own_characters_and_leaves_the_escapes_of_others() {
        assert_eq!(parse(r"\{a\|b\}").unwrap().0, [text("{a|b}")]);
        assert_eq!(parse(r"\__a__").unwrap().0, [text("__a__")]);
        assert_eq!(parse(r"\(round\) \\ \[").unwrap().0, [text(r"\(round\) \\ \[")]);
        assert!(matches!(parse(r"\\{a|b}").unwrap().0.as_slice(), [Node::Text(_), Node::Variant(_)]));
    }

    #[test]
    fn takes_a_bar_or_a_closing_brace_outside_as_text() {
        assert_eq!(parse("[cat|dog] }").unwrap().0, [text("[cat|dog] }")]);
    }

    #[test]
    fn says_which_brace_is_never_closed_and_which_is_too_deep() {
        assert_eq!(parse("ä {a|{b}"), Err(GrammarError::Unclosed { at: 3 }));
        assert_eq!(parse("{a|b {c"), Err(GrammarError::Unclosed { at: 6 }));
        assert_eq!(parse(&"{".repeat(100_000)), Err(GrammarError::TooDeep { at: MAX_DEPTH + 1 }));
    }

    proptest! {
        #[test]
        fn no_text_panics(source in r"([{}|$_\\:*/. 0-9a-ä-]|__|\$\$|::){0,200}") {
            let _ = parse(&source);
        }

        #[test]
        fn text_without_the_grammar_is_itself(source in r"[^{}|_\\]{1,200}") {
            prop_assert!(!is_dynamic(&source));
            prop_assert_eq!(parse(&source).unwrap().0, [text(&source)]);
        }
    }
}
