//! What a rule sees of a request: everything but the body.

use http::{Extensions, HeaderMap, Method, Uri, request::Parts};

/// A request without its body, borrowed: what fields are read from. Copying it costs four pointers.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'r> {
    /// The method.
    pub method: &'r Method,
    /// The request target.
    pub uri: &'r Uri,
    /// The header fields.
    pub headers: &'r HeaderMap,
    /// What the server and the middleware before us left with the request.
    pub extensions: &'r Extensions,
}

// === impl RequestHead ===

impl<'r, B> From<&'r http::Request<B>> for RequestHead<'r> {
    fn from(request: &'r http::Request<B>) -> Self {
        RequestHead {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl<'r> From<&'r Parts> for RequestHead<'r> {
    fn from(parts: &'r Parts) -> Self {
        RequestHead {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}
