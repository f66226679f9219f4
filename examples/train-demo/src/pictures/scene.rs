//! Pictures of one shape or two on a plain background: what is in them, what they are called, how they are drawn.

use tiny_skia::Transform;

use super::canvas::{Canvas, Rgb};
use super::colour::Colour;
use super::dice::Dice;
use super::held_out::is_held_out;
use super::shape::Shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Size {
    Small,
    /// Captions do not mention it.
    Medium,
    Large,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// Captions do not mention it.
    Centre,
    Left,
    Right,
    Top,
    Bottom,
}

/// One shape; a large one is always in the centre, where it has room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShapeScene {
    pub(crate) shape: Shape,
    pub(crate) colour: Colour,
    pub(crate) background: Colour,
    pub(crate) size: Size,
    pub(crate) place: Place,
    pub(crate) caption: String,
}

/// Two shapes of medium size, side by side or one above the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PairScene {
    /// From the left or from the top.
    pub(crate) figures: [(Shape, Colour); 2],
    pub(crate) background: Colour,
    pub(crate) upright: bool,
    pub(crate) caption: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scene {
    One(ShapeScene),
    Two(PairScene),
}

impl Scene {
    /// Never with a figure and background that are held out. `small` is the share of small figures among single ones.
    pub(crate) fn choose(dice: &mut Dice, small: f32) -> Self {
        let background = dice.one_of(&Colour::ALL);
        match dice.chance(0.2) {
            true => Self::Two(PairScene::choose(dice, background)),
            false => Self::One(ShapeScene::choose(dice, background, small)),
        }
    }

    pub(crate) fn draw(&self, side: u32, dice: &mut Dice) -> Vec<u8> {
        match self {
            Self::One(scene) => scene.draw(side, dice),
            Self::Two(scene) => scene.draw(side, dice),
        }
    }

    pub(crate) fn into_caption(self) -> String {
        match self {
            Self::One(scene) => scene.caption,
            Self::Two(scene) => scene.caption,
        }
    }
}

impl ShapeScene {
    /// With a caption that says all it can.
    pub(crate) fn new(
        (shape, colour): (Shape, Colour),
        background: Colour,
        (size, place): (Size, Place),
    ) -> Self {
        let mut scene = Self { shape, colour, background, size, place, caption: String::new() };
        scene.caption = scene.wording(true, true);
        scene
    }

    fn choose(dice: &mut Dice, background: Colour, small: f32) -> Self {
        let figure = choose_figure(dice, background);
        let size = choose_size(dice, small);
        let place = dice.one_of(&[
            Place::Centre,
            Place::Centre,
            Place::Left,
            Place::Right,
            Place::Top,
            Place::Bottom,
        ]);
        let place = if size == Size::Large { Place::Centre } else { place };
        let mut scene = Self::new(figure, background, (size, place));
        let article = dice.chance(0.8);
        // White is what a background is when nobody says.
        let unsaid = background == Colour::White && dice.chance(0.5);
        scene.caption = scene.wording(article, !unsaid);
        scene
    }

    fn wording(&self, article: bool, background: bool) -> String {
        let size = match self.size {
            Size::Small => "small ",
            Size::Medium => "",
            Size::Large => "large ",
        };
        let place = match self.place {
            Place::Centre => "",
            Place::Left => " at the left",
            Place::Right => " at the right",
            Place::Top => " at the top",
            Place::Bottom => " at the bottom",
        };
        let figure = format!("{size}{} {}", self.colour.name(), self.shape.name());
        let figure = if article { with_article(&figure) } else { figure };
        let background = if background { on_background(self.background) } else { String::new() };
        format!("{figure}{place}{background}")
    }

