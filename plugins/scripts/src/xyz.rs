//! X/Y/Z plot: one picture for every combination of up to three things that differ, in a grid for each Z beside the others.

mod axes;
mod values;

use gesso_plugin::{Arguments, Fault, Image, Params, Random, ScriptCall, ScriptOutput};
use serde_json::Value;

use self::axes::{Axis, Point};
use crate::drawing::{described, draw_all, drawn_size, first, seed};
use crate::grid::{Grid, Label};

/// Pictures of one plot.
const CELLS_MAX: usize = 512;
const NAMES: [&str; 3] = ["X", "Y", "Z"];
/// What infotexts of grids call an axis, its values, and the seeds that stand for values of -1.
const FIELDS: [[&str; 3]; 3] = [
    ["X Type", "X Values", "Fixed X Values"],
    ["Y Type", "Y Values", "Fixed Y Values"],
    ["Z Type", "Z Values", "Fixed Z Values"],
];
/// The axis along which nothing differs.
const NOTHING: &str = "Nothing";

pub(crate) fn run(call: &ScriptCall) -> Result<ScriptOutput, Fault> {
    let arguments = Arguments(&call.arguments);
    let plot = Plot::read(&arguments, seed(&call.params), !call.init_images.is_empty())?;
    let requests = plot.requests(&call.params)?;
    plot.check_size(call, &requests)?;
    let mut cells = Vec::with_capacity(requests.len());
    for drawn in draw_all(call, requests)? {
        cells.push(first(drawn)?);
    }
    // A grid's text is that of its first cell, and what differs along its axes.
    let each = cells.len() / plot.axes[2].len();
    let infotext = |z: usize, axes: usize| described(&cells[z * each].1, &plot.fields(axes));
    let pictures: Vec<&Image> = cells.iter().map(|(picture, _)| picture).collect();
    let mut grids = plot.grids(&pictures)?;
    let mut made = Vec::new();
    if grids.len() > 1 {
        made.push((plot.whole().draw(&grids.iter().collect::<Vec<_>>())?, infotext(0, 3)));
    }
    let axes = if made.is_empty() { 3 } else { 2 };
    if made.is_empty() || plot.includes_grids {
        made.extend(grids.drain(..).enumerate().map(|(z, grid)| (grid, infotext(z, axes))));
    }
    let index_of_first_image = made.len() as u32;
    if plot.includes_cells {
        made.extend(cells);
    }
    Ok(ScriptOutput { pictures: made, index_of_first_image })
}

/// A seed that looks random and is the same whenever the request is drawn again, whatever the plugin was built with.
fn random_seed(request_seed: u64, place: u32) -> u32 {
    // A number from 0 up to 1 has 53 bits, so that these are the first 32 of what was drawn.
    (Random::new(request_seed, place.into()).unit() * 2_f64.powi(32)) as u32
}

