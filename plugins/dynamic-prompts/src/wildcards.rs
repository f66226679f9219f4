//! Wildcard files: which there are, what a name or a glob means, and the lines of one. Where the files come from
//! is the caller's: two functions that list and read them.

use std::collections::BTreeMap;
use std::rc::Rc;

use gesso_plugin::Fault;

use crate::grammar::split_weight;

const EXTENSION: &str = ".txt";
/// A glob that matches more files, or files of more bytes, is a mistake: the call's memory has to hold them.
const MAX_FILES: usize = 256;
const MAX_BYTES: usize = 8 << 20;
const MAX_SUGGESTIONS: usize = 3;

/// A line that may be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub weight: f64,
    pub text: String,
}

/// The files of the granted folder, listed and read when first asked for.
pub struct Wildcards<List, Read> {
    list: List,
    read: Read,
    /// Without `.txt`, sorted.
    names: Option<Vec<String>>,
    /// The lines of each name and glob asked for so far.
    lines: BTreeMap<String, Rc<[Line]>>,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WildcardError {
    #[error("there is no wildcard __{name}__{}", suggestions(.near))]
    Unknown { name: String, near: Vec<String> },
    #[error("the wildcard __{name}__ has no lines to draw from; add some to its file")]
    Empty { name: String },
    #[error("the wildcard __{name}__ matches more than {MAX_FILES} files; name fewer")]
    TooManyFiles { name: String },
    #[error("the wildcard files of this prompt hold more than {MAX_BYTES} bytes; name fewer or smaller ones")]
    TooManyBytes,
    #[error(transparent)]
    Host(#[from] Fault),
}

impl<List, Read> Wildcards<List, Read>
where
    List: FnMut() -> Result<Vec<String>, Fault>,
    Read: FnMut(&str) -> Result<Vec<u8>, Fault>,
{
    pub fn new(list: List, read: Read) -> Self {
        Self { list, read, names: None, lines: BTreeMap::new(), bytes: 0 }
    }

    /// The lines of all files the name means; a `*` stands for any part of a name, `**` for folders too.
    ///
    /// # Errors
    /// A name that means no file, files without lines, too much of either, or what the host says.
    pub fn lines(&mut self, name: &str) -> Result<Rc<[Line]>, WildcardError> {
        if let Some(lines) = self.lines.get(name) {
            return Ok(Rc::clone(lines));
        }
        let mut lines = Vec::new();
        for file in self.matching(name)? {
            let bytes = (self.read)(&format!("{file}{EXTENSION}"))?;
            self.bytes += bytes.len();
            if self.bytes > MAX_BYTES {
                return Err(WildcardError::TooManyBytes);
            }
            lines.extend(parse_lines(&bytes));
        }
        if lines.is_empty() {
            return Err(WildcardError::Empty { name: name.to_owned() });
        }
        let lines: Rc<[Line]> = lines.into();
        self.lines.insert(name.to_owned(), Rc::clone(&lines));
        Ok(lines)
    }

    fn matching(&mut self, name: &str) -> Result<Vec<String>, WildcardError> {
        let names = self.names()?;
        let folded = name.to_lowercase();
        let is_match = |known: &&String| {
            let known = known.to_lowercase();
            if folded.contains('*') { fast_glob::glob_match(&folded, &known) } else { known == folded }
        };
        let matching: Vec<String> = names.iter().filter(is_match).take(MAX_FILES + 1).cloned().collect();
        match matching.len() {
            0 => Err(WildcardError::Unknown { name: name.to_owned(), near: near(name, names) }),
            1..=MAX_FILES => Ok(matching),
            _ => Err(WildcardError::TooManyFiles { name: name.to_owned() }),
        }
    }

    fn names(&mut self) -> Result<&[String], WildcardError> {
        if self.names.is_none() {
            let paths = (self.list)()?;
            let names = paths.iter().filter_map(|path| path.strip_suffix(EXTENSION)).map(str::to_owned);
            self.names = Some(names.collect());
        }
        Ok(self.names.as_deref().unwrap_or_default())
    }
}

/// One value a line; blank lines and lines that begin with `#` are none.
fn parse_lines(bytes: &[u8]) -> Vec<Line> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (weight, text) = split_weight(line);
            Line { weight, text: text.trim().to_owned() }
        })
        .collect()
}

