//! What a response is stored under.

use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, Uri};
use smallvec::SmallVec;

use crate::schema::canonical_path;

/// The statement, the cluster, the statement's key and the target, one behind the other.
pub(super) type Key = Arc<[u8]>;

/// The target of a request, as `scheme://authority/path?query`: the path as it was sent, for the backend sees that one too.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) hash: u64,
    text: Box<[u8]>,
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
        let text = after_scheme(&self.text);
        let prefix = after_scheme(prefix.as_bytes());
        let slash = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
        let (host, path) = text.split_at_checked(slash).unwrap_or_default();
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

fn after_scheme(text: &[u8]) -> &[u8] {
    let scheme = text.windows(3).position(|bytes| bytes == b"://");
    // One that stands behind a slash belongs to a path or a query.
    let first = text.iter().position(|byte| *byte == b'/');
    match (scheme, first) {
        (Some(at), Some(slash)) if at < slash => text.get(at + 3..).unwrap_or_default(),
        _ => text,
    }
}

fn canonical(path_and_query: &[u8]) -> Vec<u8> {
    let at = path_and_query.iter().position(|byte| *byte == b'?').unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at_checked(at).unwrap_or_default();
    let mut all = canonical_path(path).into_owned();
    all.extend_from_slice(query);
    all
}
