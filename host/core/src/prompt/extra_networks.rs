//! Tags such as `<lora:name:0.8>` in prompts: which extra networks a picture is drawn with. They are cut out before
//! anything else reads the prompt, by whoever accepts requests; [`ExtraNetwork::read`] says what one means. Knows
//! neither files nor weights: a name is looked up elsewhere.

use super::MAX_WEIGHT;

/// A tag as it is written: `<kind:positional:name=value>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraNetwork {
    /// Letters, digits and `_`; never empty.
    pub kind: String,
    /// Arguments without `=`, or with more than one. May be empty texts.
    pub positional: Vec<String>,
    /// Arguments with one `=`. Of those with equal names the last counts.
    pub named: Vec<(String, String)>,
}

/// What a tag means.
#[derive(Debug, Clone, PartialEq)]
pub enum Network {
    /// `lora` or `lyco`: both name low-rank files of any kind.
    Lora(Lora),
    Hypernetwork {
        name: String,
        strength: f64,
    },
}

/// `<lora:name:text encoder weight:unet weight:rank>`, or the same by name: `te=`, `unet=`, `dyn=`; and what the LoRA
/// Block Weight extension adds: `lbw=`, `start=`, `stop=`, `step=`.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    pub name: String,
    pub text_encoder_weight: f64,
    /// As the text encoder's unless given.
    pub unet_weight: f64,
    /// Use only the first so many ranks.
    pub rank: Option<u32>,
    pub block_weights: Option<BlockWeights>,
    /// Sampler step from which on it acts, as written.
    pub start_step: Option<u32>,
    /// Sampler step from which on it does not, as written. May lie before the start.
    pub stop_step: Option<u32>,
}

/// Factors for the blocks of a network, on top of its weights.
#[derive(Debug, Clone, PartialEq)]
pub enum BlockWeights {
    /// In the order of the blocks, the text encoder first. Their number is not checked here: which are good depends
    /// on the network (12, 17, 20 or 26).
    Numbers(Vec<f64>),
    /// The name of a list that an operator keeps.
    Preset(String),
}

/// A tag that cannot be used. Generation goes on without it; the message is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("\"{0}\" is not a kind of network; write <lora:...>, <lyco:...> or <hypernet:...>")]
    UnknownKind(String),
    #[error("<{0}:...> names no network; write <{0}:name:weight>")]
    NoName(String),
    #[error("{kind} \"{name}\": {argument} \"{text}\" is not {wanted}")]
    BadArgument {
        /// The kind of network, for people.
        kind: &'static str,
        name: String,
        argument: &'static str,
        text: String,
        wanted: &'static str,
    },
}

/// The text without its tags, and the tags in their order. A tag is `<`, a word, `:` and anything up to the next `>`;
/// other angle brackets are text.
pub fn extract_networks(text: &str) -> (String, Vec<ExtraNetwork>) {
    let mut left = String::with_capacity(text.len());
    let mut networks = Vec::new();
    let mut rest = text;
    // Past the last `>` there is no tag: looking no further keeps the time linear.
    let mut closed = rest.rfind('>').map_or("", |last| &rest[..=last]);
    while let Some(start) = closed.find('<') {
        let inside = &closed[start + 1..];
        let word_end = inside.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inside.len());
        let arguments = inside[word_end..].strip_prefix(':').and_then(|rest| rest.split_once('>'));
        let end = match arguments {
            Some((arguments, after)) if word_end > 0 && !arguments.is_empty() => {
                left.push_str(&rest[..start]);
                networks.push(ExtraNetwork::new(&inside[..word_end], arguments));
                closed.len() - after.len()
            }
            _ => {
                left.push_str(&rest[..=start]);
                start + 1
            }
        };
        rest = &rest[end..];
        closed = &closed[end..];
    }
    left.push_str(rest);
    (left, networks)
}

impl ExtraNetwork {
    fn new(kind: &str, arguments: &str) -> Self {
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for argument in arguments.split(':') {
            match argument.split_once('=') {
                Some((name, value)) if !value.contains('=') => {
                    named.push((name.to_owned(), value.to_owned()))
                }
                _ => positional.push(argument.to_owned()),
            }
        }
        Self { kind: kind.to_owned(), positional, named }
    }

    /// What the tag means.
    ///
    /// # Errors
    /// When the kind is none that web UIs know, no name is given, or an argument is not a number where one belongs.
    pub fn read(&self) -> Result<Network, NetworkError> {
        let shown = match self.kind.as_str() {
            "lora" => "Lora",
            "lyco" => "LyCORIS",
            "hypernet" => "Hypernetwork",
            _ => return Err(NetworkError::UnknownKind(shortened(&self.kind))),
        };
        let name = self.positional.first().map_or("", |name| name.trim());
        if name.is_empty() {
            return Err(NetworkError::NoName(self.kind.clone()));
        }
        let reader = Reader { network: self, kind: shown, name };
        match shown {
            "Hypernetwork" => {
                let strength = reader.weight(self.positional.get(1), "strength")?.unwrap_or(1.0);
                Ok(Network::Hypernetwork { name: name.to_owned(), strength })
            }
            _ => Ok(Network::Lora(reader.lora()?)),
        }
    }

