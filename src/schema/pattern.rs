//! Regular expressions: the dialect of the `regex` crate, on bytes, in linear time. The only file that knows
//! regex-automata.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::util::syntax;

/// What a thread that searches may keep for one expression besides its compiled form, in bytes.
const CACHE: usize = 1 << 17;

/// A compiled regular expression; two are equal when their texts are.
#[derive(Clone)]
pub(crate) struct Pattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    regex: Regex,
}

/// Why a regular expression cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PatternError {
    /// It is larger than allowed once compiled.
    TooLarge,
    /// It cannot be read: what is wrong, in one line.
    Syntax(String),
}

// === impl Pattern ===

impl Pattern {
    /// Compiles `text`, which may take `most` bytes of memory.
    pub(crate) fn new(text: &str, most: usize) -> Result<Self, PatternError> {
        let config = Config::new()
            .nfa_size_limit(Some(most))
            .onepass_size_limit(Some(most.min(CACHE)))
            .hybrid_cache_capacity(CACHE)
            .utf8_empty(false);
        let syntax = syntax::Config::new().utf8(false).nest_limit(100);
        let regex = Regex::builder().configure(config).syntax(syntax).build(text).map_err(|e| explain(&e))?;
        Ok(Pattern(Arc::new(Compiled { text: text.into(), regex })))
    }

    /// Whether it is found anywhere in `bytes`; linear in their length.
    pub(crate) fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.regex.is_match(bytes)
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }

    /// The memory that the compiled form takes, in bytes, without the caches of a search.
    pub(crate) fn bytes(&self) -> usize {
        self.0.regex.memory_usage()
    }
}

/// The crate's message spans lines, with a picture of its own; what is wrong is in the last one.
fn explain(error: &BuildError) -> PatternError {
    if error.size_limit().is_some() {
        return PatternError::TooLarge;
    }
    let text = match error.syntax_error() {
        Some(error) => error.to_string(),
        None => error.to_string(),
    };
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read");
    PatternError::Syntax(last.trim().trim_start_matches("error: ").to_owned())
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.0.text)
    }
}
