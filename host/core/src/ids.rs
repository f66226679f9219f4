//! Names of things that outlive a request. Made by the edges, which own the randomness; checked here so that an
//! id can stand in a URL, a record key or a file name as it is.

use std::fmt;

/// A task's name: 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(String);

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a task id has 1 to {max} characters, not {0}; send a shorter one, or none to get one", max = TaskId::MAX_LEN)]
    Length(usize),
    #[error(
        "a task id may hold only letters, digits, '_' and '-', not {0:?}; send another, or none to get one"
    )]
    Character(char),
}

impl TaskId {
    pub const MAX_LEN: usize = 64;

    pub fn parse(text: &str) -> Result<Self, IdError> {
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
            return Err(IdError::Character(bad));
        }
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(IdError::Length(text.len()));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for TaskId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TaskId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_letters_digits_underscores_and_hyphens() {
        let longest = "x".repeat(64);
        for text in ["a", "T4sk_id-9", longest.as_str()] {
            let id = TaskId::parse(text).unwrap();
            assert_eq!((id.to_string().as_str(), id.as_ref()), (text, text));
        }
    }

    #[test]
    fn refuses_what_could_leave_a_url_segment_or_a_folder() {
        for text in ["../x", "a/b", "a b", "a\0", "é", "a.b", "%2e"] {
            assert!(matches!(TaskId::parse(text), Err(IdError::Character(_))), "{text:?}");
        }
        assert_eq!(TaskId::parse(""), Err(IdError::Length(0)));
        let error = TaskId::parse(&"x".repeat(65)).unwrap_err();
        assert!(error.to_string().starts_with("a task id has 1 to 64 characters, not 65"), "{error}");
    }
}
