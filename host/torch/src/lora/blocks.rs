//! Strength by block of the UNet, as the LoRA Block Weight extension lets users write it: 17 numbers for the blocks
//! that have attention, 26 for all. Pure; knows no file and no tensor.

/// The blocks in the order of the long form; BASE is the text encoder.
const ALL: [&str; 26] = [
    "BASE", "IN00", "IN01", "IN02", "IN03", "IN04", "IN05", "IN06", "IN07", "IN08", "IN09", "IN10", "IN11",
    "M00", "OUT00", "OUT01", "OUT02", "OUT03", "OUT04", "OUT05", "OUT06", "OUT07", "OUT08", "OUT09", "OUT10",
    "OUT11",
];
/// Places of the short form in the long one: BASE, IN01, 02, 04, 05, 07, 08, M00, OUT03 to OUT11.
const SHORT: [usize; 17] = [0, 2, 3, 5, 6, 8, 9, 13, 17, 18, 19, 20, 21, 22, 23, 24, 25];

/// The extension's own presets.
const PRESETS: [(&str, [f64; 17]); 10] = [
    ("NONE", [0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.]),
    ("ALL", [1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1., 1.]),
    ("INS", [1., 1., 1., 1., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.]),
    ("IND", [1., 0., 0., 0., 1., 1., 1., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.]),
    ("INALL", [1., 1., 1., 1., 1., 1., 1., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.]),
    ("MIDD", [1., 0., 0., 0., 1., 1., 1., 1., 1., 1., 1., 1., 0., 0., 0., 0., 0.]),
    ("OUTD", [1., 0., 0., 0., 0., 0., 0., 0., 1., 1., 1., 1., 0., 0., 0., 0., 0.]),
    ("OUTS", [1., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 1., 1., 1., 1.]),
    ("OUTALL", [1., 0., 0., 0., 0., 0., 0., 0., 1., 1., 1., 1., 1., 1., 1., 1., 1.]),
    ("ALL0.5", [0.5; 17]),
];

/// Text that is no set of block weights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockWeightsError {
    #[error("{0} block weights are given; give 17 or 26, or the name of a preset such as INALL or OUTS")]
    Count(usize),
    #[error("{0:?} is no block weight; give numbers, or the name of a preset such as INALL or OUTS")]
    Number(String),
}

/// A factor for each block, applied on top of a LoRA's strength.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockWeights([f64; 26]);

impl BlockWeights {
    /// From 17 or 26 numbers. Of 17, the blocks without attention get 0, as in the extension.
    ///
    /// # Errors
    /// [`BlockWeightsError::Count`] for another number of them.
    pub fn new(weights: &[f64]) -> Result<Self, BlockWeightsError> {
        if let Ok(all) = weights.try_into() {
            return Ok(Self(all));
        }
        if weights.len() != SHORT.len() {
            return Err(BlockWeightsError::Count(weights.len()));
        }
        let mut all = [0.0; 26];
        SHORT.iter().zip(weights).for_each(|(place, weight)| all[*place] = *weight);
        Ok(Self(all))
    }

    /// The extension's preset of that name.
    pub fn preset(name: &str) -> Option<Self> {
        let (_, weights) = PRESETS.iter().find(|(preset, _)| *preset == name)?;
        Self::new(weights).ok()
    }

    /// From what stands behind `lbw=`: a preset's name or numbers with commas between.
    ///
    /// # Errors
    /// [`BlockWeightsError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, BlockWeightsError> {
        if let Some(preset) = Self::preset(text.trim()) {
            return Ok(preset);
        }
        let number = |part: &str| match part.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(BlockWeightsError::Number(part.trim().to_owned())),
        };
        Self::new(&text.split(',').map(number).collect::<Result<Vec<_>, _>>()?)
    }

    /// All 26, in the order of the long form.
    pub fn numbers(&self) -> &[f64; 26] {
        &self.0
    }

    /// The factor for a module by its name in the checkpoint. What lies in no block (time embedding, output) has 1.
    pub(crate) fn factor(&self, module: &str) -> f64 {
        place(module).map_or(1.0, |place| self.0[place])
    }
}

