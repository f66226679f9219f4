//! The names of pictures that are saved for people, as web UIs form them: patterns with words in brackets, such as
//! `[date]` or `[seed]-[prompt_words]`. Pure but for [`Zones::of`]; who writes the files is `saved_pictures.rs`.

use std::collections::BTreeMap;

use gesso_core::hex::hex;
use jiff::tz::TimeZone;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Of one part of a path.
const PART_CHARS_MAX: usize = 120;
/// The same in UTF-8. File systems have room for 255, of which numbers and the extension take theirs.
const PART_BYTES_MAX: usize = 200;
/// Of a character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;
/// Words of `[prompt_words]` unless it or an option says how many.
pub(crate) const WORDS: usize = 8;

/// What a picture's name may tell.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    /// The `info` document of its request.
    pub(crate) info: &'a Value,
    /// Its place among the pictures, from 0.
    pub(crate) index: usize,
    pub(crate) scheduler: &'a str,
    pub(crate) user: &'a str,
    /// The picture's prompt as the client sent it, where that is known to differ by its styles.
    pub(crate) plain_prompt: Option<&'a str>,
    pub(crate) time: jiff::Timestamp,
    /// Those of the pattern.
    pub(crate) zones: &'a Zones,
    /// Words of `[prompt_words]` unless it says how many.
    pub(crate) words: usize,
    /// Of its pixels, where [`names_pixels`] says that the pattern has a use for it.
    pub(crate) pixels_hash: &'a str,
}

/// The time zones that patterns name, as far as this machine knows them.
#[derive(Debug, Default)]
pub(crate) struct Zones(BTreeMap<String, TimeZone>);

impl Zones {
    /// Reads the machine's zone files: call it where blocking is allowed.
    pub(crate) fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let names = patterns.into_iter().flat_map(zones);
        Self(names.filter_map(|name| Some((name.to_owned(), TimeZone::get(name).ok()?))).collect())
    }
}

/// Names of time zones in a pattern: at least those of its words.
fn zones(pattern: &str) -> impl Iterator<Item = &str> {
    let words = pattern.match_indices('[').filter_map(move |(at, _)| pattern[at + 1..].split_once(']'));
    let is_time =
        |word: &str| word.split('<').next().is_some_and(|name| name.eq_ignore_ascii_case("datetime"));
    words.filter_map(move |(word, _)| zone(word).filter(|_| is_time(word)))
}

/// The second argument of a word.
fn zone(word: &str) -> Option<&str> {
    word.split('<').nth(2).map(|zone| zone.trim_end_matches('>'))
}

/// Whether the pattern has a word that depends on the picture's pixels.
pub(crate) fn names_pixels(pattern: &str) -> bool {
    pattern.to_ascii_lowercase().contains("[image_hash")
}

/// What `[image_hash]` is taken of a picture's pixels: SHA-256, in hex.
pub(crate) fn pixels_hash(pixels: &[u8]) -> String {
    hex(&Sha256::digest(pixels))
}

