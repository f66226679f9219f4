//! X/Y/Z plot: one picture for every combination of up to three things that differ, in a grid for each Z beside the others.

mod axes;
mod values;

use std::hash::{DefaultHasher, Hash, Hasher};

use gesso_plugin::{Arguments, Fault, Image, Params, ScriptCall, ScriptOutput};

use self::axes::{Axis, Point};
use crate::drawing::{draw_all, first, seed};
use crate::grid::{Grid, Label};

/// Pictures of one plot.
const CELLS_MAX: usize = 512;
const NAMES: [&str; 3] = ["X", "Y", "Z"];

pub(crate) fn run(call: &ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let plot = Plot::read(&arguments, seed(&call.params), !call.init_images.is_empty())?;
    let requests = plot.requests(&call.params)?;
    let mut cells = Vec::with_capacity(requests.len());
    for drawn in draw_all(call, requests)? {
        cells.push(first(drawn)?);
    }
    let infotext = cells[0].1.clone();
    let pictures: Vec<&Image> = cells.iter().map(|(picture, _)| picture).collect();
    let mut grids = plot.grids(&pictures)?;
    let mut made = Vec::new();
    if grids.len() > 1 {
        let whole = Grid { columns: grids.len(), margin: plot.margin, ..Grid::default() };
        made.push((whole.draw(&grids.iter().collect::<Vec<_>>())?, infotext.clone()));
    }
    if made.is_empty() || plot.includes_grids {
        made.extend(grids.drain(..).map(|grid| (grid, infotext.clone())));
    }
    let index_of_first_image = made.len() as u32;
    if plot.includes_cells {
        made.extend(cells);
    }
    Ok(ScriptOutput { pictures: made, index_of_first_image })
}

/// A seed that looks random and is the same whenever the request is drawn again.
fn random_seed(request_seed: u64, place: u32) -> u32 {
    let mut hasher = DefaultHasher::new();
    (request_seed, place).hash(&mut hasher);
    hasher.finish() as u32
}

struct Plot {
    /// Along, down, and from grid to grid.
    axes: [Vec<Point>; 3],
    /// Where the seed grows by one from place to place.
    vary: [bool; 3],
    has_legend: bool,
    includes_cells: bool,
    includes_grids: bool,
    margin: u32,
}

impl Plot {
    fn read(arguments: &Arguments<'_>, request_seed: u64, is_img2img: bool) -> Result<Self, Fault> {
        let axis = |index: usize| {
            let place = index * 3;
            let axis = Axis::find(arguments.0.get(place).unwrap_or(&serde_json::Value::Null), is_img2img)?;
            let points = axis.points(&arguments.text(place + 1), arguments.texts(place + 2));
            points.map_err(|fault| match fault {
                Fault::InvalidInput(text) => Fault::InvalidInput(format!("{}: {text}", NAMES[index])),
                other => other,
            })
        };
        let mut axes = [axis(0)?, axis(1)?, axis(2)?];
        if !arguments.flag(12, "Keep -1 for seeds")? {
            let points = axes.iter_mut().flatten();
            points.zip(0..).for_each(|(point, place)| point.fix_seed(random_seed(request_seed, place)));
        }
        let plot = Self {
            axes,
            vary: [
                arguments.flag(13, "Vary seeds for X")?,
                arguments.flag(14, "Vary seeds for Y")?,
                arguments.flag(15, "Vary seeds for Z")?,
            ],
            has_legend: arguments.flag(9, "Draw legend")?,
            includes_cells: arguments.flag(10, "Include Sub Images")?,
            includes_grids: arguments.flag(11, "Include Sub Grids")?,
            margin: arguments.number(16, "Grid margins (px)", (0.0, 500.0)).unwrap_or(0.0) as u32,
        };
        let count = plot.axes.iter().map(Vec::len).product::<usize>();
        if count > CELLS_MAX {
            return Err(Fault::InvalidInput(format!(
                "The plot has {count} pictures; {CELLS_MAX} are the most."
            )));
        }
        Ok(plot)
    }

    /// One for each picture: along first, then down, then from grid to grid.
    fn requests(&self, params: &Params) -> Result<Vec<Params>, Fault> {
        let [along, down, deep] = &self.axes;
        let mut requests = Vec::new();
        for (k, z) in deep.iter().enumerate() {
            for (j, y) in down.iter().enumerate() {
                for (i, x) in along.iter().enumerate() {
                    let mut params = params.clone();
                    params.set("batch_size", 1);
                    params.set("n_iter", 1);
                    for point in [x, y, z] {
                        point.apply(&mut params)?;
                    }
                    // A seed that an axis sets moves too; one of -1 is another for each picture anyway.
                    if let Some(seed) = params.get("seed").and_then(serde_json::Value::as_u64) {
                        params.set("seed", seed + self.shift([i, j, k]));
                    }
                    requests.push(params);
                }
            }
        }
        Ok(requests)
    }

