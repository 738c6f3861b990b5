//! How much a rule text may ask for. Every bound is a setting with a default that is stated here.

/// The bounds of what is compiled. Going past one is an error with a place, like any other.
///
/// The defaults fit rule sets of some tens of thousands of statements. Raise what you need:
///
/// ```
/// use pointsman::Limits;
///
/// let limits = Limits { text_bytes: 64 << 20, statements: 1_000_000, ..Limits::default() };
/// # let _ = limits;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "meant to be written with `..Limits::default()`")]
pub struct Limits {
    /// Bytes of one text. Default: 4 MiB.
    pub text_bytes: usize,
    /// How deep parentheses, brackets and `!` may nest; `!a == b` counts as `!(a == b)`. And how deep clusters may be made
    /// of clusters, as each of them is a step of a decision. Default: 32; more than [`Limits::MAX_DEPTH`]
    /// counts as that, so that no setting can exhaust a thread's stack. `a || b || c` does not nest.
    pub depth: usize,
    /// Statements of one text, `list` and `cluster` among them. Default: 100,000.
    pub statements: usize,
    /// Members of one list written in the text. Lists that the application supplies are not counted.
    /// Default: 1,000,000.
    pub list_members: usize,
    /// Clusters of one outcome; choosing one of them costs a hash for each. Default: 256.
    pub targets: usize,
    /// Bytes of memory of one compiled regular expression. Default: 1 MiB. Each thread that searches at the same
    /// time may keep 128 KiB more for it.
    pub regex_bytes: usize,
    /// Bytes of the whole compiled program, regular expressions included, as an estimate that errs on the
    /// large side. The time that compiling takes is bounded with it. Default: 64 MiB.
    pub program_bytes: usize,
    /// How many diagnostics of one text are kept; the rest are only counted. Default: 1,000.
    pub diagnostics: usize,
}

// === impl Limits ===

impl Limits {
    /// The most that [`Limits::depth`] can be. A level takes 40 KiB of stack without optimisations, and a thread
    /// may have 2 MiB.
    pub const MAX_DEPTH: usize = 40;

    /// The nesting that is really allowed.
    pub(crate) fn effective_depth(&self) -> usize {
        self.depth.min(Self::MAX_DEPTH)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            text_bytes: 4 << 20,
            depth: 32,
            statements: 100_000,
            list_members: 1_000_000,
            targets: 256,
            regex_bytes: 1 << 20,
            program_bytes: 64 << 20,
            diagnostics: 1_000,
        }
    }
}
