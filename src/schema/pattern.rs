//! Regular expressions: the dialect of the `regex` crate, on bytes, in linear time. The only file that knows
//! regex-automata and regex-syntax.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternID, PatternSet};
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, Look};

/// What a thread that searches may keep for one expression besides its compiled form, in bytes.
const CACHE: usize = 1 << 17;
/// The same for several expressions as one.
const SHARED_CACHE: usize = 1 << 20;
/// An expression that takes more is searched alone: as one of several it would slow all of them down.
const SMALL: usize = 1 << 16;
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

/// Several expressions as one: a text is read once for all of them.
#[derive(Clone)]
pub(crate) struct Patterns(Arc<Regex>);

/// Which of several expressions matched; its memory is kept from one search to the next.
#[derive(Debug)]
pub(crate) struct Matched(PatternSet);

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
        let config = config(CACHE).nfa_size_limit(Some(most)).onepass_size_limit(Some(most.min(CACHE)));
        let tree = syntax::parse_with(text, &dialect())
            .map_err(|e| PatternError::Syntax(last_line(&e.to_string())))?;
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

// === impl Patterns ===

impl Patterns {
    /// How many expressions may be one. More make an automaton whose states are rarely seen twice.
    pub(crate) const MOST: usize = 256;

    /// Makes one of several; `None` where they are better searched one by one.
    pub(crate) fn new(patterns: &[Pattern]) -> Option<Self> {
        if patterns.len() < 2 || patterns.len() > Self::MOST {
            return None;
        }
        let texts: Vec<&str> = patterns.iter().map(Pattern::text).collect();
        // All matches, and not those of the leftmost one: a text has each of them or not.
        let config = config(SHARED_CACHE)
            .match_kind(MatchKind::All)
            .nfa_size_limit(Some(SMALL * patterns.len()))
            .onepass(false);
        let regex = Regex::builder().configure(config).syntax(dialect()).build_many(&texts).ok()?;
        Some(Patterns(Arc::new(regex)))
    }

    /// Whether an expression is fit to be one of several. One that is known by how its texts start is not: the index
    /// leads to it, or its first bytes refuse.
    pub(crate) fn takes(pattern: &Pattern) -> bool {
        pattern.bytes() <= SMALL && pattern.starts().is_none()
    }

    /// Finds those that match anywhere in `bytes`, besides those in `matched` already; linear in their length. A
    /// thread that finds the memory for a search in use makes its own, and never waits.
    pub(crate) fn find(&self, bytes: &[u8], matched: &mut Matched) {
        matched.grow(self.0.pattern_len());
        self.0.which_overlapping_matches(&Input::new(bytes), &mut matched.0);
    }

    /// The memory that the compiled form takes, in bytes, without the caches of a search.
    pub(crate) fn bytes(&self) -> usize {
        self.0.memory_usage()
    }
}

// === impl Matched ===

impl Matched {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether the expression that was given as number `at` matched.
    pub(crate) fn has(&self, at: usize) -> bool {
        PatternID::new(at).is_ok_and(|at| self.0.contains(at))
    }

    fn grow(&mut self, capacity: usize) {
        if self.0.capacity() < capacity {
            let mut grown = PatternSet::new(capacity);
            for at in self.0.iter() {
                grown.insert(at);
            }
            self.0 = grown;
        }
    }
}

impl Default for Matched {
    fn default() -> Self {
        Matched(PatternSet::new(0))
    }
}

fn config(cache: usize) -> Config {
    Config::new().hybrid_cache_capacity(cache).utf8_empty(false)
}

fn dialect() -> syntax::Config {
    syntax::Config::new().utf8(false).nest_limit(100)
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

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patterns({})", self.0.pattern_len())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.0.text)
    }
}
