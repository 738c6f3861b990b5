//! Runs cases in the format of `tests/conformance/README.md`, each by both evaluators: the compiled program and
//! the reference that walks the rules as they are written.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::SystemTime;

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use pointsman::engine::{Moment, StatementKind};
use pointsman::schema::{ClientAddr, List, PeerAddr, Schema, Trusted, Type, Version, canonical_path};
use pointsman::{BuildError, Condition, Decision, Diagnostics, Engine, Limits};
use serde_json::Value as Json;

/// What became of the cases of one file or several.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How many came out as expected.
    pub(crate) passed: usize,
    /// Those that did not, and lines that are no cases.
    pub(crate) failed: Vec<Failure>,
    /// Requests that the types of `http` cannot hold.
    pub(crate) skipped: Vec<Skipped>,
}

/// A case that did not come out as expected.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The case's id, or `file:line` where there is none.
    pub(crate) id: String,
    /// What should have come.
    pub(crate) expected: String,
    /// What came.
    pub(crate) came: String,
}

/// A case that could not be run.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// The case's id.
    pub(crate) id: String,
    /// Which part of the request cannot be held, and why.
    pub(crate) why: String,
}

/// How one case ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed {
        /// What should have come.
        expected: String,
        /// What came.
        came: String,
    },
    /// The request cannot be made; why.
    Skipped(String),
}

/// Runs files, prints what failed and the sums, and says whether all is well.
pub(crate) fn run_files<P: AsRef<Path>>(files: &[P], out: &mut dyn Write) -> io::Result<bool> {
    let mut report = Report::default();
    for file in files {
        report.file(file.as_ref());
    }
    write!(out, "{report}")?;
    Ok(report.failed.is_empty())
}

// === impl Report ===

impl Report {
    /// Runs each line of a file.
    pub(crate) fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(&name, &text),
            Err(error) => self.broken(name, "a file that can be read", error.to_string()),
        }
    }

    /// Runs each line of a text. Empty lines mean nothing.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let place = format!("{name}:{}", at + 1);
            let case: Json = match serde_json::from_str(line) {
                Ok(case) => case,
                Err(error) => {
                    // The place is ours: serde_json knows one line only.
                    let (column, error) = (error.column(), error.to_string());
                    let what = error.split(" at line ").next().unwrap_or(&error);
                    self.broken(format!("{place}:{column}"), "one JSON object", what.to_owned());
                    continue;
                }
            };
            if !case.is_object() {
                self.broken(place, "one JSON object", "another JSON value".to_owned());
                continue;
            }
            let id = case.get("id").and_then(Json::as_str).unwrap_or(&place).to_owned();
            match run_case(&case) {
                Ok(Outcome::Passed) => self.passed += 1,
                Ok(Outcome::Failed { expected, came }) => self.failed.push(Failure { id, expected, came }),
                Ok(Outcome::Skipped(why)) => self.skipped.push(Skipped { id, why }),
                Err(wrong) => self.broken(place, "a case", wrong),
            }
        }
    }

    fn broken(&mut self, place: String, expected: &str, came: String) {
        self.failed.push(Failure { id: place, expected: expected.to_owned(), came });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Failure { id, expected, came } in &self.failed {
            writeln!(f, "FAILED {id}")?;
            writeln!(f, "  expected: {}", expected.replace('\n', "\n            "))?;
            writeln!(f, "  came:     {}", came.trim_end().replace('\n', "\n            "))?;
        }
        if !self.skipped.is_empty() {
            for Skipped { id, why } in &self.skipped {
                writeln!(f, "skipped {id}: {why}")?;
            }
            writeln!(f, "{} skipped: the `http` crate cannot hold the request", self.skipped.len())?;
        }
        writeln!(f, "{} passed, {} failed", self.passed, self.failed.len())
    }
}

/// Runs one case.
///
/// # Errors
///
/// When it is no case: a key is missing or has the wrong type.
pub(crate) fn run_case(case: &Json) -> Result<Outcome, String> {
    match text(case, "kind")? {
        "eval" | "semver" | "client_ip" => eval(case),
        "route" => route(case),
        "reject" | "accept" => compiles(case),
        "path" => path(case),
        other => Err(format!("unknown kind `{other}`")),
    }
}

// === the kinds ===

