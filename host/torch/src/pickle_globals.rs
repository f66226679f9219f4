//! The globals a PyTorch file may name, and what each makes of its arguments. A table, not a registry: nothing here
//! is looked up in a module and nothing is called. Called by the pickle machine alone.

use std::sync::Arc;

use tch::Kind;

use crate::error::Problem;
use crate::pickle::{Arena, Id, Object, malformed};

/// Longest part of a refused name that a message repeats.
const NAME_SHOWN: usize = 100;
/// Most dimensions of one tensor. Convolutions have four.
const RANK_MAX: usize = 8;

/// What a name on the list stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`
    Dict,
    /// `torch.nn.modules.container.ParameterDict`, a module whose state holds the entries
    ParameterDict,
    Set,
    /// `torch.Size`
    Size,
    /// `torch._utils._rebuild_tensor` and `_v2`: storage, offset, sizes, strides
    Tensor,
    /// `torch._utils._rebuild_tensor_v3`: as above, the kind apart, because its storage is bytes
    TensorOfKind,
    /// `torch._utils._rebuild_parameter`: the tensor itself
    Parameter,
    /// A typed storage; `None` for one of bytes
    Storage(Option<Kind>),
    Kind(Kind),
    NumpyKind,
    NumpyScalar,
    /// `_codecs.encode`, with which Python 3 writes bytes in protocol 2
    Encode,
    /// A class whose instances are left aside
    Ignored,
}

/// What identifies a storage in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StorageId {
    pub(crate) key: Arc<str>,
    /// `None` for a storage of bytes.
    pub(crate) kind: Option<Kind>,
    /// Elements in the whole storage.
    pub(crate) elements: u64,
    /// First element of the part that is meant; only the older format has parts.
    pub(crate) offset: u64,
}

/// A tensor over a storage; nothing of it is checked against the storage yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorView {
    pub(crate) storage: StorageId,
    pub(crate) kind: Option<Kind>,
    pub(crate) offset: u64,
    pub(crate) shape: Vec<i64>,
    pub(crate) strides: Vec<i64>,
}

