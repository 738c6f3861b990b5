//! Eight bytes at a time: for what is too short to be worth a call to `memchr`.

use memchr::memchr;

/// A word whose bytes are all `byte`.
pub(super) const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of each byte of `word` that is zero. Of the marks only the lowest is sure: the byte above a
/// zero is marked as well when it is 1.
pub(super) const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(each(1)) & !word & each(0x80)
}

/// The high bit of each byte of `word` that is above `byte`, and other bits that say nothing. Neither has bytes beyond
/// ASCII.
pub(super) const fn above(word: u64, byte: u8) -> u64 {
    // No sum reaches the next byte.
    word + each(0x7f - byte)
}

/// The same as `memchr`, and quicker when the byte is among the first sixteen.
#[inline]
pub(super) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (mut rest, mut before) = (bytes, 0);
    while before < 16 {
        let Some((first, after)) = rest.split_first_chunk::<8>() else {
            return Some(rest.iter().position(|&b| b == byte)? + before);
        };
        let marks = zeros(u64::from_le_bytes(*first) ^ each(byte));
        if marks != 0 {
            return Some(marks.trailing_zeros() as usize / 8 + before);
        }
        (rest, before) = (after, before + 8);
    }
    Some(memchr(byte, rest)? + before)
}

/// The parts between the places where a byte stands, as `slice::split` gives them.
pub(super) fn split(byte: u8, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let Some(at) = find(byte, bytes) else {
            rest = None;
            return Some(bytes);
        };
        rest = bytes.get(at + 1..);
        bytes.get(..at)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn find_is_memchr(bytes in prop::collection::vec(prop_oneof![b'%'..=b'\'', any::<u8>()], 0..24), byte in b'%'..=b'\'') {
            prop_assert_eq!(find(byte, &bytes), memchr(byte, &bytes));
        }

        #[test]
        fn split_is_that_of_slices(bytes in prop::collection::vec(b'%'..=b'(', 0..24)) {
            let want: Vec<&[u8]> = bytes.split(|byte| *byte == b'%').collect();
            prop_assert_eq!(split(b'%', &bytes).collect::<Vec<_>>(), want);
        }
    }
}
