//! One decision.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::marks::Lent;
use super::matched::{Hit, Matched};
use super::queue::{Leads, Next, Queue};
use crate::bytecode::{self, Check, Choice, Index, Lookup, Program, Rule, Slot, SlotId, Step, Target, Test};
use crate::schema::http::{host_under, path_under};
use crate::schema::{
    Arena, Available, Input, Kind, Plain, StatementKind, Value, Version, any_compares, parse_int,
};
use crate::split::{self, FALLBACKS};

/// What was decided.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The route's index in the text; `None`: the default.
    pub(crate) route: Option<u32>,
    /// The declared cluster.
    pub(crate) cluster: u32,
    /// The gateway statements that matched.
    pub(crate) matched: Option<Arc<Matched>>,
}

/// A program and a request, and what is known so far.
pub(crate) struct Run<'p, 'r> {
    program: &'p Program,
    input: &'r Input<'r>,
    chance: u64,
    /// Where each slot's values stand in the arena, and what tests were answered.
    marks: Lent,
    arena: Arena<'r>,
    /// The plain fields, which need no place in the arena.
    plain: [Known<'r>; Plain::COUNT],
    /// Bytes of text that were made from values and are kept with them.
    made: usize,
    /// What the arena held, and how much of it was made, before the first slot that passes.
    kept: (usize, usize),
    /// Which kinds of fields were read together: what is not there then is not in the request.
    taken: [bool; Kind::ALL.len()],
    /// The statements of the service gateway that matched.
    matched: Option<Arc<Matched>>,
    /// Whether a live `deny` was among them, and a live `cache`.
    denied: bool,
    cached: bool,
    /// How many tests were asked and not remembered.
    #[cfg(test)]
    pub(crate) asked: usize,
}

/// What is known of a plain field.
enum Known<'r> {
    Nothing,
    Absent,
    /// As it stands in the request.
    Is(&'r [u8]),
    Made(Cow<'r, [u8]>),
}

/// How many values are kept for questions to come, and how many bytes of text made from them. What is asked for
/// beyond is made anew each time: a decision's memory depends on the request, and not on how many rules look at it.
/// Next to nothing where programs are made by the thousand, so that forgetting is tried as well.
const KEPT_VALUES: usize = if cfg!(any(test, fuzzing)) { 2 } else { 16_384 };
const KEPT_BYTES: usize = if cfg!(any(test, fuzzing)) { 8 } else { 262_144 };

// === impl Run ===

#[expect(clippy::indexing_slicing, reason = "the program was verified: what it points at is there")]
impl<'p, 'r> Run<'p, 'r> {
    /// Nothing is known yet.
    #[inline]
    pub(crate) fn new(program: &'p Program, input: &'r Input<'r>, chance: u64) -> Self {
        Run {
            program,
            input,
            chance,
            marks: Lent::new(program.slots().len(), program.memos()),
            arena: Arena::new(),
            plain: [const { Known::Nothing }; Plain::COUNT],
            made: 0,
            kept: (0, 0),
            taken: [false; Kind::ALL.len()],
            matched: None,
            denied: false,
            cached: false,
            #[cfg(test)]
            asked: 0,
        }
    }

    /// Whether some rule is true that acts: of a program that was compiled from one condition alone, whether it is.
    pub(crate) fn matches(&mut self) -> bool {
        (0..self.program.rules().len() as u32).any(|rule| self.rule(rule).is_some())
    }

    /// Decides, and tells `count` each counter that goes up by one.
    pub(crate) fn decide(&mut self, count: impl FnMut(u32)) -> Outcome {
        self.decide_by_index(true, count)
    }

    /// As [`Run::decide`], for a request whose cluster is known: asks the statements of the service gateway alone, and
    /// gives those that matched.
    pub(crate) fn guard(&mut self, count: &mut dyn FnMut(u32)) -> Option<Arc<Matched>> {
        if self.program.gateway() == 0 {
            return None;
        }
        self.decide_by_index(false, count).matched
    }

    /// Without `routes`, the outcome is only good for what matched.
    #[inline]
    fn decide_by_index(&mut self, routes: bool, mut count: impl FnMut(u32)) -> Outcome {
        let Some(index) = self.program.index() else { return self.decide_from(0, routes, count) };
        let mut queue = Queue::new(index);
        let mut leads = Leads::new();
        while let Some(next) = queue.next() {
            match next {
                Next::Rule(rule) if rule < self.program.gateway() => self.note(rule, &mut count),
                Next::Rule(_) if !routes => break,
                Next::Rule(rule) => {
                    if let Some(outcome) = self.act(rule, &mut count) {
                        return outcome;
                    }
                }
                Next::Lookup(lookup) => {
                    self.look_up(lookup, index, &mut leads);
                    if !queue.put(&mut leads) {
                        return self.decide_from(queue.behind(), routes, count);
                    }
                }
            }
        }
        if routes { self.default(&mut count) } else { self.outcome(None, 0) }
    }

    /// As [`Run::decide`], by asking all rules in their order: what an index must not change.
    pub(crate) fn decide_by_all(&mut self, count: impl FnMut(u32)) -> Outcome {
        self.decide_from(0, true, count)
    }

    #[inline]
    fn decide_from(&mut self, first: u32, routes: bool, mut count: impl FnMut(u32)) -> Outcome {
        let gateway = self.program.gateway();
        for rule in first..gateway {
            self.note(rule, &mut count);
        }
        if !routes {
            return self.outcome(None, 0);
        }
        let routes = first.max(gateway)..self.program.rules().len() as u32;
        let decided = { routes }.find_map(|rule| self.act(rule, &mut count));
        decided.unwrap_or_else(|| self.default(&mut count))
    }

    fn outcome(&mut self, route: Option<u32>, cluster: u32) -> Outcome {
        Outcome { route, cluster, matched: self.matched.take() }
    }

    /// Finds where the values of a slot lead.
    #[inline]
    fn look_up(&mut self, lookup: &Lookup, index: &Index, leads: &mut Leads) {
        leads.begin(self.program.rules().len());
        if let Some(plain) = lookup.plain {
            if let Some(text) = self.text(plain) {
                lookup.table.look_up_text(index, text, |lead| leads.push(index, lead));
            }
            return;
        }
        self.forget_passing();
        let values = self.slot(lookup.slot);
        for value in &self.arena[values] {
            lookup.table.look_up(index, value, |lead| leads.push(index, lead));
            if leads.are_too_many() {
                return;
            }
        }
    }

    /// What a route decides, if it does.
    fn act(&mut self, rule: u32, count: &mut impl FnMut(u32)) -> Option<Outcome> {
        let rule = self.rule(rule)?;
        let outcome = &self.program.outcomes()[rule.outcome as usize];
        let chosen = match &outcome.choice {
            Choice::One(_) => 0,
            _ => {
                let Some(chosen) = self.deal(outcome) else {
                    // No key: the route does not match.
                    count(outcome.keyless());
                    return None;
                };
                chosen
            }
        };
        count(outcome.cell + chosen as u32);
        if !rule.acts {
            return None;
        }
        let cluster = self.settle(outcome, chosen, count);
        Some(self.outcome(Some(rule.route), cluster))
    }

    fn default(&mut self, count: &mut impl FnMut(u32)) -> Outcome {
        let outcome = &self.program.outcomes()[self.program.outcomes().len() - 1];
        let chosen = self.choose(outcome, count);
        let cluster = self.settle(outcome, chosen, count);
        self.outcome(None, cluster)
    }

    /// Notes a statement of the service gateway, if its condition is true and what came before leaves it a say.
    #[inline(never)]
    fn note(&mut self, at: u32, count: &mut impl FnMut(u32)) {
        let kind = self.program.rules()[at as usize].kind;
        let has_no_say = match kind {
            StatementKind::Cache => self.denied || self.cached,
            StatementKind::Deny | StatementKind::Limit | StatementKind::Mirror => self.denied,
            _ => false,
        };
        if has_no_say {
            return;
        }
        let Some(rule) = self.rule(at) else { return };
        let outcome = &self.program.outcomes()[rule.outcome as usize];
        let key = match outcome.key() {
            None => None,
            Some(key) => {
                self.forget_passing();
                let values = self.slot(key);
                if values.is_empty() {
                    count(outcome.keyless());
                    return;
                }
                Some(values.start)
            }
        };
        let cluster = match outcome.choice {
            Choice::Note(_) => None,
            _ => Some(self.settle(outcome, 0, count)),
        };
        let matched = Arc::make_mut(self.matched.get_or_insert_default());
        let statement = rule.route;
        let taken = match key.and_then(|key| self.arena.get(key)) {
            None => matched.push(Hit { statement, cluster, key: None }),
            Some(key) => key.with_text(|key| matched.push(Hit { statement, cluster, key: Some(key) })),
        };
        if !taken {
            count(outcome.keyless());
            return;
        }
        count(outcome.cell);
        self.denied |= rule.acts && kind == StatementKind::Deny;
        self.cached |= rule.acts && kind == StatementKind::Cache;
    }

    /// The rule, if its condition is true.
    #[inline(always)]
    fn rule(&mut self, at: u32) -> Option<&'p Rule> {
        let program = self.program;
        let rule = &program.rules()[at as usize];
        let end =
            program.rules().get(at as usize + 1).map_or(program.steps().len(), |next| next.start as usize);
        let mut at = rule.start;
        if at as usize == end {
            return Some(rule);
        }
        loop {
            let step = &program.steps()[at as usize];
            at = if self.test(&program.tests()[step.test as usize]) { step.yes } else { step.no };
            if at >= Step::FALSE {
                return (at == Step::TRUE).then_some(rule);
            }
        }
    }

    // === outcomes ===

    /// The index of the chosen target; `None` without a key.
    pub(super) fn deal(&mut self, outcome: &'p bytecode::Outcome) -> Option<usize> {
        let Choice::Deal(deal) = &outcome.choice else { return Some(0) };
        self.forget_passing();
        let hash = match deal.key {
            Some(key) => self.hash(key, deal.seed)?,
            None => self.chance(deal.seed),
        };
        Some(deal.split.pick(hash))
    }

    /// The hash that stands for a key where chance decides.
    pub(super) fn chance(&self, seed: u64) -> u64 {
        split::hash(&self.chance.to_le_bytes(), seed)
    }

    /// The index of the chosen target, by chance when there is no key. Counts.
    #[inline(always)]
    fn choose(&mut self, outcome: &'p bytecode::Outcome, count: &mut impl FnMut(u32)) -> usize {
        let chosen = match &outcome.choice {
            Choice::One(_) => 0,
            _ => self.deal(outcome).unwrap_or_else(|| {
                count(outcome.keyless());
                outcome.deal().map_or(0, |deal| deal.split.pick(self.chance(deal.seed)))
            }),
        };
        count(outcome.cell + chosen as u32);
        chosen
    }

    /// From a target down to a declared cluster.
    #[inline]
    fn settle(&mut self, outcome: &'p bytecode::Outcome, chosen: usize, count: &mut impl FnMut(u32)) -> u32 {
        if self.program.has_fallbacks()
            && let Some(available) = self.input.available
        {
            return self.settle_where(available, outcome, chosen, count);
        }
        let mut target = outcome.targets()[chosen];
        loop {
            match target {
                Target::Cluster(cluster) => return cluster,
                Target::Outcome(inner) => {
                    let inner = &self.program.outcomes()[inner as usize];
                    target = inner.targets()[self.choose(inner, count)];
                }
            }
        }
    }

    /// The same, to a cluster that is available as far as there are fallbacks: the nearest one first, and not more than
    /// [`FALLBACKS`].
    #[inline(never)]
    fn settle_where(
        &mut self,
        Available(is_available): Available<'r>,
        outcome: &'p bytecode::Outcome,
        chosen: usize,
        count: &mut impl FnMut(u32),
    ) -> u32 {
        let mut open: SmallVec<[(Target, u32); 4]> = outcome.fallback(chosen).into_iter().collect();
        let mut target = outcome.targets()[chosen];
        let mut left = FALLBACKS;
        loop {
            match target {
                Target::Outcome(inner) => {
                    let inner = &self.program.outcomes()[inner as usize];
                    let chosen = self.choose(inner, count);
                    open.extend(inner.fallback(chosen));
                    target = inner.targets()[chosen];
                }
                Target::Cluster(cluster) => {
                    if open.is_empty() || left == 0 || is_available(cluster) {
                        return cluster;
                    }
                    Arc::make_mut(self.matched.get_or_insert_default()).unavailable.push(cluster);
                    left -= 1;
                    let Some((fallback, cell)) = open.pop() else { return cluster };
                    count(cell);
                    target = fallback;
                }
            }
        }
    }

    /// The text of the first value of a slot.
    #[cfg(any(test, fuzzing))]
    pub(super) fn text_of(&mut self, slot: SlotId) -> Option<Vec<u8>> {
        let range = self.slot(slot);
        self.arena[range].first().map(|value| value.with_text(<[u8]>::to_vec))
    }

    /// The hash of the first value of a slot.
    fn hash(&mut self, key: SlotId, seed: u64) -> Option<u64> {
        // Of the slot's values and not of the arena's: behind an empty slot stand the values of others.
        let range = self.slot(key);
        self.arena[range].first().map(|value| value.with_text(|text| split::hash(text, seed)))
    }

    // === tests ===

    fn test(&mut self, test: &'p Test) -> bool {
        let Some(memo) = test.memo else { return self.ask(test) };
        if let Some(answer) = self.marks.get().memo(memo) {
            return answer;
        }
        let answer = self.ask(test);
        self.marks.get().set_memo(memo, answer);
        answer
    }

    pub(super) fn ask(&mut self, test: &'p Test) -> bool {
        #[cfg(test)]
        {
            self.asked += 1;
        }
        if let Some(plain) = test.plain
            && !matches!(test.check, Check::Among(..) | Check::Against(..))
        {
            return self.text(plain).is_some_and(|text| text_satisfies(text, &test.check));
        }
        self.forget_passing();
        if let Check::Among(_, group) = test.check
            && self.marks.get().ask_group(group)
        {
            return self.ask_together(test, group);
        }
        let range = self.slot(test.slot);
        if let Check::Against(order, other) = &test.check {
            let others = self.slot(*other);
            return any_compares(*order, &self.arena[range], &self.arena[others]);
        }
        self.arena[range].iter().any(|value| satisfies(value, &test.check))
    }

    /// The text of a plain field; reads it if it was not asked before.
    #[inline]
    fn text(&mut self, plain: Plain) -> Option<&[u8]> {
        let known = &mut self.plain[plain as usize];
        if let Known::Nothing = known {
            *known = match plain.as_it_is(self.input) {
                Some(text) => Known::Is(text),
                None => Known::made(plain, self.input),
            };
        }
        match known {
            Known::Is(text) => Some(text),
            Known::Made(text) => Some(text),
            Known::Nothing | Known::Absent => None,
        }
    }

    /// Answers a test and all others of its group.
    #[inline(never)]
    fn ask_together(&mut self, test: &'p Test, group: u32) -> bool {
        let group = &self.program.groups()[group as usize];
        let values = self.slot(group.slot);
        self.marks.get().matched.clear();
        for value in &self.arena[values] {
            group.patterns.find(text(value), &mut self.marks.get().matched);
        }
        for (at, memo) in group.memos.iter().enumerate() {
            let answer = self.marks.get().matched.has(at);
            self.marks.get().set_memo(*memo, answer);
        }
        test.memo.and_then(|memo| self.marks.get().memo(memo)).unwrap_or(false)
    }

    // === slots ===

    /// Where the values of a slot stand; fills it if it was not asked before.
    fn slot(&mut self, id: SlotId) -> Range<usize> {
        if let Some((start, end)) = self.marks.get().slot(id.0) {
            return start as usize..end as usize;
        }
        let range = self.fill(id);
        self.marks.get().set_slot(id.0, range.start as u32, range.end as u32);
        range
    }

    /// Before a question: the values of the last one are not looked at any more.
    #[inline]
    fn forget_passing(&mut self) {
        if self.marks.some_pass() {
            self.forget(0, self.kept);
        }
    }

    /// Forgets the slots that pass, from the `first` on, which were filled after `before`.
    #[cold]
    fn forget(&mut self, first: usize, before: (usize, usize)) {
        while self.marks.get().passing.len() > first
            && let Some(slot) = self.marks.get().passing.pop()
        {
            self.marks.get().forget_slot(slot.0);
        }
        // Before any passed, some may have come to be kept.
        let (values, made) = if first == 0 { self.kept } else { before };
        self.arena.truncate(values);
        self.made = made;
    }

    // Apart from `slot`, which is asked far more often and is to be inlined.
    #[inline(never)]
    fn fill(&mut self, id: SlotId) -> Range<usize> {
        let before = (self.arena.len(), self.made);
        let passing = self.marks.get().passing.len();
        let range = self.values(id);
        // From the first that passes on, all pass until they are forgotten: also what was begun before it, as it
        // may be made of it.
        if before.0 > KEPT_VALUES || before.1 > KEPT_BYTES || self.marks.some_pass() {
            return self.pass(id, range, passing, before);
        }
        range
    }

    /// Notes a slot that passes, of which `passing` others were there before it was filled.
    #[cold]
    fn pass(
        &mut self,
        id: SlotId,
        range: Range<usize>,
        passing: usize,
        before: (usize, usize),
    ) -> Range<usize> {
        if range.is_empty() {
            // Nobody looks at what made nothing, and of such sides a `??` may have thousands.
            if self.marks.get().passing.len() > passing {
                self.forget(passing, before);
            }
            return 0..0;
        }
        if !self.marks.some_pass() {
            self.kept = before;
        }
        self.marks.get().passing.push(id);
        range
    }

    fn values(&mut self, id: SlotId) -> Range<usize> {
        let program = self.program;
        match &program.slots()[id.0 as usize] {
            Slot::Field(field) => {
                if let Some((kind, _)) = Kind::of(field)
                    && program.shelves().has(kind)
                    && let Some(range) = self.shelf(kind, id)
                {
                    return range;
                }
                let start = self.arena.len();
                field.read(self.input, &mut self.arena);
                start..self.arena.len()
            }
            Slot::Literal(value) => self.one(Some(value.clone())),
            Slot::Lower(of) => self.each(*of, |value| match value {
                Value::String(Cow::Borrowed(text)) if !text.iter().any(u8::is_ascii_uppercase) => {
                    Some(Value::bytes(text))
                }
                value => Some(Value::String(text(value).to_ascii_lowercase().into())),
            }),
            Slot::Len(of) => self.each(*of, |value| i64::try_from(text(value).len()).ok().map(Value::Int)),
            Slot::Int(of) => self.each(*of, |value| parse_int(text(value)).map(Value::Int)),
            Slot::Version(of) => self.each(*of, |value| Version::parse(text(value)).map(Value::Version)),
            Slot::Exists(of) => {
                let exists = !self.slot(*of).is_empty();
                self.one(Some(Value::Bool(exists)))
            }
            Slot::Percent(key, seed) => {
                let percent = self.hash(*key, *seed).map(|hash| Value::Percent(split::bucket(hash)));
                self.one(percent)
            }
            Slot::Coalesce(sides) => {
                sides.iter().map(|side| self.slot(*side)).find(|range| !range.is_empty()).unwrap_or(0..0)
            }
            Slot::Modulo(of, divisor) => self.each(*of, |value| match value {
                Value::Int(i) => i.checked_rem_euclid(*divisor).map(Value::Int),
                _ => None,
            }),
        }
    }

    /// Reads all fields of a kind that the program has, and says where those of one are. `None` when too much is kept
    /// already to keep them.
    fn shelf(&mut self, kind: Kind, id: SlotId) -> Option<Range<usize>> {
        if self.taken[kind as usize] {
            return Some(0..0);
        }
        if self.arena.len() > KEPT_VALUES || self.made > KEPT_BYTES || self.marks.some_pass() {
            return None;
        }
        self.taken[kind as usize] = true;
        let mut found: SmallVec<[(SlotId, usize, Value<'r>); 16]> = SmallVec::new();
        kind.each(self.input, |name, value| {
            if let Some(slot) = self.program.shelves().slot(kind, name) {
                found.push((slot, found.len(), value));
            }
        });
        // Those of one field stand together, in their order.
        found.sort_unstable_by_key(|(slot, at, _)| (*slot, *at));
        let mut wanted = 0..0;
        let mut found = found.into_iter().peekable();
        while let Some((slot, _, value)) = found.next() {
            let start = self.arena.len();
            self.arena.push(value);
            while let Some((_, _, value)) = found.next_if(|(next, ..)| *next == slot) {
                self.arena.push(value);
            }
            self.marks.get().set_slot(slot.0, start as u32, self.arena.len() as u32);
            if slot == id {
                wanted = start..self.arena.len();
            }
        }
        Some(wanted)
    }

    fn one(&mut self, value: Option<Value<'r>>) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend(value);
        start..self.arena.len()
    }

    /// A function of each value of another slot; where it has no answer, there is no value.
    fn each(&mut self, of: SlotId, f: impl Fn(&Value<'r>) -> Option<Value<'r>>) -> Range<usize> {
        let range = self.slot(of);
        let start = self.arena.len();
        for at in range {
            let value = f(&self.arena[at]);
            self.made += value.as_ref().map_or(0, own_text);
            self.arena.extend(value);
        }
        start..self.arena.len()
    }
}

// === impl Known ===

impl<'r> Known<'r> {
    #[cold]
    fn made(plain: Plain, input: &Input<'r>) -> Self {
        plain.read(input).map_or(Known::Absent, Known::Made)
    }
}

fn satisfies(value: &Value<'_>, check: &Check) -> bool {
    match (check, value) {
        (check, Value::String(text)) => text_satisfies(text, check),
        (Check::In(list), value) => list.contains(value),
        (Check::Int(order, literal), Value::Int(i)) => order.holds(i.cmp(literal)),
        (Check::Percent(order, literal), Value::Percent(p)) => order.holds(p.cmp(literal)),
        (Check::Version(order, literal), Value::Version(version)) => order.holds(version.cmp(literal)),
        (Check::Time(order, literal), Value::Time(time)) => order.holds(time.cmp(&**literal)),
        (Check::Ip(literal), Value::Ip(ip)) => literal == ip,
        (Check::IsTrue, Value::Bool(b)) => *b,
        (Check::Bool(literal), Value::Bool(b)) => literal == b,
        _ => false,
    }
}

#[inline]
fn text_satisfies(text: &[u8], check: &Check) -> bool {
    match check {
        Check::Text(literal) => **literal == *text,
        Check::In(list) => list.contains_text(text),
        Check::StartsWith(literal) => text.starts_with(literal),
        Check::EndsWith(literal) => text.ends_with(literal),
        Check::Contains(finder) => finder.find(text).is_some(),
        Check::PathUnder(root) => path_under(text, root),
        Check::HostUnder(domain) => host_under(text, domain),
        Check::Matches(pattern) | Check::Among(pattern, _) => pattern.is_match(text),
        _ => false,
    }
}

/// How many bytes of text a value holds for itself.
fn own_text(value: &Value<'_>) -> usize {
    match value {
        Value::String(Cow::Owned(text)) => text.len(),
        Value::Version(version) => version.pre_release().len(),
        _ => 0,
    }
}

fn text<'v>(value: &'v Value<'_>) -> &'v [u8] {
    match value {
        Value::String(text) => text,
        _ => b"",
    }
}
