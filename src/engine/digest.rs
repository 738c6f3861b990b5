//! What two texts are compared by when they are not side by side.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_128;

/// The fingerprint of a rule text: XXH3-128 of its bytes, written as 32 hexadecimal digits.
///
/// The same text has the same digest on every node, every machine and in every version of this crate, so digests
/// that differ are texts that differ. It is not a cryptographic hash: it finds accidents, and somebody who wants to
/// make two texts with one digest can.
///
/// ```
/// use pointsman::engine::Digest;
///
/// let digest = Digest::of("default => prod");
/// assert_eq!(digest.to_string(), "381abc6af20c54daadb1646f75020140");
/// assert_eq!("381abc6af20c54daadb1646f75020140".parse(), Ok(digest));
/// ```
///
/// A line break at the end is part of the text. Costs about a tenth of a millisecond for a million bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u128);

/// A text that is not 32 hexadecimal digits in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 32 hexadecimal digits in lower case")]
#[non_exhaustive]
pub struct BadDigest;

// === impl Digest ===

impl Digest {
    /// The digest of a text.
    pub fn of(text: impl AsRef<[u8]>) -> Self {
        Digest(xxh3_128(text.as_ref()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The same as `Display`.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(digit) {
            return Err(BadDigest);
        }
        u128::from_str_radix(text, 16).map(Digest).map_err(|_| BadDigest)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_and_nothing_else_does() {
        for text in ["", "default => prod", "default => prod\n"] {
            let digest = Digest::of(text);
            assert_eq!(digest.to_string().parse(), Ok(digest));
        }
        let digest = Digest::of("").to_string();
        let one_less = digest.get(1..).unwrap_or_default();
        for bad in ["", one_less, &format!("{digest}0"), &digest.to_uppercase(), &format!("+{one_less}")] {
            assert_eq!(bad.parse::<Digest>(), Err(BadDigest), "{bad}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_specification() {
        // From the reference implementation: `printf '' | xxh128sum`.
        assert_eq!(Digest::of("").to_string(), "99aa06d3014798d86001c324468d497f");
    }
}
