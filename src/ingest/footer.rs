//! Checks the sizes that a Parquet file claims, before a parser allocates or recurses by them.
//!
//! The footer's schema is a flat list whose entries state their numbers of children: a parser recurses as deep as they
//! nest, and allocates room for as many as they claim. The header of a page states the unpacked size of the page. This
//! module bounds both. The Parquet reader finds all other contradictions.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use parquet::file::metadata::ParquetMetaData;

use super::thrift::{Broken, Kind, Thrift};

/// The maximum number of columns of a table, including the members of nested columns.
pub(super) const COLUMNS_MAX: usize = 16_384;
/// The maximum nesting of columns.
const DEPTH_MAX: usize = 64;
/// The maximum size of a footer, which is in memory several times.
const FOOTER_BYTES_MAX: u64 = 256 << 20;
/// The maximum unpacked size of a page; writers make pages of about 1 MiB, and of at least one row.
const PAGE_BYTES_MAX: i64 = 1 << 30;
/// The maximum number of values in a page of a nested column. The column is read row by row, and one row may have all
/// of them.
const NESTED_VALUES_MAX: i64 = 1 << 24;
/// The bytes in which a page's header is searched for, at first and then; its statistics may contain values.
const HEADER_BYTES: [u64; 2] = [512, 64 << 10];
/// The bytes after the footer: its length, and four letters.
const TAIL_BYTES: u64 = 8;

