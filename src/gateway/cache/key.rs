//! What a response is stored under.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, Uri};
use smallvec::SmallVec;

use crate::schema::canonical_path;

/// The statement, the cluster, the statement's key and the target, one behind the other.
pub(super) type Key = Arc<[u8]>;

/// The target of a request, as `scheme://authority/path?query`: all of it as it was sent, for the backend sees that too, and may
/// answer by it.
#[derive(Debug)]
pub(super) struct Target {
    /// That of its [`Identity`].
    pub(super) hash: u64,
    text: Box<[u8]>,
}

/// What a target names, however it is spelled. Changed under one spelling, it has changed under all.
///
/// `http` and `https` are one here: most requests of HTTP/1.1 do not say how they came, and those of HTTP/2 do. So are a host
/// without a port and with the one that goes without saying, and paths that have the same canonical form.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity<'t> {
    authority: &'t [u8],
    path: Cow<'t, [u8]>,
    query: &'t [u8],
}

/// Writes what stands in a key before the target, and says how long that is.
pub(super) fn write_key(
    statement: u64,
    cluster: usize,
    by: Option<&[u8]>,
    to: &mut SmallVec<[u8; 256]>,
) -> usize {
    let by_length = by.map_or(u64::MAX, |by| by.len() as u64);
    let numbers = [statement, cluster as u64, by_length].map(u64::to_le_bytes);
    to.extend_from_slice(numbers.as_flattened());
    to.extend_from_slice(by.unwrap_or_default());
    to.len()
}

/// Writes a request's target.
pub(super) fn write_target(uri: &Uri, headers: &HeaderMap, to: &mut impl Extend<u8>) {
    let scheme = uri.scheme_str().unwrap_or("http");
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority = authority.or_else(|| headers.get(HOST).map(|host| host.as_bytes())).unwrap_or_default();
    to.extend(scheme.bytes().chain(*b"://"));
    to.extend(authority.iter().map(u8::to_ascii_lowercase));
    to.extend(uri.path().bytes());
    if let Some(query) = uri.query() {
        to.extend(b"?".iter().copied().chain(query.bytes()));
    }
}

// === impl Identity ===

impl<'t> Identity<'t> {
    /// Of what [`write_target`] wrote.
    pub(super) fn of(target: &'t [u8]) -> Self {
        let (authority, path_and_query) = split(target);
        let authority = [&b":80"[..], b":443", b":"]
            .iter()
            .find_map(|port| authority.strip_suffix(*port))
            .unwrap_or(authority);
        // The same host in the language too.
        let authority = authority.strip_suffix(b".").unwrap_or(authority);
        let (path, query) = split_query(path_and_query);
        Identity { authority, path: canonical_path(path), query }
    }
}

// === impl Target ===

impl Target {
    pub(super) fn new(hash: u64, text: &[u8]) -> Self {
        Target { hash, text: text.into() }
    }

    pub(super) fn size(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }

    /// Whether it begins with a prefix: one of the path if that begins with `/`, and otherwise one of the host, which may
    /// have a scheme in front. A path is taken as it was sent and in its canonical form.
    pub(super) fn begins_with(&self, prefix: &str) -> bool {
        let (host, path) = split(&self.text);
        let prefix = after_scheme(prefix.as_bytes());
        let slash = prefix.iter().position(|byte| *byte == b'/');
        let (of_host, of_path) = slash.and_then(|at| prefix.split_at_checked(at)).unwrap_or((prefix, b""));
        let host_fits = match slash {
            Some(0) => true,
            Some(_) => host.eq_ignore_ascii_case(of_host),
            None => host.get(..of_host.len()).is_some_and(|start| start.eq_ignore_ascii_case(of_host)),
        };
        host_fits && (path.starts_with(of_path) || canonical(path).starts_with(of_path))
    }
}

/// The authority, and the path and query.
fn split(target: &[u8]) -> (&[u8], &[u8]) {
    let text = after_scheme(target);
    let slash = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
    text.split_at_checked(slash).unwrap_or_default()
}

fn after_scheme(text: &[u8]) -> &[u8] {
    let scheme = text.windows(3).position(|bytes| bytes == b"://");
    // One that stands behind a slash belongs to a path or a query.
    let first = text.iter().position(|byte| *byte == b'/');
    match (scheme, first) {
        (Some(at), Some(slash)) if at < slash => text.get(at + 3..).unwrap_or_default(),
        _ => text,
    }
}

/// The path, and the query with its question mark.
fn split_query(path_and_query: &[u8]) -> (&[u8], &[u8]) {
    let at = path_and_query.iter().position(|byte| *byte == b'?').unwrap_or(path_and_query.len());
    path_and_query.split_at_checked(at).unwrap_or_default()
}

fn canonical(path_and_query: &[u8]) -> Vec<u8> {
    let (path, query) = split_query(path_and_query);
    let mut all = canonical_path(path).into_owned();
    all.extend_from_slice(query);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_target_name_one_thing_and_other_targets_are_others() {
        for same in [
            "http://a.test:80/b?c",
            "https://a.test/b?c",
            "https://a.test:443/b?c",
            "https://a.test:80/b?c",
            "http://a.test:/b?c",
            "http://a.test./b?c",
            "http://a.test.:80/b?c",
            "http://a.test/x/../%62?c",
        ] {
            assert_eq!(Identity::of(same.as_bytes()), Identity::of(b"http://a.test/b?c"), "{same}");
        }
        for other in [
            "http://a.test:8080/b?c",
            "http://a.test:180/b?c",
            "http://b.test/b?c",
            "http://a.test/B?c",
            "http://a.test/b",
            "http://a.test/b?%63",
            "http://a.test/b%2Fc?c",
            "http:///b?c",
            "http://",
        ] {
            assert_ne!(Identity::of(other.as_bytes()), Identity::of(b"http://a.test/b?c"), "{other}");
        }
        assert_eq!(Identity::of(b"http://[::80]/"), Identity::of(b"https://[::80]:443/"));
    }
}
