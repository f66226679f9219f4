//! Works out which network a checkpoint holds from the names and shapes it holds: one code path for every
//! size of Stable Diffusion 1.x. Pure over the outline. What shapes cannot tell comes from the metadata.

use crate::error::Problem;
use crate::facts::Family;
use crate::outline::Outline;

pub(crate) const NORM_NUM_GROUPS: &str = "gesso.norm_num_groups";
pub(crate) const NUM_ATTENTION_HEADS: &str = "gesso.num_attention_heads";

pub(crate) const UNET: &str = "model.diffusion_model.";
pub(crate) const VAE: &str = "first_stage_model.";
pub(crate) const TEXT: &str = "cond_stage_model.transformer.text_model.";

/// CLIP's heads are 64 wide at every size.
const TEXT_HEAD_WIDTH: i64 = 64;
/// Ids in CLIP's vocabulary; begin and end are the last two.
const VOCABULARY: i64 = 49_408;
/// Tokens the encoder sees at once: 75 and the begin and end marks.
const POSITIONS: i64 = 77;
const LATENT_CHANNELS: i64 = 4;
/// Channels that a UNet may read: plain, editing, inpainting.
const INPUT_CHANNELS: [i64; 3] = [4, 8, 9];
/// Widest layer believed; SD1.x has 2560. Keeps sums and products of shapes far from overflow.
const CHANNELS_MAX: i64 = 1 << 16;
/// Most blocks in a row believed; SD1.x has 12.
pub(crate) const BLOCKS_MAX: usize = 256;

/// The three networks of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub unet: UnetLayout,
    pub vae: VaeLayout,
    pub text: TextLayout,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnetLayout {
    pub base_channels: i64,
    /// What the first convolution reads: the latent's 4, 9 with mask and masked latent (inpainting), 8 with the
    /// picture's latent (editing).
    pub input_channels: i64,
    pub latent_channels: i64,
    /// Without block 0, which is always the first convolution.
    pub input: Vec<InputBlock>,
    pub middle: Attention,
    pub output: Vec<OutputBlock>,
    pub context_width: i64,
    pub groups: i64,
    pub heads: i64,
}

impl UnetLayout {
    pub fn time_channels(&self) -> i64 {
        self.base_channels * 4
    }

    /// Channels of each skip, from the first convolution's on.
    pub fn skip_channels(&self) -> Vec<i64> {
        let channels = |block: &InputBlock| match block {
            InputBlock::Residual(residual, _) => residual.outputs,
            InputBlock::Halve { channels } => *channels,
        };
        std::iter::once(self.base_channels).chain(self.input.iter().map(channels)).collect()
    }
}

/// Channels into and out of a residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Residual {
    pub inputs: i64,
    pub outputs: i64,
}

