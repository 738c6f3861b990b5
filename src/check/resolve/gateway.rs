//! Statements of the service gateway: what they may say, and whether somebody serves them.

use http::StatusCode;
use smallvec::smallvec;

use super::Resolver;
use super::words::clip;
use crate::check::action::{Action, Cache, Capture, Deny, GatewayStatement, Limit, Mirror, Top};
use crate::check::typed::Outcome;
use crate::diagnostic::{Code, Problem, Span, nearest};
use crate::syntax::ast::{self, Text};

/// The options of `cache`.
const CACHE: [&str; 3] = ["private", "set_cookie", "authorization"];
/// The options of `mirror`.
const MIRROR: [&str; 1] = ["unsafe"];
/// How many keys a `count` may list.
const TOP: u32 = 1_000;

/// Where a condition stands, and whether impossible literals were found in it.
pub(super) type Look = (Span, bool);

impl Resolver<'_> {
    pub(super) fn gateway(&mut self, gateway: &ast::Gateway<'_>) -> Option<(GatewayStatement, Look)> {
        let kind = gateway.action.kind();
        let name = gateway.name.node;
        if !self.names.schema.gateway.contains(&kind) {
            self.problems.push(
                Problem::new(
                    Code::UnknownStatement,
                    gateway.name.span,
                    format!("this application does not serve `{kind}` statements"),
                )
                .label("nobody would do what this says")
                .help("in Rust: `Schema::gateway`, and a layer that does it"),
            );
        }
        let impossible = self.impossible;
        let condition = self.condition(&gateway.condition, name);
        let by = match &gateway.action {
            ast::Action::Limit { by, .. } | ast::Action::Cache { by, .. } => *by,
            ast::Action::Count { by, .. } => Some(*by),
            _ => None,
        };
        let key = by.map(|by| self.key(by, name));
        let mirror = match &gateway.action {
            ast::Action::Mirror { cluster, .. } => Some(self.cluster(cluster)),
            _ => None,
        };
        let action = self.action(&gateway.action);
        let key = match key {
            Some(None) => return None,
            key => key.flatten(),
        };
        let mirror = match mirror {
            Some(None) => return None,
            mirror => mirror.flatten(),
        };
        let to = |target| Outcome { targets: smallvec![target], deal: None, fallbacks: None };
        let look = (gateway.condition.span, self.impossible > impossible);
        let statement = GatewayStatement {
            name: name.into(),
            state: gateway.state,
            condition: condition?.into(),
            action: action?,
            key,
            mirror: mirror.map(to),
        };
        Some((statement, look))
    }

    fn action(&mut self, action: &ast::Action<'_>) -> Option<Action> {
        Some(match action {
            ast::Action::Deny { status, text } => Action::Deny(Deny {
                // The parser took nothing else.
                status: StatusCode::from_u16(status.node).unwrap_or(StatusCode::FORBIDDEN),
                text: text.map(|text| text.node.into()),
            }),
            ast::Action::Limit { rate, burst, by } => Action::Limit(Limit {
                count: rate.node.count,
                per: rate.node.per,
                burst: burst.map_or(rate.node.count, |burst| burst.node),
                keyed: by.is_some(),
            }),
            ast::Action::Cache { fresh, stale, by, with } => {
                let sound = self.options("cache", with, &CACHE);
                let has = |option: &str| with.iter().any(|with| with.node == option);
                let cache = Cache {
                    fresh: fresh.node,
                    stale: stale.map_or_else(Default::default, |stale| stale.node),
                    keyed: by.is_some(),
                    private: has("private"),
                    set_cookie: has("set_cookie"),
                    authorization: has("authorization"),
                };
                return sound.then_some(Action::Cache(cache));
            }
            ast::Action::Mirror { with, .. } => {
                let sound = self.options("mirror", with, &MIRROR);
                return sound.then_some(Action::Mirror(Mirror { unsafe_methods: !with.is_empty() }));
            }
            ast::Action::Capture { exchanges, lasts } => {
                let sound = self.lasts("capture", lasts);
                let capture = Capture { exchanges: exchanges.node, lasts: lasts.node };
                return sound.then_some(Action::Capture(capture));
            }
            ast::Action::Count { top, per, .. } => {
                let mut sound = self.lasts("count", per);
                if top.node > TOP {
                    sound = false;
                    let message = format!("a top of {} is too long", top.node);
                    self.problems.push(
                        Problem::new(Code::TooLarge, top.span, message).label(format!("at most {TOP}")),
                    );
                }
                return sound.then_some(Action::Top(Top { top: top.node, per: per.node }));
            }
        })
    }

    /// Whether a span of time is more than nothing.
    fn lasts(&mut self, what: &str, time: &ast::Spanned<std::time::Duration>) -> bool {
        if time.node.is_zero() {
            let message = format!("a `{what}` over no time");
            self.problems
                .push(Problem::new(Code::BadLiteral, time.span, message).label("give it some, as in `15s`"));
        }
        !time.node.is_zero()
    }

    /// Whether these are options that such statements have, each once.
    fn options(&mut self, what: &str, with: &[Text<'_>], known: &[&str]) -> bool {
        let mut sound = true;
        // No more than are known, however many the text has.
        let mut said: Vec<&Text<'_>> = Vec::new();
        for option in with {
            if !known.contains(&option.node) {
                sound = false;
                let message = format!("a `{what}` has no option `{}`", clip(option.node));
                let problem = Problem::new(Code::BadArgument, option.span, message);
                self.problems.push(match nearest(option.node, known.iter().copied()) {
                    Some(near) => problem.did_you_mean(Some(near)),
                    None => problem.label(format!("known: `{}`", known.join("`, `"))),
                });
            } else if let Some(first) = said.iter().find(|said| said.node == option.node) {
                sound = false;
                self.problems.push(
                    Problem::new(
                        Code::BadArgument,
                        option.span,
                        format!("`{}` stands twice", clip(option.node)),
                    )
                    .label("once is enough")
                    .related(first.span, "the first stands"),
                );
            } else {
                said.push(option);
            }
        }
        sound
    }
}
