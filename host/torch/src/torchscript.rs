//! Networks that bring their own code: TorchScript archives, run as they are on the device. For plugins, whose detectors
//! and annotators are of every kind. Knows no plugin.
//!
//! TorchScript is a language without Python in it: what it can do is compute, and two of libtorch's operators read and
//! write files. An archive is packed anew from what `judge` has looked at, so that libtorch sees nothing else.

mod judge;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;
use std::sync::Arc;

use gesso_core::numbers::Numbers;
use tch::{CModule, Device, IValue, Kind, TchError, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::{LoadError, Problem};
use crate::stored::OpenFile;

/// What its exporter says of a network, below the archive's folder.
const ABOUT: &str = "/extra/config.txt";
const ABOUT_BYTES_MAX: u64 = 1 << 20;
/// Largest file: a network for one picture has some hundred megabytes.
const FILE_BYTES_MAX: u64 = 4 << 30;
/// What the members may unpack to, as a multiple of the file and a little more; weights are hardly ever compressed.
const UNPACKING_MAX: u64 = 4;
const UNPACKED_BYTES_SPARE: u64 = 16 << 20;
const MEMBERS_MAX: usize = 50_000;
/// What one run may give back.
const OUTPUT_VALUES_MAX: usize = 16 << 20;
/// Empty ones too take room, a host's and a guest's.
const OUTPUTS_MAX: usize = 256;
/// Tuples and lists inside each other.
const OUTPUT_DEPTH_MAX: usize = 8;

/// A network in memory. Belongs to the thread that loaded it.
pub(crate) struct ScriptedNetwork {
    module: CModule,
    device: Device,
    bytes: u64,
}

impl ScriptedNetwork {
    pub(crate) fn load(path: &Path, device: Device) -> Result<Self, LoadError> {
        let load = || {
            let archive = repacked(path)?;
            let module = CModule::load_data_on_device(&mut archive.as_slice(), device);
            let mut module = module.map_err(|error| Problem::Malformed(first_line(&error)))?;
            module.f_set_eval()?;
            // Weights are most of an archive.
            Ok(Self { module, device, bytes: archive.len() as u64 })
        };
        load().map_err(|problem: Problem| problem.of(path))
    }

    /// About what it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the network makes of its inputs: every tensor it gives, tuples and lists laid out in order, as f32.
    pub(crate) fn run(&self, inputs: &[Numbers]) -> Result<Vec<Numbers>, TchError> {
        let given = inputs.iter().map(|input| self.tensor(input)).collect::<Result<Vec<_>, _>>()?;
        let mut outputs = Vec::new();
        let mut room = OUTPUT_VALUES_MAX;
        collect(self.module.forward_is(&given)?, 0, &mut room, &mut outputs)?;
        Ok(outputs)
    }

    fn tensor(&self, input: &Numbers) -> Result<IValue, TchError> {
        let shape: Vec<i64> = input.shape.iter().map(|&side| i64::from(side)).collect();
        let tensor = Tensor::f_from_slice(&input.values)?.f_reshape(shape)?;
        Ok(IValue::Tensor(tensor.f_to_device(self.device)?))
    }
}

/// What the exporter of a TorchScript archive put into it as `extra/config.txt`, where it did.
///
/// # Errors
/// Where the file is no archive, or the text is longer than 1 MiB or no UTF-8.
pub fn about_network(path: &Path) -> Result<Option<String>, LoadError> {
    let read = || {
        let mut archive = open(path)?;
        let is_about = |name: &Cow<'_, str>| name.ends_with(ABOUT);
        let name = archive.file_names().flatten().find(is_about).map(Cow::into_owned);
        let Some(name) = name else { return Ok(None) };
        let mut text = String::new();
        let member = archive.by_name(&name).map_err(zip_problem)?;
        let read = member.take(ABOUT_BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| Problem::Malformed(format!("{ABOUT} does not read: {error}")))?;
        if text.len() as u64 > ABOUT_BYTES_MAX {
            return Err(Problem::Malformed(format!("{ABOUT} is longer than {ABOUT_BYTES_MAX} bytes")));
        }
        Ok(Some(text))
    };
    read().map_err(|problem: Problem| problem.of(path))
}

fn open(path: &Path) -> Result<ZipArchive<BufReader<crate::stored::Reader>>, Problem> {
    let file = Arc::new(OpenFile::open(path)?);
    if file.length() > FILE_BYTES_MAX {
        return Err(Problem::Malformed(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    ZipArchive::new(BufReader::new(file.reader())).map_err(zip_problem)
}

/// The archive with every member that libtorch needs, read, judged, and laid down uncompressed.
fn repacked(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut archive = open(path)?;
    let length = std::fs::metadata(path)?.len();
    let mut room = length.saturating_mul(UNPACKING_MAX).saturating_add(UNPACKED_BYTES_SPARE);
    if archive.len() > MEMBERS_MAX {
        return Err(Problem::Malformed(format!("its archive has more than {MEMBERS_MAX} members")));
    }
    let mut packed = ZipWriter::new(Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let (mut folder, mut seen, mut has_code) = (None::<String>, HashSet::new(), false);
    for index in 0..archive.len() {
        let member = archive.by_index(index).map_err(zip_problem)?;
        let name = member.name().map_err(zip_problem)?.into_owned();
        let odd =
            || Problem::Malformed(format!("its archive holds {name:.100?}, which is no part of a network"));
        let (own, rest) = name.split_once('/').ok_or_else(odd)?;
        // libtorch finds members without regard to case.
        if folder.get_or_insert_with(|| own.to_owned()) != own || !seen.insert(name.to_lowercase()) {
            return Err(odd());
        }
        let part = Part::of(rest).ok_or_else(odd)?;
        if part == Part::Needless {
            continue;
        }
        let mut bytes = Vec::new();
        member.take(room + 1).read_to_end(&mut bytes)?;
        room = room
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Problem::Malformed("its archive unpacks to many times its size".to_owned()))?;
        match part {
            Part::Code => {
                has_code = true;
                let code = std::str::from_utf8(&bytes)
                    .map_err(|_| Problem::Malformed(format!("its code {name:.100?} is no text")))?;
                judge::code(code).map_err(Problem::Script)?;
            }
            Part::Pickle => judge::pickle(&bytes).map_err(Problem::Script)?,
            Part::Data | Part::Needless => {}
        }
        packed.start_file(name, plain).map_err(zip_problem)?;
        packed.write_all(&bytes)?;
    }
    if !has_code {
        return Err(Problem::Malformed("it has no code in it; export the network as TorchScript".into()));
    }
    Ok(packed.finish().map_err(zip_problem)?.into_inner())
}

/// What a member of an archive is, by its name below the archive's folder; a network has no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Pickle,
    Data,
    /// Left out: what tools keep for themselves.
    Needless,
}

impl Part {
    fn of(name: &str) -> Option<Self> {
        let is_in = |folder: &str| name.starts_with(folder);
        Some(match name {
            "data.pkl" | "constants.pkl" => Self::Pickle,
            "version" | "byteorder" | ".format_version" | ".storage_alignment" => Self::Data,
            _ if is_in("data/") || is_in("constants/") || is_in(".data/") => Self::Data,
            "traced_inputs.pkl" => Self::Needless,
            _ if is_in("extra/") || is_in("traced_inputs/") => Self::Needless,
            _ if is_in("code/") && name.ends_with(".py") => Self::Code,
            _ if is_in("code/") && name.ends_with(".debug_pkl") => Self::Needless,
            _ => return None,
        })
    }
}

fn collect(
    value: IValue,
    depth: usize,
    room: &mut usize,
    outputs: &mut Vec<Numbers>,
) -> Result<(), TchError> {
    let unfit = |what: &str| Err(TchError::Torch(format!("the network gives {what}")));
    if depth > OUTPUT_DEPTH_MAX {
        return unfit("lists inside of lists without end");
    }
    match value {
        IValue::Tensor(_) | IValue::TensorList(_) if outputs.len() >= OUTPUTS_MAX => {
            return unfit("hundreds of tensors; export it so that it gives only what is used");
        }
        IValue::Tensor(tensor) => outputs.push(numbers(&tensor, room)?),
        IValue::TensorList(tensors) => {
            for tensor in tensors {
                collect(IValue::Tensor(tensor), depth, room, outputs)?;
            }
        }
        IValue::Tuple(values) | IValue::GenericList(values) => {
            for value in values {
                collect(value, depth + 1, room, outputs)?;
            }
        }
        // Names and order of a dictionary would be lost.
        IValue::GenericDict(_) => return unfit("a dictionary; export it so that it gives tensors"),
        _ => return unfit("something that is no tensor; export it so that it gives tensors"),
    }
    Ok(())
}

fn numbers(tensor: &Tensor, room: &mut usize) -> Result<Numbers, TchError> {
    let refused = || {
        let text = format!(
            "the network gives more than {OUTPUT_VALUES_MAX} numbers; export it so that it gives only what is used"
        );
        TchError::Torch(text)
    };
    *room = room.checked_sub(tensor.numel()).ok_or_else(refused)?;
    let flat = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let mut values = vec![0.0_f32; flat.numel()];
    flat.f_copy_data(&mut values, flat.numel())?;
    Ok(Numbers { shape: tensor.size().into_iter().map(|side| side as u32).collect(), values })
}

fn zip_problem(error: zip::result::ZipError) -> Problem {
    Problem::Malformed(format!("its archive: {error}"))
}

fn first_line(error: &TchError) -> String {
    error.to_string().lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_gives_tensors_without_end() {
        let given = |count: usize| {
            let tensors = (0..count).map(|_| Tensor::from_slice(&[] as &[f32])).collect();
            let mut outputs = Vec::new();
            let kept = collect(IValue::TensorList(tensors), 0, &mut { OUTPUT_VALUES_MAX }, &mut outputs);
            kept.map(|()| outputs.len())
        };
        assert_eq!(given(OUTPUTS_MAX).unwrap(), OUTPUTS_MAX);
        assert!(given(OUTPUTS_MAX + 1).unwrap_err().to_string().contains("hundreds of tensors"));
    }
}
