//! Text to program, in one line of rooms.

use std::sync::Arc;

use super::rules::{Form, Joined, Rules, take_apart};
use crate::bytecode::Program;
use crate::check::{self, typed};
use crate::compile::{CompileError, compile, compile_condition};
use crate::diagnostic::{Code, Diagnostics, Problem, Problems, Source, Span};
use crate::limits::Limits;
use crate::schema::{Names, Schema};
use crate::syntax::{self, Arena};

/// What becomes of a text.
#[derive(Debug)]
pub(super) struct Compiled {
    /// What the spans of the typed rules point into.
    pub(super) spans: Arc<str>,
    /// The text as the application gave it, or as it would be written.
    pub(super) text: Arc<str>,
    pub(super) typed: typed::Rules,
    pub(super) program: Program,
    pub(super) lints: Diagnostics,
}

/// What becomes of a condition that stands alone.
#[derive(Debug)]
pub(super) struct CompiledCondition {
    pub(super) typed: typed::Condition,
    pub(super) program: Program,
    pub(super) lints: Diagnostics,
}

/// Runs the pipeline. With `strict`, a lint is an error.
pub(super) fn run(
    rules: &Rules<'_>,
    schema: &Schema,
    limits: &Limits,
    strict: bool,
) -> Result<Compiled, Diagnostics> {
    match &rules.0 {
        Form::Text { name, text } => {
            let (typed, problems) = check::resolve_text(text, &Names::new(schema), limits);
            finish(typed, text, &Source::named(&**name), limits, strict, problems)
        }
        Form::Parts { text, parts } => {
            let (source, problems) = take_apart(text, parts, limits);
            if problems.has_errors() {
                return Err(Diagnostics::new(problems, &source, text));
            }
            let (typed, problems) = check::resolve_text(text, &Names::new(schema), limits);
            finish(typed, text, &source, limits, strict, problems)
        }
        Form::Statements(statements) => {
            let Joined { text, sound, source, mut problems, broken } = statements.join(limits);
            let arena = &Arena::new();
            let sound = text.get(..sound).unwrap_or("");
            let mut file = syntax::parse_file(sound, arena, limits, &mut problems);
            file.broken.extend(broken);
            let typed = check::resolve_file(&file, &text, &Names::new(schema), limits, &mut problems);
            let mut compiled = finish(typed, &text, &source, limits, strict, problems)?;
            compiled.text = syntax::print::print(&file).into();
            Ok(compiled)
        }
    }
}

fn finish(
    typed: Option<typed::Rules>,
    text: &str,
    source: &Source,
    limits: &Limits,
    strict: bool,
    mut problems: Problems,
) -> Result<Compiled, Diagnostics> {
    let (typed, program) = match typed {
        Some(typed) if !problems.has_errors() => match compile(&typed, limits.program_bytes) {
            Ok(program) => (typed, program),
            Err(error) => {
                problems.push(too_large(error, limits));
                return Err(Diagnostics::new(problems, source, text));
            }
        },
        _ => return Err(Diagnostics::new(problems, source, text)),
    };
    let lints = Diagnostics::new(problems, source, text);
    if strict && !lints.is_empty() {
        return Err(lints);
    }
    let text: Arc<str> = text.into();
    Ok(Compiled { spans: text.clone(), text, typed, program, lints })
}

/// Runs the pipeline for a condition that stands alone. Its lints are for the caller to judge.
pub(super) fn run_condition(
    text: &str,
    salt: &str,
    schema: &Schema,
    limits: &Limits,
) -> Result<CompiledCondition, Diagnostics> {
    let source = Source::named("condition");
    let mut problems = Problems::new(limits.diagnostics);
    let names = Names::new(schema);
    let typed = syntax::parse_condition(text, &Arena::new(), limits, &mut problems)
        .and_then(|tree| check::resolve_condition(&tree, text, salt, &names, limits, &mut problems));
    let (typed, program) = match typed {
        Some(typed) if !problems.has_errors() => match compile_condition(&typed, limits.program_bytes) {
            Ok(program) => (typed, program),
            Err(error) => {
                problems.push(too_large(error, limits));
                return Err(Diagnostics::new(problems, &source, text));
            }
        },
        _ => return Err(Diagnostics::new(problems, &source, text)),
    };
    let lints = Diagnostics::new(problems, &source, text);
    Ok(CompiledCondition { typed, program, lints })
}

/// The canonical text of rules, comments included: one statement a line, one way to write each operator.
///
/// Formatting twice changes nothing more, and the meaning stays the same. Names and types are not looked at.
///
/// ```
/// let text = pointsman::format("route  a: host==\"x\" and not(ip in[10.0.0.0/8])=>gray # why", &Default::default())?;
/// assert_eq!(text, "route a: host == \"x\" && !(ip in [10.0.0.0/8]) => gray # why\n");
/// # Ok::<(), pointsman::Diagnostics>(())
/// ```
///
/// # Errors
///
/// When the text cannot be parsed.
pub fn format(text: &str, limits: &Limits) -> Result<String, Diagnostics> {
    let mut problems = Problems::new(limits.diagnostics);
    let arena = &Arena::new();
    let file = syntax::parse_file(text, arena, limits, &mut problems);
    if problems.has_errors() {
        return Err(Diagnostics::new(problems, &Source::named("rules"), text));
    }
    Ok(syntax::print::print(&file))
}

fn too_large(error: CompileError, limits: &Limits) -> Problem {
    let message = match error {
        CompileError::TooLarge { bytes } => {
            format!("the compiled rules take about {bytes} bytes, {} are allowed", limits.program_bytes)
        }
        CompileError::Invalid(invalid) => format!("the compiled rules are not sound: {invalid}"),
    };
    Problem::new(Code::TooLarge, Span::default(), message)
        .help("move long lists into the application, or raise the limit `program_bytes`")
}
