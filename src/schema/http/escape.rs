//! Percent-encoding (RFC 3986, section 2.1): what paths and queries share.

/// The byte that `%` followed by these two stands for; `None` when they are not two hexadecimal digits.
pub(super) fn decode(high: u8, low: u8) -> Option<u8> {
    Some(digit(high)? << 4 | digit(low)?)
}

/// Whether a byte is unreserved (RFC 3986, section 2.3): written with or without an escape it is the same.
pub(super) fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a byte may stand in a path as it is (RFC 3986, section 3.3), or is the backslash, which clients send
/// and rules tell from its escape. Any other is written as its escape.
pub(super) fn stands_in_path(byte: u8) -> bool {
    !matches!(byte, 0..=b' ' | b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f..)
}

/// The escape of a byte.
pub(super) fn encode(byte: u8) -> [u8; 3] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
    [b'%', digit(byte >> 4), digit(byte & 0xf)]
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hexadecimal_digits_of_any_case_are_a_byte() {
        for byte in 0..=u8::MAX {
            for text in [format!("{byte:02x}"), format!("{byte:02X}")] {
                let [high, low] = text.as_bytes() else { panic!("{text}") };
                assert_eq!(decode(*high, *low), Some(byte));
            }
        }
        for (high, low) in
            [(b'g', b'0'), (b'0', b'G'), (b'+', b'1'), (b' ', b'1'), (b'/', b':'), (b'@', b'`')]
        {
            assert_eq!(decode(high, low), None);
        }
    }
}
