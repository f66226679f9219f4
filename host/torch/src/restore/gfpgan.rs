//! GFPGAN (Wang et al. 2021, arXiv:2101.04061) in its "clean" form, versions 1.2 to 1.4: a U-Net reads the face,
//! its deepest features become one style for each layer of a StyleGAN2 decoder (Karras et al. 2020,
//! arXiv:1912.04958), and its features at each size scale and shift the decoder's. Maps a tensor to a tensor.
//!
//! - modulated convolution: `w = W · (A s + b)` for each input channel, then, but for the colour layers,
//!   divided by `sqrt(Σ w² + 1e-8)` for each output
//! - style layer: `a(√2 conv(x, s) + noise strength · noise + bias)`, `a` = LeakyReLU(0.2)
//! - level: style layer on the doubled picture; `x · scale + shift` on all or the latter half of the channels;
//!   style layer; colours added to the doubled colours of the level before
//!
//! The noise is the file's own, which makes a face come out the same each time; web UIs draw it anew.

use tch::Tensor;

use super::detect::GfpganLayout;
use crate::error::Problem;
use crate::models::layers::{Conv, Forward, Linear};
use crate::upscale::{COLOURS, leaky};
use crate::weights::Scope;

const EPS: f64 = 1e-8;

pub(crate) struct Gfpgan {
    first: Conv,
    down: Vec<Residual>,
    deep: Conv,
    style: Linear,
    up: Vec<Residual>,
    conditions: Vec<Condition>,
    decoder: Decoder,
    style_width: i64,
}

impl Gfpgan {
    pub(crate) fn load(scope: &Scope<'_>, layout: &GfpganLayout) -> Result<Self, Problem> {
        let GfpganLayout { first, ref down, deep, ref up, style, .. } = *layout;
        let chain = |name: &str, start: i64, outputs: &[i64]| -> Result<Vec<Residual>, Problem> {
            let inputs = std::iter::once(start).chain(outputs.iter().copied());
            let pairs = inputs.zip(outputs).enumerate();
            let at = scope.at(name);
            pairs.map(|(index, (inputs, outputs))| Residual::load(&at.at(index), inputs, *outputs)).collect()
        };
        let deepest = down.last().copied().unwrap_or(first);
        let styles = 2 + 2 * down.len() as i64;
        let condition = |(index, (features, outputs)): (usize, (&i64, &i64))| {
            Condition::load(scope, index, *features, *outputs)
        };
        Ok(Self {
            first: Conv::load(&scope.at("conv_body_first"), COLOURS, first, 1)?,
            down: chain("conv_body_down", first, down)?,
            deep: Conv::load(&scope.at("final_conv"), deepest, deep, 3)?,
            style: Linear::load(&scope.at("final_linear"), deep * 16, styles * style)?,
            up: chain("conv_body_up", deep, up)?,
            conditions: up
                .iter()
                .zip(&layout.modulated)
                .enumerate()
                .map(condition)
                .collect::<Result<_, _>>()?,
            decoder: Decoder::load(&scope.at("stylegan_decoder"), layout)?,
            style_width: style,
        })
    }

    /// `[1, 3, side, side]` in -1..1 to the same.
    pub(crate) fn forward(&self, face: &Tensor) -> Forward {
        let mut x = leaky(&self.first.forward(face)?)?;
        let mut skips = Vec::new();
        for block in &self.down {
            x = block.forward(&x, 0.5)?;
            skips.push(x.shallow_clone());
        }
        x = leaky(&self.deep.forward(&x)?)?;
        let styles = self.style.forward(&x.f_reshape([1, -1])?)?.f_reshape([-1, self.style_width])?;
        let mut conditions = Vec::new();
        for ((block, condition), skip) in self.up.iter().zip(&self.conditions).zip(skips.iter().rev()) {
            x = block.forward(&x.f_add(skip)?, 2.0)?;
            conditions.push((Condition::run(&condition.scale, &x)?, Condition::run(&condition.shift, &x)?));
        }
        self.decoder.forward(&styles, &conditions)
    }
}