    /// Each place its own seed, as far as the axes vary.
    fn shift(&self, at: [usize; 3]) -> u64 {
        let (mut shift, mut stride) = (0, 1);
        for ((place, points), varies) in at.into_iter().zip(&self.axes).zip(self.vary) {
            if varies {
                shift += place * stride;
                stride *= points.len();
            }
        }
        shift as u64
    }

    fn grids(&self, pictures: &[&Image]) -> Result<Vec<Image>, Fault> {
        let [along, down, deep] = &self.axes;
        let labels = |points: &[Point]| -> Vec<Vec<Label>> {
            let label =
                |point: &Point| if point.shown.is_empty() { Vec::new() } else { Label::plain(&*point.shown) };
            if self.has_legend { points.iter().map(label).collect() } else { Vec::new() }
        };
        let each = along.len() * down.len();
        let grid = |(z, pictures): (&Point, &[&Image])| {
            let title = (self.has_legend && !z.shown.is_empty()).then(|| z.shown.clone());
            let (along, down, columns, margin) = (labels(along), labels(down), along.len(), self.margin);
            Grid { columns, along, down, margin, title }.draw(pictures)
        };
        deep.iter().zip(pictures.chunks(each)).map(grid).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plot(arguments: Value) -> Result<Plot, Fault> {
        Plot::read(&Arguments(arguments.as_array().unwrap()), 10, false)
    }

    fn requests(arguments: Value) -> Vec<(u64, u64, f64)> {
        let params =
            Params::from_json(r#"{"prompt": "a", "seed": 10, "steps": 20, "cfg_scale": 7}"#).unwrap();
        let of = |params: &Params, field: &str| params.get(field).and_then(Value::as_f64).unwrap();
        let requests = plot(arguments).unwrap().requests(&params).unwrap();
        requests
            .iter()
            .map(|params| (seed(params), of(params, "steps") as u64, of(params, "cfg_scale")))
            .collect()
    }

    #[test]
    fn every_combination_is_drawn_along_first() {
        let requests = requests(json!(["Steps", "1,2", [], "CFG Scale", "3,4", []]));
        assert_eq!(requests, [(10, 1, 3.0), (10, 2, 3.0), (10, 1, 4.0), (10, 2, 4.0)]);
    }

    #[test]
    fn seeds_vary_along_the_axes_that_are_told_to() {
        let args = |vary: [bool; 2]| {
            json!([
                "Steps",
                "1,2",
                [],
                "CFG Scale",
                "3,4",
                [],
                0,
                "",
                [],
                true,
                false,
                false,
                false,
                vary[0],
                vary[1],
                false,
                0,
                true
            ])
        };
        let seeds = |vary| requests(args(vary)).into_iter().map(|(seed, ..)| seed).collect::<Vec<_>>();
        assert_eq!(seeds([true, false]), [10, 11, 10, 11]);
        assert_eq!(seeds([false, true]), [10, 10, 11, 11]);
        assert_eq!(seeds([true, true]), [10, 11, 12, 13]);
    }

    #[test]
    fn a_seed_of_an_axis_moves_too_whatever_it_is() {
        // The second is what the request's own would have become.
        let mut args =
            json!(["Seed", "10,11", [], "Nothing", "", [], 0, "", [], 0, 0, 0, 0, true, 0, 0, 0, 0]);
        let seeds = |args| requests(args).into_iter().map(|(seed, ..)| seed).collect::<Vec<_>>();
        assert_eq!(seeds(args.clone()), [10, 12]);
        args[13] = false.into();
        assert_eq!(seeds(args), [10, 11]);
    }

    #[test]
    fn a_seed_of_minus_one_is_one_seed_for_its_place_unless_it_is_kept() {
        let mut args =
            json!(["Seed", "-1,-1", [], "Steps", "1,2", [], 0, "", [], 0, 0, 0, false, 0, 0, 0, 0, 0]);
        let seeds: Vec<_> = requests(args.clone()).into_iter().map(|(seed, ..)| seed).collect();
        assert!(seeds[0] != seeds[1] && seeds[..2] == seeds[2..], "{seeds:?}");
        args[12] = true.into();
        let params = plot(args).unwrap().requests(&Params::from_json("{}").unwrap()).unwrap();
        assert!(params.iter().all(|params| params.get("seed") == Some(&json!(-1))));
    }

    #[test]
    fn a_list_wins_over_text_and_faults_name_their_axis() {
        let plot_of = plot(json!(["Sampler", "", ["Euler", "DDIM"]])).unwrap();
        assert_eq!(plot_of.axes.map(|points| points.len()), [2, 1, 1]);
        let Err(Fault::InvalidInput(text)) = plot(json!(["Seed", "1", [], "Steps", "x", []])) else {
            panic!()
        };
        assert!(text.starts_with("Y: "), "{text}");
        assert!(plot(json!(["Seed", "1-200", [], "Steps", "1-20", []])).is_err());
    }
}
