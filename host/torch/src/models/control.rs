//! What control networks add to a UNet's call, and the arithmetic on it: scale, limit to a region, pool, place into
//! the rows of a batch, sum. Knows no network and decides no number.

use tch::{Device, Kind, TchError, Tensor};

use super::layers::{Forward, resize_bilinear};
use crate::compute::send;

/// Residuals and features, each `[batch, channels, rows, columns]` of the place it is added to, or with a batch,
/// rows or columns of 1 that stand for all. The default adds nothing.
#[derive(Default)]
pub struct Control {
    /// Added to the skips where the decoder takes them, one for each in the encoder's order; empty for none.
    pub inputs: Vec<Tensor>,
    /// Added to the middle's output.
    pub middle: Option<Tensor>,
    /// Added in the encoder at the end of each level, one for each from the widest on; empty for none.
    pub features: Vec<Tensor>,
}

/// How strongly, and where in the picture, a unit acts.
#[derive(Clone, Copy)]
pub struct Strength<'a> {
    /// One factor for each residual (the middle's last) or feature, as `gesso_core::control::scales` makes them.
    pub scales: &'a [f64],
    /// `[1, 1, height, width]` in 0..1, in any size and kind; `None` is the whole picture.
    pub region: Option<&'a Tensor>,
}

impl Control {
    /// How many tensors there are: residuals, the middle's, features.
    pub fn len(&self) -> usize {
        self.inputs.len() + usize::from(self.middle.is_some()) + self.features.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Multiplies each tensor by its factor and by the region, resized bilinearly to the tensor's size as web UIs
    /// do.
    ///
    /// # Errors
    /// There must be as many factors as tensors.
    pub fn with_strength(&self, strength: &Strength<'_>) -> Result<Self, TchError> {
        let (given, needed) = (strength.scales.len(), self.len());
        if given != needed {
            return Err(TchError::Shape(format!("{given} factors are given to {needed} control tensors")));
        }
        self.map(|index, tensor| {
            let scaled = tensor.f_mul_scalar(strength.scales[index])?;
            match strength.region {
                None => Ok(scaled),
                Some(region) => {
                    let (_, _, rows, columns) = scaled.size4()?;
                    let region = resize_bilinear(&region.f_to_kind(Kind::Float)?, rows, columns)?;
                    scaled.f_mul(&region.f_to_kind(scaled.kind())?)
                }
            }
        })
    }

    /// Puts the mean over each picture in place of every tensor, as "shuffle" networks were trained for.
    pub fn pooled(&self) -> Result<Self, TchError> {
        self.map(|_, tensor| tensor.f_mean_dim([2, 3].as_slice(), true, tensor.kind()))
    }

    /// Spreads the tensors over a batch of `total` rows: row `i` of each, or its only row, goes to `rows[i]`, and the
    /// rest is zero, which leaves those rows as they are without control.
    pub fn placed(&self, rows: &[i64], total: i64) -> Result<Self, TchError> {
        let first = self.middle.iter().chain(&self.inputs).chain(&self.features).next();
        let device = first.map_or(Device::Cpu, Tensor::device);
        let index = send(&Tensor::f_from_slice(rows)?, device)?;
        self.map(|_, tensor| {
            let mut size = tensor.size();
            size[0] = total;
            let zeros = Tensor::f_zeros(&size, (tensor.kind(), tensor.device()))?;
            size[0] = rows.len() as i64;
            zeros.f_index_copy(0, &index, &tensor.f_expand(&size, false)?)
        })
    }

    /// The sum of two, part by part; a part that one of them lacks is the other's.
    ///
    /// # Errors
    /// Controls of different UNets do not fit together.
    pub fn sum(&self, other: &Self) -> Result<Self, TchError> {
        let lists = |mine: &[Tensor], theirs: &[Tensor]| -> Result<Vec<Tensor>, TchError> {
            match (mine, theirs) {
                ([], only) | (only, []) => Ok(only.iter().map(Tensor::shallow_clone).collect()),
                _ if mine.len() == theirs.len() => {
                    mine.iter().zip(theirs).map(|(mine, theirs)| mine.f_add(theirs)).collect()
                }
                _ => Err(TchError::Shape("controls of different UNets cannot be summed".into())),
            }
        };
        let middle = lists(self.middle.as_slice(), other.middle.as_slice())?.pop();
        Ok(Self {
            inputs: lists(&self.inputs, &other.inputs)?,
            middle,
            features: lists(&self.features, &other.features)?,
        })
    }

    /// Adds the residuals to what the encoder left for the decoder.
    pub(crate) fn add_to(&self, skips: &mut [Tensor], middle: &mut Tensor) -> Result<(), TchError> {
        if let Some(residual) = &self.middle {
            *middle = add(middle, residual)?;
        }
        let (given, needed) = (self.inputs.len(), skips.len());
        if given != 0 && given != needed {
            return Err(TchError::Shape(format!(
                "a ControlNet gives {given} residuals to a UNet of {needed} skips"
            )));
        }
        for (skip, residual) in skips.iter_mut().zip(&self.inputs) {
            *skip = add(skip, residual)?;
        }
        Ok(())
    }

    /// Applies `change` to every tensor and its place among them all.
    fn map(&self, change: impl Fn(usize, &Tensor) -> Forward) -> Result<Self, TchError> {
        let list = |from: usize, tensors: &[Tensor]| {
            let changed = tensors.iter().enumerate().map(|(index, tensor)| change(from + index, tensor));
            changed.collect::<Result<Vec<_>, _>>()
        };
        let middle_at = self.inputs.len();
        let middle = list(middle_at, self.middle.as_slice())?.pop();
        let features = list(middle_at + self.middle.as_slice().len(), &self.features)?;
        Ok(Self { inputs: list(0, &self.inputs)?, middle, features })
    }
}

/// `x` and what is added to it, of the same channels and size or of one place that stands for all.
///
/// # Errors
/// Says which of the two differs, which libtorch's own message would not.
pub(crate) fn add(x: &Tensor, residual: &Tensor) -> Forward {
    let (_, channels, rows, columns) = x.size4()?;
    let (_, given, given_rows, given_columns) = residual.size4()?;
    if given != channels {
        return Err(TchError::Shape(format!(
            "a control network made for another UNet gives {given} channels where {channels} are needed"
        )));
    }
    if ![(rows, columns), (1, 1)].contains(&(given_rows, given_columns)) {
        return Err(TchError::Shape(format!(
            "a control picture of another size than the drawn one gives {given_rows}x{given_columns} places where \
             {rows}x{columns} are needed"
        )));
    }
    x.f_add(residual)
}
