//! Comments in prompts: from `#` to the end of the line. The first thing done to a prompt whose styles are in, by
//! whoever accepts requests. Knows no other syntax, so there is no way to escape a `#`.

/// The text without its comments. Line breaks stay where they are.
pub fn strip_comments(text: &str) -> String {
    let mut stripped = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.find('#') {
            Some(start) => {
                stripped.push_str(&line[..start]);
                stripped.push_str(if line.ends_with('\n') { "\n" } else { "" });
            }
            None => stripped.push_str(line),
        }
    }
    stripped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_comment_ends_with_its_line() {
        for (text, want) in [
            ("", ""),
            ("no comment\n", "no comment\n"),
            ("a # b\nc", "a \nc"),
            ("# a\n#b\nc#", "\n\nc"),
            ("a # b # c\r\nd", "a \nd"),
            (r"a \# b", r"a \"),
            ("(a:1.2) # é\n\n", "(a:1.2) \n\n"),
        ] {
            assert_eq!(strip_comments(text), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_sign_and_every_line_break_is_left(text in "[a#\n é]{0,60}") {
            let stripped = strip_comments(&text);
            prop_assert!(!stripped.contains('#'));
            prop_assert_eq!(stripped.matches('\n').count(), text.matches('\n').count());
            prop_assert_eq!(strip_comments(&stripped), stripped);
        }
    }
}
