//! Any text is a prompt: it goes through everything a request's prompt goes through before the tokenizer, and on
//! through chunks with characters for tokens. Must answer, never panic, in time.

#![no_main]

use gesso_core::prompt::{
    COMMA_BACKTRACK, Chunking, Clock, Conditioning, Embeddings, Vocabulary, apply_styles, extract_networks,
    strip_comments,
};
use gesso_core::request::Emphasis;
use libfuzzer_sys::fuzz_target;

/// What a server takes by default.
const PROMPT_BYTES_MAX: usize = 16 * 1024;

fuzz_target!(|input: (&str, &str, u8, Option<u8>, bool)| {
    let (prompt, style, steps, hires_steps, old) = input;
    let clock = Clock { steps: steps.into(), hires_steps: hires_steps.map(u32::from), old };
    let Ok(prompt) = apply_styles(prompt, &[style], PROMPT_BYTES_MAX) else { return };
    let (prompt, networks) = extract_networks(&strip_comments(&prompt));
    for network in networks {
        let _ = network.read();
    }
    let tokenize = |text: &str| text.chars().map(u32::from).collect();
    let embeddings = Embeddings::new([(tokenize("a"), 1), (tokenize("ab"), 30), (tokenize("((c"), 100)]);
    let chunking = Chunking {
        vocabulary: Vocabulary { start: 1, end: 2, pad: 0, comma: u32::from(',') },
        emphasis: Emphasis::Original,
        embeddings: Some(&embeddings),
        comma_padding_backtrack: COMMA_BACKTRACK,
    };
    for side in [Conditioning::positive(&prompt, clock), Conditioning::negative(&prompt, clock)] {
        for call in 0..=u32::from(steps) {
            assert!(
                side.at(call).iter().all(|(text, weight)| *text < side.texts.len() && weight.is_finite())
            );
        }
        // A cycle has a text for every step; two show what there is to see.
        for text in side.texts.iter().take(2) {
            assert!(!chunking.chunks(&text.text, &tokenize).is_empty());
        }
    }
});
