//! The header of a safetensors file: names, kinds, shapes and places of its tensors. Pure over bytes, and
//! stricter than the format's own library: hostile sizes and repeated names end here. Knows no network.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

use safetensors::tensor::{Dtype, Metadata};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tch::Kind;

use crate::error::Problem;
use crate::outline::{Form, Outline};

/// Bytes before the header: its length.
pub(crate) const PREFIX_BYTES: usize = 8;
/// Longest header read. SD1.x needs 150 KB; the format's own limit is 100 MB.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// Most tensors in one file. SD1.x has 1131.
const TENSORS_MAX: usize = 20_000;
/// Most dimensions of one tensor. Convolutions have four.
const RANK_MAX: usize = 8;

/// What a safetensors file says it holds; every entry lies inside the file and fills its shape exactly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Header {
    pub(crate) tensors: BTreeMap<String, Entry>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// One tensor of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) form: Form,
    /// Bytes from the start of the file.
    pub(crate) bytes: Range<u64>,
}

/// How many bytes of header follow the first eight bytes of a file that is `file_length` bytes long.
///
/// # Errors
/// [`Problem::Malformed`] for a header that is too long or runs out of the file.
pub(crate) fn header_length(prefix: [u8; PREFIX_BYTES], file_length: u64) -> Result<usize, Problem> {
    let length = u64::from_le_bytes(prefix);
    if length > HEADER_BYTES_MAX {
        return Err(Problem::Malformed(format!("its header claims {length} bytes")));
    }
    match usize::try_from(length) {
        Ok(short) if length + PREFIX_BYTES as u64 <= file_length => Ok(short),
        _ => Err(Problem::Malformed("it ends inside its header".into())),
    }
}

impl Header {
    /// Reads the header of a whole file that lies in memory.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub(crate) fn of_file(file: &[u8]) -> Result<Self, Problem> {
        let Some((prefix, rest)) = file.split_first_chunk::<PREFIX_BYTES>() else {
            return Err(Problem::Malformed("it is shorter than eight bytes".into()));
        };
        let length = header_length(*prefix, file.len() as u64)?;
        let header = rest.get(..length).unwrap_or_default();
        Self::parse(header, file.len() as u64)
    }

    /// Reads the header of a file of `file_length` bytes; `header` is what follows its first eight bytes.
    ///
    /// # Errors
    /// [`Problem::Malformed`] or [`Problem::Duplicate`] for anything that is not exactly one well-formed file.
    pub(crate) fn parse(header: &[u8], file_length: u64) -> Result<Self, Problem> {
        refuse_repeated_names(header)?;
        // The library checks that the tensors follow one another without a hole and fill their shapes.
        let read: Metadata = serde_json::from_slice(header)
            .map_err(|error| Problem::Malformed(format!("its header: {error}")))?;
        let data_start = (PREFIX_BYTES + header.len()) as u64;
        if data_start.checked_add(read.data_len() as u64) != Some(file_length) {
            return Err(Problem::Malformed(format!("its header does not describe its {file_length} bytes")));
        }
        let mut tensors = BTreeMap::new();
        for (key, info) in read.tensors() {
            let (start, end) = info.data_offsets;
            let overflow = || Problem::Malformed(format!("the size of {key} overflows"));
            if info.shape.len() > RANK_MAX {
                return Err(Problem::Malformed(format!("{key} has {} dimensions", info.shape.len())));
            }
            let shape: Vec<i64> = info
                .shape
                .iter()
                .map(|&n| i64::try_from(n))
                .collect::<Result<_, _>>()
                .map_err(|_| overflow())?;
            let start = data_start.checked_add(start as u64).ok_or_else(overflow)?;
            let end = data_start.checked_add(end as u64).ok_or_else(overflow)?;
            if end > file_length {
                return Err(Problem::Malformed(format!("{key} ends behind the end of the file")));
            }
            tensors.insert(key, Entry { form: Form { kind: kind(info.dtype), shape }, bytes: start..end });
        }
        if tensors.len() > TENSORS_MAX {
            return Err(Problem::Malformed(format!("it lists {} tensors", tensors.len())));
        }
        let metadata = read.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { tensors, metadata })
    }

    pub(crate) fn outline(&self) -> Outline {
        let tensors = self.tensors.iter().map(|(name, entry)| (name.clone(), entry.form.clone())).collect();
        Outline { tensors, metadata: self.metadata.clone() }
    }
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F8_E4M3 => Kind::Float8e4m3fn,
        Dtype::F8_E5M2 => Kind::Float8e5m2,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

