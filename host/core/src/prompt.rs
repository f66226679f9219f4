//! The prompt language of web UIs, from what a client wrote to the tokens a text encoder takes. In order: styles,
//! comments, extra networks (whoever accepts requests), parts and schedules ([`Conditioning`]), then for each text
//! attention and chunks of 75 tokens (backends, which bring the tokenizer). Every text is a prompt. Knows neither
//! tokenizer nor encoder.

mod attention;
mod chunks;
mod comments;
mod composition;
mod conditioning;
mod embeddings;
mod extra_networks;
mod schedule;
mod style_sheet;
mod styles;

pub use attention::{Piece, parse_attention, write_attention};
pub use chunks::{CHUNK_TOKENS, COMMA_BACKTRACK, Chunk, Chunking, Token, Vocabulary, chunks};
pub use comments::strip_comments;
pub use composition::{PARTS_MAX, Part, parse_composition};
pub use conditioning::{Conditioning, ScheduledText, Stretch};
pub use embeddings::{Embeddings, Mentions};
pub use extra_networks::{BlockWeights, ExtraNetwork, Lora, Network, NetworkError, extract_networks};
pub use schedule::{Clock, Entry, schedule, text_at};
pub use style_sheet::{Style, StyleSheet};
pub use styles::{StyledPromptTooLong, apply_styles};

/// What a prompt says to the text encoder, and the extra networks it names. Comments are gone from both.
pub fn split_networks(prompt: &str) -> (String, Vec<ExtraNetwork>) {
    extract_networks(&strip_comments(prompt))
}

/// Weights stay within this on either side, so that neither brackets nor numbers can reach infinity.
const MAX_WEIGHT: f64 = 1e4;
