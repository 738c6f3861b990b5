//! The built-in HTTP fields, read from a request's head.