/// A spatial transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    pub channels: i64,
    pub depth: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputBlock {
    Residual(Residual, Option<Attention>),
    Halve { channels: i64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputBlock {
    pub residual: Residual,
    pub attention: Option<Attention>,
    pub upsample: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaeLayout {
    pub latent_channels: i64,
    pub encoder: VaeHalf,
    pub decoder: VaeHalf,
    pub groups: i64,
}

/// Encoder or decoder; levels are numbered as in the file, 0 at the picture's own size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaeHalf {
    pub base_channels: i64,
    pub deep_channels: i64,
    pub levels: Vec<VaeLevel>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaeLevel {
    /// Never empty.
    pub blocks: Vec<Residual>,
    pub resamples: bool,
}

impl VaeLevel {
    /// Channels that leave the level.
    pub fn channels(&self) -> i64 {
        self.blocks.last().map_or(0, |block| block.outputs)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextLayout {
    pub width: i64,
    pub hidden: i64,
    pub layers: usize,
    pub heads: i64,
    pub vocabulary: i64,
    pub positions: i64,
}

impl Layout {
    /// Reads the layout off an outline with canonical names.
    ///
    /// # Errors
    /// [`Problem::Unsupported`] names another model family where it is recognised; otherwise the first key that
    /// does not fit.
    pub(crate) fn detect(outline: &Outline) -> Result<Self, Problem> {
        refuse_other_families(outline)?;
        let groups = metadata_number(outline, NORM_NUM_GROUPS, 32)?;
        let text = text_layout(outline)?;
        let unet = unet_layout(outline)?;
        if unet.context_width != text.width {
            let (text, unet) = (text.width, unet.context_width);
            return Err(Problem::Unsupported(format!(
                "its text encoder is {text} wide but its UNet reads contexts {unet} wide"
            )));
        }
        Ok(Self { unet, vae: vae_layout(outline, groups)?, text })
    }
}

fn refuse_other_families(outline: &Outline) -> Result<(), Problem> {
    let family = Family::of(outline);
    let any = |prefix: &str| outline.has_under(prefix);
    let found = if family != Family::StableDiffusion1 {
        format!("it is a {family} checkpoint")
    } else if any("lora_unet_") || any("lora_te_") {
        "it is a LoRA, not a checkpoint".into()
    } else if any("down_blocks.") || any("decoder.up_blocks.") {
        "it is one part of a model folder in diffusers' layout".into()
    } else {
        return Ok(());
    };
    Err(Problem::Unsupported(found))
}

fn metadata_number(outline: &Outline, key: &'static str, default: i64) -> Result<i64, Problem> {
    let Some(value) = outline.metadata.get(key) else { return Ok(default) };
    match value.parse() {
        Ok(number) if (1..=1024).contains(&number) => Ok(number),
        _ => Err(Problem::Metadata {
            key,
            value: value.clone(),
            reason: "is not a number from 1 to 1024".into(),
        }),
    }
}

/// The shape of a tensor that must be there, with the wanted rank and every size in `1..=CHANNELS_MAX`.
pub(crate) fn shape<const RANK: usize>(outline: &Outline, key: &str) -> Result<[i64; RANK], Problem> {
    let found = outline.shape(key).ok_or_else(|| Problem::Missing(key.to_owned()))?;
    let wrong = || Problem::Shape {
        key: key.to_owned(),
        found: found.to_vec(),
        expected: format!("{RANK} sizes from 1 to {CHANNELS_MAX}"),
    };
    let sizes: [i64; RANK] = found.try_into().map_err(|_| wrong())?;
    if sizes.iter().all(|size| (1..=CHANNELS_MAX).contains(size)) { Ok(sizes) } else { Err(wrong()) }
}

/// How many of `prefix0suffix`, `prefix1suffix`, … are there without a gap.
pub(crate) fn count(outline: &Outline, prefix: &str, suffix: &str) -> usize {
    (0..BLOCKS_MAX).take_while(|index| outline.has(&format!("{prefix}{index}{suffix}"))).count()
}

fn text_layout(outline: &Outline) -> Result<TextLayout, Problem> {
    let token_key = format!("{TEXT}embeddings.token_embedding.weight");
    let [vocabulary, width] = shape(outline, &token_key)?;
    let position_key = format!("{TEXT}embeddings.position_embedding.weight");
    let [positions, _] = shape::<2>(outline, &position_key)?;
    for (key, found, expected) in
        [(&token_key, vocabulary, VOCABULARY), (&position_key, positions, POSITIONS)]
    {
        if found != expected {
            let (key, found) = (key.clone(), vec![found, width]);
            return Err(Problem::Shape { key, found, expected: format!("{expected} rows") });
        }
    }
    if width % TEXT_HEAD_WIDTH != 0 {
        return Err(Problem::Unsupported(format!("its text encoder is {width} wide, no multiple of 64")));
    }
    let layers = count(outline, &format!("{TEXT}encoder.layers."), ".layer_norm1.weight");
    let [hidden, _] = shape::<2>(outline, &format!("{TEXT}encoder.layers.0.mlp.fc1.weight"))?;
    Ok(TextLayout { width, hidden, layers, heads: width / TEXT_HEAD_WIDTH, vocabulary, positions })
}

/// The first half of a UNet whose names begin with `prefix`, the second left empty.
///
/// # Errors
/// The first key that does not fit.
pub(crate) fn encoder_layout(outline: &Outline, prefix: &str) -> Result<UnetLayout, Problem> {
    let groups = metadata_number(outline, NORM_NUM_GROUPS, 32)?;
    let heads = metadata_number(outline, NUM_ATTENTION_HEADS, 8)?;
    let first = format!("{prefix}input_blocks.0.0.weight");
    let [base_channels, input_channels, _, _] = shape(outline, &first)?;
    if !INPUT_CHANNELS.contains(&input_channels) {
        return Err(Problem::Unsupported(format!("its UNet reads {input_channels} channels")));
    }
    if base_channels % 2 != 0 {
        return Err(Problem::Unsupported(format!("its UNet begins with an odd {base_channels} channels")));
    }
    let mut channels = base_channels;
    let mut input = Vec::new();
    for index in 1..BLOCKS_MAX {
        let at = format!("{prefix}input_blocks.{index}.");
        if outline.has(&format!("{at}0.op.weight")) {
            input.push(InputBlock::Halve { channels });
        } else if outline.has(&format!("{at}0.in_layers.0.weight")) {
            let residual = unet_residual(outline, &at, channels)?;
            channels = residual.outputs;
            input.push(InputBlock::Residual(residual, attention(outline, &format!("{at}1."), channels)?));
        } else {
            break;
        }
    }
    let middle_at = format!("{prefix}middle_block.1.");
    let middle = attention(outline, &middle_at, channels)?
        .ok_or_else(|| Problem::Missing(format!("{middle_at}norm.weight")))?;
    let context_key = format!("{middle_at}transformer_blocks.0.attn2.to_k.weight");
    let [_, context_width] = shape(outline, &context_key)?;
    let (latent_channels, output) = (LATENT_CHANNELS, Vec::new());
    Ok(UnetLayout {
        base_channels,
        input_channels,
        latent_channels,
        input,
        middle,
        output,
        context_width,
        groups,
        heads,
    })
}

fn unet_layout(outline: &Outline) -> Result<UnetLayout, Problem> {
    let mut layout = encoder_layout(outline, UNET)?;
    let mut channels = layout.middle.channels;
    for skip in layout.skip_channels().into_iter().rev() {
        let at = format!("{UNET}output_blocks.{}.", layout.output.len());
        let residual = unet_residual(outline, &at, channels + skip)?;
        channels = residual.outputs;
        let attention = attention(outline, &format!("{at}1."), channels)?;
        let place = if attention.is_some() { 2 } else { 1 };
        let upsample = outline.has(&format!("{at}{place}.conv.weight"));
        layout.output.push(OutputBlock { residual, attention, upsample });
    }
    let halvings = layout.input.iter().filter(|block| matches!(block, InputBlock::Halve { .. })).count();
    let doublings = layout.output.iter().filter(|block| block.upsample).count();
    if halvings != doublings || channels != layout.base_channels {
        return Err(Problem::Unsupported("its UNet does not come back to the size it begins with".into()));
    }
    Ok(layout)
}

fn unet_residual(outline: &Outline, at: &str, inputs: i64) -> Result<Residual, Problem> {
    let [outputs, _, _, _] = shape(outline, &format!("{at}0.in_layers.2.weight"))?;
    Ok(Residual { inputs, outputs })
}

fn attention(outline: &Outline, at: &str, channels: i64) -> Result<Option<Attention>, Problem> {
    if !outline.has(&format!("{at}norm.weight")) {
        return Ok(None);
    }
    let depth = count(outline, &format!("{at}transformer_blocks."), ".norm1.weight");
    if depth == 0 {
        return Err(Problem::Missing(format!("{at}transformer_blocks.0.norm1.weight")));
    }
    Ok(Some(Attention { channels, depth }))
}

fn vae_layout(outline: &Outline, groups: i64) -> Result<VaeLayout, Problem> {
    let [encoder_base, _, _, _] = shape(outline, &format!("{VAE}encoder.conv_in.weight"))?;
    let [deep, latent_channels, _, _] = shape(outline, &format!("{VAE}decoder.conv_in.weight"))?;
    if latent_channels != LATENT_CHANNELS {
        return Err(Problem::Unsupported(format!("its VAE has {latent_channels} latent channels")));
    }
    let (mut channels, mut encoder_levels) = (encoder_base, Vec::new());
    for index in 0..count(outline, &format!("{VAE}encoder.down."), ".block.0.norm1.weight") {
        let at = format!("{VAE}encoder.down.{index}.");
        encoder_levels.push(vae_level(outline, &at, "downsample", &mut channels)?);
    }
    let encoder_deep = channels;
    let (mut channels, mut decoder_levels) = (deep, Vec::new());
    for index in (0..count(outline, &format!("{VAE}decoder.up."), ".block.0.norm1.weight")).rev() {
        let at = format!("{VAE}decoder.up.{index}.");
        decoder_levels.insert(0, vae_level(outline, &at, "upsample", &mut channels)?);
    }
    for levels in [&encoder_levels, &decoder_levels] {
        if levels.iter().filter(|level| level.resamples).count() != 3 {
            return Err(Problem::Unsupported("its VAE does not shrink pictures by eight".into()));
        }
    }
    Ok(VaeLayout {
        latent_channels,
        encoder: VaeHalf { base_channels: encoder_base, deep_channels: encoder_deep, levels: encoder_levels },
        decoder: VaeHalf { base_channels: channels, deep_channels: deep, levels: decoder_levels },
        groups,
    })
}

fn vae_level(outline: &Outline, at: &str, resample: &str, channels: &mut i64) -> Result<VaeLevel, Problem> {
    let mut blocks = Vec::new();
    for index in 0..count(outline, &format!("{at}block."), ".norm1.weight") {
        let [outputs, _, _, _] = shape(outline, &format!("{at}block.{index}.conv1.weight"))?;
        blocks.push(Residual { inputs: *channels, outputs });
        *channels = outputs;
    }
    Ok(VaeLevel { blocks, resamples: outline.has(&format!("{at}{resample}.conv.weight")) })
}
