//! Query parameters of the web UI's dialect, read as FastAPI reads them there: of several with one name the last counts, and
//! what does not fit is told with its name and kind.

/// What is wrong with one parameter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueryProblem {
    pub(crate) parameter: &'static str,
    pub(crate) message: String,
    /// The dialect's word for the kind of problem.
    pub(crate) kind: &'static str,
}

/// What is read out of a query.
pub(crate) trait FromQuery: Sized {
    fn read(said: &mut Said) -> Self;
}

/// The parameters of a query, and what is wrong with those that were read so far.
#[derive(Debug)]
pub(crate) struct Said {
    pairs: Vec<(String, String)>,
    problems: Vec<QueryProblem>,
}

impl Said {
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs, problems: Vec::new() }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rfind(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// A text that has to be there; empty where it is not.
    pub(crate) fn needed_text(&mut self, name: &'static str) -> String {
        let text = self.text(name).map(str::to_owned);
        text.unwrap_or_else(|| {
            let message = format!("{name}: it is missing; send it in the query");
            self.problems.push(QueryProblem { parameter: name, message, kind: "value_error.missing" });
            String::new()
        })
    }

    /// A yes or no in any of the words that there are for it there; no where nothing is said.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        let Some(text) = self.text(name) else { return false };
        match text.to_ascii_lowercase().as_str() {
            "1" | "on" | "t" | "true" | "y" | "yes" => true,
            "0" | "off" | "f" | "false" | "n" | "no" => false,
            _ => {
                let message = format!("{name}: \"{text:.100}\" is no yes or no; send true or false");
                self.problems.push(QueryProblem { parameter: name, message, kind: "type_error.bool" });
                false
            }
        }
    }

    /// A number of things.
    pub(crate) fn count(&mut self, name: &'static str) -> Option<usize> {
        let text = self.text(name)?;
        let count = text.trim().parse().ok();
        if count.is_none() {
            let message = format!("{name}: \"{text:.100}\" is no whole number from 0 to {}", usize::MAX);
            self.problems.push(QueryProblem { parameter: name, message, kind: "type_error.integer" });
        }
        count
    }

    /// What was read, when nothing was wrong.
    ///
    /// # Errors
    /// Every problem.
    pub(crate) fn into_result<T>(self, read: T) -> Result<T, Vec<QueryProblem>> {
        if self.problems.is_empty() { Ok(read) } else { Err(self.problems) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&str, &str)]) -> Said {
        Said::new(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn a_flag_is_any_word_for_yes_or_no_and_nothing_else() {
        for yes in ["1", "true", "True", "TRUE", "yes", "on", "t", "y", "Y"] {
            assert!(said(&[("a", yes)]).flag("a"), "{yes}");
        }
        for no in ["0", "false", "False", "no", "off", "f", "n"] {
            let mut said = said(&[("a", no)]);
            assert!(!said.flag("a"), "{no}");
            assert_eq!(said.into_result(()), Ok(()), "{no}");
        }
        for wrong in ["AAA", "", "2", " true", "null", "tru"] {
            let mut said = said(&[("a", wrong)]);
            said.flag("a");
            let problems = said.into_result(()).unwrap_err();
            assert_eq!((problems[0].parameter, problems[0].kind), ("a", "type_error.bool"), "{wrong:?}");
        }
        let mut several = said(&[("a", "AAA"), ("a", "true"), ("b", "no")]);
        assert!(several.flag("a") && !several.flag("b") && !several.flag("c"));
        assert_eq!(several.into_result(()), Ok(()));
    }

    #[test]
    fn a_text_that_is_needed_and_missing_is_named() {
        let mut said = said(&[("a", ""), ("b", "x")]);
        assert_eq!((said.needed_text("a"), said.needed_text("b")), (String::new(), "x".to_owned()));
        assert_eq!(said.needed_text("c"), "");
        let problems = said.into_result(()).unwrap_err();
        assert_eq!((problems[0].parameter, problems[0].kind), ("c", "value_error.missing"));
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn every_parameter_that_does_not_fit_is_named() {
        let mut said =
            said(&[("limit", "-1"), ("offset", "x"), ("big", "18446744073709551616"), ("fits", "7")]);
        let read = ["limit", "offset", "big", "fits", "none"].map(|name| said.count(name));
        assert_eq!(read, [None, None, None, Some(7), None]);
        let problems = said.into_result(()).unwrap_err();
        let named: Vec<_> = problems.iter().map(|problem| (problem.parameter, problem.kind)).collect();
        let kind = "type_error.integer";
        assert_eq!(named, [("limit", kind), ("offset", kind), ("big", kind)]);
    }
}