/// Two convolutions with a resize between them, and a resized 1x1 path beside them.
struct Residual {
    conv1: Conv,
    conv2: Conv,
    skip: Tensor,
}

impl Residual {
    fn load(scope: &Scope<'_>, inputs: i64, outputs: i64) -> Result<Self, Problem> {
        Ok(Self {
            conv1: Conv::load(&scope.at("conv1"), inputs, inputs, 3)?,
            conv2: Conv::load(&scope.at("conv2"), inputs, outputs, 3)?,
            skip: scope.at("skip").tensor("weight", &[outputs, inputs, 1, 1])?,
        })
    }

    fn forward(&self, x: &Tensor, factor: f64) -> Forward {
        let y = resize(&leaky(&self.conv1.forward(x)?)?, factor)?;
        let y = leaky(&self.conv2.forward(&y)?)?;
        y.f_add(&resize(x, factor)?.f_conv2d(&self.skip, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1)?)
    }
}

/// Turns features into a scale and a shift for the decoder's.
struct Condition {
    scale: [Conv; 2],
    shift: [Conv; 2],
}

impl Condition {
    fn load(scope: &Scope<'_>, index: usize, features: i64, outputs: i64) -> Result<Self, Problem> {
        let pair = |name: &str| -> Result<[Conv; 2], Problem> {
            let at = scope.at(name).at(index);
            let first = Conv::load(&at.at(0), features, features, 3)?;
            Ok([first, Conv::load(&at.at(2), features, outputs, 3)?])
        };
        Ok(Self { scale: pair("condition_scale")?, shift: pair("condition_shift")? })
    }

    fn run([first, second]: &[Conv; 2], x: &Tensor) -> Forward {
        second.forward(&leaky(&first.forward(x)?)?)
    }
}

struct Decoder {
    /// `[1, channels, 4, 4]`.
    constant: Tensor,
    first: StyleLayer,
    first_colours: Colours,
    levels: Vec<(StyleLayer, StyleLayer, Colours)>,
}

impl Decoder {
    fn load(scope: &Scope<'_>, layout: &GfpganLayout) -> Result<Self, Problem> {
        let GfpganLayout { constant, style, .. } = *layout;
        let layer = |name: String, number: usize, inputs, outputs| {
            let at = scope.at(name);
            let noise = format!("noise{number}");
            // Noise 0 is 4x4; then two of each doubled size.
            let side = 1 << ((number + 5) / 2);
            let noise = scope.at("noises").tensor(&noise, &[1, 1, side, side])?;
            StyleLayer::load(&at, noise, inputs, outputs, style)
        };
        let mut levels = Vec::new();
        let mut inputs = constant;
        for (index, &outputs) in layout.decoder.iter().enumerate() {
            let name = |half: usize| format!("style_convs.{}", 2 * index + half);
            levels.push((
                layer(name(0), 2 * index + 1, inputs, outputs)?,
                layer(name(1), 2 * index + 2, outputs, outputs)?,
                Colours::load(&scope.at("to_rgbs").at(index), outputs, style)?,
            ));
            inputs = outputs;
        }
        Ok(Self {
            constant: scope.at("constant_input").tensor("weight", &[1, constant, 4, 4])?,
            first: layer("style_conv1".into(), 0, constant, constant)?,
            first_colours: Colours::load(&scope.at("to_rgb1"), constant, style)?,
            levels,
        })
    }

    /// `styles` `[2 + 2 levels, style]`; a scale and a shift `[1, channels, rows, columns]` for each level.
    fn forward(&self, styles: &Tensor, conditions: &[(Tensor, Tensor)]) -> Forward {
        let style = |index: usize| styles.f_narrow(0, index as i64, 1);
        let mut x = self.first.forward(&self.constant, &style(0)?)?;
        let mut picture = self.first_colours.forward(&x, &style(1)?)?;
        for (index, ((first, second, colours), (scale, shift))) in
            self.levels.iter().zip(conditions).enumerate()
        {
            // A level's colours share their style with the next level's first layer.
            let at = 2 * index + 1;
            x = modulate(&first.forward(&resize(&x, 2.0)?, &style(at)?)?, scale, shift)?;
            x = second.forward(&x, &style(at + 1)?)?;
            picture = resize(&picture, 2.0)?.f_add(&colours.forward(&x, &style(at + 2)?)?)?;
        }
        Ok(picture)
    }
}