impl Global {
    /// # Errors
    /// [`Problem::Forbidden`] for every name that is not on the list.
    pub(crate) fn find(module: &str, name: &str) -> Result<Self, Problem> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::Dict,
            ("torch.nn.modules.container", "ParameterDict") => Self::ParameterDict,
            ("builtins" | "__builtin__", "set") => Self::Set,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::Tensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::TensorOfKind,
            ("torch._utils", "_rebuild_parameter") => Self::Parameter,
            ("torch" | "torch.storage", "UntypedStorage") => Self::Storage(None),
            ("torch", "DoubleStorage") => Self::Storage(Some(Kind::Double)),
            ("torch", "FloatStorage") => Self::Storage(Some(Kind::Float)),
            ("torch", "HalfStorage") => Self::Storage(Some(Kind::Half)),
            ("torch", "BFloat16Storage") => Self::Storage(Some(Kind::BFloat16)),
            ("torch", "LongStorage") => Self::Storage(Some(Kind::Int64)),
            ("torch", "IntStorage") => Self::Storage(Some(Kind::Int)),
            ("torch", "ShortStorage") => Self::Storage(Some(Kind::Int16)),
            ("torch", "CharStorage") => Self::Storage(Some(Kind::Int8)),
            ("torch", "ByteStorage") => Self::Storage(Some(Kind::Uint8)),
            ("torch", "BoolStorage") => Self::Storage(Some(Kind::Bool)),
            ("torch", "float64") => Self::Kind(Kind::Double),
            ("torch", "float32") => Self::Kind(Kind::Float),
            ("torch", "float16") => Self::Kind(Kind::Half),
            ("torch", "bfloat16") => Self::Kind(Kind::BFloat16),
            ("torch", "float8_e4m3fn") => Self::Kind(Kind::Float8e4m3fn),
            ("torch", "float8_e5m2") => Self::Kind(Kind::Float8e5m2),
            ("numpy", "dtype") => Self::NumpyKind,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::NumpyScalar,
            ("_codecs", "encode") => Self::Encode,
            ("torch", "device") => Self::Ignored,
            // Training writes its callbacks' state under their classes.
            (module, _) if is_callback(module) => Self::Ignored,
            _ => {
                let name: String = format!("{module}.{name}").chars().take(NAME_SHOWN).collect();
                return Err(Problem::Forbidden(name.escape_debug().to_string()));
            }
        })
    }

    /// What the object at `callee` makes of `arguments`: a new object, or one that is there already.
    pub(crate) fn make(arena: &Arena, callee: Id, arguments: &[Id]) -> Result<Result<Object, Id>, Problem> {
        let Object::Global(global) = arena.get(callee) else {
            return Err(malformed("calls what is no function"));
        };
        let wrong = || malformed(&format!("gives {global:?} the wrong arguments"));
        let list = |id: Id| arena.members(id).ok_or_else(wrong);
        let made = match (global, arguments) {
            (Self::Dict, []) => Object::Dict(Vec::new()),
            (Self::Dict, [pairs]) => {
                let pair = |id: &Id| match list(*id)? {
                    [key, value] => Ok((*key, *value)),
                    _ => Err(wrong()),
                };
                Object::Dict(list(*pairs)?.iter().map(pair).collect::<Result<_, _>>()?)
            }
            (Self::ParameterDict, []) => Object::ParameterDict(None),
            (Self::Set, []) => Object::List(Vec::new()),
            (Self::Set, [members]) => Object::List(list(*members)?.to_vec()),
            (Self::Size, [sizes]) => Object::Tuple(list(*sizes)?.to_vec()),
            (Self::Tensor, [storage, offset, sizes, strides, ..]) => {
                Object::Tensor(TensorView::read(arena, [*storage, *offset, *sizes, *strides], None)?)
            }
            (Self::TensorOfKind, [storage, offset, sizes, strides, _, _, kind, ..]) => {
                let Object::Global(Self::Kind(kind)) = arena.get(*kind) else { return Err(wrong()) };
                let parts = [*storage, *offset, *sizes, *strides];
                Object::Tensor(TensorView::read(arena, parts, Some(*kind))?)
            }
            (Self::Parameter, [tensor, ..]) if matches!(arena.get(*tensor), Object::Tensor(_)) => {
                return Ok(Err(*tensor));
            }
            (Self::NumpyKind, [code, ..]) => Object::NumpyKind(arena.text(*code).ok_or_else(wrong)?.clone()),
            (Self::NumpyScalar, [kind, value]) => match (arena.get(*kind), arena.get(*value)) {
                (Object::NumpyKind(code), Object::Bytes(bytes)) => {
                    numpy_scalar(code, bytes).ok_or_else(wrong)?
                }
                _ => return Err(wrong()),
            },
            (Self::Encode, [text, ..]) => {
                let text = arena.text(*text).ok_or_else(wrong)?;
                let latin = |letter| u8::try_from(u32::from(letter)).map_err(|_| wrong());
                Object::Bytes(text.chars().map(latin).collect::<Result<_, _>>()?)
            }
            (Self::Ignored, _) => Object::Ignored,
            _ => return Err(wrong()),
        };
        Ok(Ok(made))
    }

    /// What `object` is once it has been given `state`; `None` where it stays what it is, and nothing here keeps the
    /// state.
    pub(crate) fn with_state(arena: &Arena, object: Id, state: Id) -> Result<Option<Object>, Problem> {
        match arena.get(object) {
            // A state dict's `_metadata`, a callback's fields.
            Object::Dict(_) | Object::Ignored => Ok(None),
            Object::ParameterDict(_) => {
                let fields = arena.entries(state);
                let fields = fields.ok_or_else(|| malformed("gives parameters a state that is no dict"))?;
                let is_named = |name: Id| arena.text(name).is_some_and(|name| **name == *"_parameters");
                // A later entry stands for an earlier one of the same key.
                let entries = fields.iter().rev().find(|(name, _)| is_named(*name)).map(|(_, value)| *value);
                let entries = entries.filter(|id| arena.entries(*id).is_some());
                let entries = entries.ok_or_else(|| malformed("names parameters that are no dict"))?;
                Ok(Some(Object::ParameterDict(Some(entries))))
            }
            Object::NumpyKind(_) => {
                // Version, byte order, …: the order is all that matters for a scalar.
                let order = arena.members(state).and_then(|members| members.get(1));
                let order = order.and_then(|id| arena.text(*id));
                match order.map(AsRef::as_ref) {
                    Some("<" | "|" | "=") => Ok(None),
                    _ => Err(malformed("holds a number of another byte order")),
                }
            }
            _ => Err(malformed("gives a state to what has none")),
        }
    }
}

