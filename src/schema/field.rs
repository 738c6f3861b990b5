//! Fields, and how their values are read from a request.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use ::http::{HeaderName, Method};
use smallvec::SmallVec;

use super::http::{self, ClientAddr, CookieName};
use super::{RequestHead, Type, Value};

/// Everything a decision may look at, besides chance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'r> {
    pub(crate) head: RequestHead<'r>,
    /// Converted only when a rule asks for it.
    pub(crate) now: SystemTime,
    pub(crate) client: &'r ClientAddr,
    /// Which clusters have a server; all of them where nobody knows.
    pub(crate) available: Option<Available<'r>>,
}

/// Says whether a declared cluster has an available server.
#[derive(Clone, Copy)]
pub(crate) struct Available<'r>(pub(crate) &'r dyn Fn(u32) -> bool);

impl fmt::Debug for Available<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Available")
    }
}

/// The values of many fields, one after the other. A typical rule set never leaves the inline part.
pub(crate) type Arena<'r> = SmallVec<[Value<'r>; 24]>;

/// Where a field of the application puts its values.
#[derive(Debug)]
pub struct Values<'a, 'r> {
    ty: Type,
    arena: &'a mut Arena<'r>,
}

/// A field with its argument: what to read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    Method,
    Scheme,
    Host,
    Port,
    Path,
    RawPath,
    RawQuery,
    Query(Box<[u8]>),
    Header(HeaderName),
    Cookie(CookieName),
    Ip,
    Now,
    Custom(Custom, Option<Box<str>>),
}

/// A field that the application registered.
#[derive(Clone)]
pub(crate) struct Custom(Arc<Registered>);

pub(crate) struct Registered {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) keyed: bool,
    read: Box<Read>,
}

pub(crate) type Read = dyn for<'r> Fn(RequestHead<'r>, &str, &mut Values<'_, 'r>) + Send + Sync;

/// A built-in field by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BuiltIn {
    pub(crate) name: &'static str,
    pub(crate) keyed: bool,
}

// === impl BuiltIn ===

impl BuiltIn {
    pub(crate) const ALL: &'static [BuiltIn] = &[
        BuiltIn { name: "method", keyed: false },
        BuiltIn { name: "scheme", keyed: false },
        BuiltIn { name: "host", keyed: false },
        BuiltIn { name: "port", keyed: false },
        BuiltIn { name: "path", keyed: false },
        BuiltIn { name: "raw_path", keyed: false },
        BuiltIn { name: "raw_query", keyed: false },
        BuiltIn { name: "query", keyed: true },
        BuiltIn { name: "header", keyed: true },
        BuiltIn { name: "cookie", keyed: true },
        BuiltIn { name: "ip", keyed: false },
        BuiltIn { name: "now", keyed: false },
    ];

    pub(crate) fn named(name: &str) -> Option<BuiltIn> {
        Self::ALL.iter().find(|field| field.name == name).copied()
    }

    /// The field with its argument, which matters to the keyed ones only. `None` when no request can have a
    /// header or a cookie of that name.
    pub(crate) fn with(self, argument: &str) -> Option<Field> {
        Some(match self.name {
            "method" => Field::Method,
            "scheme" => Field::Scheme,
            "host" => Field::Host,
            "port" => Field::Port,
            "path" => Field::Path,
            "raw_path" => Field::RawPath,
            "raw_query" => Field::RawQuery,
            "query" => Field::Query(argument.as_bytes().into()),
            "header" => Field::Header(HeaderName::from_bytes(argument.as_bytes()).ok()?),
            "cookie" => {
                Field::Cookie(Some(CookieName::new(argument.as_bytes())).filter(CookieName::is_possible)?)
            }
            "ip" => Field::Ip,
            _ => Field::Now,
        })
    }
}

// === impl Field ===

impl Field {
    pub(crate) fn ty(&self) -> Type {
        match self {
            Field::Port => Type::Int,
            Field::Ip => Type::Ip,
            Field::Now => Type::Time,
            Field::Custom(custom, _) => custom.0.ty,
            _ => Type::String,
        }
    }