    fn named(&self, name: &str) -> Option<&String> {
        self.named.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}

/// Reads arguments; errors carry whose they are.
struct Reader<'a> {
    network: &'a ExtraNetwork,
    kind: &'static str,
    name: &'a str,
}

impl Reader<'_> {
    fn lora(&self) -> Result<Lora, NetworkError> {
        let network = self.network;
        // By name beats by position.
        let argument = |name, place| network.named(name).or(network.positional.get(place));
        let text_encoder_weight = self.weight(argument("te", 1), "weight")?.unwrap_or(1.0);
        let unet_weight = self.weight(argument("unet", 2), "unet weight")?.unwrap_or(text_encoder_weight);
        let rank = self.whole(argument("dyn", 3).map(String::as_str), "dyn")?;
        let (mut start_step, mut stop_step) =
            (self.step("start", "start step")?, self.step("stop", "stop step")?);
        if let Some(window) = network.named("step") {
            let Some((start, stop)) = window.split_once('-') else {
                return Err(self.error("step", window, "two whole numbers such as 5-10"));
            };
            start_step = self.whole(Some(start), "start step")?;
            stop_step = self.whole(Some(stop), "stop step")?;
        }
        let block_weights = network.named("lbw").map(|text| self.block_weights(text)).transpose()?;
        let name = self.name.to_owned();
        Ok(Lora { name, text_encoder_weight, unet_weight, rank, block_weights, start_step, stop_step })
    }

    fn block_weights(&self, text: &str) -> Result<BlockWeights, NetworkError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(self.error("lbw", text, "a list of numbers or the name of one"));
        }
        if !text.contains(',') && text.parse::<f64>().is_err() {
            return Ok(BlockWeights::Preset(text.to_owned()));
        }
        let numbers = text.split(',').map(|number| self.number(number, "block weight"));
        Ok(BlockWeights::Numbers(numbers.collect::<Result<_, _>>()?))
    }

    fn weight(&self, text: Option<&String>, argument: &'static str) -> Result<Option<f64>, NetworkError> {
        text.map(|text| self.number(text, argument)).transpose()
    }

    fn number(&self, text: &str, argument: &'static str) -> Result<f64, NetworkError> {
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number.clamp(-MAX_WEIGHT, MAX_WEIGHT)),
            _ => Err(self.error(argument, text, "a number")),
        }
    }

    fn step(&self, name: &str, argument: &'static str) -> Result<Option<u32>, NetworkError> {
        self.whole(self.network.named(name).map(String::as_str), argument)
    }

    fn whole(&self, text: Option<&str>, argument: &'static str) -> Result<Option<u32>, NetworkError> {
        let wrong = |text| self.error(argument, text, "a whole number");
        text.map(|text| text.trim().parse().map_err(|_| wrong(text))).transpose()
    }

    fn error(&self, argument: &'static str, text: &str, wanted: &'static str) -> NetworkError {
        let (kind, name, text) = (self.kind, shortened(self.name), shortened(text));
        NetworkError::BadArgument { kind, name, argument, text, wanted }
    }
}

