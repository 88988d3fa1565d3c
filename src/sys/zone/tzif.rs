//! TZif, the compiled time zone of /etc/localtime and /usr/share/zoneinfo (RFC 9636).
//!
//! Versions 2 and later hold the data twice; the second time with 64-bit
//! instants and a footer. Leap second records are skipped: the clock that the
//! offsets are asked for does not count leap seconds.

use super::posix::Rule;
use super::{Zone, ZoneError};

const MAGIC: &[u8] = b"TZif";
/// More than any zone was ever away from UTC, as RFC 9636 section 3.2 has it.
const FURTHEST: i32 = 93_600;

/// The counts of a header: how much of each kind the block after it has.
struct TzifHeader {
    version: u8,
    utc_marks: usize,
    standard_marks: usize,
    leaps: usize,
    transitions: usize,
    kinds: usize,
    names: usize,
}

/// Reads a whole file.
pub(super) fn parse(bytes: &[u8]) -> Result<Zone, ZoneError> {
    let mut reader = TzifReader { rest: bytes };
    let header = reader.header()?;
    if header.version < b'2' {
        return reader.block(&header, 4);
    }
    reader.skip_block(&header, 4)?;
    let header = reader.header()?;
    let mut zone = reader.block(&header, 8)?;
    zone.rule = reader.footer()?;
    Ok(zone)
}

/// What is left of the file.
struct TzifReader<'a> {
    rest: &'a [u8],
}

impl<'a> TzifReader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ZoneError> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or(ZoneError::Malformed("cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// `count` records of `size` bytes.
    fn records(&mut self, count: usize, size: usize) -> Result<&'a [u8], ZoneError> {
        let length = count.checked_mul(size);
        self.take(length.ok_or(ZoneError::Malformed("impossible count"))?)
    }

    fn count(&mut self) -> Result<usize, ZoneError> {
        let count = u32::try_from(big_endian(self.take(4)?) & 0xffff_ffff);
        count
            .ok()
            .and_then(|count| usize::try_from(count).ok())
            .ok_or(ZoneError::Malformed("impossible count"))
    }

    fn header(&mut self) -> Result<TzifHeader, ZoneError> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err(ZoneError::Malformed("not a TZif file"));
        }
        let version = self.take(16)?.first().copied().unwrap_or(0);
        Ok(TzifHeader {
            version,
            utc_marks: self.count()?,
            standard_marks: self.count()?,
            leaps: self.count()?,
            transitions: self.count()?,
            kinds: self.count()?,
            names: self.count()?,
        })
    }

    /// The data block after a header, its instants `width` bytes wide.
    fn block(&mut self, header: &TzifHeader, width: usize) -> Result<Zone, ZoneError> {
        let instants = self.records(header.transitions, width)?;
        let indices = self.take(header.transitions)?;
        let kinds = self.records(header.kinds, 6)?;
        self.skip_tail(header, width)?;
        let offsets = kinds.chunks_exact(6).map(offset).collect::<Result<Vec<i32>, _>>()?;
        let changes = instants
            .chunks_exact(width)
            .zip(indices)
            .map(|(instant, &index)| {
                let offset = offsets.get(usize::from(index)).copied();
                let offset = offset.ok_or(ZoneError::Malformed("unknown local time type"))?;
                Ok((big_endian(instant), offset))
            })
            .collect::<Result<Vec<(i64, i32)>, _>>()?;
        if !changes.is_sorted_by(|one, next| one.0 < next.0) {
            return Err(ZoneError::Malformed("transitions out of order"));
        }
        let first = offsets.first().copied();
        Ok(Zone {
            first: first.ok_or(ZoneError::Malformed("no local time type"))?,
            changes,
            rule: None,
        })
    }

    fn skip_block(&mut self, header: &TzifHeader, width: usize) -> Result<(), ZoneError> {
        self.records(header.transitions, width + 1)?;
        self.records(header.kinds, 6)?;
        self.skip_tail(header, width)
    }

    /// What the offsets can do without: names, leap seconds, the two kinds of marks.
    fn skip_tail(&mut self, header: &TzifHeader, width: usize) -> Result<(), ZoneError> {
        self.take(header.names)?;
        self.records(header.leaps, width + 4)?;
        self.take(header.standard_marks)?;
        self.take(header.utc_marks)?;
        Ok(())
    }

    /// The POSIX string between two newlines; empty means that no rule is known.
    fn footer(&mut self) -> Result<Option<Rule>, ZoneError> {
        let malformed = ZoneError::Malformed("bad footer");
        let text = self
            .rest
            .strip_prefix(b"\n")
            .and_then(|rest| rest.split(|&byte| byte == b'\n').next())
            .and_then(|line| std::str::from_utf8(line).ok());
        match text {
            None => Err(malformed),
            Some("") => Ok(None),
            Some(text) => Rule::parse(text).map(Some).ok_or(malformed),
        }
    }
}

/// The offset of a local time type record: 4 bytes of its 6.
fn offset(record: &[u8]) -> Result<i32, ZoneError> {
    let seconds = big_endian(record.get(..4).unwrap_or_default());
    i32::try_from(seconds)
        .ok()
        .filter(|seconds| (-FURTHEST..=FURTHEST).contains(seconds))
        .ok_or(ZoneError::Malformed("impossible offset"))
}

/// A signed number of at most 8 bytes.
fn big_endian(bytes: &[u8]) -> i64 {
    let sign = bytes.first().map_or(0, |&byte| if byte & 0x80 == 0 { 0 } else { -1 });
    bytes.iter().fold(sign, |value, &byte| (value << 8) | i64::from(byte))
}
