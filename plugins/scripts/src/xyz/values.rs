//! What people write for an axis: values between commas, and ranges of numbers such as `1-5`, `1-10 (+2)` and `1-10 [5]`.

use gesso_plugin::Fault;

/// Values of one axis.
const VALUES_MAX: usize = 256;

/// The texts between commas that say something.
pub(super) fn texts(text: &str) -> Vec<String> {
    let mut values = fields(text);
    values.retain(|value| !value.is_empty());
    values
}

/// The texts between commas; quotation marks keep commas together, and a doubled one stands for itself. Spaces before a
/// mark are passed over, which CSV readers do not do and web UIs do. A blank line says nothing, while between commas nothing is
/// a text, too.
pub(super) fn fields(text: &str) -> Vec<String> {
    let (mut values, mut value, mut is_quoted, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let mut is_behind_a_comma = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => value.extend(letters.next()),
            '"' if is_quoted => is_quoted = false,
            '"' if value.trim().is_empty() && !was_quoted => {
                value.clear();
                (is_quoted, was_quoted) = (true, true);
            }
            ',' | '\n' if !is_quoted => {
                let field = std::mem::take(&mut value).trim().to_owned();
                if letter == ',' || is_behind_a_comma || was_quoted || !field.is_empty() {
                    values.push(field);
                }
                (is_behind_a_comma, was_quoted) = (letter == ',', false);
            }
            other => value.push(other),
        }
    }
    let field = value.trim().to_owned();
    if is_behind_a_comma || was_quoted || !field.is_empty() {
        values.push(field);
    }
    values
}

/// Values as a text from which they are read back.
pub(super) fn joined(values: &[String]) -> String {
    let field = |value: &String| {
        if value.contains([',', '"', '\n']) {
            format!("\"{}\"", value.replace('"', "\"\""))
        } else {
            value.clone()
        }
    };
    values.iter().map(field).collect::<Vec<_>>().join(", ")
}

/// The numbers of an axis; whole ones are stepped through by one.
pub(super) fn numbers(texts: &[String], are_whole: bool) -> Result<Vec<f64>, Fault> {
    let mut numbers = Vec::new();
    for text in texts {
        let range = Range::parse(text).map(|range| range.values(are_whole));
        let found = range.or_else(|| text.parse::<f64>().ok().map(|number| vec![number]));
        let found = found.filter(|found| found.iter().all(|number| number.is_finite()));
        let Some(found) = found else {
            return Err(Fault::InvalidInput(format!(
                "{text:?} is neither a number nor a range such as 1-5, 1-10 (+2) or 1-10 [5]."
            )));
        };
        numbers.extend(found);
        if numbers.len() > VALUES_MAX {
            return Err(Fault::InvalidInput(format!("An axis has more than {VALUES_MAX} values.")));
        }
    }
    if are_whole {
        numbers.iter_mut().for_each(|number| *number = number.trunc());
    }
    Ok(numbers)
}

struct Range {
    from: f64,
    to: f64,
    rule: Rule,
}

enum Rule {
    Plain,
    Step(f64),
    Count(usize),
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (bounds, rule) = if let Some((bounds, step)) =
            text.strip_suffix(')').and_then(|text| text.split_once('('))
        {
            (bounds, Rule::Step(step.trim().parse().ok()?))
        } else if let Some((bounds, count)) = text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            (bounds, Rule::Count(count.trim().parse().ok()?))
        } else {
            (text, Rule::Plain)
        };
        let bounds = bounds.trim();
        // The dash between the bounds, not a sign of either.
        let dash = bounds.char_indices().skip(1).find(|(_, letter)| *letter == '-')?.0;
        let (from, to) = (bounds[..dash].trim().parse().ok()?, bounds[dash + 1..].trim().parse().ok()?);
        Some(Self { from, to, rule })
    }

    fn values(&self, are_whole: bool) -> Vec<f64> {
        let Self { from, to, .. } = *self;
        let step = match self.rule {
            Rule::Count(count) => {
                let count = count.clamp(1, VALUES_MAX + 1);
                let apart = if count > 1 { (to - from) / (count - 1) as f64 } else { 0.0 };
                return (0..count)
                    .map(|index| from + apart * index as f64)
                    .map(|number| if are_whole { number.trunc() } else { number })
                    .collect();
            }
            Rule::Step(step) if step != 0.0 => step,
            _ => 1.0,
        };
        let step = if (to < from) == (step < 0.0) { step } else { -step };
        // A hair beyond the end, so that rounding does not lose the last value.
        let count = ((to - from) / step + 1e-9).floor().clamp(0.0, VALUES_MAX as f64) as usize;
        (0..=count).map(|index| from + step * index as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Vec<f64> {
        numbers(&texts(text), true).unwrap()
    }

    #[test]
    fn ranges_are_stepped_through_or_divided() {
        assert_eq!(whole("1-3, 7"), [1.0, 2.0, 3.0, 7.0]);
        assert_eq!(whole("1-5 (+2)"), [1.0, 3.0, 5.0]);
        assert_eq!(whole("10-5 (-3)"), [10.0, 7.0]);
        assert_eq!(whole("3-1"), [3.0, 2.0, 1.0]);
        assert_eq!(whole("1-10 [5]"), [1.0, 3.0, 5.0, 7.0, 10.0]);
        assert_eq!(whole("-2-1"), [-2.0, -1.0, 0.0, 1.0]);
        let fractions = numbers(&texts("0-1 (+0.25), 0-1 [3]"), false).unwrap();
        assert_eq!(fractions, [0.0, 0.25, 0.5, 0.75, 1.0, 0.0, 0.5, 1.0]);
    }

    #[test]
    fn what_is_no_number_and_what_is_too_much_is_refused() {
        for text in ["many", "1-", "1-2-3x", "1-100000", "0-1 (+0.000001)", "nan"] {
            let values = numbers(&texts(text), false);
            assert!(matches!(values, Err(Fault::InvalidInput(_))), "{text}: {values:?}");
        }
    }

    #[test]
    fn quotation_marks_keep_commas_together() {
        assert_eq!(texts(r#"cat, "dog, ""red""" ,fish,"#), ["cat", "dog, \"red\"", "fish"]);
        assert_eq!(texts(""), Vec::<String>::new());
        let values = ["a, b", "c\"d", "e"].map(str::to_owned);
        assert_eq!(texts(&joined(&values)), values);
    }

    #[test]
    fn nothing_between_commas_is_a_text_and_a_blank_line_is_none() {
        assert_eq!(fields("red, ,blue,"), ["red", "", "blue", ""]);
        assert_eq!(fields("red\n\n blue \n"), ["red", "blue"]);
        assert_eq!((fields(" \n"), fields("\"\"")), (Vec::<String>::new(), vec![String::new()]));
    }
}