/// A condition is true or false.
fn eval(case: &Json) -> Result<Outcome, String> {
    let want = expectation(case, "match")?.as_bool().ok_or("`expect.match` is not a bool")?;
    let now = now(case)?;
    let schema = schema(case)?;
    let source = text(case, "condition")?;
    let expected = want.to_string();
    let salt = optional(case, "salt")?.unwrap_or("");
    let condition = match Condition::compile(salt, source, &schema, &Limits::default()) {
        Ok(condition) => condition,
        Err(error) => return Ok(Outcome::Failed { expected, came: refused(&error) }),
    };
    let request = match request(case)? {
        Ok(request) => request,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let compiled = condition.matches_at(&request, now);
    let reference = condition.reference_at(&request, now);
    if let Some(failed) = lints_differ(case, condition.lints())? {
        return Ok(failed);
    }
    Ok(if (compiled, reference) == (want, want) {
        Outcome::Passed
    } else {
        Outcome::Failed {
            expected,
            came: format!("the program says {compiled}, the reference says {reference}\n{source}"),
        }
    })
}

/// A rule set picks a cluster.
fn route(case: &Json) -> Result<Outcome, String> {
    let want = expectation(case, "cluster")?.as_str().ok_or("`expect.cluster` is not a string")?;
    let want_rule = match case.get("expect").and_then(|expect| expect.get("rule")) {
        None => None,
        Some(Json::Null) => Some(None),
        Some(rule) => Some(Some(rule.as_str().ok_or("`expect.rule` is not a string")?)),
    };
    let chance = case.get("chance").and_then(Json::as_u64).unwrap_or(0);
    let moment = Moment { now: now(case)?, chance };
    let expected = match want_rule {
        Some(rule) => format!("{want} by {}", rule.unwrap_or("default")),
        None => want.to_owned(),
    };
    let engine = match Engine::builder().schema(schema(case)?).build(text(case, "rules")?) {
        Ok(engine) => engine,
        Err(error) => return Ok(Outcome::Failed { expected, came: refused(&error) }),
    };
    let request = match request(case)? {
        Ok(request) => request,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let decision = engine.decide_at(&request, moment);
    let explanation = engine.explain_at(&request, moment);
    if let Some(failed) = lints_differ(case, engine.rules().lints())? {
        return Ok(failed);
    }
    if let Some(failed) = matches_differ(case, &decision)? {
        return Ok(failed);
    }
    let agree = explanation.cluster == decision.cluster() && explanation.rule.as_deref() == decision.rule();
    let right = decision.cluster() == want && want_rule.is_none_or(|rule| decision.rule() == rule);
    Ok(if agree && right {
        Outcome::Passed
    } else {
        let by = decision.rule().unwrap_or("default");
        Outcome::Failed {
            expected,
            came: format!(
                "the program says {} by {by}, the reference says {explanation}",
                decision.cluster()
            ),
        }
    })
}

/// A text must, or must not, compile. A lint is no error.
fn compiles(case: &Json) -> Result<Outcome, String> {
    let error = match case.get("expect").and_then(|expect| expect.get("error")) {
        Some(error) => error.as_bool().ok_or("`expect.error` is not a bool")?,
        None => text(case, "kind")? == "reject",
    };
    let says = match case.get("expect").and_then(|expect| expect.get("says")) {
        Some(says) => Some(says.as_str().ok_or("`expect.says` is not a string")?),
        None => None,
    };
    let schema = schema(case)?;
    let lints;
    let found = if case.get("condition").is_some() {
        let built = Condition::compile("", text(case, "condition")?, &schema, &Limits::default());
        lints = built.as_ref().map(|condition| condition.lints().clone()).unwrap_or_default();
        built.err()
    } else {
        let built = Engine::builder().schema(schema).build(text(case, "rules")?);
        lints = built.as_ref().map(|engine| engine.rules().lints().clone()).unwrap_or_default();
        built.err()
    };
    if let Some(failed) = lints_differ(case, &lints)? {
        return Ok(failed);
    }
    let expected = match (error, says) {
        (false, _) => "it compiles".to_owned(),
        (true, None) => "an error".to_owned(),
        (true, Some(says)) => format!("an error that says: {says}"),
    };
    Ok(match found {
        None if !error => Outcome::Passed,
        Some(found) if error => {
            let said = found.to_string();
            match says {
                Some(says) if !said.contains(says) => Outcome::Failed { expected, came: said },
                _ => Outcome::Passed,
            }
        }
        Some(found) => Outcome::Failed { expected, came: refused(&found) },
        None => Outcome::Failed { expected, came: "it compiles".to_owned() },
    })
}

/// A path has one canonical form, and `path` is it.
fn path(case: &Json) -> Result<Outcome, String> {
    let (raw, want) = (text(case, "raw")?, text(case, "canonical")?);
    let failed = |came: String| Outcome::Failed { expected: want.to_owned(), came };
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let once = canonical_path(raw.as_bytes());
    if *once != *want.as_bytes() {
        return Ok(failed(shown(&once)));
    }
    let twice = canonical_path(&once);
    if once != twice {
        return Ok(failed(format!("{}, when made canonical again", shown(&twice))));
    }
    // What `Uri` refuses, or reads as something else than a path, has been looked at as far as can be.
    if let Ok(uri) = raw.parse::<Uri>()
        && uri.authority().is_none()
        && raw.starts_with('/')
    {
        let request = Request::builder().uri(uri).body(()).map_err(|e| e.to_string())?;
        let literal = serde_json::to_string(want).map_err(|e| e.to_string())?;
        let condition = Condition::new(&format!("path == {literal}")).map_err(|e| e.to_string())?;
        let now = SystemTime::UNIX_EPOCH;
        let verdicts = (condition.matches_at(&request, now), condition.reference_at(&request, now));
        if verdicts != (true, true) {
            return Ok(failed(format!("in a request, `path == {literal}` is {verdicts:?}")));
        }
    }
    Ok(Outcome::Passed)
}

/// The codes of the lints, where the case says which.
fn lints_differ(case: &Json, lints: &Diagnostics) -> Result<Option<Outcome>, String> {
    let Some(want) = case.get("expect").and_then(|expect| expect.get("lints")) else { return Ok(None) };
    let want = want.as_array().ok_or("`expect.lints` is not an array")?;
    let want: Vec<&str> = want.iter().filter_map(Json::as_str).collect();
    let came: Vec<&str> = lints.iter().map(|lint| lint.code().as_str()).collect();
    Ok((want != came).then(|| Outcome::Failed {
        expected: format!("lints {want:?}"),
        came: format!("lints {came:?}\n{lints}"),
    }))
}

/// The gateway statements that the request matched, where the case says which: `deny bots`, `shadow limit all`.
fn matches_differ(case: &Json, decision: &Decision) -> Result<Option<Outcome>, String> {
    let Some(want) = case.get("expect").and_then(|expect| expect.get("matches")) else { return Ok(None) };
    let want = want.as_array().ok_or("`expect.matches` is not an array")?;
    let want: Vec<&str> = want.iter().filter_map(Json::as_str).collect();
    let came: Vec<String> = decision
        .matches()
        .map(|hit| {
            let shadow = if hit.is_live() { "" } else { "shadow " };
            format!("{shadow}{} {}", hit.statement().kind(), hit.statement().name())
        })
        .collect();
    Ok((want != came).then(|| Outcome::Failed {
        expected: format!("matches {want:?}"),
        came: format!("matches {came:?}"),
    }))
}

fn refused(error: &BuildError) -> String {
    format!("refused:\n{error}")
}

// === the parts of a case ===

/// What rules may mention: the case's clusters, and the application's own fields and lists.
fn schema(case: &Json) -> Result<Schema, String> {
    let mut schema = Schema::new();
    if let Some(clusters) = case.get("clusters") {
        let names = clusters.as_array().ok_or("`clusters` is not an array")?;
        schema = schema.clusters(names.iter().filter_map(Json::as_str));
    }
    if let Some(kinds) = case.get("gateway") {
        let kinds = kinds.as_array().ok_or("`gateway` is not an array")?;
        let known =
            |word: &Json| StatementKind::GATEWAY.into_iter().find(|kind| Some(kind.word()) == word.as_str());
        let kinds: Option<Vec<_>> = kinds.iter().map(known).collect();
        schema = schema.gateway(kinds.ok_or("`gateway` has a kind that is none")?);
    }
    if let Some(fields) = case.get("fields") {
        for (name, value) in fields.as_object().ok_or("`fields` is not an object")? {
            schema = field(schema, name, value)?;
        }
    }
    if let Some(lists) = case.get("lists") {
        for (name, members) in lists.as_object().ok_or("`lists` is not an object")? {
            let members = members.as_array().ok_or("a list is not an array")?;
            let list = match members.first() {
                Some(Json::Number(_)) => List::ints(members.iter().filter_map(Json::as_i64)),
                _ => List::strings(members.iter().filter_map(Json::as_str)),
            };
            schema = schema.list(name, list);
        }
    }
    let request = case.get("request");
    if let Some(trusted) = request.and_then(|request| request.get("trusted_proxies")).filter(|t| !t.is_null())
    {
        let texts = trusted.as_array().ok_or("`trusted_proxies` is not an array")?;
        let trusted = Trusted::networks(texts.iter().filter_map(Json::as_str)).map_err(|e| e.to_string())?;
        let header = request.and_then(|request| request.get("client_header")).and_then(Json::as_str);
        schema = schema.client_addr(match header {
            Some("forwarded") => ClientAddr::forwarded(trusted),
            _ => ClientAddr::x_forwarded_for(trusted),
        });
    }
    Ok(schema)
}

/// A field of the application: a value, several in an array, or with its type, `{"type": "version", "values": […]}`.
fn field(schema: Schema, name: &str, value: &Json) -> Result<Schema, String> {
    let (ty, values) = match value {
        Json::Object(typed) => {
            let ty = match typed.get("type").and_then(Json::as_str) {
                Some("string") => Type::String,
                Some("int") => Type::Int,
                Some("bool") => Type::Bool,
                Some("ip") => Type::Ip,
                Some("version") => Type::Version,
                Some("time") => Type::Time,
                other => return Err(format!("the field `{name}` has the type {other:?}")),
            };
            (ty, typed.get("values").and_then(Json::as_array).cloned().unwrap_or_default())
        }
        Json::Array(values) => (type_of(values.first().unwrap_or(&Json::Null)), values.clone()),
        one => (type_of(one), vec![one.clone()]),
    };
    Ok(schema.field(name, ty, move |_, out| {
        for value in &values {
            match (ty, value) {
                (Type::Int, value) => value.as_i64().into_iter().for_each(|i| out.push(i)),
                (Type::Bool, value) => value.as_bool().into_iter().for_each(|b| out.push(b)),
                (Type::Ip, Json::String(s)) => {
                    s.parse::<IpAddr>().into_iter().for_each(|ip| out.push(ip));
                }
                (Type::Version, Json::String(s)) => {
                    Version::parse(s.as_bytes()).into_iter().for_each(|v| out.push(v));
                }
                (Type::Time, Json::String(s)) => instant(s).into_iter().for_each(|time| out.push(time)),
                (Type::String, Json::String(s)) => out.push(s.clone()),
                _ => {}
            }
        }
    }))
}

fn type_of(value: &Json) -> Type {
    match value {
        Json::Number(_) => Type::Int,
        Json::Bool(_) => Type::Bool,
        _ => Type::String,
    }
}

/// The request; the inner error is that the types of `http` cannot hold it.
fn request(case: &Json) -> Result<Result<Request<()>, String>, String> {
    let given = case.get("request").ok_or("`request` is missing")?;
    let (method, uri) = (text(given, "method")?, text(given, "uri")?);
    let mut request = Request::new(());
    match Method::from_bytes(method.as_bytes()) {
        Ok(method) => *request.method_mut() = method,
        Err(error) => return Ok(Err(format!("the method {method:?}: {error}"))),
    }
    match uri.parse::<Uri>() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(error) => return Ok(Err(format!("the URI {uri:?}: {error}"))),
    }
    for pair in given.get("headers").and_then(Json::as_array).ok_or("`request.headers` is missing")? {
        let (Some(name), Some(value)) =
            (pair.get(0).and_then(Json::as_str), pair.get(1).and_then(Json::as_str))
        else {
            return Err("a header is not a pair of strings".to_owned());
        };
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes())) {
            (Ok(name), Ok(value)) => drop(request.headers_mut().append(name, value)),
            (Err(error), _) => return Ok(Err(format!("the header name {name:?}: {error}"))),
            (_, Err(error)) => return Ok(Err(format!("the header value {value:?}: {error}"))),
        }
    }
    if let Some(peer) = given.get("peer").and_then(Json::as_str) {
        let addr = peer
            .parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, 49152))
            .or_else(|_| peer.parse::<SocketAddr>())
            .map_err(|_| format!("`peer` is not an address: {peer}"))?;
        request.extensions_mut().insert(PeerAddr(addr));
    }
    Ok(Ok(request))
}

/// The clock; the Unix epoch where it does not matter.
fn now(case: &Json) -> Result<SystemTime, String> {
    match optional(case, "now")? {
        None => Ok(SystemTime::UNIX_EPOCH),
        Some(text) => instant(text).ok_or_else(|| format!("`now` is not an RFC 3339 instant: {text}")),
    }
}

fn instant(text: &str) -> Option<SystemTime> {
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

fn expectation<'c>(case: &'c Json, key: &str) -> Result<&'c Json, String> {
    case.get("expect").and_then(|expect| expect.get(key)).ok_or_else(|| format!("`expect.{key}` is missing"))
}

fn optional<'c>(case: &'c Json, key: &str) -> Result<Option<&'c str>, String> {
    match case.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| format!("`{key}` is not a string")),
    }
}

fn text<'c>(case: &'c Json, key: &str) -> Result<&'c str, String> {
    optional(case, key)?.ok_or_else(|| format!("`{key}` is missing"))
}
