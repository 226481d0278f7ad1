//! The part of Thrift's compact protocol that is needed to check sizes before a parser allocates memory for them.
//!
//! The reader borrows a buffer, copies nothing, and nests no deeper than [`DEPTH_MAX`].
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>)

/// The maximum depth of structs within structs; Parquet's metadata has five.
const DEPTH_MAX: usize = 16;

/// The bytes are not Thrift, or end too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// A field's type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Byte,
    Integer,
    Double,
    Binary,
    List,
    Map,
    Struct,
}

impl Kind {
    fn of(code: u8) -> Result<Self, Broken> {
        Ok(match code {
            1 | 2 => Self::Boolean,
            3 => Self::Byte,
            4..=6 => Self::Integer,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            _ => return Err(Broken),
        })
    }
}

/// The rest of a buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thrift<'a> {
    rest: &'a [u8],
}

impl<'a> Thrift<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the number of bytes left.
    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        let (first, rest) = self.rest.split_first().ok_or(Broken)?;
        self.rest = rest;
        Ok(*first)
    }

    fn skip_bytes(&mut self, count: u64) -> Result<(), Broken> {
        let count = usize::try_from(count).map_err(|_| Broken)?;
        self.rest = self.rest.get(count..).ok_or(Broken)?;
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u64, Broken> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken)
    }

    /// Reads an integer of any width.
    pub(super) fn integer(&mut self) -> Result<i64, Broken> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Reads the head of a list: the type of its items, and their claimed number.
    pub(super) fn list(&mut self) -> Result<(Kind, u64), Broken> {
        let head = self.byte()?;
        if head == 0 {
            return Ok((Kind::Byte, 0));
        }
        let count = match head >> 4 {
            15 => self.unsigned()?,
            count => u64::from(count),
        };
        Ok((Kind::of(head & 0x0f)?, count))
    }

    /// Reads a struct. `field` is called with the number and type of each field, and returns whether it has read the
    /// field.
    pub(super) fn structure(
        &mut self,
        field: &mut dyn FnMut(&mut Self, i64, Kind) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        let mut number = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            number = match head >> 4 {
                0 => self.integer()?,
                step => number.checked_add(i64::from(step)).ok_or(Broken)?,
            };
            let kind = Kind::of(head & 0x0f)?;
            // The head of a field contains the value of a boolean.
            if !field(self, number, kind)? && kind != Kind::Boolean {
                self.skip(kind, DEPTH_MAX)?;
            }
        }
    }

    fn skip(&mut self, kind: Kind, depth: usize) -> Result<(), Broken> {
        let deeper = depth.checked_sub(1).ok_or(Broken)?;
        match kind {
            Kind::Boolean | Kind::Byte => self.skip_bytes(1),
            Kind::Integer => self.unsigned().map(drop),
            Kind::Double => self.skip_bytes(8),
            Kind::Binary => {
                let count = self.unsigned()?;
                self.skip_bytes(count)
            }
            Kind::List => {
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    self.skip(kind, deeper)?;
                }
                Ok(())
            }
            Kind::Map => {
                let count = self.unsigned()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 0x0f)?);
                for _ in 0..count {
                    self.skip(key, deeper)?;
                    self.skip(value, deeper)?;
                }
                Ok(())
            }
            Kind::Struct => loop {
                let head = self.byte()?;
                if head == 0 {
                    return Ok(());
                }
                if head >> 4 == 0 {
                    self.integer()?;
                }
                let kind = Kind::of(head & 0x0f)?;
                if kind != Kind::Boolean {
                    self.skip(kind, deeper)?;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lists_and_structs_are_read_and_others_passed_over() {
        // 1: i32 -1, 2: a struct with a boolean and a text, 4: list of two i64, 40: i32 150.
        let bytes = [
            0x15, 0x01, 0x1c, 0x11, 0x18, 0x02, b'h', b'i', 0x00, 0x29, 0x26, 0x02, 0x04, 0x05, 0x50, 0xac, 0x02, 0x00,
        ];
        let mut seen = Vec::new();
        let mut thrift = Thrift::new(&bytes);
        thrift
            .structure(&mut |thrift, number, kind| {
                if kind != Kind::Integer {
                    seen.push((number, 0));
                    return Ok(false);
                }
                seen.push((number, thrift.integer()?));
                Ok(true)
            })
            .unwrap();
        assert_eq!((seen, thrift.left()), (vec![(1, -1), (2, 0), (4, 0), (40, 150)], 0));
    }

    #[test]
    fn what_is_cut_endless_or_deep_is_broken() {
        let read = |bytes: &[u8]| Thrift::new(bytes).structure(&mut |_, _, _| Ok(false));
        assert_eq!(read(&[0x1c; 100_000]), Err(Broken));
        assert_eq!(read(&[]), Err(Broken));
        assert_eq!(read(&[0x15, 0xff, 0xff]), Err(Broken));
        assert_eq!(read(&[0x18, 0xff, 0xff, 0xff, 0x7f, 1]), Err(Broken));
        assert_eq!(read(&[0x19, 0xf3, 0xff, 0xff, 0xff, 0xff, 0x7f]), Err(Broken));
        assert_eq!(read(&[0x1e]), Err(Broken));
    }
}
