//! Before-hook: replaces variants and wildcards in the prompts of a request, by chance for each picture or by every
//! combination. The grammar and the drawing are pure; only this file asks the host. It knows nothing of attention or any
//! other grammar a prompt may hold, but for the weight that the attention grabber writes.

pub mod arguments;
pub mod attention;
pub mod combinations;
pub mod expand;
pub mod grammar;
pub mod wildcards;

use arguments::{Arguments, GENERATIONS_MAX};
use expand::Expansion;
use gesso_plugin::serde_json::{Map, Value};
use gesso_plugin::{Fault, Params, Random, RequestHook, Verdict, call, folders};
use wildcards::Wildcards;

/// The names under `alwayson_scripts`.
const NAMES: [&str; 2] = ["dynamic-prompts", "Dynamic Prompts"];
/// The folder the admin grants.
const FOLDER: &str = "wildcards";
/// What each picture of a request has of its own.
const PER_PICTURE: &str = "per_picture";

/// Fields and the stream each draws from: the second pass repeats the first's choices, and an edit of the prompt
/// leaves the negative prompt's alone.
const FIELDS: [(&str, u64); 4] =
    [("prompt", 0), ("hr_prompt", 0), ("negative_prompt", 1), ("hr_negative_prompt", 1)];
/// Where the attention grabber draws from.
const ATTENTION_STREAM: u64 = 2;
/// The plugin that paints again what it finds, its prompts, and where those of its first detector draw from.
const DETAILER: &str = "ADetailer";
const DETAIL_FIELDS: [&str; 2] = ["ad_prompt", "ad_negative_prompt"];
const DETAIL_STREAM: u64 = 3;

/// What all texts that are drawn may take together: a plugin may hand 256 KiB back beyond what came.
const TEXTS_BYTES_MAX: usize = 160 << 10;

type Picture = Map<String, Value>;

struct DynamicPrompts;

impl RequestHook for DynamicPrompts {
    fn before(params: &mut Params) -> Result<Verdict, Fault> {
        let mut arguments = None;
        for name in NAMES {
            arguments = arguments.or(params.arguments::<Arguments>(name)?);
        }
        let arguments = arguments.unwrap_or_default();
        if !arguments.enabled {
            return Ok(Verdict::Continue);
        }
        arguments.check()?;
        let mut wildcards = Wildcards::new(|| folders::list(FOLDER), |path| folders::read(FOLDER, path));
        let seed = if arguments.unlink_seed { seed_of(&call::request_id()) } else { call::seed() };
        let drawing = Drawing { arguments: &arguments, seed: arguments.seed.unwrap_or(seed) };
        drawing.draw(params, &mut wildcards)?;
        Ok(Verdict::Continue)
    }
}

gesso_plugin::request_hook!(DynamicPrompts, manifest = "manifest.json");

/// A number that belongs to one request alone: FNV-1a, which is the same whatever the plugin was built with, so that a request
/// that is run again after an update has the prompts that it had.
fn seed_of(request_id: &str) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    request_id.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// How the prompts of one request are made.
#[derive(Debug, Clone, Copy)]
pub struct Drawing<'a> {
    pub arguments: &'a Arguments,
    pub seed: u64,
}

