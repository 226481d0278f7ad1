//! Storage types of GGUF tensors: which ones are read, and the names of the others.

use candle_core::quantized::GgmlDType;

/// Storage types that are read.
pub const SUPPORTED: &str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K";

/// Returns whether tensors of a type are read. Q8_1 and Q8_K are ggml's own intermediate results; no model is stored
/// in them.
#[must_use]
pub fn is_supported(dtype: GgmlDType) -> bool {
    !matches!(dtype, GgmlDType::Q8_1 | GgmlDType::Q8K)
}

/// Finds the first tensor whose type candle does not know, in a file that candle refused: its name, and the name of
/// the type. None if the header is damaged in another way.
#[must_use]
pub fn unknown_type(file: &[u8]) -> Option<(String, String)> {
    let mut reader = Reader(file);
    let is_gguf = reader.take(4)? == b"GGUF";
    let version = reader.u32()?;
    if !is_gguf || !(2..=3).contains(&version) {
        return None;
    }
    let (tensors, entries) = (reader.u64()?, reader.u64()?);
    for _ in 0..entries {
        reader.string()?;
        let kind = reader.u32()?;
        reader.skip_value(kind)?;
    }
    for _ in 0..tensors {
        let name = String::from_utf8_lossy(reader.string()?).into_owned();
        let dimensions = reader.u32()?;
        reader.take(usize::try_from(dimensions).ok()?.checked_mul(8)?)?;
        let kind = reader.u32()?;
        reader.u64()?;
        if !matches!(kind, 0..=3 | 6..=15 | 30) {
            return Some((name, type_name(kind)));
        }
    }
    None
}

/// ggml's names, by number.
fn type_name(kind: u32) -> String {
    let name = match kind {
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return format!("number {kind}"),
    };
    name.to_owned()
}

/// Takes little-endian numbers off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u64()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn skip_value(&mut self, kind: u32) -> Option<()> {
        let size = match kind {
            8 => return self.string().map(|_| ()),
            9 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                // Arrays of arrays are in no model.
                return (kind != 9).then_some(()).and_then(|()| (0..count).try_for_each(|_| self.skip_value(kind)));
            }
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            _ => return None,
        };
        self.take(size).map(|_| ())
    }
}