/// The known names nearest to the unknown one, best first.
fn near(name: &str, names: &[String]) -> Vec<String> {
    let mut ranked: Vec<_> = names.iter().map(|known| (strsim::jaro_winkler(name, known), known)).collect();
    ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    ranked.into_iter().take(MAX_SUGGESTIONS).map(|(_, known)| known.clone()).collect()
}

fn suggestions(near: &[String]) -> String {
    if near.is_empty() {
        return "; the folder has no .txt files".to_owned();
    }
    let names: Vec<_> = near.iter().map(|name| format!("__{name}__")).collect();
    format!("; the nearest are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &str); 5] = [
        ("animals/cats.txt", "tabby\n"),
        ("animals/dogs.txt", "\u{feff}# good ones\r\n\r\npug\r\n 2::collie \r\n"),
        ("animals/wild/cats.txt", "lynx\n"),
        ("colors.txt", "red\ngreen\n"),
        ("empty.txt", "# nothing\n\n"),
    ];

    fn lines(name: &str) -> Result<Rc<[Line]>, WildcardError> {
        let list =
            || Ok(FILES.iter().map(|(path, _)| (*path).to_owned()).chain(["readme.md".into()]).collect());
        let read = |path: &str| {
            let (_, text) =
                FILES.iter().find(|(known, _)| *known == path).expect("only listed files are read");
            Ok(text.as_bytes().to_vec())
        };
        Wildcards::new(list, read).lines(name)
    }

    fn texts(name: &str) -> Vec<String> {
        lines(name).unwrap().iter().map(|line| line.text.clone()).collect()
    }

    #[test]
    fn reads_lines_without_comments_blanks_and_byte_order_marks() {
        let collie = Line { weight: 2.0, text: "collie".into() };
        let pug = Line { weight: 1.0, text: "pug".into() };
        assert_eq!(*lines("animals/dogs").unwrap(), [pug, collie]);
    }

    #[test]
    fn finds_a_file_whatever_its_case() {
        assert_eq!(texts("Colors"), ["red", "green"]);
    }

    #[test]
    fn matches_globs_within_a_folder_and_across() {
        assert_eq!(texts("animals/*"), ["tabby", "pug", "collie"]);
        assert_eq!(texts("animals/**"), ["tabby", "pug", "collie", "lynx"]);
        assert_eq!(texts("col*"), ["red", "green"]);
    }

    #[test]
    fn names_an_unknown_wildcard_and_the_nearest() {
        let error = lines("colours").unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.starts_with("there is no wildcard __colours__; the nearest are __colors__"),
            "{sentence}"
        );
    }

    #[test]
    fn refuses_a_wildcard_without_lines() {
        assert_eq!(lines("empty"), Err(WildcardError::Empty { name: "empty".into() }));
    }

    #[test]
    fn passes_on_what_the_host_says() {
        let denied = || Err(Fault::NotPermitted("Grant the folder wildcards.".into()));
        let mut wildcards = Wildcards::new(denied, |_| Ok(Vec::new()));
        assert!(matches!(wildcards.lines("a"), Err(WildcardError::Host(Fault::NotPermitted(_)))));
    }

    #[test]
    fn refuses_more_bytes_than_a_call_may_hold() {
        let list = || Ok((0..10).map(|index| format!("{index}.txt")).collect());
        let mut wildcards = Wildcards::new(list, |_| Ok(vec![b'a'; 1 << 20]));
        assert_eq!(wildcards.lines("*"), Err(WildcardError::TooManyBytes));
    }
}
