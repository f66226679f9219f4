//! Files that `torch.save` writes (`.ckpt`, `.pt`, `.pth`, `.bin`): the zip container of today and the stream of
//! five pickles of before. Finds where each storage lies and turns the pickle's result into a tree of values.
//! Called when a file of tensors is opened. Runs no code of the file's: see `pickle.rs`.

use std::collections::BTreeMap;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use tch::Kind;
use zip::{CompressionMethod, ZipArchive};

use crate::error::{LoadError, Problem};
use crate::pickle::{self, Arena, Id, Object};
use crate::pickle_globals::{StorageId, TensorView};
use crate::stored::{OpenFile, Reader, Source, Storage, Stored};
use crate::value::Value;

/// First bytes of a zip archive with at least one member.
pub(crate) const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";
/// First byte of a pickle of protocol 2 and later.
pub(crate) const PICKLE_MAGIC: u8 = 0x80;
/// What the first pickle of the older format holds, little-endian.
const STREAM_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const STREAM_PROTOCOL: i64 = 1001;

/// Longest pickle unpacked.
const PICKLE_BYTES_MAX: u64 = 128 << 20;
/// Compressed storages are unpacked into memory, up to this many times the file and a little more. torch itself
/// never compresses any; weights of a network shrink to about half.
const UNPACKING_MAX: u64 = 16;
const UNPACKED_BYTES_SPARE: u64 = 16 << 20;
/// Most storages in one file.
const STORAGES_MAX: usize = 50_000;
/// Deepest tree of values.
const DEPTH_MAX: usize = 64;
/// Most values in the tree: shared parts count each time they are named.
const VALUES_MAX: usize = 1_000_000;
/// Tensors may share a storage, so more may be read for them than the file holds, but not without end.
const SHARING_MAX: u64 = 4;

impl Value {
    /// Reads a file that `torch.save` wrote; the tensors in it are read when they are asked for.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for a pickle that asks for more than data, otherwise why it cannot be read.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        OpenFile::open(path).and_then(|file| open(&Arc::new(file))).map_err(|problem| problem.of(path))
    }
}

/// As [`Value::read`], of a file that is open already.
pub(crate) fn open(file: &Arc<OpenFile>) -> Result<Value, Problem> {
    let mut start = [0; 4];
    if file.length() >= 4 {
        file.read_at(&mut start, 0)?;
    }
    if start == ZIP_MAGIC { open_zip(file) } else { open_stream(file) }
}

/// Judges the bytes of a pickle as PyTorch writes them, with storages as large as it says they are.
///
/// # Errors
/// What loading a file with this pickle would be refused for, its storages aside.
pub fn inspect_pickle(bytes: &[u8]) -> Result<(), Problem> {
    let (arena, root) = pickle::run(&mut Cursor::new(bytes))?;
    let empty = Source::Memory(Arc::new(Vec::new()));
    let place = |id: &StorageId| {
        Ok(Storage { source: empty.clone(), start: 0, elements: id.elements, kind: id.kind })
    };
    Tree::grow(&arena, root, place).map(drop)
}

fn open_zip(file: &Arc<OpenFile>) -> Result<Value, Problem> {
    let mut archive = ZipArchive::new(BufReader::new(file.reader())).map_err(zip_problem)?;
    let names = archive.file_names_raw().filter_map(|name| std::str::from_utf8(name).ok());
    let folders: Vec<_> = names.filter_map(|name| name.strip_suffix("data.pkl").map(str::to_owned)).collect();
    let [folder] = folders.as_slice() else {
        return Err(Problem::Malformed("its archive does not hold one data.pkl".into()));
    };
    if archive.index_for_name(&format!("{folder}byteorder")).is_some() {
        let order = member(&mut archive, file, &format!("{folder}byteorder"), 64)?.bytes(64)?;
        if order != b"little" {
            return Err(Problem::Malformed("its numbers are not little-endian".into()));
        }
    }
    let pickle = member(&mut archive, file, &format!("{folder}data.pkl"), PICKLE_BYTES_MAX)?;
    let pickle = pickle.bytes(PICKLE_BYTES_MAX)?;
    let (arena, root) = pickle::run(&mut pickle.as_slice())?;
    let mut known: BTreeMap<Arc<str>, (StorageId, Storage)> = BTreeMap::new();
    let unpacked_max = file.length().saturating_mul(UNPACKING_MAX).saturating_add(UNPACKED_BYTES_SPARE);
    let mut unpacked = 0;
    let place = |id: &StorageId| -> Result<Storage, Problem> {
        if let Some((first, storage)) = known.get(&id.key) {
            same_storage(first, id)?;
            return Ok(storage.clone());
        }
        let size = id.elements.saturating_mul(element_bytes(id.kind));
        let name = format!("{folder}data/{}", id.key);
        let found = member(&mut archive, file, &name, unpacked_max - unpacked)?;
        if found.length != size {
            let key = &id.key;
            return Err(Problem::Malformed(format!("its storage {key:.50?} is not {size} bytes long")));
        }
        if matches!(found.source, Source::Memory(_)) {
            // At most what was left.
            unpacked += found.length;
        }
        let storage =
            Storage { source: found.source, start: found.start, elements: id.elements, kind: id.kind };
        known.insert(id.key.clone(), (id.clone(), storage.clone()));
        limit_storages(known.len())?;
        Ok(storage)
    };
    let (value, bytes) = Tree::grow(&arena, root, place)?;
    limit_sharing(bytes, file.length().saturating_add(unpacked))?;
    Ok(value)
}

