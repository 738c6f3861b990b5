use pointsman::{Engine, Moment};

use super::common::{self, Choices};
use super::{parts, small, wire};

/// Rule sets and requests: the program, the reference and the explanation agree, a lint that a route never decides is
/// true, and the counters add up.
///
/// An input that begins with `text` is a rule text and requests, so that seeds can be written; any other is the
/// choices of a generator that makes sound rule sets and requests from one pool of values.
pub fn vm_vs_reference(data: &[u8]) {
    match data.strip_prefix(b"text\n") {
        Some(data) => {
            let parts = parts(data);
            let Some((Ok(text), requests)) =
                parts.split_first().map(|(text, r)| (std::str::from_utf8(text), r))
            else {
                return;
            };
            let builder = Engine::builder().schema(common::schema()).limits(small());
            let Ok(engine) = builder.build(text) else { return };
            agree(&engine, requests.iter().filter_map(|request| wire::request(request)));
        }
        None => {
            let choices = &mut Choices::new(data);
            let text = common::rule_set(choices).text();
            let engine = match Engine::builder().schema(common::schema()).build(&*text) {
                Ok(engine) => engine,
                Err(problems) => panic!("{text}\n{problems}"),
            };
            let requests = std::iter::from_fn(|| {
                let moment = common::moment(choices);
                Some((common::request(choices), moment))
            });
            // The first request is made even if there are no bytes left for it.
            agree(&engine, requests.take(4));
        }
    }
}

fn agree(engine: &Engine, requests: impl Iterator<Item = (http::Request<()>, Moment)>) {
    let rules = engine.rules();
    let never = common::never_decides(&rules);
    let mut decided = 0;
    for (request, moment) in requests {
        if let (_, Some(rule)) = common::decide(engine, &request, moment) {
            assert!(!never.contains(&rule), "{rule} decides\n{}\n{request:?}", rules.lints());
        }
        decided += 1;
    }
    let counters = engine.counters();
    assert_eq!(counters.decisions, decided, "{counters}");
}
