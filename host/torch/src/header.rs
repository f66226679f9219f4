//! The header of a safetensors file: names, kinds, shapes and places of its tensors. Pure over bytes, and
//! stricter than the format's own library: hostile sizes and repeated names end here. Knows no network.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

use safetensors::tensor::{Dtype, SafeTensors};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::Problem;

/// Longest header read. SD1.x needs 150 KB; the format's own limit is 100 MB.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// Most tensors in one file. SD1.x has 1131.
const TENSORS_MAX: usize = 20_000;
/// Most dimensions of one tensor. Convolutions have four.
const RANK_MAX: usize = 8;

/// What a safetensors file says it holds; every entry lies inside the file and fills its shape exactly.
#[derive(Debug, Clone, Default)]
pub struct Header {
    pub tensors: BTreeMap<String, Entry>,
    pub metadata: BTreeMap<String, String>,
}

/// One tensor of the file.
#[derive(Debug, Clone)]
pub struct Entry {
    pub dtype: Dtype,
    pub shape: Vec<i64>,
    /// Bytes from the start of the file.
    pub bytes: Range<usize>,
}

impl Header {
    /// Reads the header of a whole file.
    ///
    /// # Errors
    /// [`Problem::Malformed`] or [`Problem::Duplicate`] for anything that is not exactly one well-formed file.
    pub fn parse(file: &[u8]) -> Result<Self, Problem> {
        let header = header_bytes(file)?;
        refuse_repeated_names(header)?;
        let (header_len, read) =
            SafeTensors::read_metadata(file).map_err(|error| Problem::Malformed(error.to_string()))?;
        let data_start = 8 + header_len;
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
            let start = data_start.checked_add(start).ok_or_else(overflow)?;
            let end = data_start.checked_add(end).ok_or_else(overflow)?;
            if end > file.len() {
                return Err(Problem::Malformed(format!("{key} ends behind the end of the file")));
            }
            tensors.insert(key, Entry { dtype: info.dtype, shape, bytes: start..end });
        }
        if tensors.len() > TENSORS_MAX {
            return Err(Problem::Malformed(format!("it lists {} tensors", tensors.len())));
        }
        let metadata = read.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { tensors, metadata })
    }

    /// The shape of a tensor, if the file has it.
    pub fn shape(&self, key: &str) -> Option<&[i64]> {
        self.tensors.get(key).map(|entry| entry.shape.as_slice())
    }

    pub fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }
}

fn header_bytes(file: &[u8]) -> Result<&[u8], Problem> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(Problem::Malformed("it is shorter than eight bytes".into()));
    };
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX {
        return Err(Problem::Malformed(format!("its header claims {length} bytes")));
    }
    usize::try_from(length)
        .ok()
        .and_then(|length| rest.get(..length))
        .ok_or_else(|| Problem::Malformed("it ends inside its header".into()))
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
        let header = Header::parse(&file(ONE, 12)).unwrap();
        assert_eq!(header.shape("w"), Some(&[2, 3][..]));
        assert_eq!(header.metadata["a"], "b");
        assert_eq!(header.tensors["w"].bytes.len(), 12);
    }

    #[test]
    fn refuses_a_truncated_file() {
        let whole = file(ONE, 12);
        for length in 0..whole.len() {
            assert!(Header::parse(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn refuses_a_name_given_twice() {
        let twice = r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
        assert!(matches!(Header::parse(&file(twice, 1)), Err(Problem::Duplicate(name)) if name == "w"));
    }

    #[test]
    fn refuses_a_header_over_the_cap_before_reading_it() {
        let mut bytes = (HEADER_BYTES_MAX + 1).to_le_bytes().to_vec();
        bytes.resize(64, b' ');
        assert!(matches!(Header::parse(&bytes), Err(Problem::Malformed(why)) if why.contains("claims")));
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
            assert!(Header::parse(&file(&header, end)).is_err(), "{shape}");
        }
    }

    #[test]
    fn refuses_offsets_that_overlap_or_leave_a_hole() {
        let overlap = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#;
        let hole = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}}"#;
        assert!(Header::parse(&file(overlap, 6)).is_err());
        assert!(Header::parse(&file(hole, 9)).is_err());
    }

    #[test]
    fn refuses_json_nested_without_end() {
        let deep = format!(r#"{{"w":{}}}"#, "[".repeat(100_000));
        assert!(Header::parse(&file(&deep, 0)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Header::parse(&bytes);
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
            if let Ok(header) = Header::parse(&bytes) {
                for entry in header.tensors.values() {
                    prop_assert!(bytes.get(entry.bytes.clone()).is_some());
                }
            }
        }
    }
}