/// A member of an archive: where it lies, or what it unpacked to.
struct Member {
    source: Source,
    start: u64,
    length: u64,
}

impl Member {
    fn bytes(&self, bytes_max: u64) -> Result<Vec<u8>, Problem> {
        let length = usize::try_from(self.length).ok().filter(|_| self.length <= bytes_max);
        let length =
            length.ok_or_else(|| Problem::Malformed("its archive holds too long a pickle".into()))?;
        let mut bytes = vec![0; length];
        self.source.read_at(&mut bytes, self.start)?;
        Ok(bytes)
    }
}

fn member(
    archive: &mut ZipArchive<BufReader<Reader>>,
    file: &Arc<OpenFile>,
    name: &str,
    bytes_max: u64,
) -> Result<Member, Problem> {
    let index = archive.index_for_name(name);
    let index = index.ok_or_else(|| Problem::Malformed(format!("its archive lacks {name:.100?}")))?;
    let raw = archive.by_index_raw(index).map_err(zip_problem)?;
    let (method, encrypted, length) = (raw.compression(), raw.encrypted(), raw.size());
    let (packed, start) = (raw.compressed_size(), raw.data_start());
    drop(raw);
    if encrypted {
        return Err(Problem::Malformed(format!("{name:.100?} in its archive is encrypted")));
    }
    if method == CompressionMethod::Stored {
        let start = start.filter(|_| packed == length);
        let end = start.and_then(|start| start.checked_add(length));
        return match (start, end) {
            (Some(start), Some(end)) if end <= file.length() => {
                Ok(Member { source: Source::File(file.clone()), start, length })
            }
            _ => Err(Problem::Malformed(format!("{name:.100?} ends behind the end of the file"))),
        };
    }
    if length > bytes_max {
        return Err(Problem::Malformed(format!("{name:.100?} would unpack to {length} bytes")));
    }
    let unpacking = archive.by_index(index).map_err(zip_problem)?;
    let mut bytes = Vec::new();
    unpacking
        .take(length)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::Malformed(format!("{name:.100?} does not unpack: {error}")))?;
    if bytes.len() as u64 != length {
        return Err(Problem::Malformed(format!("{name:.100?} unpacks to less than it claims")));
    }
    Ok(Member { source: Source::Memory(Arc::new(bytes)), start: 0, length })
}

fn zip_problem(error: zip::result::ZipError) -> Problem {
    Problem::Malformed(format!("its archive: {error}"))
}

fn open_stream(file: &Arc<OpenFile>) -> Result<Value, Problem> {
    let mut input = Counting { inner: BufReader::new(file.reader()), read: 0 };
    let mut next = || pickle::run(&mut input);
    let (magic, root) = next()?;
    if !matches!(magic.get(root), Object::Long(bytes) if **bytes == STREAM_MAGIC) {
        return Err(Problem::Malformed("it is no PyTorch file".into()));
    }
    let (protocol, root) = next()?;
    if protocol.int(root) != Some(STREAM_PROTOCOL) {
        return Err(Problem::Malformed("its format has another number than 1001".into()));
    }
    let (system, root) = next()?;
    if !is_little_endian(&system, root) {
        return Err(Problem::Malformed("its numbers are not little-endian".into()));
    }
    let (arena, root) = next()?;
    let (keys, keys_root) = next()?;
    let mut start = input.read;
    let wrong = || Problem::Malformed("its list of storages is none".into());
    // Their kinds say how long they are, and so where each begins.
    let mut named: BTreeMap<&str, &StorageId> = BTreeMap::new();
    for id in arena.storages() {
        same_storage(named.entry(&id.key).or_insert(id), id)?;
        limit_storages(named.len())?;
    }
    let mut places: BTreeMap<Arc<str>, Storage> = BTreeMap::new();
    for key in keys.members(keys_root).ok_or_else(wrong)? {
        let key = keys.text(*key).ok_or_else(wrong)?;
        let id = named.get(&**key).ok_or_else(wrong)?;
        let mut count = [0; 8];
        file.read_at(&mut count, start).map_err(|_| wrong())?;
        start += 8;
        if u64::from_le_bytes(count) != id.elements {
            return Err(wrong());
        }
        let bytes = id.elements.checked_mul(element_bytes(id.kind)).ok_or_else(wrong)?;
        let end = start.checked_add(bytes).filter(|end| *end <= file.length());
        let end = end.ok_or_else(|| Problem::Malformed("it ends inside its storages".into()))?;
        let storage =
            Storage { source: Source::File(file.clone()), start, elements: id.elements, kind: id.kind };
        places.insert(key.clone(), storage);
        start = end;
    }
    let place = |id: &StorageId| places.get(&id.key).cloned().ok_or_else(wrong);
    let (value, bytes) = Tree::grow(&arena, root, place)?;
    limit_sharing(bytes, file.length())?;
    Ok(value)
}

