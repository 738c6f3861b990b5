//! The format of HTTP archives, HAR 1.2, as a table: which fields an object must have, which it may have, and of which
//! type. From the specification (<http://www.softwareishard.com/blog/har-12-spec/>).

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use serde_json::Value;

/// The fields of an object: name and type, with `?` behind those that may be missing. `[x]` is an array of `x`.
const TYPES: &[(&str, &[(&str, &str)])] = &[
    ("har", &[("log", "log")]),
    (
        "log",
        &[
            ("version", "string"),
            ("creator", "creator"),
            ("browser", "creator?"),
            ("pages", "[page]?"),
            ("entries", "[entry]"),
            ("comment", "string?"),
        ],
    ),
    ("creator", &[("name", "string"), ("version", "string"), ("comment", "string?")]),
    (
        "entry",
        &[
            ("pageref", "string?"),
            ("startedDateTime", "date"),
            ("time", "positive"),
            ("request", "request"),
            ("response", "response"),
            ("cache", "cache"),
            ("timings", "timings"),
            ("serverIPAddress", "string?"),
            ("connection", "string?"),
            ("comment", "string?"),
        ],
    ),
    (
        "request",
        &[
            ("method", "string"),
            ("url", "url"),
            ("httpVersion", "string"),
            ("cookies", "[cookie]"),
            ("headers", "[pair]"),
            ("queryString", "[pair]"),
            ("postData", "postData?"),
            ("headersSize", "integer"),
            ("bodySize", "integer"),
            ("comment", "string?"),
        ],
    ),
    (
        "response",
        &[
            ("status", "integer"),
            ("statusText", "string"),
            ("httpVersion", "string"),
            ("cookies", "[cookie]"),
            ("headers", "[pair]"),
            ("content", "content"),
            ("redirectURL", "string"),
            ("headersSize", "integer"),
            ("bodySize", "integer"),
            ("comment", "string?"),
        ],
    ),
    ("pair", &[("name", "string"), ("value", "string"), ("comment", "string?")]),
    (
        "cookie",
        &[
            ("name", "string"),
            ("value", "string"),
            ("path", "string?"),
            ("domain", "string?"),
            ("expires", "date?"),
            ("httpOnly", "bool?"),
            ("secure", "bool?"),
            ("comment", "string?"),
        ],
    ),
    (
        "postData",
        &[("mimeType", "string"), ("params", "[pair]?"), ("text", "string?"), ("comment", "string?")],
    ),
    (
        "content",
        &[
            ("size", "integer"),
            ("compression", "integer?"),
            ("mimeType", "string"),
            ("text", "string?"),
            ("encoding", "string?"),
            ("comment", "string?"),
        ],
    ),
    ("cache", &[("comment", "string?")]),
    (
        "timings",
        &[
            ("blocked", "number?"),
            ("dns", "number?"),
            ("connect", "number?"),
            ("send", "positive"),
            ("wait", "positive"),
            ("receive", "positive"),
            ("ssl", "number?"),
            ("comment", "string?"),
        ],
    ),
];

/// Panics where an archive does not hold to the format.
#[track_caller]
pub fn holds(archive: &Value) {
    check("har", archive, "");
    for entry in archive["log"]["entries"].as_array().into_iter().flatten() {
        let timings =
            entry["timings"].as_object().map(|t| t.values().filter_map(Value::as_f64)).into_iter().flatten();
        let sum: f64 = timings.filter(|time| *time > 0.0).sum();
        let time = entry["time"].as_f64().unwrap_or(-1.0);
        assert!((sum - time).abs() < 0.01, "`time` is {time}, the sum of the timings {sum}");
    }
}

#[track_caller]
fn check(ty: &str, value: &Value, path: &str) {
    let right = match ty {
        "string" => value.is_string(),
        "bool" => value.is_boolean(),
        "number" => value.is_number(),
        "positive" => value.as_f64().is_some_and(|number| number >= 0.0),
        "integer" => value.is_i64() || value.is_u64(),
        "date" => value.as_str().is_some_and(|date| date.parse::<jiff::Timestamp>().is_ok()),
        "url" => {
            value.as_str().is_some_and(|url| url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some()))
        }
        array if array.starts_with('[') => {
            let of = array.trim_matches(['[', ']']);
            let values = value.as_array().unwrap_or_else(|| panic!("{path} is no array"));
            values.iter().enumerate().for_each(|(at, value)| check(of, value, &format!("{path}[{at}]")));
            true
        }
        object => {
            let (_, fields) =
                TYPES.iter().find(|(name, _)| *name == object).unwrap_or_else(|| panic!("no type {object}"));
            let object = value.as_object().unwrap_or_else(|| panic!("{path} is no object"));
            for (name, ty) in *fields {
                match object.get(*name) {
                    Some(value) => check(ty.trim_end_matches('?'), value, &format!("{path}.{name}")),
                    None => assert!(ty.ends_with('?'), "{path}.{name} is missing"),
                }
            }
            for name in object.keys().filter(|name| !name.starts_with('_')) {
                assert!(fields.iter().any(|(known, _)| known == name), "{path}.{name} is not in the format");
            }
            true
        }
    };
    assert!(right, "{path} is not of type {ty}: {value}");
}