    /// Whether a request has at most one value, whatever it is.
    pub(crate) fn is_single(&self) -> bool {
        !matches!(self, Field::Query(_) | Field::Header(_) | Field::Cookie(_) | Field::Custom(..))
    }

    /// Adds the values that the field has in this request, in their order.
    pub(crate) fn read<'r>(&self, input: &Input<'r>, arena: &mut Arena<'r>) {
        let head = input.head;
        // `extend` makes room for the unknown rest of an iterator first, which takes longer than most fields.
        let single = match self {
            Field::Host => Plain::Host.read(input).map(Value::String),
            Field::Path => Plain::Path.read(input).map(Value::String),
            Field::Method => Plain::Method.read(input).map(Value::String),
            Field::Scheme => head.uri.scheme_str().map(Value::from),
            Field::Port => http::port(head).map(Value::Int),
            Field::RawPath => raw_path(head).map(Value::bytes),
            Field::RawQuery => head.uri.query().map(Value::from),
            Field::Query(name) => {
                let query = head.uri.query().unwrap_or("").as_bytes();
                return http::query_values(query, name).for_each(|value| arena.push(Value::String(value)));
            }
            Field::Header(name) => {
                let lines = head.headers.get_all(name).iter();
                return lines.for_each(|line| arena.push(Value::bytes(line.as_bytes())));
            }
            Field::Cookie(name) => {
                return name.values(head.headers).for_each(|value| arena.push(Value::bytes(value)));
            }
            Field::Ip => input.client.resolve(head).map(Value::ip),
            Field::Now => Some(Value::Time(input.now.into())),
            Field::Custom(custom, argument) => {
                let mut values = Values { ty: custom.0.ty, arena };
                return (custom.0.read)(head, argument.as_deref().unwrap_or(""), &mut values);
            }
        };
        if let Some(value) = single {
            arena.push(value);
        }
    }
}

/// A text that every request has once or not at all, and most rules ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    Host,
    Path,
    Method,
}

// === impl Plain ===

impl Plain {
    pub(crate) const COUNT: usize = 3;

    pub(crate) fn of(field: &Field) -> Option<Self> {
        match field {
            Field::Host => Some(Plain::Host),
            Field::Path => Some(Plain::Path),
            Field::Method => Some(Plain::Method),
            _ => None,
        }
    }

    /// The text, if it can be seen at once that it stands in the request as it is meant to be read; that is nearly
    /// always so.
    #[inline]
    pub(crate) fn as_it_is<'r>(self, input: &Input<'r>) -> Option<&'r [u8]> {
        match self {
            Plain::Host => http::host_as_it_is(input.head),
            Plain::Path => raw_path(input.head).filter(|path| http::is_canonical(path)),
            Plain::Method => Some(input.head.method.as_str().as_bytes()),
        }
    }

    pub(crate) fn read<'r>(self, input: &Input<'r>) -> Option<Cow<'r, [u8]>> {
        match self {
            Plain::Host => http::host(input.head),
            Plain::Path => raw_path(input.head).map(http::canonical_path),
            Plain::Method => Some(Cow::Borrowed(input.head.method.as_str().as_bytes())),
        }
    }
}

/// A kind of fields that have a name, of which a request has many: all of them can be read in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cookies,
    Headers,
    Query,
}

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Cookies, Kind::Headers, Kind::Query];

    /// The kind of a field, and its name.
    pub(crate) fn of(field: &Field) -> Option<(Kind, &[u8])> {
        match field {
            Field::Cookie(name) => Some((Kind::Cookies, name.text())),
            Field::Header(name) => Some((Kind::Headers, name.as_str().as_bytes())),
            Field::Query(name) => Some((Kind::Query, name)),
            _ => None,
        }
    }

    /// Tells every name and value of this kind that a request has, in order.
    pub(crate) fn each<'r>(self, input: &Input<'r>, mut f: impl FnMut(&[u8], Value<'r>)) {
        let head = input.head;
        match self {
            Kind::Cookies => {
                http::cookie_pairs(head.headers).for_each(|(name, value)| f(name, Value::bytes(value)))
            }
            Kind::Headers => head
                .headers
                .iter()
                .for_each(|(name, value)| f(name.as_str().as_bytes(), Value::bytes(value.as_bytes()))),
            Kind::Query => http::query_pairs(head.uri.query().unwrap_or("").as_bytes())
                .for_each(|(name, value)| f(&name, Value::String(value))),
        }
    }
}

