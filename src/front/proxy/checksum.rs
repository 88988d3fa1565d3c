//! CRC32c (Castagnoli), as RFC 4960 appendix B has it.

/// The polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of some parts, one after the other. Bit by bit: headers are short, and few
/// have one.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    !bytes.fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| shift(sum)))
}

fn shift(sum: u32) -> u32 {
    let rest = sum >> 1;
    if sum & 1 == 1 { rest ^ POLYNOMIAL } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_that_are_known() {
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
        assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc32c(&[]), 0);
    }
}
