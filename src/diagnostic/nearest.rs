//! The known name that was probably meant.

/// Longer names than this are not looked at: the distance costs the product of the lengths.
const LONGEST: usize = 64;
/// More names than this are not compared.
const MOST: usize = 1024;

/// The candidate nearest to `name`, if one is near enough: a third of its letters may differ, two swapped
/// letters count as one, and case does not count.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let length = wanted.chars().count();
    let allowed = (length / 3).max(1);
    candidates
        .into_iter()
        .take(MOST)
        .filter(|candidate| candidate.len() <= LONGEST && *candidate != name)
        // At least this many letters differ; cheaper than to find out how many more.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| {
            let plain = candidate.to_ascii_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&wanted, &plain), candidate)
        })
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_misspelling_finds_its_word_and_a_stranger_finds_none() {
        let known = ["host", "path", "header", "cookie", "prod-a"];
        assert_eq!(nearest("hots", known), Some("host"));
        assert_eq!(nearest("Header", known), Some("header"));
        assert_eq!(nearest("prod_a", known), Some("prod-a"));
        assert_eq!(nearest("coookie", known), Some("cookie"));
        assert_eq!(nearest("plan", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest(&"h".repeat(100_000), known), None);
    }
}
