//! The quick way from text to tree: one pass over the bytes, with no tokens in between.
//!
//! `grammar.pest` says what the language is; this reads what people write of it, and gives the same tree with the
//! same spans. It has no messages: at whatever it is not certain of, every mistake among it, it gives up, and the
//! text is read again by the grammar. So it may know less than the grammar, but nothing else. A property test and
//! the fuzz target `quick` hold the two against each other.
//!
//! Its recursion is bounded as the grammar's is: it gives up where the scan would call a text nested too deep.

use bumpalo::collections::Vec;

use super::ast::{
    Action, Arena, By, Cluster, Compare, Condition, Function, Gateway, In, List, Literal, Member, Operand,
    Outcome, Place, Relation, Rule, Set, Spanned, State, Statement, StatementKind, Target, Text, Value,
};
use super::bytes::{is_letter, stands_in_string};
use super::scan::skip_blank;
use super::{is_reserved, is_starter, literal};
use crate::diagnostic::{Problem, Span};
use crate::limits::Limits;

/// The lists and clusters of a text, found by the lines that they start. `None` if one of them cannot be read.
pub(crate) fn declarations<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
) -> Option<&'t [Spanned<Statement<'t>>]> {
    let mut declared = Vec::new_in(arena);
    let mut at = start(text);
    loop {
        let line = text.get(at..)?.trim_start_matches([' ', '\t', '\r']);
        if matches!(letters(line), "list" | "cluster") {
            let start = text.len() - line.len();
            let (statement, end) = statement(text, start, arena, limits)?;
            declared.push(Spanned::new(statement, Span::new(start, end)));
            at = end;
        }
        match memchr::memchr(b'\n', text.as_bytes().get(at..)?) {
            Some(end) => at += end + 1,
            None => return Some(declared.into_bump_slice()),
        }
    }
}

/// Reads a text and hands over each statement but for those that are `declared`. `None` if one of them cannot be read.
pub(crate) fn each(
    text: &str,
    limits: &Limits,
    declared: &[Spanned<Statement<'_>>],
    mut take: impl FnMut(Spanned<Statement<'_>>),
) -> Option<()> {
    if text.len() > limits.text_bytes {
        return None;
    }
    let mut declared = declared.iter().map(|statement| statement.span).peekable();
    let mut at = skip_blank(text, start(text));
    let mut arena = Arena::new();
    for _ in 0..limits.statements {
        if at == text.len() {
            break;
        }
        let end = match declared.next_if(|span| span.start == at) {
            Some(span) => span.end,
            None => {
                let (statement, end) = statement(text, at, &arena, limits)?;
                if matches!(statement, Statement::List(_) | Statement::Cluster(_)) {
                    return None;
                }
                take(Spanned::new(statement, Span::new(at, end)));
                arena.reset();
                end
            }
        };
        at = skip_blank(text, end);
    }
    (at == text.len() && declared.next().is_none()).then_some(())
}

/// Where a text starts, behind its byte order mark.
pub(super) fn start(text: &str) -> usize {
    if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
}

/// Reads the statement at `at`, and says where it ends. Behind it stands a statement on a line of its own, or
/// nothing: so it is all there is between two places where the scan would go on after a mistake.
pub(super) fn statement<'t>(
    text: &'t str,
    at: usize,
    arena: &'t Arena,
    limits: &Limits,
) -> Option<(Statement<'t>, usize)> {
    let mut quick = Quick::new(text, at, arena, limits);
    let statement = quick.statement()?;
    let gap = text.as_bytes().get(quick.end..quick.at)?;
    let ends = quick.is_done() || (gap.contains(&b'\n') && is_starter(quick.letters()));
    ends.then_some((statement, quick.end))
}

/// Reads a condition that is the whole text.
pub(super) fn condition<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
) -> Option<Spanned<Condition<'t>>> {
    whole(text, arena, limits, Quick::condition)
}