/// JSON readers keep the last of two equal keys, so two tools can see two different files; refuse both.
fn refuse_repeated_names(header: &[u8]) -> Result<(), Problem> {
    let Names { repeated } =
        serde_json::from_slice(header).map_err(|error| Problem::Malformed(format!("its header: {error}")))?;
    repeated.map_or(Ok(()), |name| Err(Problem::Duplicate(name)))
}

struct Names {
    repeated: Option<String>,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that maps names to tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut seen = HashSet::new();
                let mut repeated = None;
                while let Some(name) = map.next_key::<String>()? {
                    map.next_value::<IgnoredAny>()?;
                    if seen.len() > TENSORS_MAX {
                        return Err(A::Error::custom("too many tensors"));
                    }
                    if !seen.insert(name.clone()) {
                        repeated = Some(name);
                    }
                }
                Ok(Names { repeated })
            }
        }
        deserializer.deserialize_map(Top)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    const ONE: &str = r#"{"__metadata__":{"a":"b"},"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}"#;

    #[test]
    fn reads_names_shapes_and_metadata() {
        let header = Header::of_file(&file(ONE, 12)).unwrap();
        assert_eq!(header.tensors["w"].form, Form { kind: Some(Kind::Half), shape: vec![2, 3] });
        assert_eq!(header.metadata["a"], "b");
        assert_eq!(header.tensors["w"].bytes, ONE.len() as u64 + 8..ONE.len() as u64 + 20);
    }

    #[test]
    fn refuses_a_truncated_file() {
        let whole = file(ONE, 12);
        for length in 0..whole.len() {
            assert!(Header::of_file(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn refuses_a_name_given_twice() {
        let twice = r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
        assert!(matches!(Header::of_file(&file(twice, 1)), Err(Problem::Duplicate(name)) if name == "w"));
    }

    #[test]
    fn refuses_a_header_over_the_cap_before_reading_it() {
        let mut bytes = (HEADER_BYTES_MAX + 1).to_le_bytes().to_vec();
        bytes.resize(64, b' ');
        assert!(matches!(Header::of_file(&bytes), Err(Problem::Malformed(why)) if why.contains("claims")));
    }

    #[test]
    fn refuses_shapes_that_overflow_or_miss_their_bytes() {
        for (shape, end) in [
            ("[18446744073709551615,2]", 4),
            ("[4294967296,4294967296]", 0),
            ("[9223372036854775807,0,3]", 4),
            ("[3]", 4),
            ("[-1]", 4),
        ] {
            let header = format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
            assert!(Header::of_file(&file(&header, end)).is_err(), "{shape}");
        }
    }

    #[test]
    fn refuses_offsets_that_overlap_or_leave_a_hole() {
        let overlap = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#;
        let hole = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}}"#;
        assert!(Header::of_file(&file(overlap, 6)).is_err());
        assert!(Header::of_file(&file(hole, 9)).is_err());
    }

    #[test]
    fn refuses_json_nested_without_end() {
        let deep = format!(r#"{{"w":{}}}"#, "[".repeat(100_000));
        assert!(Header::of_file(&file(&deep, 0)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Header::of_file(&bytes);
        }

        #[test]
        fn a_changed_header_never_points_outside_the_file(
            changes in proptest::collection::vec((0usize..96, any::<u8>()), 1..6),
        ) {
            let mut bytes = file(ONE, 12);
            for (place, value) in changes {
                let place = place % bytes.len();
                bytes[place] = value;
            }
            if let Ok(header) = Header::of_file(&bytes) {
                for entry in header.tensors.values() {
                    prop_assert!(entry.bytes.start <= entry.bytes.end && entry.bytes.end <= bytes.len() as u64);
                }
            }
        }
    }
}
