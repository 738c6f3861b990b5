//! What an upstream can do to us, and what the client is told.

use std::error::Error as StdError;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use http::StatusCode;

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Fault {
    /// All servers have failed lately. After so long, one may be tried again.
    AllOut(Duration),
    /// The cluster is at work on as many requests as it may be.
    Full,
    /// Nobody took the connection; nothing was sent.
    Refused,
    /// Nobody took it in time.
    ConnectTimeout,
    /// It was taken, and the answer did not begin in time.
    Timeout,
    /// The client did not send on what it had begun to send.
    ClientTimeout,
    /// The client broke off what it had begun to send.
    ClientGone,
    /// The upstream closed the connection, or answered what is no HTTP.
    Broken(hyper::Error),
    /// It answered with what we cannot pass on.
    Unusable(&'static str),
}

// === impl Fault ===

impl Fault {
    /// What the client gets.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Fault::AllOut(_) | Fault::Full | Fault::Refused => StatusCode::SERVICE_UNAVAILABLE,
            Fault::ConnectTimeout | Fault::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Fault::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
            Fault::ClientGone => StatusCode::BAD_REQUEST,
            Fault::Broken(_) | Fault::Unusable(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// In how many seconds the client may come again, where that is known.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Fault::AllOut(wait) => Some(wait.as_millis().div_ceil(1000).max(1) as u64),
            Fault::Full => Some(1),
            _ => None,
        }
    }

    /// Whether it is the server's.
    pub(crate) fn is_the_servers(&self) -> bool {
        !matches!(self, Fault::AllOut(_) | Fault::Full | Fault::ClientTimeout | Fault::ClientGone)
    }

    /// Whether another server may be tried although the request was whole: nothing was sent.
    pub(crate) fn sent_nothing(&self) -> bool {
        matches!(self, Fault::Refused | Fault::ConnectTimeout)
    }

    /// Whether the connection was gone before an answer began, as happens to one that was kept for later.
    pub(crate) fn closed_under_us(&self) -> bool {
        let Fault::Broken(error) = self else { return false };
        error.is_incomplete_message() || error.is_canceled() || error.is_closed() || was_reset(error)
    }
}

/// What the client is told; no addresses and no errors of the system.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::AllOut(_) => "all servers of this cluster have failed lately",
            Fault::Full => "this cluster is at work on as much as it may be",
            Fault::Refused => "no server of this cluster can be reached",
            Fault::ConnectTimeout => "no server of this cluster took the connection in time",
            Fault::Timeout => "the server did not answer in time",
            Fault::ClientTimeout => "the body did not come in time",
            Fault::ClientGone => "the body broke off",
            Fault::Broken(_) => "the server closed the connection or gave no valid answer",
            Fault::Unusable(why) => why,
        })
    }
}

fn was_reset(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::NotConnected
                    | ErrorKind::UnexpectedEof
            );
        }
        source = error.source();
    }
    false
}