/// Scales and shifts the last channels, as many as `scale` has.
fn modulate(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Forward {
    let (channels, modulated) = (x.size4()?.1, scale.size4()?.1);
    let rest = channels - modulated;
    let changed = x.f_narrow(1, rest, modulated)?.f_mul(scale)?.f_add(shift)?;
    if rest == 0 { Ok(changed) } else { Tensor::f_cat(&[x.f_narrow(1, 0, rest)?, changed], 1) }
}

/// A convolution whose weights a style scales for each input channel.
struct ModulatedConv {
    /// `[outputs, inputs, size, size]`.
    weight: Tensor,
    style: Linear,
    size: i64,
}

impl ModulatedConv {
    fn load(scope: &Scope<'_>, inputs: i64, outputs: i64, size: i64, style: i64) -> Result<Self, Problem> {
        let weight = scope.tensor("weight", &[1, outputs, inputs, size, size])?.f_squeeze_dim(0)?;
        Ok(Self { weight, style: Linear::load(&scope.at("modulation"), style, inputs)?, size })
    }

    /// `style` `[1, style]`.
    fn forward(&self, x: &Tensor, style: &Tensor, normalise: bool) -> Forward {
        let style = self.style.forward(style)?.f_reshape([1, -1, 1, 1])?;
        let mut weight = self.weight.f_mul(&style)?;
        if normalise {
            let squares = weight.f_square()?.f_sum_dim_intlist([1, 2, 3].as_slice(), true, None)?;
            weight = weight.f_mul(&squares.f_add_scalar(EPS)?.f_rsqrt()?)?;
        }
        x.f_conv2d(&weight, None::<Tensor>, [1, 1], [self.size / 2; 2], [1, 1], 1)
    }
}

struct StyleLayer {
    conv: ModulatedConv,
    /// The noise times its strength, `[1, 1, rows, columns]`.
    noise: Tensor,
    bias: Tensor,
}

impl StyleLayer {
    fn load(
        scope: &Scope<'_>,
        noise: Tensor,
        inputs: i64,
        outputs: i64,
        style: i64,
    ) -> Result<Self, Problem> {
        let strength = scope.tensor("weight", &[1])?;
        Ok(Self {
            conv: ModulatedConv::load(&scope.at("modulated_conv"), inputs, outputs, 3, style)?,
            noise: noise.f_mul(&strength)?,
            bias: scope.tensor("bias", &[1, outputs, 1, 1])?,
        })
    }

    fn forward(&self, x: &Tensor, style: &Tensor) -> Forward {
        let y = self.conv.forward(x, style, true)?.f_mul_scalar(std::f64::consts::SQRT_2)?;
        leaky(&y.f_add(&self.noise)?.f_add(&self.bias)?)
    }
}

/// Features to red, green and blue.
struct Colours {
    conv: ModulatedConv,
    bias: Tensor,
}

impl Colours {
    fn load(scope: &Scope<'_>, inputs: i64, style: i64) -> Result<Self, Problem> {
        Ok(Self {
            conv: ModulatedConv::load(&scope.at("modulated_conv"), inputs, COLOURS, 1, style)?,
            bias: scope.tensor("bias", &[1, COLOURS, 1, 1])?,
        })
    }

    fn forward(&self, x: &Tensor, style: &Tensor) -> Forward {
        self.conv.forward(x, style, false)?.f_add(&self.bias)
    }
}

/// Bilinear resize by a half or two, without antialiasing.
fn resize(x: &Tensor, factor: f64) -> Forward {
    let (_, _, rows, columns) = x.size4()?;
    let side = |side: i64| (side as f64 * factor) as i64;
    x.f_upsample_bilinear2d([side(rows), side(columns)], false, None, None)
}
