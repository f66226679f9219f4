//! Captioned pictures drawn by rule: landscapes by time of day, and shapes by colour, size, place and background.
//!
//! The training commands draw as many as they want by seed; the scorer asks for scenes that none of them shows.
//! Nothing here knows of networks. Wording, colours and proportions are those the first demo checkpoint was trained
//! on, so that training can go on from it.

mod canvas;
mod colour;
mod dice;
mod held_out;
mod landscape;
mod scene;
mod shape;

use std::ops::Range;

use clap::Args;

use scene::Scene;

pub(crate) use colour::Colour;
pub(crate) use dice::Dice;
pub(crate) use held_out::held_out_scenes;
pub(crate) use scene::{Place, ShapeScene, Size};
pub(crate) use shape::Shape;

/// Width and height of a picture in pixels.
pub(crate) const SIDE: i64 = 128;

// What is drawn how often; by default as for the first demo checkpoint. A doc comment would become the help of the
// commands that take it.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Share of landscapes, from 0 to 1; the rest are pictures of shapes.
    #[arg(long, default_value_t = Mix::default().landscapes, value_parser = share)]
    pub(crate) landscapes: f32,
    /// Share of small figures in pictures of one shape, from 0 to 1; two thirds of the rest are medium, one is large.
    #[arg(long, default_value_t = Mix::default().small, value_parser = share)]
    pub(crate) small: f32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { landscapes: 0.5, small: 0.25 }
    }
}

