//! A restricted pickle machine: runs the stack program of a pickle over an arena of plain objects. It calls
//! nothing: the few globals that PyTorch's files name are described in `pickle_globals.rs`, and any other ends the
//! reading. Called by the reader of PyTorch files. Knows no container and reads no tensor's numbers.
//!
//! The format is that of CPython's `pickletools` (protocols 0 to 5).

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::error::Problem;
use crate::pickle_globals::{Global, StorageId, TensorView};

/// Most instructions run. A checkpoint with its optimiser's state has a few hundred thousand.
const STEPS_MAX: usize = 4_000_000;
/// Most bytes of text and numbers in one pickle, all together.
const BYTES_MAX: usize = 64 << 20;
/// Longest piece read at once; what a length claims is never reserved before it is there.
const PIECE_BYTES: usize = 64 << 10;
/// Longest line of the text instructions, which hold names and numbers.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Place of an object in the arena.
pub(crate) type Id = usize;

/// What a pickle can make. Containers hold places, so an object that is filled after it was noted is one object.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than eight bytes, little-endian.
    Long(Arc<[u8]>),
    Float(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// A list or a set.
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A `ParameterDict`: the place of the dict that its state keeps its entries in; `None` before it has a state.
    ParameterDict(Option<Id>),
    Global(Global),
    Storage(StorageId),
    Tensor(TensorView),
    /// An instance whose class is known to be harmless and whose contents nobody needs.
    Ignored,
    /// numpy's description of a kind of number, by its code (`f8`).
    NumpyKind(Arc<str>),
}

/// The objects that one pickle made.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    objects: Vec<Object>,
}

impl Arena {
    /// `id` comes from this arena.
    pub(crate) fn get(&self, id: Id) -> &Object {
        &self.objects[id]
    }

    /// Every storage that the pickle names, be it part of the result or not.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &StorageId> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    pub(crate) fn text(&self, id: Id) -> Option<&Arc<str>> {
        match self.get(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Object::Int(value) => Some(*value),
            Object::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The entries of a dict.
    pub(crate) fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The members of a list or tuple.
    pub(crate) fn members(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Object::List(members) | Object::Tuple(members) => Some(members),
            _ => None,
        }
    }
}

/// Runs one pickle and leaves `input` behind it. Returns the arena and the place of the result.
///
/// # Errors
/// [`Problem::Forbidden`] for a global that is not on the list, [`Problem::Malformed`] for anything that is no
/// pickle or passes a limit.
pub(crate) fn run(input: &mut dyn BufRead) -> Result<(Arena, Id), Problem> {
    let mut machine = Machine {
        input,
        arena: Arena::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        bytes: 0,
    };
    for _ in 0..STEPS_MAX {
        let [code] = machine.array()?;
        if code == b'.' {
            let result = machine.pop()?;
            return Ok((machine.arena, result));
        }
        machine.step(code)?;
    }
    Err(malformed("has too many instructions"))
}

pub(crate) fn malformed(what: &str) -> Problem {
    Problem::Malformed(format!("its pickle {what}"))
}

struct Machine<'a> {
    input: &'a mut dyn BufRead,
    arena: Arena,
    stack: Vec<Id>,
    /// Heights of the stack at the marks that are open.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Bytes of text and numbers read so far.
    bytes: usize,
}

