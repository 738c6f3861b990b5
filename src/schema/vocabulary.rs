//! The names that rules may use.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use foldhash::HashMap;

use super::field::Custom;
use super::http::{ClientAddr, Trusted};
use super::{List, RequestHead, StatementKind, Type, Values, Version};

/// What rules may mention besides the built-in fields: clusters, and the application's own fields and lists;
/// and where the client's address comes from.
///
/// ```
/// use pointsman::schema::{List, Schema};
///
/// #[derive(Clone)]
/// struct User { plan: String, staff: bool, groups: Vec<String> }
///
/// let schema = Schema::new()
///     .clusters(["gray", "prod_a", "prod_b"])
///     .list("beta", List::strings(["1001", "1002"]))
///     // Whatever an earlier layer left in the request's extensions can be a field:
///     .string_field("plan", |request| request.extensions.get::<User>().map(|user| user.plan.as_str()))
///     .bool_field("is_staff", |request| request.extensions.get::<User>().map(|user| user.staff))
///     // with several values,
///     .field("group", pointsman::schema::Type::String, |request, values| {
///         for group in request.extensions.get::<User>().iter().flat_map(|user| &user.groups) {
///             values.push(group.as_str());
///         }
///     })
///     // or with an argument: `tag(vip)`.
///     .keyed_string_field("tag", |request, name| {
///         request.headers.get(format!("x-tag-{name}"))?.to_str().ok()
///     });
/// # let _ = schema;
/// ```
///
/// Names are checked when an engine or a condition is built.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    pub(crate) clusters: Vec<Arc<str>>,
    pub(crate) fields: Vec<Custom>,
    pub(crate) lists: Vec<(String, List)>,
    pub(crate) client: ClientAddr,
    /// The kinds of gateway statements that are served.
    pub(crate) gateway: Vec<StatementKind>,
}

/// Looks up names in constant time; made once for each text.
pub(crate) struct Names<'s> {
    pub(crate) schema: &'s Schema,
    fields: HashMap<&'s str, &'s Custom>,
    lists: HashMap<&'s str, &'s List>,
    clusters: HashMap<&'s str, u32>,
}

// === impl Schema ===

impl Schema {
    /// Nothing but the built-in fields, and the peer's address as the client's.
    pub fn new() -> Self {
        Schema::default()
    }

