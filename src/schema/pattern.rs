//! Regular expressions: the dialect of the `regex` crate, on bytes, in linear time. The only file that knows
//! regex-automata and regex-syntax.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::util::syntax;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, Look};

/// What a thread that searches may keep for one expression besides its compiled form, in bytes.
const CACHE: usize = 1 << 17;
/// How many texts may be known with one of which everything starts that an expression matches.
const STARTS: usize = 16;

/// A compiled regular expression; two are equal when their texts are.
#[derive(Clone)]
pub(crate) struct Pattern(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    regex: Regex,
    /// With one of these each text starts that it matches.
    starts: Option<Box<[Box<[u8]>]>>,
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
        let tree = syntax::parse_with(text, &syntax).map_err(|e| PatternError::Syntax(last_line(&e.to_string())))?;
        let regex = Regex::builder().configure(config).build_from_hir(&tree).map_err(|e| explain(&e))?;
        Ok(Pattern(Arc::new(Compiled { text: text.into(), starts: starts(&tree), regex })))
    }

    /// Whether it is found anywhere in `bytes`; linear in their length.
    pub(crate) fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.regex.is_match(bytes)
    }

    /// The texts with one of which everything starts that it matches; `None` where no such is known.
    pub(crate) fn starts(&self) -> Option<&[Box<[u8]>]> {
        self.0.starts.as_deref()
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

/// The literals that an expression anchored at the start begins with.
fn starts(tree: &Hir) -> Option<Box<[Box<[u8]>]>> {
    if !tree.properties().look_set_prefix().contains(Look::Start) {
        return None;
    }
    let found = Extractor::new().limit_total(STARTS).extract(tree);
    let literals = found.literals().filter(|found| !found.iter().any(|literal| literal.is_empty()))?;
    Some(literals.iter().map(|literal| literal.as_bytes().into()).collect())
}

fn explain(error: &BuildError) -> PatternError {
    if error.size_limit().is_some() {
        return PatternError::TooLarge;
    }
    PatternError::Syntax(last_line(&error.to_string()))
}

/// The crate's message spans lines, with a picture of its own; what is wrong is in the last one.
fn last_line(text: &str) -> String {
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read");
    last.trim().trim_start_matches("error: ").to_owned()
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