fn is_callback(module: &str) -> bool {
    ["pytorch_lightning", "lightning.pytorch", "lightning_fabric"].iter().any(|package| {
        let inside = module.strip_prefix(package).is_some_and(|rest| rest.starts_with('.'));
        inside && module.split('.').any(|part| part == "callbacks")
    })
}

fn numpy_scalar(code: &str, bytes: &[u8]) -> Option<Object> {
    Some(match code.trim_start_matches(['<', '|', '=']) {
        "f8" => Object::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        "f4" => Object::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        "i8" => Object::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
        "i4" => Object::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        "b1" => Object::Bool(matches!(bytes, [1])),
        _ => return None,
    })
}

impl StorageId {
    /// Reads what torch writes: `("storage", type, key, device, elements)`, in the older format with
    /// `(key of the part, offset, elements)` or nothing after it.
    pub(crate) fn read(arena: &Arena, id: Id) -> Result<Self, Problem> {
        let wrong = || malformed("names a storage that is none");
        let Some([tag, class, key, _device, elements, part @ ..]) = arena.members(id) else {
            return Err(wrong());
        };
        if arena.text(*tag).map(AsRef::as_ref) != Some("storage") {
            return Err(wrong());
        }
        let Object::Global(Global::Storage(kind)) = arena.get(*class) else { return Err(wrong()) };
        let key = arena.text(*key).ok_or_else(wrong)?.clone();
        let number = |id: Id| arena.int(id).and_then(|value| u64::try_from(value).ok()).ok_or_else(wrong);
        let offset = match part {
            [] => 0,
            [part] => match arena.get(*part) {
                Object::None => 0,
                _ => match arena.members(*part) {
                    Some([_, offset, _]) => number(*offset)?,
                    _ => return Err(wrong()),
                },
            },
            _ => return Err(wrong()),
        };
        Ok(Self { key, kind: *kind, elements: number(*elements)?, offset })
    }
}

impl TensorView {
    fn read(arena: &Arena, parts: [Id; 4], kind: Option<Kind>) -> Result<Self, Problem> {
        let wrong = || malformed("makes a tensor of what is none");
        let [storage, offset, sizes, strides] = parts;
        let Object::Storage(storage) = arena.get(storage) else { return Err(wrong()) };
        let numbers = |id: Id| -> Result<Vec<i64>, Problem> {
            let members = arena.members(id).filter(|members| members.len() <= RANK_MAX).ok_or_else(wrong)?;
            members.iter().map(|id| arena.int(*id).ok_or_else(wrong)).collect()
        };
        Ok(Self {
            storage: storage.clone(),
            kind: kind.or(storage.kind),
            offset: arena.int(offset).and_then(|offset| u64::try_from(offset).ok()).ok_or_else(wrong)?,
            shape: numbers(sizes)?,
            strides: numbers(strides)?,
        })
    }
}
