//! Outcomes: clusters, weights, keys.

use foldhash::{HashMap, HashMapExt as _};
use smallvec::SmallVec;

use super::words::{clip, some_names};
use super::{Resolver, Side};
use crate::check::coerce;
use crate::check::typed::{Deal, Expr, Outcome, Rules, Target};
use crate::diagnostic::{Code, Problem, Span, nearest};
use crate::schema::Type;
use crate::split::{self, Split};
use crate::syntax::ast::{self, Operand, Text};

impl Resolver<'_> {
    pub(super) fn outcome(&mut self, outcome: &ast::Outcome<'_>, name: &str) -> Option<Outcome> {
        let by = outcome.by;
        let salt = by.and_then(|by| by.salt.as_ref()).map_or(name, |salt| salt.node);
        let mut targets = SmallVec::new();
        for target in outcome.targets() {
            if let Some(target) = self.cluster(&target.cluster) {
                targets.push(target);
            }
        }
        let mut known = targets.len() == 1 + outcome.others.len();
        let fallbacks = match outcome.targets().any(|target| target.fallback.is_some()) {
            true => {
                let fallbacks = outcome.targets().map(|target| self.fallback(target));
                let fallbacks: Vec<Option<Option<Target>>> = fallbacks.collect();
                known &= fallbacks.iter().all(Option::is_some);
                Some(fallbacks.into_iter().map(Option::flatten).collect())
            }
            false => None,
        };
        let key = by.map(|by| self.key(by.key, salt));
        let mut sound = true;
        if outcome.others.is_empty() {
            if let Some(weight) = &outcome.first.weight {
                sound = false;
                self.problems.push(
                    Problem::new(Code::BadSplit, weight.span, "a weight on the only cluster")
                        .label("delete it, or name the others and their weights")
                        .help("for a part of the requests, ask `percent(KEY) < 5` in the condition; the rest goes on to the next rule"),
                );
            }
            if let Some(by) = by {
                sound = false;
                self.problems.push(
                    Problem::new(Code::BadSplit, by.key.span, "`by` with a single cluster")
                        .label("there is nothing to deal out; delete it"),
                );
            }
            return (known && sound).then_some(Outcome { targets, deal: None, fallbacks });
        }
        let count = 1 + outcome.others.len();
        if count > self.limits.targets {
            self.problems.push(
                Problem::new(
                    Code::TooLarge,
                    outcome.place.0,
                    format!("{count} clusters in one outcome, {} are allowed", self.limits.targets),
                )
                .help("the application can raise the limit `targets`"),
            );
            return None;
        }
        let mut named: HashMap<&str, Span> = HashMap::new();
        for target in outcome.targets() {
            if target.weight.is_none() {
                sound = false;
                self.problems.push(
                    Problem::new(
                        Code::BadSplit,
                        target.cluster.span,
                        format!("`{}` has no weight", target.cluster.node),
                    )
                    .label("one of several clusters has a weight, as in `gray 5, prod 95`"),
                );
            }
            if let Some(earlier) = named.insert(target.cluster.node, target.cluster.span) {
                sound = false;
                self.problems.push(
                    Problem::new(
                        Code::BadSplit,
                        target.cluster.span,
                        format!("`{}` stands twice", target.cluster.node),
                    )
                    .label("give it one weight")
                    .related(earlier, "the first stands"),
                );
            }
        }
        if !sound {
            return None;
        }
        let arms = outcome
            .targets()
            .map(|target| (target.cluster.node, target.weight.as_ref().map_or(0, |w| w.node)));
        let split = match Split::new(arms) {
            Ok(split) => split,
            Err(error) => {
                let problem = Problem::new(Code::BadSplit, outcome.place.0, error.to_string());
                self.problems.push(if error.is_all_zero() {
                    problem.label("give at least one cluster a weight above 0")
                } else {
                    problem
                });
                return None;
            }
        };
        let key = match key {
            Some(None) => return None,
            Some(key) => key,
            None => None,
        };
        let deal = Deal { split, seed: split::seed(salt.as_bytes()), key };
        known.then_some(Outcome { targets, deal: Some(Box::new(deal)), fallbacks })
    }

    /// The fallback of a target, if it has one; `None` if it is not sound.
    fn fallback(&mut self, target: &ast::Target<'_>) -> Option<Option<Target>> {
        let Some(fallback) = &target.fallback else { return Some(None) };
        let found = self.cluster(fallback)?;
        if fallback.node == target.cluster.node {
            self.problems.push(
                Problem::new(
                    Code::BadSplit,
                    fallback.span,
                    format!("`{}` stands in for itself", fallback.node),
                )
                .label("name another cluster, or none"),
            );
            return None;
        }
        Some(Some(found))
    }

    pub(super) fn cluster(&mut self, name: &Text<'_>) -> Option<Target> {
        if let Some(index) = self.logical.get(name.node) {
            return Some(Target::Logical(*index));
        }
        if let Some(index) = self.names.cluster(name.node) {
            return Some(Target::Cluster(index));
        }
        if !self.broken.contains(name.node) {
            let declared = &self.names.schema.clusters;
            let known = self.logical.keys().copied().chain(declared.iter().map(|c| &**c));
            self.problems.push_with(Code::UnknownCluster, || {
                let problem = Problem::new(
                    Code::UnknownCluster,
                    name.span,
                    format!("unknown cluster `{}`", clip(name.node)),
                );
                match nearest(name.node, known) {
                    Some(near) => problem.did_you_mean(Some(near)),
                    None if declared.is_empty() => problem
                        .label("the application declares no clusters")
                        .help("in Rust: `Schema::clusters`"),
                    None => problem.label(format!("known: {}", some_names(declared.iter().map(|c| &**c)))),
                }
            });
        }
        None
    }

    /// The logical clusters, each after those it is made of. One that contains itself, however far down, is a
    /// problem, and so is one that is made of others in too long a row: each request that is for it walks that.
    pub(super) fn inner_first(&mut self, clusters: &[&ast::Cluster<'_>], rules: &Rules) -> Vec<usize> {
        let mut order = Vec::with_capacity(clusters.len());
        if rules.logical.len() != clusters.len() {
            return order;
        }
        let most = self.limits.effective_depth();
        // How many clusters there are on the longest way down, the cluster itself among them.
        let mut depths = vec![0_usize; rules.logical.len()];
        // 0: not seen, 1: on the way, 2: done. The way is kept by hand, so that its length costs no stack.
        let mut state = vec![0_u8; rules.logical.len()];
        for start in 0..rules.logical.len() {
            let mut way = vec![(start, 0)];
            while let Some((at, next)) = way.pop() {
                if next == 0 {
                    if state.get(at) != Some(&0) {
                        continue;
                    }
                    state.iter_mut().skip(at).take(1).for_each(|s| *s = 1);
                }
                let target = rules.logical.get(at).and_then(|logical| logical.outcome.names().nth(next));
                match target {
                    None => {
                        state.iter_mut().skip(at).take(1).for_each(|s| *s = 2);
                        order.push(at);
                        let names = rules.logical.get(at).into_iter().flat_map(|it| it.outcome.names());
                        let below = names.filter_map(|target| match target {
                            Target::Logical(inner) => depths.get(inner as usize).copied(),
                            Target::Cluster(_) => None,
                        });
                        let depth = 1 + below.max().unwrap_or(0);
                        depths.iter_mut().skip(at).take(1).for_each(|d| *d = depth);
                        // Of those that are made of this one, nothing more is said.
                        if depth == most + 1
                            && let Some(cluster) = clusters.get(at)
                        {
                            let message = format!("clusters are nested deeper than {most}");
                            self.problems.push(
                                Problem::new(Code::TooLarge, cluster.name.span, message)
                                    .label(format!("made of {most} others, each made of the next"))
                                    .help("name clusters that are nearer to those that the application declares"),
                            );
                        }
                    }
                    Some(target) => {
                        way.push((at, next + 1));
                        if let Target::Logical(inner) = target {
                            let inner = inner as usize;
                            if state.get(inner) == Some(&1) {
                                if let Some(cluster) = clusters.get(at) {
                                    let targets = cluster.outcome.targets();
                                    let fallbacks = targets.clone().filter_map(|t| t.fallback.as_ref());
                                    let mut names = targets.map(|t| &t.cluster).chain(fallbacks);
                                    let span = names.nth(next).map_or(cluster.name.span, |name| name.span);
                                    self.problems.push(
                                        Problem::new(
                                            Code::BadSplit,
                                            span,
                                            format!("the cluster `{}` contains itself", cluster.name.node),
                                        )
                                        .label(
                                            "in the end, every cluster is one that the application declares",
                                        ),
                                    );
                                }
                            } else {
                                way.push((inner, 0));
                            }
                        }
                    }
                }
            }
        }
        order
    }

    /// A key's canonical text is hashed, so that types may mix.
    pub(super) fn key(&mut self, key: Operand<'_>, salt: &str) -> Option<Expr> {
        let expr = match key.node {
            ast::Value::Coalesce(sides) => {
                let sides: Vec<_> = sides.iter().map(|side| self.key_side(*side, salt)).collect();
                Expr::Coalesce(sides.into_iter().collect::<Option<_>>()?)
            }
            _ => self.key_side(key, salt)?,
        };
        if expr.is_constant() {
            self.problems.push(
                Problem::new(Code::TypeMismatch, key.span, "the key is the same for every request")
                    .label("a key comes from the request, as `cookie(uid)` does"),
            );
            return None;
        }
        Some(expr)
    }

    pub(super) fn key_side(&mut self, side: Operand<'_>, salt: &str) -> Option<Expr> {
        let expr = match self.side(side.node, side.span, salt)? {
            Side::Literal(literal, at) => {
                let ty = coerce::natural(literal).unwrap_or(Type::Ip);
                Expr::Literal(Box::new(self.note(coerce::coerce(literal, at, ty))?))
            }
            Side::Expr(expr) => expr,
        };
        if expr.ty() == Type::Percent {
            self.problems.push(
                Problem::new(Code::TypeMismatch, side.span, "a percentage is not a key")
                    .label("hash the key itself"),
            );
            return None;
        }
        Some(expr)
    }
}
