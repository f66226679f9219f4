//! From a prompt's text to the tokens a text encoder takes: attention syntax first, then chunks of 75 tokens. Called
//! by backends, which bring the tokenizer. Knows neither tokenizer nor encoder.

mod attention;
mod chunks;

pub use attention::{Piece, parse_attention, write_attention};
pub use chunks::{CHUNK_TOKENS, Chunk, Token, Vocabulary, chunks};