/// Reads an outcome that is the whole text.
pub(super) fn outcome<'t>(text: &'t str, arena: &'t Arena, limits: &Limits) -> Option<Outcome<'t>> {
    whole(text, arena, limits, Quick::outcome)
}

/// Reads the members of a list that is the whole text.
pub(super) fn members<'t>(text: &'t str, arena: &'t Arena, limits: &Limits) -> Option<&'t [Member<'t>]> {
    whole(text, arena, limits, Quick::members)
}

/// Reads what a statement of the service gateway does that is the whole text.
pub(super) fn action<'t>(
    text: &'t str,
    kind: StatementKind,
    arena: &'t Arena,
    limits: &Limits,
) -> Option<Action<'t>> {
    whole(text, arena, limits, |quick| quick.action(kind))
}

fn whole<'t, T>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    read: impl FnOnce(&mut Quick<'t>) -> Option<T>,
) -> Option<T> {
    if text.len() > limits.text_bytes {
        return None;
    }
    let mut quick = Quick::new(text, 0, arena, limits);
    let node = read(&mut quick)?;
    quick.is_done().then_some(node)
}

/// A place in a text.
struct Quick<'t> {
    text: &'t str,
    arena: &'t Arena,
    /// Where the next token starts.
    at: usize,
    /// Where the last token ended.
    end: usize,
    /// How many brackets and `!` may still be opened.
    depth: usize,
    list_members: usize,
}

/// An operand or an expression before it is known whether it is a condition, and where it stands.
type Node<'t> = Spanned<Kind<'t>>;

#[derive(Clone, Copy)]
enum Kind<'t> {
    Condition(Condition<'t>),
    Value(&'t Value<'t>),
    Set(Set<'t>),
}

/// What makes a comparison of two operands.
enum Comparator {
    Relation(Relation),
    In { negated: bool },
}

/// How much depth a `!` takes: the scan counts the parentheses, too, in which the printer puts what is negated.
const NOT: usize = 2;

// === impl Node ===

impl<'t> Node<'t> {
    #[inline]
    fn condition(self) -> Option<Spanned<Condition<'t>>> {
        let condition = match self.node {
            Kind::Condition(condition) => condition,
            Kind::Value(value) => Condition::Value(value),
            Kind::Set(_) => return None,
        };
        Some(Spanned::new(condition, self.span))
    }

    #[inline]
    fn value(self) -> Option<Operand<'t>> {
        match self.node {
            Kind::Value(value) => Some(Spanned::new(value, self.span)),
            Kind::Condition(_) | Kind::Set(_) => None,
        }
    }

    fn set(self) -> Option<Spanned<Set<'t>>> {
        let set = match self.node {
            Kind::Set(set) => set,
            Kind::Value(Value::Field { name, argument: None }) => Set::Named(name.node),
            Kind::Value(Value::Literal(Literal::String(name))) => Set::Named(name),
            Kind::Value(_) | Kind::Condition(_) => return None,
        };
        Some(Spanned::new(set, self.span))
    }
}

// === impl Quick ===

impl<'t> Quick<'t> {
    fn new(text: &'t str, at: usize, arena: &'t Arena, limits: &Limits) -> Self {
        let (depth, list_members) = (limits.effective_depth(), limits.list_members);
        Quick { text, arena, at: skip_blank(text, at), end: at, depth, list_members }
    }

    // === statements ===