    /// Declares clusters that rules may send requests to.
    #[must_use]
    pub fn clusters<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.clusters.extend(names.into_iter().map(|name| Arc::from(name.as_ref())));
        self
    }

    /// Supplies a list.
    #[must_use]
    pub fn list(mut self, name: impl Into<String>, list: List) -> Self {
        self.lists.push((name.into(), list));
        self
    }

    /// Chooses where the field `ip` comes from.
    #[must_use]
    pub fn client_addr(mut self, client: ClientAddr) -> Self {
        self.client = client;
        self
    }

    /// Declares which statements of the service gateway the application serves, with a layer of
    /// `pointsman::gateway` for each or with its own: a rule text that has others is refused, as nobody would do what
    /// they say. Whether the layers are there is not looked at here, but when requests reach their cluster, by
    /// `Engine::unheeded`. None where this is not called; routes, clusters and the default are always served.
    ///
    /// ```
    /// use pointsman::Engine;
    /// use pointsman::schema::{Schema, StatementKind};
    ///
    /// let text = "deny bots: header(user-agent) contains \"BadBot\" => 403\ndefault => prod";
    /// let schema = Schema::new().clusters(["prod"]);
    /// let error = Engine::builder().schema(schema.clone()).build(text).unwrap_err();
    /// assert!(error.to_string().contains("does not serve `deny`"));
    ///
    /// let engine = Engine::builder().schema(schema.gateway([StatementKind::Deny])).build(text)?;
    /// let bot = http::Request::get("/").header("user-agent", "BadBot/1.0").body(()).unwrap();
    /// assert_eq!(engine.decide(&bot).denied().unwrap().statement().name(), "bots");
    /// # Ok::<(), pointsman::BuildError>(())
    /// ```
    #[must_use]
    pub fn gateway(mut self, kinds: impl IntoIterator<Item = StatementKind>) -> Self {
        self.gateway.extend(kinds);
        self
    }

    /// Registers a field that has any number of values of one type. `read` is called at most once a decision,
    /// and only if a rule that is looked at asks for the field. It runs on the request's path: it should
    /// neither block nor panic.
    #[must_use]
    pub fn field(
        self,
        name: impl Into<String>,
        ty: Type,
        read: impl for<'r> Fn(RequestHead<'r>, &mut Values<'_, 'r>) + Send + Sync + 'static,
    ) -> Self {
        self.register(name.into(), ty, false, Box::new(move |head, _, values| read(head, values)))
    }

    /// As [`Schema::field`], for a field with an argument: `claim(sub)`. `read` is called at most once a
    /// decision for each argument.
    #[must_use]
    pub fn keyed_field(
        self,
        name: impl Into<String>,
        ty: Type,
        read: impl for<'r> Fn(RequestHead<'r>, &str, &mut Values<'_, 'r>) + Send + Sync + 'static,
    ) -> Self {
        self.register(name.into(), ty, true, Box::new(read))
    }

    /// Registers a string field with at most one value.
    #[must_use]
    pub fn string_field(
        self,
        name: impl Into<String>,
        read: impl for<'r> Fn(RequestHead<'r>) -> Option<&'r str> + Send + Sync + 'static,
    ) -> Self {
        self.field(name, Type::String, move |head, values| {
            read(head).into_iter().for_each(|v| values.push(v))
        })
    }

    /// Registers a string field with an argument and at most one value.
    #[must_use]
    pub fn keyed_string_field(
        self,
        name: impl Into<String>,
        read: impl for<'r> Fn(RequestHead<'r>, &str) -> Option<&'r str> + Send + Sync + 'static,
    ) -> Self {
        self.keyed_field(name, Type::String, move |head, argument, values| {
            read(head, argument).into_iter().for_each(|v| values.push(v));
        })
    }

    /// Registers an int field with at most one value.
    #[must_use]
    pub fn int_field(
        self,
        name: impl Into<String>,
        read: impl Fn(RequestHead<'_>) -> Option<i64> + Send + Sync + 'static,
    ) -> Self {
        self.field(name, Type::Int, move |head, values| read(head).into_iter().for_each(|v| values.push(v)))
    }

    /// Registers a bool field with at most one value. It can stand alone as a condition.
    #[must_use]
    pub fn bool_field(
        self,
        name: impl Into<String>,
        read: impl Fn(RequestHead<'_>) -> Option<bool> + Send + Sync + 'static,
    ) -> Self {
        self.field(name, Type::Bool, move |head, values| read(head).into_iter().for_each(|v| values.push(v)))
    }

    /// Registers an address field with at most one value.
    #[must_use]
    pub fn ip_field(
        self,
        name: impl Into<String>,
        read: impl Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.field(name, Type::Ip, move |head, values| read(head).into_iter().for_each(|v| values.push(v)))
    }

    /// Registers a version field with at most one value.
    #[must_use]
    pub fn version_field(
        self,
        name: impl Into<String>,
        read: impl Fn(RequestHead<'_>) -> Option<Version> + Send + Sync + 'static,
    ) -> Self {
        self.field(name, Type::Version, move |head, values| {
            read(head).into_iter().for_each(|v| values.push(v))
        })
    }

    /// Registers a time field with at most one value.
    #[must_use]
    pub fn time_field(
        self,
        name: impl Into<String>,
        read: impl Fn(RequestHead<'_>) -> Option<SystemTime> + Send + Sync + 'static,
    ) -> Self {
        self.field(name, Type::Time, move |head, values| read(head).into_iter().for_each(|v| values.push(v)))
    }

    /// Whether the peer that a request came from is trusted.
    pub(crate) fn is_trusted_peer(&self, trusted: &Trusted, head: RequestHead<'_>) -> bool {
        self.client.is_trusted_peer(trusted, head)
    }

    fn register(mut self, name: String, ty: Type, keyed: bool, read: Box<super::field::Read>) -> Self {
        self.fields.push(Custom::new(name, ty, keyed, read));
        self
    }
}

// === impl Names ===

impl<'s> Names<'s> {
    pub(crate) fn new(schema: &'s Schema) -> Self {
        Names {
            schema,
            fields: schema.fields.iter().map(|field| (field.registered().name.as_str(), field)).collect(),
            lists: schema.lists.iter().map(|(name, list)| (name.as_str(), list)).collect(),
            clusters: schema.clusters.iter().zip(0..).map(|(name, index)| (&**name, index)).collect(),
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&'s Custom> {
        self.fields.get(name).copied()
    }

    pub(crate) fn list(&self, name: &str) -> Option<&'s List> {
        self.lists.get(name).copied()
    }

    pub(crate) fn cluster(&self, name: &str) -> Option<u32> {
        self.clusters.get(name).copied()
    }
}

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schema.fmt(f)
    }
}
