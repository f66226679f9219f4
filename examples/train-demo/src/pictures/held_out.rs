//! Which combinations no picture shows, so that drawing one proves that words are understood and not remembered.

use super::colour::Colour;
use super::dice::Dice;
use super::scene::{Place, ShapeScene, Size};
use super::shape::Shape;

/// What sizes and places go together.
const ARRANGEMENTS: [(Size, Place); 11] = [
    (Size::Small, Place::Centre),
    (Size::Small, Place::Left),
    (Size::Small, Place::Right),
    (Size::Small, Place::Top),
    (Size::Small, Place::Bottom),
    (Size::Medium, Place::Centre),
    (Size::Medium, Place::Left),
    (Size::Medium, Place::Right),
    (Size::Medium, Place::Top),
    (Size::Medium, Place::Bottom),
    (Size::Large, Place::Centre),
];

/// One triple in eleven: every shape in every colour is kept from one background, and from a different one for each
/// shape of that colour. So all pairs of words are learned, and nothing about a pair tells which triple is missing.
pub(crate) fn is_held_out(shape: Shape, colour: Colour, background: Colour) -> bool {
    background == held_out_background(shape, colour)
}

fn held_out_background(shape: Shape, colour: Colour) -> Colour {
    let (shape, colour) = (shape as usize, colour as usize);
    // 1 to 11 steps on from the colour, so never the colour itself; 4 and 11 share no factor, so shapes differ.
    let steps = 1 + (4 * shape + 7 * colour) % 11;
    Colour::ALL[(colour + steps) % Colour::ALL.len()]
}

/// Scenes whose captions name shape, colour and background that were never seen together. Each run of 108 has every
/// shape in every colour once, each run of 11 every size and place; a shorter run is as even as it can be.
pub(crate) fn held_out_scenes(count: usize, seed: u64) -> Vec<ShapeScene> {
    let mut dice = Dice::new(seed);
    let (mut shapes, mut colours, mut arrangements) = (Shape::ALL, Colour::ALL, ARRANGEMENTS);
    dice.shuffle(&mut shapes);
    dice.shuffle(&mut colours);
    dice.shuffle(&mut arrangements);
    let scene = |at: usize| {
        let shape = shapes[at % shapes.len()];
        // 9 and 12 share a factor, so the pairs come round after 36: a step further each time meets all of them.
        let colour = colours[(at + at / 36) % colours.len()];
        let arrangement = arrangements[at % arrangements.len()];
        ShapeScene::new((shape, colour), held_out_background(shape, colour), arrangement)
    };
    (0..count).map(scene).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::hash::Hash;

    use super::*;

    fn counts<T: Eq + Hash>(items: impl Iterator<Item = T>) -> HashMap<T, usize> {
        items.fold(HashMap::new(), |mut counts, item| {
            *counts.entry(item).or_default() += 1;
            counts
        })
    }

    #[test]
    fn holds_out_one_background_of_every_shape_in_every_colour() {
        let mut held_out = Vec::new();
        for shape in Shape::ALL {
            for colour in Colour::ALL {
                let backgrounds: Vec<_> =
                    Colour::ALL.into_iter().filter(|&other| is_held_out(shape, colour, other)).collect();
                assert_eq!(backgrounds.len(), 1);
                assert_ne!(backgrounds[0], colour);
                held_out.push((shape, colour, backgrounds[0]));
            }
        }
        let pairs: HashSet<_> =
            held_out.iter().map(|&(_, colour, background)| (colour, background)).collect();
        assert_eq!(pairs.len(), held_out.len(), "no colour and background are without two shapes");
        let backgrounds = counts(held_out.iter().map(|&(_, _, background)| background));
        assert!(backgrounds.values().all(|&count| (7..=11).contains(&count)), "{backgrounds:?}");
        let pairs = counts(held_out.iter().map(|&(shape, _, background)| (shape, background)));
        assert!(pairs.values().all(|&count| count <= 3), "{pairs:?}");
    }

    #[test]
    fn asks_evenly_for_what_was_held_out() {
        let scenes = held_out_scenes(108, 7);
        let asked: HashSet<_> = scenes.iter().map(|scene| (scene.shape, scene.colour)).collect();
        assert_eq!(asked.len(), 108);
        assert!(scenes.iter().all(|scene| is_held_out(scene.shape, scene.colour, scene.background)));
        assert!(scenes.iter().all(|scene| scene.size != Size::Large || scene.place == Place::Centre));
        let few = &scenes[..50];
        assert!(counts(few.iter().map(|scene| scene.shape)).values().all(|&count| (5..=6).contains(&count)));
        assert!(counts(few.iter().map(|scene| scene.colour)).values().all(|&count| (4..=5).contains(&count)));
        let arrangements = counts(few.iter().map(|scene| (scene.size, scene.place)));
        assert_eq!(arrangements.len(), ARRANGEMENTS.len());
        assert!(arrangements.values().all(|&count| (4..=5).contains(&count)), "{arrangements:?}");
    }

    #[test]
    fn asks_the_same_of_the_same_seed() {
        assert_eq!(held_out_scenes(20, 3), held_out_scenes(20, 3));
        assert_ne!(held_out_scenes(20, 3), held_out_scenes(20, 4));
        assert_eq!(held_out_scenes(200, 3)[..20], held_out_scenes(20, 3));
    }
}