impl Machine<'_> {
    fn step(&mut self, code: u8) -> Result<(), Problem> {
        match code {
            0x80 => match self.array()? {
                [0..=5] => Ok(()),
                [version] => Err(malformed(&format!("has the protocol {version}"))),
            },
            // A frame only says how far a reader may read ahead.
            0x95 => self.array::<8>().map(drop),
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'J' | b'K' | b'M' | b'I' | b'L' | 0x8a | 0x8b | b'F' | b'G' => self.number(code),
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => self.text(code),
            b']' | 0x8f => self.push(Object::List(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.drop_top(),
            b'1' => self.above_mark().map(drop),
            b'2' => {
                let top = self.pop()?;
                self.stack.push(top);
                self.stack.push(top);
                Ok(())
            }
            b'l' | 0x91 => {
                let members = self.above_mark()?;
                self.push(Object::List(members))
            }
            b't' => {
                let members = self.above_mark()?;
                self.push(Object::Tuple(members))
            }
            0x85..=0x87 => {
                let members = self.take(usize::from(code - 0x84))?;
                self.push(Object::Tuple(members))
            }
            b'd' => {
                let pairs = pairs(&self.above_mark()?)?;
                self.push(Object::Dict(pairs))
            }
            b'a' | b'e' | 0x90 => {
                let members = if code == b'a' { self.take(1)? } else { self.above_mark()? };
                self.fill(|object| match object {
                    Object::List(list) => {
                        list.extend(members);
                        true
                    }
                    _ => false,
                })
            }
            b's' | b'u' => {
                let members = if code == b's' { self.take(2)? } else { self.above_mark()? };
                let pairs = pairs(&members)?;
                self.fill(|object| match object {
                    Object::Dict(dict) => {
                        dict.extend(pairs);
                        true
                    }
                    _ => false,
                })
            }
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.note(code),
            b'c' | 0x93 | b'i' | 0x82..=0x84 => self.global(code),
            b'R' | 0x81 | 0x92 | b'o' | b'b' => self.make(code),
            b'P' => Err(malformed("names a storage in words")),
            b'Q' => {
                let id = self.pop()?;
                let storage = StorageId::read(&self.arena, id)?;
                self.push(Object::Storage(storage))
            }
            other => Err(malformed(&format!("has the unknown instruction {other:#04x}"))),
        }
    }

    fn number(&mut self, code: u8) -> Result<(), Problem> {
        let object = match code {
            b'J' => Object::Int(i64::from(i32::from_le_bytes(self.array()?))),
            b'K' => Object::Int(i64::from(u8::from_le_bytes(self.array()?))),
            b'M' => Object::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'G' => Object::Float(f64::from_be_bytes(self.array()?)),
            0x8a | 0x8b => {
                let length = match code {
                    0x8a => usize::from(u8::from_le_bytes(self.array()?)),
                    _ => usize::try_from(i32::from_le_bytes(self.array()?))
                        .map_err(|_| malformed("has a number of negative length"))?,
                };
                let bytes = self.take_bytes(length as u64)?;
                match bytes.len() {
                    0 => Object::Int(0),
                    short @ 1..=8 => {
                        let sign = if bytes[short - 1] & 0x80 == 0 { 0 } else { 0xff };
                        let mut wide = [sign; 8];
                        wide[..short].copy_from_slice(&bytes);
                        Object::Int(i64::from_le_bytes(wide))
                    }
                    _ => Object::Long(bytes.into()),
                }
            }
            _ => {
                let line = self.line()?;
                match (code, line.as_str()) {
                    (b'I', "00") => Object::Bool(false),
                    (b'I', "01") => Object::Bool(true),
                    (b'F', text) => {
                        Object::Float(text.parse().map_err(|_| malformed("has a number that is none"))?)
                    }
                    (_, text) => {
                        let digits = text.strip_suffix('L').unwrap_or(text);
                        Object::Int(digits.parse().map_err(|_| malformed("has a number that is none"))?)
                    }
                }
            }
        };
        self.push(object)
    }

    fn text(&mut self, code: u8) -> Result<(), Problem> {
        let length = match code {
            b'S' | b'V' => {
                let line = self.line()?;
                let quoted = line.len() >= 2 && line.starts_with(['\'', '"']) && line.ends_with(['\'', '"']);
                let text = match code {
                    b'S' if quoted => &line[1..line.len() - 1],
                    b'S' => return Err(malformed("has a text without quotes")),
                    _ => &line,
                };
                // Escapes are left as they are written: no name that is looked up has one.
                return self.push(Object::Text(text.into()));
            }
            b'U' | 0x8c | b'C' => u64::from(u8::from_le_bytes(self.array()?)),
            b'X' | b'B' | b'T' => u64::from(u32::from_le_bytes(self.array()?)),
            _ => u64::from_le_bytes(self.array()?),
        };
        let bytes = self.take_bytes(length)?;
        match code {
            b'B' | b'C' | 0x8e | 0x96 => self.push(Object::Bytes(bytes.into())),
            // Python 2 wrote names as bytes; those that are no UTF-8 are data.
            b'T' | b'U' => match String::from_utf8(bytes) {
                Ok(text) => self.push(Object::Text(text.into())),
                Err(error) => self.push(Object::Bytes(error.into_bytes().into())),
            },
            _ => {
                let text = String::from_utf8(bytes).map_err(|_| malformed("has a text that is no UTF-8"))?;
                self.push(Object::Text(text.into()))
            }
        }
    }

    /// Notes the top of the stack under a number, or brings back what was noted.
    fn note(&mut self, code: u8) -> Result<(), Problem> {
        let number = match code {
            b'q' | b'h' => u64::from(u8::from_le_bytes(self.array()?)),
            b'r' | b'j' => u64::from(u32::from_le_bytes(self.array()?)),
            0x94 => self.memo.len() as u64,
            _ => self.line()?.parse().map_err(|_| malformed("notes an object under no number"))?,
        };
        if matches!(code, b'g' | b'h' | b'j') {
            let id = self.memo.get(&number).ok_or_else(|| malformed("asks for an object it never noted"))?;
            self.stack.push(*id);
        } else {
            let top = self.stack.last().ok_or_else(|| malformed("notes nothing"))?;
            self.memo.insert(number, *top);
        }
        Ok(())
    }

    fn global(&mut self, code: u8) -> Result<(), Problem> {
        let (module, name) = match code {
            b'c' | b'i' => (self.line()?, self.line()?),
            0x93 => {
                let names = self.take(2)?;
                let text = |id| self.arena.text(id).map(|text| text.to_string());
                text(names[0])
                    .zip(text(names[1]))
                    .ok_or_else(|| malformed("names a global without a name"))?
            }
            _ => {
                let width = 1usize << (code - 0x82);
                let bytes = self.take_bytes(width as u64)?;
                return Err(Problem::Forbidden(format!("what is registered as extension {bytes:02x?}")));
            }
        };
        let global = Global::find(&module, &name)?;
        let place = self.arena.objects.len();
        self.push(Object::Global(global))?;
        if code == b'i' {
            self.stack.pop();
            let arguments = self.above_mark()?;
            let made = Global::make(&self.arena, place, &arguments)?;
            return self.push_made(made);
        }
        Ok(())
    }

    /// Makes an object of a global and its arguments, or gives an object its state.
    fn make(&mut self, code: u8) -> Result<(), Problem> {
        if code == b'b' {
            let [object, state] = self.top_two()?;
            if let Some(changed) = Global::with_state(&self.arena, object, state)? {
                // In its place: what was noted before is the same object.
                self.arena.objects[object] = changed;
            }
            self.stack.push(object);
            return Ok(());
        }
        if code == b'o' {
            let members = self.above_mark()?;
            let (class, arguments) =
                members.split_first().ok_or_else(|| malformed("makes an object of nothing"))?;
            let made = Global::make(&self.arena, *class, arguments)?;
            return self.push_made(made);
        }
        if code == 0x92 {
            let named = self.pop()?;
            if !matches!(self.arena.get(named), Object::Dict(pairs) if pairs.is_empty()) {
                return Err(malformed("makes an object with named arguments"));
            }
        }
        let [class, arguments] = self.top_two()?;
        let Object::Tuple(arguments) = self.arena.get(arguments) else {
            return Err(malformed("calls something with arguments that are no tuple"));
        };
        let made = Global::make(&self.arena, class, arguments)?;
        self.push_made(made)
    }

    fn push_made(&mut self, made: Result<Object, Id>) -> Result<(), Problem> {
        match made {
            Ok(object) => {
                // What was copied out of the arguments counts, or copies of copies would fill the memory.
                self.count_bytes(match &object {
                    Object::List(members) | Object::Tuple(members) => members.len() * size_of::<Id>(),
                    Object::Dict(pairs) => pairs.len() * size_of::<(Id, Id)>(),
                    Object::Bytes(bytes) => bytes.len(),
                    _ => 0,
                })?;
                self.push(object)
            }
            Err(id) => {
                self.stack.push(id);
                Ok(())
            }
        }
    }

    fn push(&mut self, object: Object) -> Result<(), Problem> {
        self.stack.push(self.arena.objects.len());
        self.arena.objects.push(object);
        Ok(())
    }

    /// Adds to the container on top of the stack.
    fn fill(&mut self, add: impl FnOnce(&mut Object) -> bool) -> Result<(), Problem> {
        self.check_above_mark(1)?;
        let top = self.stack.last().copied().ok_or_else(|| malformed("fills nothing"))?;
        if add(&mut self.arena.objects[top]) { Ok(()) } else { Err(malformed("fills what is no container")) }
    }

    fn check_above_mark(&self, count: usize) -> Result<(), Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let enough = self.stack.len().checked_sub(count).is_some_and(|left| left >= floor);
        if enough { Ok(()) } else { Err(malformed("takes more than it made")) }
    }

    fn pop(&mut self) -> Result<Id, Problem> {
        self.check_above_mark(1)?;
        self.stack.pop().ok_or_else(|| malformed("takes more than it made"))
    }

    /// Drops the top of the stack, be it an object or a mark.
    fn drop_top(&mut self) -> Result<(), Problem> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn top_two(&mut self) -> Result<[Id; 2], Problem> {
        let second = self.pop()?;
        Ok([self.pop()?, second])
    }

    fn take(&mut self, count: usize) -> Result<Vec<Id>, Problem> {
        self.check_above_mark(count)?;
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    /// Everything above the latest mark, which goes too.
    fn above_mark(&mut self) -> Result<Vec<Id>, Problem> {
        let height = self.marks.pop().ok_or_else(|| malformed("closes a mark it never set"))?;
        Ok(self.stack.split_off(height))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(ended)?;
        Ok(bytes)
    }

    fn count_bytes(&mut self, more: usize) -> Result<(), Problem> {
        self.bytes = self.bytes.saturating_add(more);
        if self.bytes > BYTES_MAX { Err(malformed("holds too much text")) } else { Ok(()) }
    }

    fn take_bytes(&mut self, length: u64) -> Result<Vec<u8>, Problem> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.count_bytes(length)?;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let have = bytes.len();
            bytes.resize(length.min(have + PIECE_BYTES), 0);
            self.input.read_exact(&mut bytes[have..]).map_err(ended)?;
        }
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String, Problem> {
        let mut bytes = Vec::new();
        (&mut *self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(ended)?;
        self.count_bytes(bytes.len())?;
        if bytes.pop() != Some(b'\n') {
            return Err(malformed("ends inside a line"));
        }
        String::from_utf8(bytes).map_err(|_| malformed("has a text that is no UTF-8"))
    }
}

fn pairs(members: &[Id]) -> Result<Vec<(Id, Id)>, Problem> {
    match members.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err(malformed("has a key without a value")),
    }
}

fn ended(error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("ends too early"),
        _ => Problem::Unreadable(error),
    }
}