/// The pattern with its words filled in, as one part of a path or, with `/` in it, as several. Words that are not known
/// stay as they are; what no name may hold becomes `_`. Empty where nothing is left.
pub(crate) fn expand(pattern: &str, facts: &Facts<'_>) -> String {
    let parts = parts(pattern).map(|part| clean(&filled(part, facts)));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// As [`expand`], for the name of a file: always one part.
pub(crate) fn expand_name(pattern: &str, facts: &Facts<'_>) -> String {
    clean(&expand(pattern, facts))
}

/// What stands between slashes. One in brackets, as time zones have it, divides nothing.
fn parts(pattern: &str) -> impl Iterator<Item = &str> {
    let mut in_brackets = false;
    pattern.split(move |letter: char| {
        in_brackets = letter == '[' || (in_brackets && letter != ']');
        !in_brackets && matches!(letter, '/' | '\\')
    })
}

/// A part with its words filled in, or so much of it that the rest would be cut off.
fn filled(part: &str, facts: &Facts<'_>) -> String {
    let (mut out, mut rest) = (String::new(), part);
    while let Some((before, after)) = rest.split_once('[') {
        // A word may stand for a whole prompt: many of them would fill the memory.
        if out.len() >= PART_CHARS_MAX * CHAR_BYTES_MAX {
            return out;
        }
        out.push_str(before);
        let Some((word, behind)) = after.split_once(']') else {
            out.push('[');
            rest = after;
            continue;
        };
        match facts.word(word) {
            Some(text) => out.push_str(&text),
            None => out.push_str(&format!("[{word}]")),
        }
        rest = behind;
    }
    out + rest
}

/// Leaves out what file systems and shells stumble over, and what they have no room for.
fn clean(text: &str) -> String {
    let safe = |letter: char| {
        if letter.is_control() || "<>:\"|?*/\\'`$".contains(letter) { '_' } else { letter }
    };
    let cut: String = text.chars().map(safe).take(PART_CHARS_MAX).collect();
    cut[..cut.floor_char_boundary(PART_BYTES_MAX)].trim_matches([' ', '.']).to_owned()
}

impl Facts<'_> {
    /// What a word stands for; `None` for one that is not known.
    fn word(&self, word: &str) -> Option<String> {
        let (name, argument) = match word.split_once('<') {
            Some((name, rest)) => (name, rest.split('>').next()),
            None => (word, None),
        };
        let seeds = &self.info["all_seeds"];
        // A picture beyond those that were drawn, such as a map, has no seed.
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(match name.to_ascii_lowercase().as_str() {
            "seed" => text(&seeds[self.index]),
            "seed_first" => text(&seeds[0]),
            "seed_last" => text(&seeds[seeds.as_array().map_or(0, Vec::len).saturating_sub(1)]),
            "steps" => text(&self.info["steps"]),
            "cfg" => text(&self.info["cfg_scale"]),
            "width" => text(&self.info["width"]),
            "height" => text(&self.info["height"]),
            "sampler" => text(&self.info["sampler_name"]),
            "scheduler" => self.scheduler.to_owned(),
            "sampler_scheduler" => format!("{} {}", text(&self.info["sampler_name"]), self.scheduler),
            "model_hash" => text(&self.info["sd_model_hash"]),
            "model_name" => text(&self.info["sd_model_name"]),
            "vae_filename" => self.info["sd_vae_name"].as_str().unwrap_or("NoneType").to_owned(),
            "clip_skip" => text(&self.info["clip_skip"]),
            "denoising" => {
                self.info["denoising_strength"].as_f64().map(|value| value.to_string()).unwrap_or_default()
            }
            "styles" => self.styles(),
            "user" => self.user.to_owned(),
            "date" => self.time.strftime("%Y-%m-%d").to_string(),
            "datetime" => self.time(word),
            "job_timestamp" => text(&self.info["job_timestamp"]),
            "batch_number" => (self.index % self.batch_size() + 1).to_string(),
            "generation_number" => (self.index + 1).to_string(),
            "batch_size" => text(&self.info["batch_size"]),
            "prompt" => self.prompt("all_prompts").replace(' ', "_"),
            "prompt_spaces" => self.prompt("all_prompts"),
            "prompt_no_styles" => self.plain_prompt.map_or_else(|| self.prompt("all_prompts"), str::to_owned),
            "prompt_words" => self.words(argument),
            "prompt_hash" => hash(&[&self.prompt("all_prompts")], argument),
            "negative_prompt_hash" => hash(&[&self.prompt("all_negative_prompts")], argument),
            "full_prompt_hash" => {
                hash(&[&self.prompt("all_prompts"), " ", &self.prompt("all_negative_prompts")], argument)
            }
            "image_hash" => {
                let digits = argument.and_then(|digits| digits.parse().ok()).unwrap_or(usize::MAX);
                self.pixels_hash.chars().take(digits).collect()
            }
            // Of the file that a picture was made from; what is sent has none.
            "basename" => String::new(),
            "hasprompt" => self.has_prompt(word),
            "none" => String::new(),
            _ => return None,
        })
    }

    /// Pictures of one batch; at least 1.
    fn batch_size(&self) -> usize {
        self.info["batch_size"].as_u64().map_or(1, |size| size.max(1) as usize)
    }

    fn prompt(&self, of: &str) -> String {
        self.info[of][self.index].as_str().unwrap_or_default().to_owned()
    }

    fn styles(&self) -> String {
        let styles = self.info["styles"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let named: Vec<_> = styles.collect();
        if named.is_empty() { "None".to_owned() } else { named.join(", ") }
    }

    fn words(&self, count: Option<&str>) -> String {
        let count = count.and_then(|count| count.parse().ok()).unwrap_or(self.words);
        let prompt = self.prompt("all_prompts");
        let words = prompt.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
        words.take(count).collect::<Vec<_>>().join(" ")
    }

    /// `datetime<format><zone>`: a format of `strftime`, and a time zone by its name. A format that cannot be read stands for the
    /// whole time, and a zone that this machine does not know for UTC, as none does.
    fn time(&self, word: &str) -> String {
        const WHOLE: &str = "%Y%m%d%H%M%S";
        let format = word.split('<').nth(1).map(|format| format.trim_end_matches('>'));
        let format = format.filter(|format| !format.is_empty()).unwrap_or(WHOLE);
        let zone = zone(word).and_then(|zone| self.zones.0.get(zone)).cloned().unwrap_or(TimeZone::UTC);
        let time = self.time.to_zoned(zone);
        let tried = jiff::fmt::strtime::format(format, &time);
        tried.unwrap_or_else(|_| time.strftime(WHOLE).to_string())
    }

    /// `hasprompt<a|default><b>`: each word that the prompt has, or what stands behind its bar.
    fn has_prompt(&self, word: &str) -> String {
        let prompt = self.prompt("all_prompts").to_lowercase();
        let options = word.split('<').skip(1).map(|option| option.trim_end_matches('>'));
        options
            .map(|option| {
                let (wanted, default) = option.split_once('|').unwrap_or((option, ""));
                if prompt.contains(&wanted.to_lowercase()) { wanted } else { default }
            })
            .collect()
    }
}

/// The first digits of a SHA-256, eight unless it says how many.
fn hash(of: &[&str], digits: Option<&str>) -> String {
    let digits = digits.and_then(|digits| digits.parse().ok()).unwrap_or(8_usize);
    let mut hasher = Sha256::new();
    of.iter().for_each(|part| hasher.update(part));
    hex(&hasher.finalize()).chars().take(digits).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(pattern: &str) -> String {
        named_by(pattern, "a red circle, on: white/blue")
    }

    fn named_by(pattern: &str, prompt: &str) -> String {
        with_facts(prompt, &Zones::of([pattern]), |facts| expand(pattern, facts))
    }

    fn with_facts<T>(prompt: &str, zones: &Zones, name: impl FnOnce(&Facts<'_>) -> T) -> T {
        let info = json!({
            "all_seeds": [7, 8], "steps": 20, "cfg_scale": 7.5, "width": 512, "height": 768, "sampler_name": "DPM++ 2M",
            "sd_model_name": "demo-v3", "sd_model_hash": "d229c564fa", "all_prompts": ["x", prompt],
            "all_negative_prompts": ["", "blur"], "styles": ["Ink", "Oil"], "job_timestamp": "20260102030405",
            "clip_skip": 2, "denoising_strength": null, "batch_size": 2,
        });
        let time = "2026-01-02T03:04:05Z".parse().unwrap();
        let (scheduler, user, pixels_hash) = ("Karras", "ann", "0123456789abcdef");
        let plain_prompt = Some("a red circle");
        let (info, index, words) = (&info, 1, 2);
        name(&Facts { info, index, scheduler, user, plain_prompt, time, zones, words, pixels_hash })
    }

    #[test]
    fn words_are_filled_in_and_others_stay() {
        for (pattern, name) in [
            ("[seed]", "8"),
            ("[seed_first]-[seed_last]", "7-8"),
            ("[width]x[height]_[cfg]", "512x768_7.5"),
            ("[sampler_scheduler]", "DPM++ 2M Karras"),
            ("[date]/[user]", "2026-01-02/ann"),
            ("[datetime<%H-%M>]", "03-04"),
            ("[datetime]", "20260102030405"),
            ("[prompt_words<3>]", "a red circle"),
            ("[prompt_words]", "a red"),
            ("[image_hash<4>]-[image_hash]", "0123-0123456789abcdef"),
            ("x[basename]", "x"),
            ("[prompt]", "a_red_circle,_on__white_blue"),
            ("[prompt_spaces]", "a red circle, on_ white_blue"),
            ("[prompt_no_styles]", "a red circle"),
            ("[styles]", "Ink, Oil"),
            ("[hasprompt<red|no><green|none>]", "rednone"),
            ("[nonsense] [seed", "[nonsense] [seed"),
            ("[none]", ""),
            // The second of a batch of two; a third would be the first of the next.
            ("[batch_number]-[generation_number]", "2-2"),
        ] {
            assert_eq!(named(pattern), name, "{pattern}");
        }
        assert_eq!(named("[prompt_hash<4>]").len(), 4);
    }

    #[test]
    fn times_are_those_of_the_zone_that_is_named() {
        // A machine may have no time zones at all.
        let in_tokyo = if TimeZone::get("Asia/Tokyo").is_ok() { "12-04" } else { "03-04" };
        for (pattern, name) in [
            ("[datetime<%H-%M><Asia/Tokyo>]", in_tokyo),
            ("[datetime<%H-%M><UTC>]", "03-04"),
            ("[datetime<%H-%M><Nowhere/Atall>]", "03-04"),
            ("[datetime<><UTC>]", "20260102030405"),
            ("[datetime<%!>]", "20260102030405"),
            ("a/[datetime<%d><Europe/London>]/b", "a/02/b"),
        ] {
            assert_eq!(named(pattern), name, "{pattern}");
        }
    }

    #[test]
    fn zones_are_asked_for_once_before_names_are_made() {
        let names = |pattern: &'static str| zones(pattern).collect::<Vec<_>>();
        assert_eq!(names("[DateTime<%H[x><Asia/Tokyo>]/[datetime<><UTC>]"), ["Asia/Tokyo", "UTC"]);
        assert_eq!(names("[datetime<%H>][datetime][seed<1><UTC>]<a><b>[datetime<%H><UTC>"), [""; 0]);
        let named =
            |zones: &Zones| with_facts("", zones, |facts| expand("[datetime<%H><Some/Where>]", facts));
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(named(&Zones([("Some/Where".to_owned(), zone)].into())), "05");
        assert_eq!(named(&Zones::default()), "03", "the machine is not asked any more");
    }

    #[test]
    fn a_part_of_a_path_fits_whatever_the_prompt_is_written_in() {
        let prompt = "富士山と桜の木、".repeat(40);
        for pattern in ["[prompt]", "[prompt]/[prompt]", "x[prompt] [prompt]"] {
            let path = named_by(pattern, &prompt);
            assert!(path.split('/').all(|part| (190..=PART_BYTES_MAX).contains(&part.len())), "{path}");
            let name = with_facts(&prompt, &Zones::default(), |facts| expand_name(pattern, facts));
            assert!(name.len() <= PART_BYTES_MAX && !name.contains('/'), "{name}");
        }
        let emoji = named_by("[prompt]", &"🗻".repeat(300));
        assert_eq!(emoji, "🗻".repeat(PART_BYTES_MAX / CHAR_BYTES_MAX));
    }

    #[test]
    fn words_that_would_be_cut_off_are_not_filled_in() {
        let prompt = "x".repeat(1000);
        let pattern = "[prompt]".repeat(1000);
        let filled = with_facts(&prompt, &Zones::default(), |facts| filled(&pattern, facts));
        assert_eq!(filled.len(), prompt.len());
    }

    #[test]
    fn pixels_are_hashed_for_patterns_that_name_them() {
        assert!(names_pixels("[seed]-[Image_Hash<8>]") && !names_pixels("[seed] image_hash"));
        assert!(pixels_hash(b"abc").starts_with("ba7816bf"));
    }

    #[test]
    fn no_pattern_leads_out_of_its_folder() {
        for (pattern, name) in [
            ("../[seed]", "8"),
            ("/etc/[seed]", "etc/8"),
            ("a\\..\\b", "a/b"),
            ("....", ""),
            ("con:<x>", "con__x_"),
            ("a\0b\n", "a_b_"),
            ("[../../x]", "[.._.._x]"),
            ("a[b/../c", "a[b_.._c"),
        ] {
            assert_eq!(named(pattern), name, "{pattern:?}");
        }
        assert_eq!(named(&"x".repeat(1000)).len(), PART_CHARS_MAX);
    }
}
