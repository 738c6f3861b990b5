//! Lists, typed by their use.

use foldhash::HashSet;

use super::Resolver;
use super::words::{clip, some_names};
use crate::check::coerce::{self, with_article};
use crate::check::lint;
use crate::check::typed::{Members, Set};
use crate::diagnostic::{Code, Problem, Span, nearest};
use crate::schema::{BuiltIn, Type};
use crate::syntax::ast::{self, Literal, Member};

impl Resolver<'_> {
    /// The list of this name for values of type `ty`; with no type it is only looked up.
    pub(super) fn named_list(&mut self, name: &str, span: Span, ty: Option<Type>) -> Option<Set> {
        if let Some(list) = self.names.list(name) {
            let ty = ty?;
            return if list.ty() == ty {
                Some(Set::Supplied(list.clone()))
            } else {
                self.wrong_list(name, span, list.ty(), ty);
                None
            };
        }
        if span.of(self.text).starts_with(['"', 'r']) && !self.lists.contains_key(name) {
            let text = span.of(self.text);
            if text != name && !self.broken.contains(name) {
                self.problems.push(
                    Problem::new(Code::TypeMismatch, span, "`in` needs a list on its right")
                        .label(format!("one value is a list too: `[{}]`", clip(text))),
                );
                return None;
            }
        }
        let Some(named) = self.lists.get_mut(name) else {
            if !self.broken.contains(name) {
                let supplied = self.names.schema.lists.iter().map(|(name, _)| name.as_str());
                let field = BuiltIn::named(name).is_some() || self.names.field(name).is_some();
                let lists = &self.lists;
                self.problems.push_with(Code::UnknownList, || {
                    let known: Vec<&str> = lists.keys().copied().chain(supplied).collect();
                    let problem =
                        Problem::new(Code::UnknownList, span, format!("unknown list `{}`", clip(name)));
                    match nearest(name, known.iter().copied()) {
                        Some(near) => problem.did_you_mean(Some(near)),
                        None if field => problem.label("it is a field; compare fields with `==`"),
                        None if known.is_empty() => {
                            problem.label("there are no lists; write `list NAME = [ … ]` or `[ … ]` here")
                        }
                        None => problem.label(format!("known: {}", some_names(known.into_iter()))),
                    }
                });
            }
            return None;
        };
        named.used = true;
        let ty = ty?;
        if let Some((_, set)) = named.typed.iter().find(|(known, _)| *known == ty) {
            return set.clone();
        }
        let list = named.list;
        let natural = natural_type(list.members);
        let fits = match natural {
            None => true,
            Some(Type::String) => matches!(ty, Type::String | Type::Version | Type::Time | Type::Ip),
            Some(natural) => natural == ty,
        };
        let set = if fits {
            self.members(list.members, ty)
        } else {
            self.wrong_list(name, span, natural.unwrap_or(ty), ty);
            None
        };
        if let Some(named) = self.lists.get_mut(name) {
            named.typed.push((ty, set.clone()));
        }
        set
    }

    pub(super) fn wrong_list(&mut self, name: &str, span: Span, found: Type, wanted: Type) {
        let problem = Problem::new(
            Code::TypeMismatch,
            span,
            format!("`{name}` is a list of {found}s, the left side is {}", with_article(wanted)),
        );
        self.problems.push(match (found, wanted) {
            (Type::Int, Type::String) => problem.label("read the left side as an int: `int(…)`"),
            (Type::Version, Type::String) => problem.label("read the left side as a version: `version(…)`"),
            _ => problem,
        });
    }

    /// Members as ranges of type `ty`, all of them checked.
    pub(super) fn members(&mut self, members: &[Member<'_>], ty: Type) -> Option<Set> {
        let mut ranges = Vec::with_capacity(members.len());
        for member in members {
            let result = coerce::member(member, ty);
            ranges.extend(self.note(result));
        }
        let sound = ranges.len() == members.len();
        sound.then(|| Set::Members(ty, Members::new(ranges)))
    }

    /// Members that add nothing to any of `sets`, which are what the list is as values of each type it is asked for.
    pub(super) fn duplicates(&mut self, members: &[Member<'_>], sets: &[Set]) {
        let mut found = sets.iter().map(|set| match set {
            Set::Members(_, ranges) => lint::duplicates(ranges),
            Set::Supplied(_) => Vec::new(),
        });
        let mut duplicates = found.next().unwrap_or_default();
        for others in found {
            let others: HashSet<usize> = others.iter().map(|other| other.at).collect();
            duplicates.retain(|duplicate| others.contains(&duplicate.at));
        }
        for duplicate in duplicates {
            lint::duplicate(members, duplicate).into_iter().for_each(|problem| self.problems.push(problem));
        }
    }

    /// Lists that no sound condition asks are checked all the same.
    pub(super) fn check_lists(&mut self) {
        let mut unchecked: Vec<&ast::List<'_>> =
            self.lists.values().filter(|named| named.typed.is_empty()).map(|named| named.list).collect();
        // Which problems are kept when there are too many must not change from run to run.
        unchecked.sort_by_key(|list| list.name.span.start);
        for list in unchecked {
            let Some(ty) = natural_type(list.members) else { continue };
            if matches!(ty, Type::Bool | Type::Percent) {
                let span = list.members.first().map_or(list.name.span, Member::span);
                let what = if ty == Type::Bool { "a list of bools" } else { "a list of percentages" };
                self.problems.push(
                    Problem::new(Code::TypeMismatch, span, what)
                        .label("lists hold strings, ints, addresses, versions or instants"),
                );
                continue;
            }
            // Quoted ranges are of versions or instants; which, only a use can say.
            let quoted_range = |member: &Member<'_>| matches!(member, Member::Range((from, _)) if matches!(from.node, Literal::String(_)));
            if ty == Type::String && list.members.iter().any(quoted_range) {
                continue;
            }
            let set = self.members(list.members, ty);
            if let Some(named) = self.lists.get_mut(list.name.node) {
                named.typed.push((ty, set));
            }
        }
    }

    /// Lists that nobody asks, and members that add nothing.
    pub(super) fn lint_lists(&mut self) {
        let mut lists: Vec<_> = self
            .lists
            .values()
            .map(|named| {
                let sets: Vec<Set> = named.typed.iter().filter_map(|(_, set)| set.clone()).collect();
                (named.list, named.used, sets)
            })
            .collect();
        lists.sort_by_key(|(list, ..)| list.name.span.start);
        for (list, used, sets) in lists {
            if !used {
                self.problems.push(
                    Problem::new(
                        Code::UnusedList,
                        list.name.span,
                        format!("no condition uses the list `{}`", list.name.node),
                    )
                    .label("delete it, or ask it with `in`"),
                );
            }
            self.duplicates(list.members, &sets);
        }
    }
}

/// The type that the members say they have: an address among them, or else the first.
fn natural_type(members: &[Member<'_>]) -> Option<Type> {
    let types = members.iter().map(|member| match member {
        Member::One(one) | Member::Range((one, _)) => coerce::natural(&one.node).unwrap_or(Type::Ip),
    });
    types.clone().find(|ty| *ty == Type::Ip).or(types.into_iter().next())
}