/// The block of a module, as its place in [`ALL`].
fn place(module: &str) -> Option<usize> {
    let Some(path) = module.strip_prefix(crate::layout::UNET) else {
        return module.starts_with("cond_stage_model.").then_some(0);
    };
    let mut words = path.split('.');
    let name = match (words.next()?, words.next()) {
        ("input_blocks", Some(index)) => format!("IN{index:0>2}"),
        ("middle_block", _) => "M00".to_owned(),
        ("output_blocks", Some(index)) => format!("OUT{index:0>2}"),
        _ => return None,
    };
    ALL.iter().position(|block| *block == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(weights: &BlockWeights, modules: &[&str]) -> Vec<f64> {
        modules.iter().map(|module| weights.factor(&format!("model.diffusion_model.{module}"))).collect()
    }

    #[test]
    fn each_of_26_numbers_reaches_its_block() {
        let weights: Vec<f64> = (0..26).map(f64::from).collect();
        let weights = BlockWeights::new(&weights).unwrap();
        assert_eq!(weights.factor("cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1"), 0.0);
        for index in 0..12u32 {
            let block = |side| format!("{side}_blocks.{index}.1.proj_in");
            assert_eq!(factors(&weights, &[&block("input")]), [f64::from(1 + index)]);
            assert_eq!(factors(&weights, &[&block("output")]), [f64::from(14 + index)]);
        }
        assert_eq!(factors(&weights, &["middle_block.1.proj_in", "middle_block.0.in_layers.2"]), [13.0; 2]);
        assert_eq!(factors(&weights, &["time_embed.0", "out.2", "input_blocks.12.0.op"]), [1.0; 3]);
    }

    #[test]
    fn each_of_17_numbers_reaches_a_block_with_attention() {
        let weights: Vec<f64> = (1..=17).map(f64::from).collect();
        let weights = BlockWeights::new(&weights).unwrap();
        assert_eq!(weights.factor("cond_stage_model.transformer.text_model.final_layer_norm"), 1.0);
        let with_attention = [
            "input_blocks.1",
            "input_blocks.2",
            "input_blocks.4",
            "input_blocks.5",
            "input_blocks.7",
            "input_blocks.8",
            "middle_block",
            "output_blocks.3",
            "output_blocks.4",
            "output_blocks.5",
            "output_blocks.6",
            "output_blocks.7",
            "output_blocks.8",
            "output_blocks.9",
            "output_blocks.10",
            "output_blocks.11",
        ];
        assert_eq!(factors(&weights, &with_attention), (2..=17).map(f64::from).collect::<Vec<_>>());
        let without = ["input_blocks.0.0", "input_blocks.3.0.op", "input_blocks.11.0", "output_blocks.0.0"];
        assert_eq!(factors(&weights, &without), [0.0; 4]);
    }

    #[test]
    fn presets_and_numbers_are_parsed() {
        let outs = BlockWeights::parse(" OUTS ").unwrap();
        assert_eq!(outs, BlockWeights::parse("1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1").unwrap());
        assert_eq!(
            factors(&outs, &["input_blocks.1", "middle_block", "output_blocks.6", "output_blocks.7"]),
            [0.0, 0.0, 0.0, 1.0]
        );
        assert_eq!(
            BlockWeights::parse("ALL0.5").unwrap().factor("model.diffusion_model.middle_block.1"),
            0.5
        );
        assert_eq!(BlockWeights::parse("1,2"), Err(BlockWeightsError::Count(2)));
        assert_eq!(BlockWeights::parse("OUTX"), Err(BlockWeightsError::Number("OUTX".into())));
        assert_eq!(BlockWeights::parse("1,inf"), Err(BlockWeightsError::Number("inf".into())));
    }
}
