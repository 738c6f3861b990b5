//! The reference: what rules mean, and how keys are hashed.
//!
//! Prose only. The pages are files beside this one; `tests/docs.rs` compiles every rule on them and evaluates
//! every table, and the tests below hold their lists against the code.

#[doc = include_str!("language.md")]
pub mod language {}

#[doc = include_str!("hashing.md")]
pub mod hashing {}

#[doc = include_str!("releasing.md")]
pub mod releasing {}

#[cfg(feature = "gateway")]
#[doc = include_str!("gateway.md")]
pub mod gateway {}

#[cfg(any(feature = "source", feature = "health"))]
#[doc = include_str!("operations.md")]
pub mod operations {}

/// The examples of the README, so that they are run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}

#[cfg(test)]
mod tests {
    use crate::diagnostic::{Code, Severity};
    use crate::schema::{BuiltIn, StatementKind};
    use crate::syntax::RESERVED;
    use crate::syntax::ast::Function;

    const LANGUAGE: &str = include_str!("language.md");

    /// The code spans in the first column of the table whose header starts with `head`.
    fn column(head: &str) -> Vec<&'static str> {
        let table = LANGUAGE.lines().skip_while(|line| !line.starts_with(&format!("| {head} |")));
        let first = |row: &'static str| row.split('`').nth(1).expect("a first cell in backticks");
        let rows = table.skip(2).take_while(|line| line.starts_with('|'));
        let rows: Vec<_> = rows.map(first).collect();
        assert!(!rows.is_empty(), "there is no table `{head}`");
        rows
    }

    /// The code that is declared after this one. A new code does not compile before it stands here.
    fn after(code: Code) -> Option<Code> {
        Some(match code {
            Code::Syntax => Code::TooLarge,
            Code::TooLarge => Code::BadLiteral,
            Code::BadLiteral => Code::BadRegex,
            Code::BadRegex => Code::UnknownField,
            Code::UnknownField => Code::UnknownList,
            Code::UnknownList => Code::UnknownCluster,
            Code::UnknownCluster => Code::UnknownStatement,
            Code::UnknownStatement => Code::BadArgument,
            Code::BadArgument => Code::TypeMismatch,
            Code::TypeMismatch => Code::NotACondition,
            Code::NotACondition => Code::DuplicateName,
            Code::DuplicateName => Code::Default,
            Code::Default => Code::BadSplit,
            Code::BadSplit => Code::Panicked,
            Code::Panicked => Code::NeverMatches,
            Code::NeverMatches => Code::NeverReached,
            Code::NeverReached => Code::UnusedList,
            Code::UnusedList => Code::DuplicateMember,
            Code::DuplicateMember => Code::NeverEqual,
            Code::NeverEqual => return None,
        })
    }

    #[test]
    fn the_reserved_words_are_all_there_are() {
        let (_, after) = LANGUAGE.split_once("These words are reserved").unwrap();
        let block = after.split("```").nth(1).unwrap().trim_start_matches("text");
        assert_eq!(block.split_whitespace().collect::<Vec<_>>(), RESERVED);
    }

    #[test]
    fn the_kinds_of_the_gateway_are_all_there_are() {
        let kinds = StatementKind::GATEWAY.map(StatementKind::word);
        assert_eq!(column("kind"), kinds);
    }

    #[test]
    fn the_fields_are_all_there_are() {
        let names: Vec<_> = column("field").iter().map(|cell| cell.trim_end_matches("(NAME)")).collect();
        assert_eq!(names, BuiltIn::ALL.iter().map(|field| field.name).collect::<Vec<_>>());
        let keyed: Vec<_> = column("field").iter().map(|cell| cell.contains("(NAME)")).collect();
        assert_eq!(keyed, BuiltIn::ALL.iter().map(|field| field.keyed).collect::<Vec<_>>());
    }

    #[test]
    fn the_functions_are_all_there_are() {
        let cells = column("function");
        let mut names: Vec<_> = cells.iter().map(|cell| cell.split('(').next().unwrap()).collect();
        let mut known: Vec<_> = Function::ALL.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn the_codes_are_all_there_are() {
        let mut codes = vec![Code::Syntax];
        while let Some(next) = codes.last().copied().and_then(after) {
            codes.push(next);
        }
        let of = |severity| codes.iter().filter(move |code| code.severity() == severity);
        let errors: Vec<_> = of(Severity::Error).map(|code| code.as_str()).collect();
        let lints: Vec<_> = of(Severity::Lint).map(|code| code.as_str()).collect();
        assert_eq!(column("error"), errors);
        assert_eq!(column("lint"), lints);
    }

    #[test]
    fn the_largest_weights_are_as_stated() {
        let largest = crate::syntax::literal::LARGEST_WEIGHT;
        let total = crate::split::MAX_TOTAL / 10_000;
        let said: String = LANGUAGE.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&format!("Each goes up to {largest}, their sum to {total}.")), "{said}");
    }
}
