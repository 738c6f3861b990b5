//! What a byte can be.

#![expect(clippy::indexing_slicing, reason = "there is a place for each of the 256")]

/// Whether a name can go on with this byte.
pub(super) fn is_letter(byte: u8) -> bool {
    BYTES[byte as usize] & LETTER != 0
}

/// Whether a string goes on with this byte, which stands for itself.
pub(super) fn stands_in_string(byte: u8) -> bool {
    BYTES[byte as usize] & PLAIN != 0
}

const LETTER: u8 = 1;
const PLAIN: u8 = 2;

/// What each byte can be: most of the time that reading takes goes into asking it.
static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            bytes[at] |= LETTER;
        }
        if !matches!(byte, b'"' | b'\\' | b'\n' | b'\r') {
            bytes[at] |= PLAIN;
        }
        at += 1;
    }
    bytes
};