impl Drawing<'_> {
    /// Writes the prompts into the request: one where all pictures share it, else one for each.
    ///
    /// # Errors
    /// A prompt that cannot be drawn, by its field.
    pub fn draw<List, Read>(
        self,
        params: &mut Params,
        wildcards: &mut Wildcards<List, Read>,
    ) -> Result<(), Fault>
    where
        List: FnMut() -> Result<Vec<String>, Fault>,
        Read: FnMut(&str) -> Result<Vec<u8>, Fault>,
    {
        // A prompt without any of the grammar is none of this plugin's business, whatever its length.
        let texts: Vec<Text> = FIELDS
            .iter()
            .filter_map(|(field, stream)| Some((*field, *stream, params.get(field)?.as_str()?.to_owned())))
            .filter(|(_, _, text)| grammar::is_dynamic(text))
            .collect();
        let grabs = self.arguments.attention_grabber && !params.prompt().trim().is_empty();
        let shared = params.get(PER_PICTURE).and_then(Value::as_array).is_none_or(Vec::is_empty);
        let is_dynamic = texts.iter().any(|(field, ..)| *field == "prompt");
        let combines = self.arguments.combinatorial && shared && is_dynamic;
        let mut pictures = if combines {
            self.by_combination(&texts, wildcards)?
        } else {
            // What a client says of its pictures stands; then the prompt that they share is drawn once.
            let count = picture_count(params);
            let count = if shared && count <= GENERATIONS_MAX { count } else { 1 };
            (0..count as u64)
                .map(|place| self.by_chance(place, &texts, wildcards))
                .collect::<Result<_, _>>()?
        };
        if grabs {
            let plain = params.prompt().to_owned();
            for (place, picture) in (0_u64..).zip(&mut pictures) {
                let prompt = picture.get("prompt").and_then(Value::as_str).unwrap_or(&plain);
                let mut random = Random::new(self.seed.wrapping_add(place), ATTENTION_STREAM);
                let weights = (self.arguments.min_attention, self.arguments.max_attention);
                let grabbed = attention::grabbed(prompt, weights, &mut random);
                picture.insert("prompt".into(), grabbed.into());
            }
        }
        let texts = pictures.iter().flat_map(|picture| picture.values().filter_map(Value::as_str));
        let (count, bytes) = (pictures.len(), texts.map(str::len).sum());
        let left = TEXTS_BYTES_MAX.checked_sub(bytes).ok_or_else(|| too_much(count))?;
        if self.arguments.fixed_seed {
            for name in ["seed", "subseed"] {
                let Some(seed) = params.get(name).filter(|seed| seed.is_u64()).cloned() else { continue };
                for picture in &mut pictures {
                    picture.insert(name.into(), seed.clone());
                }
            }
        }
        write(params, pictures, combines);
        self.draw_details(params, wildcards, (count, left))
    }

    /// The prompts of what is found in the pictures, drawn once for all of the `count` and into the bytes that are `left`.
    fn draw_details<List, Read>(
        self,
        params: &mut Params,
        wildcards: &mut Wildcards<List, Read>,
        (count, mut left): (usize, usize),
    ) -> Result<(), Fault>
    where
        List: FnMut() -> Result<Vec<String>, Fault>,
        Read: FnMut(&str) -> Result<Vec<u8>, Fault>,
    {
        params.rewrite_texts_of(DETAILER, &DETAIL_FIELDS, |number, field, text| {
            if !grammar::is_dynamic(text) {
                return Ok(None);
            }
            let stream = DETAIL_STREAM + 2 * number as u64 + u64::from(field != DETAIL_FIELDS[0]);
            let drawn = Expansion::new(wildcards, Random::new(self.seed, stream)).run(text);
            let drawn = drawn.map_err(|error| error.into_fault(field))?;
            left = left.checked_sub(drawn.len()).ok_or_else(|| too_much(count))?;
            Ok(Some(drawn))
        })
    }

    fn by_chance<List, Read>(
        self,
        place: u64,
        texts: &[Text],
        wildcards: &mut Wildcards<List, Read>,
    ) -> Result<Picture, Fault>
    where
        List: FnMut() -> Result<Vec<String>, Fault>,
        Read: FnMut(&str) -> Result<Vec<u8>, Fault>,
    {
        let mut picture = Picture::new();
        for (field, stream, text) in texts {
            let random = Random::new(self.seed.wrapping_add(place), *stream);
            let drawn =
                Expansion::new(wildcards, random).run(text).map_err(|error| error.into_fault(field))?;
            picture.insert((*field).to_owned(), drawn.into());
        }
        Ok(picture)
    }

    /// As many pictures as the prompt has combinations; those of other fields begin again where they are fewer.
    fn by_combination<List, Read>(
        self,
        texts: &[Text],
        wildcards: &mut Wildcards<List, Read>,
    ) -> Result<Vec<Picture>, Fault>
    where
        List: FnMut() -> Result<Vec<String>, Fault>,
        Read: FnMut(&str) -> Result<Vec<u8>, Fault>,
    {
        let most = match self.arguments.max_generations {
            0 => GENERATIONS_MAX,
            asked => asked.min(GENERATIONS_MAX),
        };
        let mut all = Vec::new();
        for (field, _, text) in texts {
            let combined = combinations::combinations(text, wildcards, most);
            all.push((*field, combined.map_err(|error| error.into_fault(field))?));
        }
        let of_prompt = all.iter().find(|(field, _)| *field == "prompt").map_or(1, |(_, all)| all.len());
        let count = (of_prompt * self.arguments.combinatorial_batches).min(GENERATIONS_MAX);
        let picture = |place: usize| {
            let of = |(field, all): &(&str, Vec<String>)| {
                let text = all.get(place % of_prompt % all.len().max(1))?;
                Some(((*field).to_owned(), Value::from(text.clone())))
            };
            all.iter().filter_map(of).collect()
        };
        Ok((0..count).map(picture).collect())
    }
}

fn too_much(count: usize) -> Fault {
    Fault::InvalidInput(format!(
        "dynamic-prompts: the prompts of {count} pictures are too much text together; ask for fewer pictures, or \
         shorter prompts."
    ))
}

/// A field, its stream, and its template.
type Text = (&'static str, u64, String);

fn picture_count(params: &Params) -> usize {
    let number = |field: &str| params.get(field).and_then(Value::as_u64).unwrap_or(1).max(1);
    let count = number("batch_size").saturating_mul(number("n_iter"));
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The request is the first picture's; where pictures differ, each has its own.
fn write(params: &mut Params, pictures: Vec<Picture>, sets_count: bool) {
    for (field, value) in pictures.first().into_iter().flatten() {
        params.set(field.clone(), value.clone());
    }
    let mut fills_batches = true;
    if sets_count {
        let batch = params.get("batch_size").and_then(Value::as_u64).unwrap_or(1).max(1);
        params.set("n_iter", (pictures.len() as u64).div_ceil(batch));
        fills_batches = (pictures.len() as u64).is_multiple_of(batch);
    }
    if !fills_batches
        || pictures.windows(2).any(|pair| pair[0] != pair[1])
        || pictures.len() > 1 && pictures[0].contains_key("seed")
    {
        params.set(PER_PICTURE, pictures.into_iter().map(Value::Object).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests;
