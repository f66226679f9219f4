//! A 5 by 7 font of printable ASCII for marks and legends, so that they need no file. Drawn in `font.txt`: eight letters
//! side by side, a blank line between rows of letters; read by the compiler, so that a picture of the wrong shape is a
//! build error.

/// Cells of a letter.
pub const WIDTH: usize = 5;
pub const HEIGHT: usize = 7;

const FIRST: char = ' ';
const LETTERS: usize = 95;
const LETTERS_PER_LINE: usize = 8;
const ART: &[u8] = include_bytes!("font.txt");
const GLYPHS: [[u8; HEIGHT]; LETTERS] = read_art();

/// Whether the letter has ink in that cell. What is not printable ASCII is drawn as `?`.
pub fn is_ink(letter: char, column: usize, row: usize) -> bool {
    let printable = if (' '..='~').contains(&letter) { letter } else { '?' };
    let glyph = &GLYPHS[printable as usize - FIRST as usize];
    column < WIDTH && row < HEIGHT && glyph[row] >> (WIDTH - 1 - column) & 1 == 1
}

const fn read_art() -> [[u8; HEIGHT]; LETTERS] {
    let mut glyphs = [[0; HEIGHT]; LETTERS];
    let mut at = 0;
    let mut first = 0;
    while first < LETTERS {
        let letters = if LETTERS - first < LETTERS_PER_LINE { LETTERS - first } else { LETTERS_PER_LINE };
        let mut row = 0;
        while row < HEIGHT {
            let mut cell = 0;
            while cell < letters * (WIDTH + 1) {
                let ends_letter = cell % (WIDTH + 1) == WIDTH;
                let bits = &mut glyphs[first + cell / (WIDTH + 1)][row];
                match ART[at] {
                    b'#' if !ends_letter => *bits = *bits << 1 | 1,
                    b'.' if !ends_letter => *bits <<= 1,
                    b' ' | b'\n' if ends_letter => {}
                    _ => {
                        panic!("font.txt: expected # or . in a letter, and a space or a line's end after it")
                    }
                }
                at += 1;
                cell += 1;
            }
            row += 1;
        }
        // The blank line.
        at += 1;
        first += letters;
    }
    glyphs
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_letter_is_different_and_only_the_space_is_blank() {
        assert_eq!(GLYPHS.iter().collect::<HashSet<_>>().len(), LETTERS);
        assert_eq!(GLYPHS.iter().filter(|glyph| **glyph == [0; HEIGHT]).count(), 1);
        assert_eq!(GLYPHS[0], [0; HEIGHT]);
    }

    #[test]
    fn what_is_not_printable_is_a_question_mark() {
        let cells = |letter| (0..WIDTH * HEIGHT).map(move |cell| is_ink(letter, cell % WIDTH, cell / WIDTH));
        assert!(cells('\n').eq(cells('?')) && cells('ä').eq(cells('?')) && !cells('a').eq(cells('?')));
    }
}