/// The path as it was received; `CONNECT` has none.
fn raw_path(head: RequestHead<'_>) -> Option<&[u8]> {
    Some(head.uri.path().as_bytes()).filter(|path| !path.is_empty() && head.method != Method::CONNECT)
}

// === impl Values ===

impl<'r> Values<'_, 'r> {
    /// Adds a value. One of another type than the field was registered with is left out; an IPv4-mapped IPv6
    /// address becomes IPv4.
    pub fn push(&mut self, value: impl Into<Value<'r>>) {
        let value = match value.into() {
            // `Value::Ip` can be written without `From`, which makes IPv4-mapped addresses IPv4.
            Value::Ip(ip) => Value::ip(ip),
            value => value,
        };
        if value.ty() == self.ty {
            self.arena.push(value);
        }
    }
}

// === impl Custom ===

impl Custom {
    pub(crate) fn new(name: String, ty: Type, keyed: bool, read: Box<Read>) -> Self {
        Custom(Arc::new(Registered { name, ty, keyed, read }))
    }

    pub(crate) fn registered(&self) -> &Registered {
        &self.0
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Custom {}

impl Hash for Custom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.name)
    }
}

/// As it is written in a rule.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keyed = |f: &mut fmt::Formatter<'_>, name: &str, argument: &[u8]| {
            write!(f, "{name}({})", argument.escape_ascii())
        };
        match self {
            Field::Method => f.write_str("method"),
            Field::Scheme => f.write_str("scheme"),
            Field::Host => f.write_str("host"),
            Field::Port => f.write_str("port"),
            Field::Path => f.write_str("path"),
            Field::RawPath => f.write_str("raw_path"),
            Field::RawQuery => f.write_str("raw_query"),
            Field::Query(name) => keyed(f, "query", name),
            Field::Header(name) => keyed(f, "header", name.as_str().as_bytes()),
            Field::Cookie(name) => keyed(f, "cookie", name.text()),
            Field::Ip => f.write_str("ip"),
            Field::Now => f.write_str("now"),
            Field::Custom(custom, None) => f.write_str(&custom.0.name),
            Field::Custom(custom, Some(argument)) => keyed(f, &custom.0.name, argument.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_application_are_equal_when_they_are_one() {
        let custom = |name: &str| Custom::new(name.into(), Type::Int, false, Box::new(|_, _, _| {}));
        let (one, other) = (custom("a"), custom("a"));
        assert!(one == one.clone() && one != other);
        assert_eq!(format!("{one:?}"), "a");
    }

    #[test]
    fn a_connect_request_has_no_path() {
        let mut request = ::http::Request::new(());
        *request.uri_mut() = "/a".parse().unwrap();
        assert_eq!(raw_path((&request).into()), Some(&b"/a"[..]));
        *request.method_mut() = Method::CONNECT;
        assert_eq!(raw_path((&request).into()), None);
        *request.uri_mut() = "a.test:443".parse().unwrap();
        *request.method_mut() = Method::GET;
        assert_eq!(raw_path((&request).into()), None);
    }

    #[test]
    fn a_value_of_the_application_is_canonical_and_of_the_fields_type() {
        let mut arena = Arena::new();
        let mut values = Values { ty: Type::Ip, arena: &mut arena };
        values.push(Value::Ip("::ffff:192.0.2.1".parse().unwrap()));
        values.push(1);
        assert_eq!(arena.into_vec(), [Value::Ip("192.0.2.1".parse().unwrap())]);
    }
}
