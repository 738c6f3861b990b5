//! The radix router that axum routes with. It sees paths only: where every rule is a host and a prefix that ends with
//! `/`, and no prefix is that of another, the path finds the rule and the host is compared then.

use http::Request;
use matchit::Router;

use super::{Build, Engine, extract};
use crate::model::{Condition, Rule};

struct Matchit {
    /// The rule and its host.
    router: Router<(usize, String)>,
}

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    let render = |rule: &Rule| match rule.all.as_slice() {
        [Condition::HostIs(host), Condition::PathStartsWith(prefix)] if prefix.ends_with('/') => {
            Some((host.clone(), prefix.clone()))
        }
        _ => None,
    };
    let rules: Vec<_> = rules.iter().map(render).collect::<Option<_>>()?;
    let mut prefixes: Vec<&String> = rules.iter().map(|(_, prefix)| prefix).collect();
    prefixes.sort();
    if prefixes.windows(2).any(|pair| pair[1].starts_with(pair[0])) {
        return None;
    }
    Some(Box::new(move |deadline| {
        let mut router = Router::new();
        deadline.each(&rules, |at, (host, prefix)| {
            // A catch-all takes at least one byte.
            for path in [prefix.clone(), format!("{prefix}{{*rest}}")] {
                router.insert(path, (at, host.clone())).expect("no prefix is there twice");
            }
        })?;
        Some(Box::new(Matchit { router }))
    }))
}

impl Engine for Matchit {
    type Answer = Option<usize>;

    fn decide(&self, request: &Request<()>) -> Option<usize> {
        let (at, host) = self.router.at(request.uri().path()).ok()?.value;
        (extract::host(request)? == host.as_str()).then_some(*at)
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}
