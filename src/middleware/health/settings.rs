//! What is a failure, how many are too many, and for how long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

/// When an upstream is taken out, and when it is tried again. Names and meanings are those of Envoy's outlier detection
/// where it has them, and the defaults of `ejection_time` and `jitter` are those of Linkerd's failure accrual.
///
/// ```
/// use http::StatusCode;
/// use pointsman::middleware::HealthSettings;
/// use std::time::Duration;
///
/// let settings = HealthSettings::new()
///     .timeout(Duration::from_secs(5))
///     .consecutive_failures(3)
///     // And half of at least 20 requests within 10 seconds.
///     .failure_rate(0.5, 20, Duration::from_secs(10))
///     .ejection_time(Duration::from_secs(10), Duration::from_secs(300))
///     .failure_status(|status| status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED);
/// # let _ = settings;
/// ```
#[derive(Clone)]
#[must_use]
pub struct HealthSettings {
    pub(super) timeout: Duration,
    pub(super) consecutive: u32,
    pub(super) rate: Option<Rate>,
    pub(super) base: Duration,
    pub(super) most: Duration,
    pub(super) jitter: f64,
    pub(super) max_percent: u32,
    pub(super) is_failure: Arc<dyn Fn(StatusCode) -> bool + Send + Sync>,
}

/// A share of requests that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) share: f64,
    pub(super) requests: u32,
    pub(super) window: Duration,
}

// === impl HealthSettings ===

impl HealthSettings {
    /// The defaults, which each method names.
    pub fn new() -> Self {
        HealthSettings {
            timeout: Duration::from_secs(30),
            consecutive: 5,
            rate: None,
            base: Duration::from_secs(1),
            most: Duration::from_secs(60),
            jitter: 0.5,
            max_percent: 100,
            is_failure: Arc::new(|status| {
                matches!(
                    status,
                    StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
                )
            }),
        }
    }

    /// How long until the head of a response has to be there, from the moment at which an upstream is chosen. What takes
    /// longer is a failure, and answered with `504`. Default: 30 s.
    ///
    /// There is no way to have none: an upstream that hangs would never be seen to fail, and a probe of it never end.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// So many failures of an upstream with no success between them take it out; with 0, no number does. Default: 5.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive = failures;
        self
    }

    /// A share of failures takes an upstream out, such as `0.5` for half, if there were at least so many requests within
    /// the window. Default: none does.
    ///
    /// The window slides by eighths of itself. A share above 1, and one that is no number, is never reached.
    pub fn failure_rate(mut self, share: f64, requests: u32, window: Duration) -> Self {
        self.rate = Some(Rate { share, requests, window });
        self
    }

    /// How long an upstream is out before it is probed: `base` at first, twice as long after each probe that fails, up to
    /// `max`. One that is taken out again before it was back for as long as it had been out goes on where it was.
    /// Default: from 1 s to 60 s. Less than a millisecond counts as one.
    pub fn ejection_time(mut self, base: Duration, max: Duration) -> Self {
        self.base = base;
        self.most = max;
        self
    }

    /// Adds up to this share of it to each ejection time, by chance, so that many nodes do not probe together. Default:
    /// 0.5; at most 1.
    pub fn jitter(mut self, share: f64) -> Self {
        // What is no number is none.
        self.jitter = if share > 0.0 { share.min(1.0) } else { 0.0 };
        self
    }

    /// How many of the upstreams of a cluster may be out at a time, in percent, rounded down. One that would have to go
    /// beyond that stays, and is [counted](super::UpstreamHealth::overflows). Default: 100.
    pub fn max_ejection_percent(mut self, percent: u32) -> Self {
        self.max_percent = percent.min(100);
        self
    }

    /// Which responses are failures. Default: `502`, `503` and `504`, by which a gateway says that it got nothing.
    pub fn failure_status(mut self, is_failure: impl Fn(StatusCode) -> bool + Send + Sync + 'static) -> Self {
        self.is_failure = Arc::new(is_failure);
        self
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HealthSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthSettings")
            .field("timeout", &self.timeout)
            .field("consecutive_failures", &self.consecutive)
            .field("failure_rate", &self.rate)
            .field("ejection_time", &(self.base, self.most))
            .field("jitter", &self.jitter)
            .field("max_ejection_percent", &self.max_percent)
            .finish_non_exhaustive()
    }
}