struct Plot {
    /// Along, down, and from grid to grid.
    axes: [Vec<Point>; 3],
    /// What an infotext says of each: its label and values, and which seeds they came to.
    said: [Vec<(&'static str, String)>; 3],
    /// Where the seed grows by one from place to place.
    vary: [bool; 3],
    has_legend: bool,
    includes_cells: bool,
    includes_grids: bool,
    margin: u32,
}

impl Plot {
    fn read(arguments: &Arguments<'_>, request_seed: u64, is_img2img: bool) -> Result<Self, Fault> {
        let is_text = arguments.flag(17, "Use text inputs instead of dropdowns")?;
        let axis = |index: usize| -> Result<(&'static str, String, Vec<Point>), Fault> {
            let place = index * 3;
            let axis = Axis::find(arguments.0.get(place).unwrap_or(&Value::Null), is_img2img)?;
            let given = axis.given(&arguments.text(place + 1), arguments.texts(place + 2), is_text);
            let points = axis.points(&given).map_err(|fault| match fault {
                Fault::InvalidInput(text) => Fault::InvalidInput(format!("{}: {text}", NAMES[index])),
                other => other,
            })?;
            Ok((axis.label, given.shown, points))
        };
        let given = [axis(0)?, axis(1)?, axis(2)?];
        let keeps_seeds = arguments.flag(12, "Keep -1 for seeds")?;
        let mut axes: [Vec<Point>; 3] = Default::default();
        let mut said: [Vec<(&'static str, String)>; 3] = Default::default();
        let mut place = 0;
        for (index, (label, values, mut points)) in given.into_iter().enumerate() {
            for point in points.iter_mut().filter(|_| !keeps_seeds) {
                point.fix_seed(random_seed(request_seed, place));
                place += 1;
            }
            if label != NOTHING {
                let [kind, listed, fixed] = FIELDS[index];
                said[index] = vec![(kind, label.to_owned()), (listed, values)];
                let seeds: Vec<String> = points.iter().filter_map(Point::seed).collect();
                if !keeps_seeds && !seeds.is_empty() {
                    said[index].push((fixed, seeds.join(", ")));
                }
            }
            axes[index] = points;
        }
        // Nobody who leaves it out means a margin.
        let margin = match arguments.0.get(16) {
            None | Some(Value::Null) => 0,
            Some(_) => arguments.number(16, "Grid margins (px)", (0.0, 500.0))? as u32,
        };
        let plot = Self {
            axes,
            said,
            vary: [
                arguments.flag(13, "Vary seeds for X")?,
                arguments.flag(14, "Vary seeds for Y")?,
                arguments.flag(15, "Vary seeds for Z")?,
            ],
            has_legend: arguments.flag(9, "Draw legend")?,
            includes_cells: arguments.flag(10, "Include Sub Images")?,
            includes_grids: arguments.flag(11, "Include Sub Grids")?,
            margin,
        };
        let count = plot.axes.iter().map(Vec::len).product::<usize>();
        if count > CELLS_MAX {
            return Err(Fault::InvalidInput(format!(
                "The plot has {count} pictures; {CELLS_MAX} are the most."
            )));
        }
        Ok(plot)
    }

    /// What an infotext says of the first axes.
    fn fields(&self, axes: usize) -> Vec<(&'static str, String)> {
        let said = self.said.iter().take(axes).flatten().cloned();
        std::iter::once(("Script", "X/Y/Z plot".to_owned())).chain(said).collect()
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
                    if let Some(seed) = params.get("seed").and_then(Value::as_u64) {
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

    /// Refuses a plot that no picture could hold, before any of it is drawn.
    fn check_size(&self, call: &ScriptCall, requests: &[Params]) -> Result<(), Fault> {
        let each = requests.len() / self.axes[2].len();
        let sizes = self.axes[2].iter().zip(requests.chunks(each)).map(|(z, requests)| {
            // Pictures of other sizes are brought to that of the first.
            let cell = requests.first().map_or((0, 0), |params| drawn_size(call, params));
            self.grid(z).size(requests.len(), cell)
        });
        let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
        match sizes.as_slice() {
            [first, _, ..] => self.whole().size(sizes.len(), *first).map(drop),
            _ => Ok(()),
        }
    }

    fn grids(&self, pictures: &[&Image]) -> Result<Vec<Image>, Fault> {
        let each = pictures.len() / self.axes[2].len();
        self.axes[2]
            .iter()
            .zip(pictures.chunks(each))
            .map(|(z, pictures)| self.grid(z).draw(pictures))
            .collect()
    }

    /// The grid at a place of the third axis.
    fn grid(&self, z: &Point) -> Grid {
        let labels = |points: &[Point]| -> Vec<Vec<Label>> {
            let label =
                |point: &Point| if point.shown.is_empty() { Vec::new() } else { Label::plain(&*point.shown) };
            if self.has_legend { points.iter().map(label).collect() } else { Vec::new() }
        };
        let [along, down, _] = &self.axes;
        let title = (self.has_legend && !z.shown.is_empty()).then(|| z.shown.clone());
        Grid { columns: along.len(), along: labels(along), down: labels(down), margin: self.margin, title }
    }

    /// The grid of those grids.
    fn whole(&self) -> Grid {
        Grid { columns: self.axes[2].len(), margin: self.margin, ..Grid::default() }
    }
}

#[cfg(test)]
mod tests {
    use gesso_plugin::{PixelFormat, fake};
    use serde_json::json;

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
    fn seeds_that_stand_for_minus_one_stay_the_same_for_good() {
        let seeds = [(10, 0), (10, 1), (11, 0), (1 << 63, 0)].map(|(seed, place)| random_seed(seed, place));
        assert_eq!(seeds, [2_566_180_922, 3_221_366_314, 3_314_518_331, 2_203_224_465]);
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

    #[test]
    fn a_plot_that_no_picture_holds_is_refused_before_it_is_drawn() {
        let check = |arguments: Value, params: &str| {
            let plot = plot(arguments).unwrap();
            let call = ScriptCall {
                title: String::new(),
                params: Params::from_json(params).unwrap(),
                arguments: Vec::new(),
                init_images: Vec::new(),
                mask: None,
            };
            let requests = plot.requests(&call.params).unwrap();
            plot.check_size(&call, &requests)
        };
        let square = r#"{"width": 1024, "height": 1024, "enable_hr": false, "hr_scale": 2}"#;
        assert_eq!(check(json!(["Seed", "1-15"]), square), Ok(()));
        for arguments in [
            json!(["Seed", "1-17"]),
            json!(["Seed", "1-9", [], "Size", "2048x2048", []]),
            // Each grid fits, and not all of them side by side.
            json!(["Seed", "1-9", [], "", "", [], "Steps", "1,2", []]),
        ] {
            let refused = check(arguments.clone(), square);
            assert!(
                matches!(&refused, Err(Fault::InvalidInput(text)) if text.contains("16384 is the most")),
                "{arguments}: {refused:?}"
            );
        }
        assert!(check(json!(["Seed", "1-9"]), &square.replace("false", "true")).is_err());
    }

    #[test]
    fn a_whole_plot_has_its_grids_before_its_pictures_and_says_what_differs() {
        let host = fake::Host::new().drawing(|drawing| {
            let mut drawn = drawing.drawn(vec![fake::picture(16, 8, PixelFormat::Rgb8, &[9; 16 * 8 * 3])]);
            let seed = drawing.params.get("seed").unwrap();
            drawn.infotexts = vec![format!("a\nSeed: {seed}, Steps: 2, Size: 16x8, Version: v")];
            Ok(drawn)
        });
        let arguments = json!([
            "Seed",
            "-1, 8",
            [],
            4,
            "2-3",
            [],
            "Sampler",
            "DDIM",
            ["Euler", "Heun"],
            false,
            true,
            true,
            false,
            false,
            false,
            false,
            2,
            false
        ]);
        let call = ScriptCall {
            title: "X/Y/Z plot".into(),
            params: Params::from_json(
                r#"{"prompt": "a", "seed": 10, "width": 16, "height": 8, "batch_size": 3}"#,
            )
            .unwrap(),
            arguments: arguments.as_array().unwrap().clone(),
            init_images: Vec::new(),
            mask: None,
        };
        let made = host.run(|| run(&call)).unwrap();
        assert_eq!((made.index_of_first_image, made.pictures.len()), (3, 3 + 2 * 2 * 2));
        let sizes: Vec<_> =
            made.pictures.iter().map(|(picture, _)| (picture.desc().width, picture.desc().height)).collect();
        assert_eq!(sizes[..4], [(2 * (2 * 16 + 2) + 2, 18), (34, 18), (34, 18), (16, 8)]);
        let drawings = host.drawings();
        let of = |field: &str| -> Vec<Value> {
            drawings.iter().map(|drawing| drawing.params.get(field).cloned().unwrap()).collect()
        };
        let fixed = of("seed")[0].clone();
        assert!(fixed.as_u64().is_some() && of("batch_size").iter().all(|count| *count == json!(1)));
        assert_eq!(of("seed")[..4], [fixed.clone(), json!(8), fixed.clone(), json!(8)]);
        assert_eq!(of("steps")[..4], [json!(2), json!(2), json!(3), json!(3)]);
        assert_eq!((&of("sampler_name")[0], &of("sampler_name")[4]), (&json!("Euler"), &json!("Heun")));
        let cell = format!("a\nSeed: {fixed}, Steps: 2, Size: 16x8");
        let sub = format!(
            "{cell}, Script: X/Y/Z plot, X Type: Seed, X Values: \"-1, 8\", Fixed X Values: \"{fixed}, 8\", \
             Y Type: Steps, Y Values: 2-3"
        );
        let texts: Vec<_> = made.pictures.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[0], format!("{sub}, Z Type: Sampler, Z Values: \"Euler, Heun\", Version: v"));
        assert_eq!(
            (texts[1], texts[3]),
            (format!("{sub}, Version: v").as_str(), format!("{cell}, Version: v").as_str())
        );
    }
}
