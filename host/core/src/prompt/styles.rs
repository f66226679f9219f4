//! Styles: texts that an operator keeps under names and a request asks for by name. The first thing done to a prompt,
//! by whoever accepts requests, on either side alike. Knows neither names nor files.

/// Where a style that wraps wants the prompt.
const PLACE: &str = "{prompt}";

/// Styles that repeat the prompt multiply its length, so that a handful of them could fill the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the prompt with its styles has {bytes} bytes; ask for fewer styles or shorten it to {bytes_max}")]
pub struct StyledPromptTooLong {
    pub bytes: usize,
    pub bytes_max: usize,
}

/// The prompt with the styles' texts in, in their order. A text that contains `{prompt}` wraps what there is so far,
/// any other is appended behind a comma. Nothing is appended to nothing.
///
/// # Errors
/// When the text passes `bytes_max` at any point.
pub fn apply_styles(prompt: &str, styles: &[&str], bytes_max: usize) -> Result<String, StyledPromptTooLong> {
    let mut styled = prompt.to_owned();
    for style in styles {
        let places = style.matches(PLACE).count();
        let bytes = match places {
            0 => styled.len() + ", ".len() + style.len(),
            _ => style.len() - places * PLACE.len() + places.saturating_mul(styled.len()),
        };
        if bytes > bytes_max {
            return Err(StyledPromptTooLong { bytes, bytes_max });
        }
        styled = if places > 0 { style.replace(PLACE, &styled) } else { joined(&styled, style) };
    }
    Ok(styled)
}

/// Web UIs take the blanks off both sides here, and only here.
fn joined(prompt: &str, style: &str) -> String {
    match (prompt.trim(), style.trim()) {
        (prompt, "") => prompt.to_owned(),
        ("", style) => style.to_owned(),
        (prompt, style) => format!("{prompt}, {style}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn styles_wrap_or_follow_in_their_order() {
        for (prompt, styles, want) in [
            ("cat", &[][..], "cat"),
            ("cat", &["ink"][..], "cat, ink"),
            ("cat", &["ink", "gold"][..], "cat, ink, gold"),
            ("cat", &["a photo of {prompt}, sharp"][..], "a photo of cat, sharp"),
            ("cat", &["ink", "old {prompt}"][..], "old cat, ink"),
            ("cat", &["old {prompt}", "ink"][..], "old cat, ink"),
            ("cat", &["{prompt} and {prompt}"][..], "cat and cat"),
            ("", &["ink"][..], "ink"),
            ("cat", &[""][..], "cat"),
            ("", &[""][..], ""),
            ("", &["old {prompt}"][..], "old "),
            (" cat ", &[" ink "][..], "cat, ink"),
            ("a {prompt}", &["b {prompt}"][..], "b a {prompt}"),
        ] {
            assert_eq!(apply_styles(prompt, styles, 1000).as_deref(), Ok(want), "{prompt} {styles:?}");
        }
    }

    #[test]
    fn styles_that_double_the_prompt_stop_at_the_limit() {
        let doubling = ["{prompt}{prompt}"; 64];
        let error = apply_styles("x", &doubling, 1000).unwrap_err();
        assert_eq!(error, StyledPromptTooLong { bytes: 1024, bytes_max: 1000 });
        assert!(error.to_string().contains("shorten it to 1000"));
    }

    proptest! {
        #[test]
        fn no_result_is_over_the_limit(
            prompt: String, styles in prop::collection::vec("(\\{prompt\\}|[a ,]){0,6}", 0..9),
        ) {
            let styles: Vec<&str> = styles.iter().map(String::as_str).collect();
            if let Ok(styled) = apply_styles(&prompt, &styles, 200) {
                prop_assert!(styled.len() <= 200.max(prompt.len()));
            }
        }
    }
}