/// Enough of a text to know it by.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    /// The one network of a tag.
    fn read(tag: &str) -> Result<Network, String> {
        let (left, networks) = extract_networks(tag);
        assert_eq!((left.as_str(), networks.len()), ("", 1), "{tag}");
        networks[0].read().map_err(|error| error.to_string())
    }

    fn lora(tag: &str) -> Lora {
        match read(tag) {
            Ok(Network::Lora(lora)) => lora,
            other => panic!("{tag}: {other:?}"),
        }
    }

    #[test]
    fn tags_are_cut_out_and_the_rest_stays() {
        for (text, left, kinds) in [
            ("", "", &[][..]),
            ("a <lora:x:1> b", "a  b", &["lora"][..]),
            ("<lora:x><hypernet:y:0.5>a", "a", &["lora", "hypernet"][..]),
            ("a < b > c <3 <lora> <:x> <lora:>", "a < b > c <3 <lora> <:x> <lora:>", &[][..]),
            ("<a <lora:x:1>", "<a ", &["lora"][..]),
            ("<lora:<b:1> c>", " c>", &["lora"][..]),
            ("<lora:x\n:1>é<é_1:y>", "é", &["lora", "é_1"][..]),
            ("<lora:x:1", "<lora:x:1", &[][..]),
            ("a > <lora:x", "a > <lora:x", &[][..]),
            ("<lo ra:x>", "<lo ra:x>", &[][..]),
        ] {
            let (got, networks) = extract_networks(text);
            assert_eq!(got, left, "{text}");
            assert_eq!(
                networks.iter().map(|network| network.kind.as_str()).collect::<Vec<_>>(),
                kinds,
                "{text}"
            );
        }
    }

    #[test]
    fn an_argument_with_one_equals_sign_is_named() {
        let (_, networks) = extract_networks("<k:a:b=1:c=d=e::f=:b=2>");
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(networks[0].positional, texts(&["a", "c=d=e", ""]));
        let named: Vec<String> =
            networks[0].named.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(named, ["b=1", "f=", "b=2"]);
        assert_eq!(networks[0].named("b").map(String::as_str), Some("2"));
    }

    #[test]
    fn weights_of_a_lora_fall_back_on_one_another() {
        for (tag, te, unet, rank) in [
            ("<lora:x>", 1.0, 1.0, None),
            ("<lora:x:0.5>", 0.5, 0.5, None),
            ("<lyco:x:0.5:0.25:8>", 0.5, 0.25, Some(8)),
            ("<lora:x:te=0.3>", 0.3, 0.3, None),
            ("<lora:x:0.5:unet=2:dyn=4>", 0.5, 2.0, Some(4)),
            ("<lora:x:1:1:2:te=0:unet=-1:dyn= 3 >", 0.0, -1.0, Some(3)),
            ("<lora:x: 1e9 >", MAX_WEIGHT, MAX_WEIGHT, None),
        ] {
            let lora = lora(tag);
            assert_eq!((lora.text_encoder_weight, lora.unet_weight, lora.rank), (te, unet, rank), "{tag}");
            assert_eq!(lora.name, "x");
        }
    }

    #[test]
    fn block_weights_and_steps_are_read() {
        let of = |tag: &str| (lora(tag).block_weights, lora(tag).start_step, lora(tag).stop_step);
        let preset = |name: &str| Some(BlockWeights::Preset(name.into()));
        assert_eq!(of("<lora:x:1:lbw=IN02>"), (preset("IN02"), None, None));
        assert_eq!(of("<lora:x:lbw=ALL:stop=10>"), (preset("ALL"), None, Some(10)));
        assert_eq!(of("<lora:x:lbw=ALL0.5:start=3>"), (preset("ALL0.5"), Some(3), None));
        assert_eq!(of("<lora:x:step=5-10>"), (None, Some(5), Some(10)));
        let numbers = Some(BlockWeights::Numbers(vec![1.0, 0.0, -0.5]));
        assert_eq!(of("<lyco:x:1:1:lbw=1,0, -.5>").0, numbers);
    }

    #[test]
    fn a_hypernetwork_has_a_name_and_a_strength() {
        let of = |strength| Ok(Network::Hypernetwork { name: "x y".into(), strength });
        assert_eq!(read("<hypernet:x y>"), of(1.0));
        assert_eq!(read("<hypernet:x y:0.4>"), of(0.4));
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        for (tag, want) in [
            ("<lora:a:x>", "Lora \"a\": weight \"x\" is not a number"),
            ("<lora:a:>", "Lora \"a\": weight \"\" is not a number"),
            ("<lora:a:nan>", "Lora \"a\": weight \"nan\" is not a number"),
            ("<lyco:a:1:inf>", "LyCORIS \"a\": unet weight \"inf\" is not a number"),
            ("<lora:a:te=x>", "Lora \"a\": weight \"x\" is not a number"),
            ("<lora:a:1:1:1.5>", "Lora \"a\": dyn \"1.5\" is not a whole number"),
            ("<lora:a:stop=-1>", "Lora \"a\": stop step \"-1\" is not a whole number"),
            ("<lora:a:step=5>", "Lora \"a\": step \"5\" is not two whole numbers such as 5-10"),
            ("<lora:a:step=5-x>", "Lora \"a\": stop step \"x\" is not a whole number"),
            ("<lora:a:lbw=1,R>", "Lora \"a\": block weight \"R\" is not a number"),
            ("<lora:a:lbw=>", "Lora \"a\": lbw \"\" is not a list of numbers or the name of one"),
            ("<hypernet:a:b>", "Hypernetwork \"a\": strength \"b\" is not a number"),
            ("<lora:te=1>", "<lora:...> names no network; write <lora:name:weight>"),
            ("<lora: :1>", "<lora:...> names no network; write <lora:name:weight>"),
            ("<Lora:a>", "\"Lora\" is not a kind of network; write <lora:...>, <lyco:...> or <hypernet:...>"),
        ] {
            assert_eq!(read(tag), Err(want.to_owned()), "{tag}");
        }
    }

    /// A hundred thousand openings would take minutes in quadratic time.
    #[test]
    fn long_hostile_prompts_take_linear_time() {
        let start = Instant::now();
        for unit in ["<", "<a:", "<a:>", "<a", "a:b=c:", "<lora:x:1>"] {
            extract_networks(&unit.repeat(100_000));
            extract_networks(&format!("{}>", unit.repeat(100_000)));
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn no_prompt_panics(structured in "(<|>|:|=|-|,|lora|lyco|hypernet|lbw|step|[a1. é]){0,40}", other: String) {
            for text in [structured, other] {
                let (left, networks) = extract_networks(&text);
                prop_assert!(left.len() <= text.len());
                networks.iter().for_each(|network| drop(network.read()));
            }
        }
    }
}