    fn statement(&mut self) -> Option<Statement<'t>> {
        Some(match self.word()? {
            "route" => Statement::Rule(self.rule(State::Live)?),
            "paused" => self.acting(State::Paused)?,
            "shadow" => self.acting(State::Shadow)?,
            "default" if self.symbol("=>") => Statement::Default(self.outcome()?),
            "cluster" => {
                let name = self.name()?;
                Statement::Cluster(Cluster { name, outcome: self.after("=", Quick::outcome)? })
            }
            "list" => {
                let name = self.name()?;
                Statement::List(List { name, members: self.after("=", Quick::members)? })
            }
            kind => self.gateway(State::Live, kind)?,
        })
    }

    /// What stands behind `paused` or `shadow`.
    fn acting(&mut self, state: State) -> Option<Statement<'t>> {
        match self.word()? {
            "route" => Some(Statement::Rule(self.rule(state)?)),
            kind => self.gateway(state, kind),
        }
    }

    fn gateway(&mut self, state: State, kind: &str) -> Option<Statement<'t>> {
        let kind = StatementKind::GATEWAY.into_iter().find(|known| known.word() == kind)?;
        let name = self.name()?;
        let condition = self.after(":", Quick::condition)?;
        let action = self.after("=>", |quick| quick.action(kind))?;
        Some(Statement::Gateway(Gateway { state, name, condition, action }))
    }

    /// What a statement of the service gateway does.
    pub(super) fn action(&mut self, kind: StatementKind) -> Option<Action<'t>> {
        Some(match kind {
            StatementKind::Deny => {
                let status = self.quantity(literal::status)?;
                let text = if self.starts_string() { Some(self.spanned(Quick::string)?) } else { None };
                Action::Deny { status, text }
            }
            StatementKind::Limit => {
                let rate = self.quantity(literal::rate)?;
                let burst = if self.keyword("burst") { Some(self.quantity(literal::amount)?) } else { None };
                Action::Limit { rate, burst, by: self.by()? }
            }
            StatementKind::Cache => {
                let fresh = self.quantity(literal::duration)?;
                let stale =
                    if self.keyword("stale") { Some(self.quantity(literal::duration)?) } else { None };
                Action::Cache { fresh, stale, by: self.by()?, with: self.with()? }
            }
            StatementKind::Mirror => Action::Mirror { cluster: self.name()?, with: self.with()? },
            StatementKind::Capture => {
                let exchanges = self.quantity(literal::amount)?;
                let lasts =
                    if self.keyword("for") { self.quantity(literal::duration)? } else { return None };
                Action::Capture { exchanges, lasts }
            }
            StatementKind::Count if self.keyword("top") => {
                let top = self.quantity(literal::amount)?;
                let by = self.by()??;
                let per = if self.keyword("per") { self.quantity(literal::duration)? } else { return None };
                Action::Count { top, by, per }
            }
            _ => return None,
        })
    }

    fn quantity<T>(&mut self, read: fn(&str, Span) -> Result<T, Problem>) -> Option<Spanned<T>> {
        if !matches!(self.byte(0), b'0'..=b'9' | b'-') {
            return None;
        }
        let start = self.at;
        let token = self.number()?;
        let span = self.since(start);
        Some(Spanned::new(read(token, span).ok()?, span))
    }

    fn by(&mut self) -> Option<Option<Operand<'t>>> {
        if self.keyword("by") { self.value().map(Some) } else { Some(None) }
    }

    fn with(&mut self) -> Option<&'t [Text<'t>]> {
        let mut options = Vec::new_in(self.arena);
        let mut more = self.keyword("with");
        while more {
            options.push(self.spanned(Quick::word)?);
            more = self.symbol(",");
        }
        Some(options.into_bump_slice())
    }

    fn rule(&mut self, state: State) -> Option<Rule<'t>> {
        let name = self.name()?;
        let condition = self.after(":", Quick::condition)?;
        Some(Rule { state, name, condition, outcome: self.after("=>", Quick::outcome)? })
    }

    fn outcome(&mut self) -> Option<Outcome<'t>> {
        let start = self.at;
        let first = self.target()?;
        let mut others = Vec::new_in(self.arena);
        while self.symbol(",") {
            others.push(self.target()?);
        }
        let mut by = None;
        if self.keyword("by") {
            let key = self.value()?;
            let salt = if self.keyword("salt") { Some(self.spanned(Quick::string)?) } else { None };
            by = Some(&*self.arena.alloc(By { key, salt }));
        }
        Some(Outcome { first, others: others.into_bump_slice(), by, place: Place(self.since(start)) })
    }

    fn target(&mut self) -> Option<Target<'t>> {
        let cluster = self.name()?;
        let mut weight = None;
        if matches!(self.byte(0), b'0'..=b'9' | b'-') {
            let start = self.at;
            let token = self.number()?;
            let span = self.since(start);
            weight = Some(Spanned::new(literal::weight(token, span).ok()?, span));
        }
        let fallback = if self.keyword("else") { Some(self.name()?) } else { None };
        Some(Target { cluster, weight, fallback })
    }

    fn members(&mut self) -> Option<&'t [Member<'t>]> {
        self.within("[", "]", |quick| {
            let mut members = Vec::new_in(quick.arena);
            while !quick.comes("]") {
                let from = quick.spanned(Quick::literal)?;
                members.push(match quick.symbol("..") {
                    true => Member::Range(quick.arena.alloc((from, quick.spanned(Quick::literal)?))),
                    false => Member::One(from),
                });
                if !quick.symbol(",") {
                    break;
                }
            }
            (members.len() <= quick.list_members).then_some(members.into_bump_slice())
        })
    }

    // === expressions, from loosest to tightest ===

    /// A whole condition; of one in parentheses they are a part.
    fn condition(&mut self) -> Option<Spanned<Condition<'t>>> {
        let start = self.at;
        let condition = self.expression()?.condition()?;
        Some(Spanned::new(condition.node, self.since(start)))
    }

    fn expression(&mut self) -> Option<Node<'t>> {
        self.joined("||", "or", Condition::Or, |quick| {
            quick.joined("&&", "and", Condition::And, Quick::negation)
        })
    }

    /// A row of conditions joined by one operator. `(a || b) || c` is one row.
    #[inline]
    fn joined(
        &mut self,
        symbol: &str,
        word: &str,
        join: fn(&'t [Spanned<Condition<'t>>]) -> Condition<'t>,
        part: impl Fn(&mut Self) -> Option<Node<'t>>,
    ) -> Option<Node<'t>> {
        let first = part(self)?;
        let mut more = self.symbol(symbol) || self.keyword(word);
        if !more {
            return Some(first);
        }
        let (mut parts, mut span, mut next) = (Vec::with_capacity_in(2, self.arena), first.span, first);
        loop {
            span = span.to(next.span);
            let next_part = next.condition()?;
            match (next_part.node, symbol) {
                (Condition::Or(inner), "||") | (Condition::And(inner), "&&") => {
                    parts.extend_from_slice_copy(inner)
                }
                (other, _) => parts.push(Spanned::new(other, next_part.span)),
            }
            if !more {
                return Some(Node::new(Kind::Condition(join(parts.into_bump_slice())), span));
            }
            next = part(self)?;
            more = self.symbol(symbol) || self.keyword(word);
        }
    }

    #[inline]
    fn negation(&mut self) -> Option<Node<'t>> {
        let start = self.at;
        if self.comes("!=") || !(self.symbol("!") || self.keyword("not")) {
            return self.comparison();
        }
        self.depth = self.depth.checked_sub(NOT)?;
        let inner = self.negation()?.condition()?;
        self.depth += NOT;
        let span = Span::new(start, inner.span.end);
        Some(Node::new(Kind::Condition(Condition::Not(self.arena.alloc(inner))), span))
    }

    fn comparison(&mut self) -> Option<Node<'t>> {
        let left = self.remainder()?;
        let start = self.at;
        let Some(comparator) = self.comparator() else { return Some(left) };
        let at = self.since(start);
        let left = left.value()?;
        let right = self.remainder()?;
        let span = left.span.to(right.span);
        let condition = match comparator {
            Comparator::Relation(relation) => {
                let relation = Spanned::new(relation, at);
                Condition::Compare(self.arena.alloc(Compare { left, relation, right: right.value()? }))
            }
            Comparator::In { negated } => {
                Condition::In(self.arena.alloc(In { left, negated, set: right.set()? }))
            }
        };
        // Comparisons do not chain.
        self.comparator().is_none().then_some(Node::new(Kind::Condition(condition), span))
    }

    fn comparator(&mut self) -> Option<Comparator> {
        let (relation, length) = match (self.byte(0), self.byte(1)) {
            (b'=', b'=') => (Relation::Equal, 2),
            (b'!', b'=') => (Relation::Unequal, 2),
            (b'<', b'=') => (Relation::AtMost, 2),
            (b'>', b'=') => (Relation::AtLeast, 2),
            (b'<', _) => (Relation::Below, 1),
            (b'>', _) => (Relation::Above, 1),
            (b'c' | b'e' | b'i' | b'm' | b'n' | b's' | b'u', _) => match self.letters() {
                "starts_with" => (Relation::StartsWith, 11),
                "ends_with" => (Relation::EndsWith, 9),
                "contains" => (Relation::Contains, 8),
                "under" => (Relation::Under, 5),
                "matches" => (Relation::Matches, 7),
                "in" => {
                    self.token(2)?;
                    return Some(Comparator::In { negated: false });
                }
                "not" => {
                    let before = (self.at, self.end);
                    self.token(3)?;
                    if self.keyword("in") {
                        return Some(Comparator::In { negated: true });
                    }
                    (self.at, self.end) = before;
                    return None;
                }
                _ => return None,
            },
            _ => return None,
        };
        self.token(length)?;
        Some(Comparator::Relation(relation))
    }

    fn value(&mut self) -> Option<Operand<'t>> {
        self.remainder()?.value()
    }

    #[inline(always)]
    fn remainder(&mut self) -> Option<Node<'t>> {
        let first = self.operand()?;
        // Most operands stand alone.
        if matches!(self.byte(0), b'?' | b'%') { self.combined(first) } else { Some(first) }
    }

    #[inline(never)]
    fn combined(&mut self, first: Node<'t>) -> Option<Node<'t>> {
        let left = self.coalesce(first)?;
        if !self.symbol("%") {
            return Some(left);
        }
        let left = left.value()?;
        let right = self.operand()?;
        let right = self.coalesce(right)?;
        // One remainder is all that can be asked for, in parentheses or not.
        if matches!(left.node, Value::Modulo(..)) || self.comes("%") {
            return None;
        }
        let Kind::Value(Value::Literal(Literal::Int(divisor @ 1..))) = right.node else { return None };
        let span = left.span.to(right.span);
        let value = Value::Modulo(left, Spanned::new(*divisor, right.span));
        Some(Node::new(Kind::Value(self.arena.alloc(value)), span))
    }

    fn coalesce(&mut self, first: Node<'t>) -> Option<Node<'t>> {
        let mut more = self.symbol("??");
        if !more {
            return Some(first);
        }
        let (mut sides, mut span, mut next) = (Vec::with_capacity_in(2, self.arena), first.span, first);
        loop {
            span = span.to(next.span);
            let side = next.value()?;
            match side.node {
                Value::Coalesce(inner) => sides.extend_from_slice_copy(inner),
                _ => sides.push(side),
            }
            if !more {
                let value = self.arena.alloc(Value::Coalesce(sides.into_bump_slice()));
                return Some(Node::new(Kind::Value(value), span));
            }
            next = self.operand()?;
            more = self.symbol("??");
        }
    }

    #[inline(always)]
    fn operand(&mut self) -> Option<Node<'t>> {
        let start = self.at;
        let value = match self.byte(0) {
            b'(' | b'[' => return self.bracketed(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' if self.fence().is_none() => self.named()?,
            _ => Value::Literal(self.literal()?),
        };
        Some(Node::new(Kind::Value(self.arena.alloc(value)), self.since(start)))
    }

    #[inline(never)]
    fn bracketed(&mut self) -> Option<Node<'t>> {
        let start = self.at;
        if self.comes("[") {
            let members = self.members()?;
            return Some(Node::new(Kind::Set(Set::Literal(members)), self.since(start)));
        }
        let node = self.within("(", ")", Quick::expression)?;
        Some(match node.node {
            // A condition is what stands inside, a value has its parentheses.
            Kind::Condition(_) => node,
            other => Node::new(other, self.since(start)),
        })
    }

    /// What starts with a word: a field, a call, a bool, or an address as `fe80::1`.
    #[inline(always)]
    fn named(&mut self) -> Option<Value<'t>> {
        let name = self.spanned(Quick::word)?;
        if self.end == self.at && self.comes(":") {
            self.at = name.span.start;
            return self.literal().map(Value::Literal);
        }
        let call = self.comes("(");
        match name.node {
            "true" if !call => return Some(Value::Literal(Literal::Bool(true))),
            "false" if !call => return Some(Value::Literal(Literal::Bool(false))),
            word if is_reserved(word) => return None,
            _ => {}
        }
        if call { self.call(name) } else { Some(Value::Field { name, argument: None }) }
    }

    #[inline(never)]
    fn call(&mut self, name: Text<'t>) -> Option<Value<'t>> {
        self.within("(", ")", |quick| match Function::named(name.node) {
            Some(function) => {
                let mut arguments = Vec::new_in(quick.arena);
                arguments.push(quick.value()?);
                while quick.symbol(",") {
                    arguments.push(quick.value()?);
                }
                let function = Spanned::new(function, name.span);
                Some(Value::Call { function, arguments: arguments.into_bump_slice() })
            }
            // Of the argument of a field nothing is reserved.
            None if quick.starts_string() => {
                Some(Value::Field { name, argument: Some(quick.spanned(Quick::string)?) })
            }
            // Of `not` the scan thinks that it negates, and counts it.
            None => {
                let argument = quick.spanned(Quick::word).filter(|argument| argument.node != "not")?;
                Some(Value::Field { name, argument: Some(argument) })
            }
        })
    }

    // === tokens ===

    fn name(&mut self) -> Option<Text<'t>> {
        if self.comes("\"") {
            return self.spanned(Quick::string).filter(|name| !name.node.is_empty());
        }
        self.spanned(Quick::word).filter(|word| !is_reserved(word.node))
    }

    /// A literal as it stands in a list: a word is a bool.
    fn literal(&mut self) -> Option<Literal<'t>> {
        if self.starts_string() {
            return self.string().map(Literal::String);
        }
        let word = self.letters();
        if matches!(word, "true" | "false") && self.byte(word.len()) != b':' {
            self.token(word.len())?;
            return Some(Literal::Bool(word == "true"));
        }
        let start = self.at;
        let token = self.number()?;
        literal::number(token, self.since(start)).ok()
    }

    /// A number, an address or a network, as generously as the grammar takes them.
    fn number(&mut self) -> Option<&'t str> {
        let row = |at: usize| {
            let rest = self.text.as_bytes().get(self.at + at..).unwrap_or_default();
            rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count()
        };
        let address = self.byte(row(0)) == b':';
        let mut length = usize::from(self.byte(0) == b'-');
        if !address && !self.byte(length).is_ascii_digit() {
            return None;
        }
        loop {
            length += row(length);
            match self.byte(length) {
                b'.' if self.byte(length + 1) != b'.' => {}
                b':' if address => {}
                b'_' if !address => {}
                _ => break,
            }
            length += 1;
        }
        if self.byte(length) == b'/' {
            length += 1 + row(length + 1);
        }
        self.token(length)
    }

    /// A string, raw or not.
    fn string(&mut self) -> Option<&'t str> {
        let rest = self.text.as_bytes().get(self.at..).filter(|_| self.starts_string())?;
        if let Some(hashes) = self.fence() {
            let mut length = hashes + 2;
            loop {
                match *rest.get(length)? {
                    b'"' if (1..=hashes).all(|i| rest.get(length + i) == Some(&b'#')) => break,
                    b'\n' | b'\r' => return None,
                    _ => length += 1,
                }
            }
            return self.token(length + 1 + hashes).map(literal::raw);
        }
        let (mut length, mut escapes) = (1, false);
        loop {
            length += rest.get(length..)?.iter().position(|byte| !stands_in_string(*byte))?;
            match *rest.get(length)? {
                b'"' => break,
                b'\\' if !matches!(rest.get(length + 1), Some(b'\n' | b'\r')) => {
                    escapes = true;
                    length += 2;
                }
                _ => return None,
            }
        }
        let inside = self.text.get(self.at + 1..self.at + length)?;
        let start = self.at;
        let token = self.token(length + 1)?;
        if escapes { literal::string(token, self.since(start), self.arena).ok() } else { Some(inside) }
    }

    fn word(&mut self) -> Option<&'t str> {
        let starts = matches!(self.byte(0), b'a'..=b'z' | b'A'..=b'Z' | b'_');
        if starts && self.fence().is_none() { self.token(self.letters().len()) } else { None }
    }

    /// Takes this word, if it comes.
    #[inline(always)]
    fn keyword(&mut self, word: &str) -> bool {
        self.comes(word) && !is_letter(self.byte(word.len())) && self.token(word.len()).is_some()
    }

    /// Takes this symbol, if it comes.
    #[inline(always)]
    fn symbol(&mut self, symbol: &str) -> bool {
        self.comes(symbol) && self.token(symbol.len()).is_some()
    }

    /// What stands behind a symbol.
    fn after<T>(&mut self, symbol: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.symbol(symbol) { read(self) } else { None }
    }

    /// What stands in brackets, which nest.
    fn within<T>(&mut self, open: &str, close: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth = self.depth.checked_sub(1)?;
        let inside = self.after(open, read)?;
        self.depth += 1;
        self.symbol(close).then_some(inside)
    }

    // === bytes ===

    fn is_done(&self) -> bool {
        self.at == self.text.len()
    }

    /// Whether this comes next.
    #[inline(always)]
    fn comes(&mut self, what: &str) -> bool {
        self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(what.as_bytes()))
    }

    /// The byte that is so far ahead; 0 at the end, where no token has it.
    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The row of letters that starts here.
    #[inline]
    fn letters(&self) -> &'t str {
        letters(self.text.get(self.at..).unwrap_or(""))
    }

    fn starts_string(&self) -> bool {
        self.byte(0) == b'"' || self.fence().is_some()
    }

    /// How many `#` stand before the quote of a raw string, if one starts here.
    fn fence(&self) -> Option<usize> {
        if self.byte(0) != b'r' {
            return None;
        }
        let rest = self.text.as_bytes().get(self.at + 1..)?;
        let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
        (rest.get(hashes) == Some(&b'"')).then_some(hashes)
    }

    /// Takes so many bytes, and goes to the next token.
    #[inline]
    fn token(&mut self, length: usize) -> Option<&'t str> {
        let (start, end) = (self.at, self.at + length);
        (self.at, self.end) = (skip_blank(self.text, end), end);
        self.text.get(start..end)
    }

    /// From `start` to the end of the last token.
    #[inline]
    fn since(&self, start: usize) -> Span {
        Span::new(start, self.end)
    }

    /// What is read, with its place.
    #[inline]
    fn spanned<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Spanned<T>> {
        let start = self.at;
        let node = read(self)?;
        Some(Spanned::new(node, self.since(start)))
    }
}

#[inline]
fn letters(text: &str) -> &str {
    let length = text.bytes().position(|byte| !is_letter(byte)).unwrap_or(text.len());
    text.get(..length).unwrap_or("")
}
