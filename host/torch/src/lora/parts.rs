//! The tensors that one module of a LoRA file is made of, told apart by the last part of their names. Filled from
//! the file by [`super::keys`], read by the formulas in [`super::kinds`]. Knows no module and no checkpoint.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use super::kinds::Misfit;
use crate::compute::send;

/// What one tensor is to its module. Ordered and named as kohya-ss and LyCORIS write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Down,
    Up,
    Mid,
    Alpha,
    DoraScale,
    Magnitude,
    HadamardFirstA,
    HadamardFirstB,
    HadamardSecondA,
    HadamardSecondB,
    HadamardFirstCore,
    HadamardSecondCore,
    KroneckerFirst,
    KroneckerFirstA,
    KroneckerFirstB,
    KroneckerSecond,
    KroneckerSecondA,
    KroneckerSecondB,
    KroneckerSecondCore,
    Difference,
    BiasDifference,
    InputFirst,
    InputSecond,
    OutputFirst,
    OutputSecond,
    Rotation,
    RotationMatrix,
    Rescale,
    NormWeight,
    NormBias,
    Scale,
    OnInput,
}

/// Every ending of a tensor's name and what it means. `weight` alone is IA³'s and must be asked for last: other
/// endings end in it.
pub(crate) const ENDINGS: [(&str, Part); 47] = [
    ("lora_down.weight", Part::Down),
    ("lora_up.weight", Part::Up),
    ("lora_mid.weight", Part::Mid),
    ("alpha", Part::Alpha),
    ("dora_scale", Part::DoraScale),
    // peft, with and without the adapter's name in it.
    ("lora_A.weight", Part::Down),
    ("lora_B.weight", Part::Up),
    ("lora_A.default.weight", Part::Down),
    ("lora_B.default.weight", Part::Up),
    ("lora_magnitude_vector", Part::Magnitude),
    ("lora_magnitude_vector.weight", Part::Magnitude),
    ("lora_magnitude_vector.default.weight", Part::Magnitude),
    // diffusers before it used peft.
    ("lora_linear_layer.down.weight", Part::Down),
    ("lora_linear_layer.up.weight", Part::Up),
    ("lora_conv2d_layer.down.weight", Part::Down),
    ("lora_conv2d_layer.up.weight", Part::Up),
    ("lora.down.weight", Part::Down),
    ("lora.up.weight", Part::Up),
    ("down.weight", Part::Down),
    ("up.weight", Part::Up),
    ("hada_w1_a", Part::HadamardFirstA),
    ("hada_w1_b", Part::HadamardFirstB),
    ("hada_w2_a", Part::HadamardSecondA),
    ("hada_w2_b", Part::HadamardSecondB),
    ("hada_t1", Part::HadamardFirstCore),
    ("hada_t2", Part::HadamardSecondCore),
    ("lokr_w1", Part::KroneckerFirst),
    ("lokr_w1_a", Part::KroneckerFirstA),
    ("lokr_w1_b", Part::KroneckerFirstB),
    ("lokr_w2", Part::KroneckerSecond),
    ("lokr_w2_a", Part::KroneckerSecondA),
    ("lokr_w2_b", Part::KroneckerSecondB),
    ("lokr_t2", Part::KroneckerSecondCore),
    ("diff", Part::Difference),
    ("diff_b", Part::BiasDifference),
    ("a1.weight", Part::InputFirst),
    ("a2.weight", Part::InputSecond),
    ("b1.weight", Part::OutputFirst),
    ("b2.weight", Part::OutputSecond),
    ("oft_blocks", Part::Rotation),
    ("oft_diag", Part::RotationMatrix),
    ("rescale", Part::Rescale),
    ("w_norm", Part::NormWeight),
    ("b_norm", Part::NormBias),
    ("on_input", Part::OnInput),
    ("lora_alpha", Part::Alpha),
    ("weight", Part::Scale),
];

impl Part {
    /// The name as kohya-ss and LyCORIS write it, for messages.
    pub(crate) fn name(self) -> &'static str {
        ENDINGS.iter().find(|(_, part)| *part == self).map_or("", |(name, _)| name)
    }
}

/// What stands in for an `alpha` that the file keeps in its metadata.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdapterScale {
    pub(crate) alpha: f64,
    /// Divide by the root of the rank instead of the rank (Kalajdzievski 2023, "rsLoRA").
    pub(crate) by_root: bool,
}

/// The tensors of one module.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    tensors: BTreeMap<Part, Tensor>,
    pub(crate) adapter_scale: Option<AdapterScale>,
}

impl Parts {
    /// Takes a tensor; `false` when the part was there already.
    pub(crate) fn insert(&mut self, part: Part, tensor: Tensor) -> bool {
        self.tensors.insert(part, tensor).is_none()
    }

    /// The same parts on a device.
    pub(crate) fn on(&self, device: Device) -> Result<Self, TchError> {
        let tensors = self.tensors.iter().map(|(part, tensor)| Ok((*part, send(tensor, device)?)));
        Ok(Self { tensors: tensors.collect::<Result<_, TchError>>()?, adapter_scale: self.adapter_scale })
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.tensors.contains_key(&part)
    }

    /// The part in f32, if the module has it.
    pub(crate) fn get(&self, part: Part) -> Result<Option<Tensor>, Misfit> {
        Ok(self.tensors.get(&part).map(|tensor| tensor.f_to_kind(Kind::Float)).transpose()?)
    }

    /// The part in f32.
    ///
    /// # Errors
    /// [`Misfit::Missing`] when the module lacks it.
    pub(crate) fn need(&self, part: Part) -> Result<Tensor, Misfit> {
        self.get(part)?.ok_or(Misfit::Missing(part))
    }

    /// The part as a matrix: its first size by all the others.
    pub(crate) fn matrix(&self, part: Part) -> Result<Tensor, Misfit> {
        self.get_matrix(part)?.ok_or(Misfit::Missing(part))
    }

    pub(crate) fn get_matrix(&self, part: Part) -> Result<Option<Tensor>, Misfit> {
        let Some(tensor) = self.get(part)? else { return Ok(None) };
        let size = tensor.size();
        if size.len() < 2 || size.contains(&0) {
            let expected = "two sizes or more, none of them 0".into();
            return Err(Misfit::Shape { part, found: size, expected });
        }
        Ok(Some(tensor.f_flatten(1, -1)?))
    }

    /// The part as one number.
    pub(crate) fn number(&self, part: Part) -> Result<Option<f64>, Misfit> {
        let Some(tensor) = self.get(part)? else { return Ok(None) };
        let found = tensor.size();
        let wrong = || Misfit::Shape { part, found, expected: "one finite number".into() };
        if tensor.numel() != 1 {
            return Err(wrong());
        }
        let number = f64::try_from(tensor.f_flatten(0, -1)?.f_get(0)?)?;
        if number.is_finite() { Ok(Some(number)) } else { Err(wrong()) }
    }

    /// What a product over `rank` is multiplied by: `alpha / rank`, and 1 where the file says no alpha.
    pub(crate) fn scale(&self, rank: i64) -> Result<f64, Misfit> {
        let rank = rank as f64;
        Ok(match (self.number(Part::Alpha)?, self.adapter_scale) {
            (Some(alpha), _) => alpha / rank,
            (None, Some(AdapterScale { alpha, by_root: true })) => alpha / rank.sqrt(),
            (None, Some(AdapterScale { alpha, by_root: false })) => alpha / rank,
            (None, None) => 1.0,
        })
    }
}