    pub(crate) fn draw(&self, side: u32, dice: &mut Dice) -> Vec<u8> {
        let (low, high) = radii(self.size, self.place);
        let radius = dice.between(low, high);
        let (x, y) = centre(self.place);
        let at = (x + dice.between(-0.03, 0.03), y + dice.between(-0.03, 0.03));
        let turned = dice.chance(0.3) && self.shape.turns();
        let turn = if turned { dice.between(-0.15, 0.15) } else { 0.0 };
        let mut canvas = plain(side, self.background.shade(dice));
        draw_figure(&mut canvas, self.shape, at, radius, turn, self.colour.shade(dice));
        canvas.into_rgb()
    }
}

impl PairScene {
    fn choose(dice: &mut Dice, background: Colour) -> Self {
        let upright = dice.chance(0.3);
        let figures = [choose_figure(dice, background), choose_figure(dice, background)];
        let relation = if upright { "above" } else { dice.one_of(&["next to", "left of"]) };
        let [first, second] =
            figures.map(|(shape, colour)| with_article(&format!("{} {}", colour.name(), shape.name())));
        let caption = format!("{first} {relation} {second}{}", on_background(background));
        Self { figures, background, upright, caption }
    }

    fn draw(&self, side: u32, dice: &mut Dice) -> Vec<u8> {
        let mut canvas = plain(side, self.background.shade(dice));
        for ((shape, colour), along) in self.figures.into_iter().zip([0.28, 0.72]) {
            let at = if self.upright { (0.5, along) } else { (along, 0.5) };
            let radius = dice.between(0.15, 0.19);
            draw_figure(&mut canvas, shape, at, radius, 0.0, colour.shade(dice));
        }
        canvas.into_rgb()
    }
}

/// Two thirds of what is not small are medium.
fn choose_size(dice: &mut Dice, small: f32) -> Size {
    match dice.between(0.0, 1.0) {
        at if at < small => Size::Small,
        at if at < small + (1.0 - small) * 2.0 / 3.0 => Size::Medium,
        _ => Size::Large,
    }
}

fn choose_figure(dice: &mut Dice, background: Colour) -> (Shape, Colour) {
    loop {
        let (shape, colour) = (dice.one_of(&Shape::ALL), dice.one_of(&Colour::ALL));
        if colour != background && !is_held_out(shape, colour, background) {
            return (shape, colour);
        }
    }
}

fn with_article(words: &str) -> String {
    let article = if words.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {words}")
}

fn on_background(colour: Colour) -> String {
    format!(" on {} background", with_article(colour.name()))
}

/// A shape away from the centre has less room before it touches the edge.
fn radii(size: Size, place: Place) -> (f32, f32) {
    match (size, place) {
        (Size::Small, _) => (0.1, 0.14),
        (Size::Medium, Place::Centre) => (0.2, 0.27),
        (Size::Medium, _) => (0.16, 0.2),
        (Size::Large, _) => (0.34, 0.4),
    }
}

fn centre(place: Place) -> (f32, f32) {
    match place {
        Place::Centre => (0.5, 0.5),
        Place::Left => (0.27, 0.5),
        Place::Right => (0.73, 0.5),
        Place::Top => (0.5, 0.27),
        Place::Bottom => (0.5, 0.73),
    }
}

fn plain(side: u32, colour: Rgb) -> Canvas {
    let mut canvas = Canvas::new(side);
    canvas.fill(colour, colour);
    canvas
}

fn draw_figure(canvas: &mut Canvas, shape: Shape, at: (f32, f32), radius: f32, turn: f32, colour: Rgb) {
    let placed = Transform::from_translate(at.0, at.1).pre_scale(radius, radius);
    canvas.path(&shape.outline(), placed.pre_concat(Transform::from_rotate(turn.to_degrees())), colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_small_figures_are_those_the_first_checkpoint_learned() {
        let sizes = [Size::Small, Size::Medium, Size::Medium, Size::Large];
        for seed in 0..2000 {
            let first = Dice::new(seed).one_of(&sizes);
            assert_eq!(choose_size(&mut Dice::new(seed), 0.25), first, "{seed}");
        }
    }
}