/// Checks a file's footer.
pub(super) fn check(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut tail = [0; TAIL_BYTES as usize];
    if length < 4 + TAIL_BYTES {
        return Err(refused("it is too short for a Parquet file".to_owned()));
    }
    file.seek(SeekFrom::Start(length - TAIL_BYTES))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    if magic != *b"PAR1" {
        // The file is encrypted or not Parquet: the Parquet reader reports which.
        return Ok(());
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer > length - TAIL_BYTES {
        return Err(refused(format!("its footer claims {footer} bytes, but the file has {length}")));
    }
    if footer > FOOTER_BYTES_MAX {
        return Err(refused(format!("its footer has {footer} bytes, expected at most {FOOTER_BYTES_MAX}")));
    }
    file.seek(SeekFrom::Start(length - TAIL_BYTES - footer))?;
    let mut bytes = Vec::new();
    file.by_ref().take(footer).read_to_end(&mut bytes)?;
    check_schema(&bytes).map_err(refused)
}

fn refused(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Checks that a schema does not nest too deep, and claims no more columns than it has.
fn check_schema(footer: &[u8]) -> Result<(), String> {
    let mut children: Vec<i64> = Vec::new();
    let mut thrift = Thrift::new(footer);
    let read = thrift.structure(&mut |thrift, number, kind| {
        if (number, kind) != (2, Kind::List) {
            return Ok(false);
        }
        let (kind, count) = thrift.list()?;
        // An entry takes at least one byte.
        if kind != Kind::Struct || count > thrift.left() as u64 {
            return Err(Broken);
        }
        for _ in 0..count {
            let mut claimed = 0;
            thrift.structure(&mut |thrift, number, kind| {
                let is_count = (number, kind) == (5, Kind::Integer);
                if is_count {
                    claimed = thrift.integer()?;
                }
                Ok(is_count)
            })?;
            children.push(claimed);
        }
        Ok(true)
    });
    read.map_err(|Broken| "its footer cannot be read".to_owned())?;
    if children.len() > COLUMNS_MAX {
        return Err(format!("it has {} columns, expected at most {COLUMNS_MAX}", children.len()));
    }
    // The numbers of children that are still expected, from the root down.
    let mut open: Vec<i64> = Vec::new();
    for (index, claimed) in children.iter().enumerate() {
        while open.last() == Some(&0) {
            open.pop();
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        let left = (children.len() - index - 1) as i64;
        if *claimed < 0 || *claimed > left {
            return Err(format!("its schema claims {claimed} columns within one, but only {left} are left"));
        }
        open.push(*claimed);
        if open.len() > DEPTH_MAX {
            return Err(format!("its columns nest deeper than {DEPTH_MAX}"));
        }
    }
    Ok(())
}

/// Checks the headers of all pages of the columns that are read.
pub(super) fn check_pages(
    file: &mut File,
    metadata: &ParquetMetaData,
    is_read: impl Fn(usize) -> bool,
) -> io::Result<()> {
    let length = file.metadata()?.len();
    for group in metadata.row_groups() {
        for (index, column) in group.columns().iter().enumerate().filter(|(index, _)| is_read(*index)) {
            let is_nested = metadata
                .file_metadata()
                .schema_descr()
                .columns()
                .get(index)
                .is_some_and(|column| column.max_rep_level() > 0);
            let first = column.dictionary_page_offset().filter(|offset| *offset > 0);
            let start = first.unwrap_or(i64::MAX).min(column.data_page_offset());
            let end = start.saturating_add(column.compressed_size());
            let (Ok(mut at), Ok(end)) = (u64::try_from(start), u64::try_from(end)) else { continue };
            while at < end.min(length) {
                let Some(page) = read_header(file, at)? else { break };
                page.check(is_nested).map_err(refused)?;
                let Ok(step) = u64::try_from(page.packed) else { break };
                at = at.saturating_add(page.header_bytes).saturating_add(step);
            }
        }
    }
    Ok(())
}

/// The content of a page's header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Page {
    header_bytes: u64,
    packed: i64,
    unpacked: i64,
    values: i64,
}

impl Page {
    fn check(self, is_nested: bool) -> Result<(), String> {
        let Self { packed, unpacked, values, .. } = self;
        if packed < 0 || unpacked < 0 || values < 0 {
            return Err("a page has a negative size".to_owned());
        }
        if unpacked > PAGE_BYTES_MAX {
            return Err(format!("a page of {packed} bytes unpacks to {unpacked}, expected at most {PAGE_BYTES_MAX}"));
        }
        if is_nested && values > NESTED_VALUES_MAX {
            return Err(format!("a page of {packed} bytes holds {values} items, expected at most {NESTED_VALUES_MAX}"));
        }
        Ok(())
    }
}

/// Reads the header of the page at an offset; `None` if no header can be parsed there, which the Parquet reader
/// reports.
fn read_header(file: &mut File, at: u64) -> io::Result<Option<Page>> {
    for room in HEADER_BYTES {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.by_ref().take(room).read_to_end(&mut bytes)?;
        let page = parse_header(&bytes);
        if page.is_some() {
            return Ok(page);
        }
    }
    Ok(None)
}

fn parse_header(bytes: &[u8]) -> Option<Page> {
    let mut page = Page::default();
    let mut thrift = Thrift::new(bytes);
    let read = thrift.structure(&mut |thrift, number, kind| {
        match (number, kind) {
            (2, Kind::Integer) => page.unpacked = thrift.integer()?,
            (3, Kind::Integer) => page.packed = thrift.integer()?,
            // Of data pages, dictionaries, and data pages of version 2.
            (5 | 7 | 8, Kind::Struct) => thrift.structure(&mut |thrift, number, kind| {
                let is_count = (number, kind) == (1, Kind::Integer);
                if is_count {
                    page.values = thrift.integer()?;
                }
                Ok(is_count)
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    });
    page.header_bytes = (bytes.len() - thrift.left()) as u64;
    read.ok().map(|()| page)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a footer whose schema has these numbers of children, in order.
    fn footer(children: &[i64]) -> Vec<u8> {
        let varint = |mut value: u64| {
            let mut bytes = Vec::new();
            while value >= 0x80 {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
            bytes
        };
        let mut bytes = vec![0x15, 0x02, 0x19, 0xfc];
        bytes.extend(varint(children.len() as u64));
        for &count in children {
            // Field 5, in zigzag encoding.
            bytes.push(0x55);
            bytes.extend(varint(((count << 1) ^ (count >> 63)) as u64));
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_schema_that_nests_or_claims_more_than_it_may_is_refused() {
        let chain = |depth: usize| [vec![1; depth], vec![0]].concat();
        assert_eq!(check_schema(&footer(&[2, 0, 1, 0])), Ok(()));
        assert_eq!(check_schema(&footer(&chain(DEPTH_MAX - 1))), Ok(()));
        for (children, said) in [
            (chain(DEPTH_MAX), "nest deeper"),
            (chain(10_000), "nest deeper"),
            (vec![i64::from(i32::MAX), 0], "claims"),
            (vec![-1], "claims"),
            (vec![0; COLUMNS_MAX + 1], "columns, expected"),
        ] {
            let error = check_schema(&footer(&children)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(check_schema(&[0x29, 0xfc, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }

    #[test]
    fn a_page_that_unpacks_to_too_much_or_holds_too_many_items_is_refused() {
        // unpacked 100, packed 10, a data page of 3 values.
        let page =
            parse_header(&[0x15, 0x00, 0x15, 0xc8, 0x01, 0x15, 0x14, 0x2c, 0x15, 0x06, 0x00, 0x00, 9, 9]).unwrap();
        assert_eq!(page, Page { header_bytes: 12, packed: 10, unpacked: 100, values: 3 });
        assert_eq!(page.check(true), Ok(()));
        let large = |unpacked, values| Page { unpacked, values, ..page };
        assert_eq!(large(PAGE_BYTES_MAX, 1 << 30).check(false), Ok(()));
        assert!(large(PAGE_BYTES_MAX + 1, 1).check(false).unwrap_err().contains("unpacks to"));
        assert_eq!(large(1, NESTED_VALUES_MAX).check(true), Ok(()));
        assert!(large(1, NESTED_VALUES_MAX + 1).check(true).unwrap_err().contains("items"));
        assert!(large(-1, 1).check(false).unwrap_err().contains("negative"));
        assert_eq!(parse_header(&[0x15]), None);
    }
}