fn share(text: &str) -> Result<f32, String> {
    let share = text.parse::<f32>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

pub(crate) struct Picture {
    /// Rows of red, green and blue, `SIDE` by `SIDE`.
    pub(crate) rgb: Vec<u8>,
    pub(crate) caption: String,
    /// Whether there are figures on a background of one colour.
    is_plain: bool,
}

impl Picture {
    /// For each pixel 1 where a figure covers it, even in part, else 0. Landscapes have no figures.
    pub(crate) fn figure(&self) -> Vec<u8> {
        // No figure reaches the corners.
        let ground = &self.rgb[..3];
        self.rgb.chunks_exact(3).map(|pixel| u8::from(self.is_plain && pixel != ground)).collect()
    }

    /// Rows and columns that figures reach over, if there are any.
    pub(crate) fn bounds(&self) -> Option<(Range<u64>, Range<u64>)> {
        let covered = self.figure();
        let places = (0u64..).zip(covered).filter(|&(_, covered)| covered == 1);
        let places = places.map(|(at, _)| (at / SIDE as u64, at % SIDE as u64));
        places.fold(None, |bounds, (row, column)| {
            let (rows, columns) = bounds.unwrap_or((row..row + 1, column..column + 1));
            let wider = |range: Range<u64>, at: u64| range.start.min(at)..range.end.max(at + 1);
            Some((wider(rows, row), wider(columns, column)))
        })
    }
}

/// The picture of a seed, as the mix has them. None shows a held-out scene.
pub(crate) fn sample(mix: Mix, seed: u64) -> Picture {
    let mut dice = Dice::new(seed);
    match choose_scene(mix, &mut dice) {
        Some(scene) => {
            let rgb = scene.draw(SIDE as u32, &mut dice);
            Picture { rgb, caption: scene.into_caption(), is_plain: true }
        }
        None => landscape::draw(SIDE as u32, &mut dice),
    }
}

/// Nothing stands for a landscape, which is chosen while it is drawn.
fn choose_scene(mix: Mix, dice: &mut Dice) -> Option<Scene> {
    let landscape = dice.chance(mix.landscapes);
    (!landscape).then(|| Scene::choose(dice, mix.small))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every word the first demo checkpoint was taught.
    const WORDS: &str = "a above an and at background black blue bottom brown circle city clouds cross cyan day \
        daylight desert diamond during forest gray green heart hexagon hills in landscape large left moon mountain \
        next night of on orange painting picture pink purple red right ring sea skyline small snow snowy square \
        star stars sun sunrise sunset the to top triangle white with yellow";

    fn scenes(mix: Mix, seeds: u64) -> Vec<Option<Scene>> {
        (0..seeds).map(|seed| choose_scene(mix, &mut Dice::new(seed))).collect()
    }

    /// Whether the part is this share of the whole, but for what chance does.
    fn is_about(share: f64, part: usize, whole: usize) -> bool {
        let deviation = (share * (1.0 - share) / whole as f64).sqrt();
        (part as f64 / whole as f64 - share).abs() < 4.0 * deviation
    }

    #[test]
    fn draws_the_same_picture_of_the_same_seed() {
        let (first, second) = (sample(Mix::default(), 5), sample(Mix::default(), 5));
        assert_eq!(first.rgb.len(), (SIDE * SIDE * 3) as usize);
        assert!(first.rgb == second.rgb && first.caption == second.caption);
        assert!(sample(Mix::default(), 6).rgb != first.rgb);
    }

    #[test]
    fn uses_the_words_of_the_first_checkpoint_and_no_others() {
        let captions: Vec<_> =
            (0..1500).map(|seed| sample(Mix::default(), seed).caption.to_lowercase()).collect();
        let used: BTreeSet<_> = captions
            .iter()
            .flat_map(|caption| caption.split([' ', ',']))
            .filter(|word| !word.is_empty())
            .collect();
        assert_eq!(used, WORDS.split_whitespace().collect());
    }

    #[test]
    fn never_shows_a_held_out_triple() {
        let mut figures = 0;
        for scene in scenes(Mix::default(), 3000).into_iter().flatten() {
            let (shown, background) = match scene {
                Scene::One(one) => (vec![(one.shape, one.colour)], one.background),
                Scene::Two(two) => (two.figures.to_vec(), two.background),
            };
            for (shape, colour) in shown {
                assert_ne!(colour, background);
                assert!(
                    !held_out::is_held_out(shape, colour, background),
                    "{shape:?} {colour:?} {background:?}"
                );
                figures += 1;
            }
        }
        assert!(figures > 1500);
    }

    #[test]
    fn keeps_the_shares_of_what_it_draws() {
        let scenes = scenes(Mix::default(), 6000);
        let shapes: Vec<_> = scenes.iter().flatten().collect();
        let one = |scene: &&Scene| match scene {
            Scene::One(one) => Some(one.clone()),
            Scene::Two(_) => None,
        };
        let ones: Vec<_> = shapes.iter().filter_map(one).collect();
        assert!(is_about(0.5, shapes.len(), scenes.len()));
        assert!(is_about(0.8, ones.len(), shapes.len()));
        let share = |of: &dyn Fn(&ShapeScene) -> bool| ones.iter().filter(|one| of(one)).count();
        for (size, expected) in [(Size::Small, 0.25), (Size::Medium, 0.5), (Size::Large, 0.25)] {
            assert!(is_about(expected, share(&|one| one.size == size), ones.len()), "{size:?}");
        }
        for (place, expected) in [(Place::Centre, 0.5), (Place::Left, 0.125), (Place::Top, 0.125)] {
            assert!(is_about(expected, share(&|one| one.place == place), ones.len()), "{place:?}");
        }
        for shape in Shape::ALL {
            assert!(is_about(1.0 / 9.0, share(&|one| one.shape == shape), ones.len()), "{shape:?}");
        }
        for colour in Colour::ALL {
            assert!(is_about(1.0 / 12.0, share(&|one| one.colour == colour), ones.len()), "{colour:?}");
            assert!(is_about(1.0 / 12.0, share(&|one| one.background == colour), ones.len()), "{colour:?}");
        }
        let two = |scene: &&Scene| match scene {
            Scene::One(_) => None,
            Scene::Two(two) => Some(two.clone()),
        };
        let pairs: Vec<_> = shapes.iter().filter_map(two).collect();
        assert!(is_about(0.3, pairs.iter().filter(|pair| pair.upright).count(), pairs.len()));
        for colour in Colour::ALL {
            let backgrounds = pairs.iter().filter(|pair| pair.background == colour).count();
            assert!(is_about(1.0 / 12.0, backgrounds, pairs.len()), "{colour:?}");
        }
    }

    #[test]
    fn draws_the_shares_it_is_told() {
        let scenes = scenes(Mix { landscapes: 0.2, small: 0.6 }, 6000);
        let shapes: Vec<_> = scenes.iter().flatten().collect();
        assert!(is_about(0.8, shapes.len(), scenes.len()));
        let size = |scene: &&Scene| match scene {
            Scene::One(one) => Some(one.size),
            Scene::Two(_) => None,
        };
        let sizes: Vec<_> = shapes.iter().filter_map(size).collect();
        for (size, expected) in [(Size::Small, 0.6), (Size::Medium, 0.8 / 3.0), (Size::Large, 0.4 / 3.0)] {
            let count = sizes.iter().filter(|&&other| other == size).count();
            assert!(is_about(expected, count, sizes.len()), "{size:?}");
        }
    }

    #[test]
    fn takes_shares_from_0_to_1_alone() {
        assert_eq!(share("0.25"), Ok(0.25));
        assert_eq!((share("0"), share("1")), (Ok(0.0), Ok(1.0)));
        for text in ["-0.1", "1.5", "NaN", "25%", ""] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn knows_where_its_figures_are() {
        for seed in 0..200 {
            let picture = sample(Mix::default(), seed);
            let covered = picture.figure().iter().filter(|&&figure| figure == 1).count();
            let expected = match choose_scene(Mix::default(), &mut Dice::new(seed)) {
                // From a small star to a large circle.
                Some(_) => 0.01..0.55,
                None => 0.0..f64::EPSILON,
            };
            let share = covered as f64 / (SIDE * SIDE) as f64;
            assert!(expected.contains(&share), "{}: {share}", picture.caption);
        }
    }

    #[test]
    fn says_what_a_scene_shows() {
        let scene =
            |size, place| ShapeScene::new((Shape::Star, Colour::Orange), Colour::Blue, (size, place)).caption;
        assert_eq!(scene(Size::Medium, Place::Centre), "an orange star on a blue background");
        assert_eq!(scene(Size::Small, Place::Left), "a small orange star at the left on a blue background");
        let captions: Vec<_> =
            scenes(Mix::default(), 3000).into_iter().flatten().map(Scene::into_caption).collect();
        assert!(captions.iter().any(|caption| caption.contains(" next to a ")));
        assert!(captions.iter().any(|caption| caption.contains(" above an orange ")));
        assert!(captions.iter().any(|caption| !caption.contains("background")));
    }
}