fn is_little_endian(system: &Arena, root: Id) -> bool {
    let Object::Dict(entries) = system.get(root) else { return false };
    let mut entries = entries.iter();
    let order = entries.find(|(name, _)| system.text(*name).is_some_and(|name| **name == *"little_endian"));
    order.is_some_and(|(_, value)| matches!(system.get(*value), Object::Bool(true)))
}

/// Counts what a pickle used of a stream.
struct Counting {
    inner: BufReader<Reader>,
    read: u64,
}

impl Read for Counting {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.read += read as u64;
        Ok(read)
    }
}

impl std::io::BufRead for Counting {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.read += count as u64;
    }
}

fn same_storage(first: &StorageId, again: &StorageId) -> Result<(), Problem> {
    if (first.kind, first.elements) == (again.kind, again.elements) {
        return Ok(());
    }
    Err(Problem::Malformed(format!("it describes the storage {:.50?} in two ways", first.key)))
}

fn limit_storages(count: usize) -> Result<(), Problem> {
    if count <= STORAGES_MAX { Ok(()) } else { Err(Problem::Malformed("it has too many storages".into())) }
}

fn limit_sharing(tensors: u64, storages: u64) -> Result<(), Problem> {
    if tensors <= storages.saturating_mul(SHARING_MAX) {
        return Ok(());
    }
    Err(Problem::Malformed("its tensors are larger than their storages can hold".into()))
}

fn element_bytes(kind: Option<Kind>) -> u64 {
    kind.map_or(1, Kind::elt_size_in_bytes) as u64
}

/// Turns an arena into a tree; `place` finds a storage.
struct Tree<'a, P> {
    arena: &'a Arena,
    place: P,
    /// Values that may still be made.
    left: usize,
    /// Read for all tensors together.
    bytes: u64,
}

impl<'a, P: FnMut(&StorageId) -> Result<Storage, Problem>> Tree<'a, P> {
    /// The tree from `root` on, and the bytes that are read for its tensors.
    fn grow(arena: &'a Arena, root: Id, place: P) -> Result<(Value, u64), Problem> {
        let mut tree = Self { arena, place, left: VALUES_MAX, bytes: 0 };
        let value = tree.value(root, 0)?;
        Ok((value, tree.bytes))
    }

    fn value(&mut self, id: Id, depth: usize) -> Result<Value, Problem> {
        let too_much = |what: &str| Problem::Malformed(format!("its values are {what}"));
        if depth > DEPTH_MAX {
            return Err(too_much("nested too deeply"));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| too_much("too many"))?;
        let arena = self.arena;
        Ok(match arena.get(id) {
            Object::None => Value::None,
            Object::Bool(value) => Value::Bool(*value),
            Object::Int(value) => Value::Int(*value),
            Object::Float(value) => Value::Float(*value),
            Object::Text(text) => Value::Text(text.clone()),
            Object::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Object::List(members) | Object::Tuple(members) => {
                Value::List(members.iter().map(|id| self.value(*id, depth + 1)).collect::<Result<_, _>>()?)
            }
            Object::Dict(entries) => {
                let mut entry = |(key, value): &(Id, Id)| {
                    Ok((self.value(*key, depth + 1)?, self.value(*value, depth + 1)?))
                };
                Value::Dict(entries.iter().map(&mut entry).collect::<Result<_, Problem>>()?)
            }
            Object::ParameterDict(Some(entries)) => self.value(*entries, depth + 1)?,
            Object::ParameterDict(None) => Value::Dict(Vec::new()),
            Object::Tensor(view) => {
                let stored = self.tensor(view)?;
                self.bytes = self.bytes.saturating_add(stored.bytes());
                Value::Tensor(stored)
            }
            Object::Long(_)
            | Object::Global(_)
            | Object::Storage(_)
            | Object::Ignored
            | Object::NumpyKind(_) => Value::Other,
        })
    }

    fn tensor(&mut self, view: &TensorView) -> Result<Stored, Problem> {
        let mut storage = (self.place)(&view.storage)?;
        if view.storage.kind.is_none() {
            storage.kind = view.kind;
            storage.elements /= element_bytes(view.kind);
        }
        let offset = view.storage.offset.checked_add(view.offset);
        let offset = offset.ok_or_else(|| pickle::malformed("begins a tensor too far in"))?;
        Stored::view(storage, offset, view.shape.clone(), view.strides.clone())
    }
}
