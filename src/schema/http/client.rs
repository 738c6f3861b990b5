//! The client's address: of the peer, or of whom trusted proxies say they speak for.
//!
//! Anybody can send `X-Forwarded-For`, so a header counts only as far as the proxies that wrote it are
//! trusted. Each proxy appends the address that it saw, so the list is walked from the right: as long as an
//! address is a trusted proxy's, the entry to its left is what that proxy saw, and the first address that
//! is not is the client. What stands further left is only what the client said.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;
use memchr::{memchr, memrchr, memrchr2};

use crate::schema::RequestHead;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where the client's address comes from: what the field `ip` holds.
///
/// By default from the socket's peer and from no header. An application behind proxies names the one header
/// that they write, `X-Forwarded-For` or `Forwarded`, and [which proxies it trusts](Trusted); the other
/// header is never read.
///
/// # How the header is read
///
/// From the right, its lines being one list. The first address that is not trusted is the client's.
///
/// - Nothing is read when the peer is not trusted, or is unknown and [networks](Trusted::networks) are.
/// - An entry without an address (`unknown`, `_hidden`, anything unparsable) ends the walk at the address
///   before it, that of a trusted proxy or the peer.
/// - When every address is trusted, the leftmost is the client's.
/// - Entries may have a port, and IPv6 addresses brackets: `192.0.2.1:80`, `[2001:db8::1]:80`,
///   `2001:db8::1`. Empty entries are skipped (RFC 9110, section 5.6.1).
/// - Of `Forwarded` (RFC 7239) the parameter `for` counts; an element without one, or with two, has no
///   address. A comma in a quoted string does not separate. What a client leaves unquoted or unclosed on the
///   left cannot change how the elements on the right are read.
/// - An IPv4-mapped IPv6 address is IPv4, also for the networks.
///
/// # Examples
///
/// ```
/// use http::Request;
/// use pointsman::schema::{ClientAddr, PeerAddr, RequestHead, Trusted};
///
/// let request = Request::get("/")
///     .header("forwarded", r#"for=unknown, for="[2001:db8::7]:4711";proto=https, for=10.0.0.2"#)
///     .extension(PeerAddr("10.0.0.1:80".parse()?))
///     .body(())?;
/// let head = RequestHead::from(&request);
///
/// assert_eq!(ClientAddr::peer().resolve(head), Some("10.0.0.1".parse()?));
/// let trusted = Trusted::networks(["10.0.0.0/8"])?;
/// assert_eq!(ClientAddr::forwarded(trusted).resolve(head), Some("2001:db8::7".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ClientAddr {
    header: Option<(Header, Trusted)>,
    peer: Peer,
}

/// The proxies whose word about their client is taken.
///
/// # Examples
///
/// ```
/// use pointsman::schema::Trusted;
///
/// Trusted::networks(["10.0.0.0/8", "fd00::/8", "192.0.2.1"])?;
/// Trusted::hops(1);
///
/// let error = Trusted::networks(["10.0.0.1/8"]).unwrap_err();
/// assert_eq!(error.to_string(), "`10.0.0.1/8` has bits set behind its prefix, the network is `10.0.0.0/8`");
/// # Ok::<(), pointsman::schema::NetworkError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Trusted(Proxies);

/// The socket's peer, as an extension of the request: where [`ClientAddr`] looks first.
///
/// Servers do not agree on where they leave it. With the feature `axum`, axum's `ConnectInfo<SocketAddr>`
/// is read as well, when there is no `PeerAddr`; for any other place there is [`ClientAddr::with_peer`].
///
/// ```
/// use http::Request;
/// use pointsman::schema::{ClientAddr, PeerAddr};
///
/// let mut request = Request::new(());
/// request.extensions_mut().insert(PeerAddr("192.0.2.1:4711".parse()?));
/// assert_eq!(ClientAddr::peer().resolve((&request).into()), Some("192.0.2.1".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// A text that is no network; from [`Trusted::networks`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkError {
    text: String,
    /// The network that was meant, when the text is one but for its host bits.
    meant: Option<IpNet>,
}

#[derive(Debug, Clone, Copy)]
enum Header {
    XForwardedFor,
    Forwarded,
}

#[derive(Debug, Clone)]
enum Proxies {
    /// Sorted and disjoint.
    Networks(Arc<[IpNet]>),
    Hops(usize),
}

#[derive(Clone, Default)]
enum Peer {
    #[default]
    Extension,
    Custom(Arc<dyn Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync>),
}

// === impl ClientAddr ===

impl ClientAddr {
    /// The peer's address and nothing else: the default.
    pub fn peer() -> Self {
        Self::default()
    }

    /// From `X-Forwarded-For`, as far as the proxies are trusted.
    pub fn x_forwarded_for(trusted: Trusted) -> Self {
        ClientAddr { header: Some((Header::XForwardedFor, trusted)), peer: Peer::default() }
    }

    /// From `Forwarded` ([RFC 7239](https://www.rfc-editor.org/rfc/rfc7239)), as far as the proxies are
    /// trusted.
    pub fn forwarded(trusted: Trusted) -> Self {
        ClientAddr { header: Some((Header::Forwarded, trusted)), peer: Peer::default() }
    }

    /// Finds the peer's address with `f` and nowhere else, in place of [`PeerAddr`]. `f` is called once for
    /// each [`resolve`](Self::resolve).
    ///
    /// ```
    /// use http::Request;
    /// use pointsman::schema::ClientAddr;
    /// use std::net::IpAddr;
    ///
    /// let client = ClientAddr::peer().with_peer(|head| head.extensions.get::<IpAddr>().copied());
    /// let request = Request::get("/").extension(IpAddr::from([192, 0, 2, 1])).body(()).unwrap();
    /// assert_eq!(client.resolve((&request).into()), Some([192, 0, 2, 1].into()));
    /// ```
    #[must_use]
    pub fn with_peer(self, f: impl Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        ClientAddr { peer: Peer::Custom(Arc::new(f)), ..self }
    }

    /// The client's address; `None` when nothing gives one.
    ///
    /// Linear in what is read of the header, which ends at the client's entry; a trusted network is found by
    /// binary search. Does not allocate.
    pub fn resolve(&self, head: RequestHead<'_>) -> Option<IpAddr> {
        let peer = self.peer.find(head).map(|ip| ip.to_canonical());
        match &self.header {
            None => peer,
            Some((Header::XForwardedFor, trusted)) => {
                let lines = head.headers.get_all(X_FORWARDED_FOR).iter().rev();
                trusted.client(peer, lines.flat_map(|line| entries(line.as_bytes(), comma)).map(node))
            }
            Some((Header::Forwarded, trusted)) => {
                let lines = head.headers.get_all(FORWARDED).iter().rev();
                trusted.client(peer, lines.flat_map(|line| entries(line.as_bytes(), bare_comma)).map(element))
            }
        }
    }
}

impl ClientAddr {
    /// Whether the socket's peer is one of trusted networks, whatever a header says of the client. A number of hops says
    /// nothing of who speaks.
    pub(crate) fn is_trusted_peer(&self, trusted: &Trusted, head: RequestHead<'_>) -> bool {
        let known = matches!(trusted.0, Proxies::Networks(_));
        known && trusted.trusts(self.peer.find(head).map(|ip| ip.to_canonical()), 0)
    }
}

// === impl Peer ===

impl Peer {
    fn find(&self, head: RequestHead<'_>) -> Option<IpAddr> {
        match self {
            Peer::Extension => {
                let peer = head.extensions.get::<PeerAddr>().map(|peer| peer.0);
                #[cfg(feature = "axum")]
                let peer = peer.or_else(|| {
                    head.extensions.get::<axum::extract::ConnectInfo<SocketAddr>>().map(|info| info.0)
                });
                peer.map(|peer| peer.ip())
            }
            Peer::Custom(find) => find(head),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Peer::Extension => "Extension",
            Peer::Custom(_) => "Custom",
        })
    }
}

// === impl Trusted ===

impl Trusted {
    /// The proxies in these networks. Each text is a CIDR or a single address, IPv4-mapped IPv6 being IPv4;
    /// so `::/0` is every IPv6 address and no IPv4 address. Of none, no proxy is trusted.
    ///
    /// # Errors
    ///
    /// The first text that is neither, or that has bits set behind its prefix (`10.0.0.1/8`): one cannot
    /// know whether the address or the network was meant.
    pub fn networks<I>(texts: I) -> Result<Self, NetworkError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let networks = texts.into_iter().map(|text| network(text.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let mut networks = IpNet::aggregate(&networks);
        networks.sort_unstable_by_key(IpNet::network);
        Ok(Trusted(Proxies::Networks(networks.into())))
    }

    /// The last `count` proxies, whatever their addresses, the peer being the first of them: with 1 the peer
    /// is a proxy and the rightmost entry of the header is the client. With 0 the header is ignored.
    ///
    /// The peer counts also when its address is not known. When the header has fewer entries than that, the
    /// leftmost is the client, or the peer when there is none.
    ///
    /// Only right when nobody can reach the application with fewer proxies between: a client that can writes
    /// its own address.
    pub fn hops(count: usize) -> Self {
        Trusted(Proxies::Hops(count))
    }

    /// Walks the entries, which come from the right, `None` being one without an address.
    fn client(
        &self,
        peer: Option<IpAddr>,
        mut entries: impl Iterator<Item = Option<IpAddr>>,
    ) -> Option<IpAddr> {
        let mut client = peer;
        let mut seen = 0;
        while self.trusts(client, seen) {
            let Some(Some(ip)) = entries.next() else { break };
            client = Some(ip);
            seen += 1;
        }
        client
    }

    /// Whether the address is a trusted proxy's, which has `before` addresses on its right.
    fn trusts(&self, ip: Option<IpAddr>, before: usize) -> bool {
        match (&self.0, ip) {
            (Proxies::Hops(count), _) => before < *count,
            (Proxies::Networks(_), None) => false,
            (Proxies::Networks(networks), Some(ip)) => {
                let after = networks.partition_point(|network| network.network() <= ip);
                after
                    .checked_sub(1)
                    .and_then(|at| networks.get(at))
                    .is_some_and(|network| network.contains(&ip))
            }
        }
    }
}

fn network(text: &str) -> Result<IpNet, NetworkError> {
    let error = |meant| NetworkError { text: text.to_owned(), meant };
    let network = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip),
        Err(_) => text.parse().map_err(|_| error(None))?,
    };
    if network.trunc() != network {
        return Err(error(Some(network.trunc())));
    }
    // `::ffff:10.0.0.0/104` is 10.0.0.0/8.
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(ip), Some(prefix)) if matches!(network, IpNet::V6(_)) => {
            IpNet::new(ip.into(), prefix).map_err(|_| error(None))
        }
        _ => Ok(network),
    }
}

// === impl NetworkError ===

impl NetworkError {
    /// The text that is no network, as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match self.meant {
            Some(meant) => write!(f, "`{text}` has bits set behind its prefix, the network is `{meant}`"),
            None => write!(f, "`{text}` is no address and no network, such as `192.0.2.1` or `10.0.0.0/8`"),
        }
    }
}

impl std::error::Error for NetworkError {}

// === Lists and their entries ===

/// The entries of a list that are not empty, from the right. `last` finds the comma before the last entry.
fn entries(line: &[u8], last: fn(&[u8]) -> Option<usize>) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let line = rest?;
            let entry;
            (rest, entry) = match last(line) {
                Some(at) => (line.get(..at), line.get(at + 1..)?),
                None => (None, line),
            };
            // A header value has no ASCII white space but SP and HTAB.
            let entry = entry.trim_ascii();
            if !entry.is_empty() {
                return Some(entry);
            }
        }
    })
}

fn comma(line: &[u8]) -> Option<usize> {
    memrchr(b',', line)
}

/// The last comma that is not in a quoted string.
///
/// Strings are found from the right as well. For what a proxy appended that is the same as from the left,
/// as an opening quote never has a backslash before it. But from the left, a client's lone `for="` would
/// swallow what the proxies append to it.
fn bare_comma(line: &[u8]) -> Option<usize> {
    let mut rest = line;
    loop {
        let at = memrchr2(b',', b'"', rest)?;
        if rest.get(at) == Some(&b',') {
            return Some(at);
        }
        rest = rest.get(..at)?;
        // The opening quote: the next one on the left that is not escaped.
        loop {
            let (before, _) = rest.split_at_checked(memrchr(b'"', rest)?)?;
            let end = before.iter().rposition(|&b| b != b'\\').map_or(0, |at| at + 1);
            rest = before.get(..end)?;
            if (before.len() - end) % 2 == 0 {
                break;
            }
        }
    }
}

/// The address in an element of `Forwarded`, `for=192.0.2.1;proto=https` (RFC 7239, section 4). More
/// lenient than its grammar: white space around `;` and `=`, and addresses unquoted that should be quoted.
fn element(mut rest: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    loop {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|b| matches!(b, b'=' | b';' | b'"')).unwrap_or(rest.len());
        let (name, tail) = rest.split_at_checked(end)?;
        let name = name.trim_ascii_end();
        let is_for = name.eq_ignore_ascii_case(b"for");
        let tail = match tail {
            [b'=', value @ ..] if !name.is_empty() => {
                let (address, tail) = parameter(value.trim_ascii_start())?;
                if is_for {
                    if found.is_some() {
                        return None;
                    }
                    found = Some(address?);
                }
                tail
            }
            // Nothing between two `;`.
            [] | [b';', ..] if name.is_empty() => tail,
            _ => return None,
        };
        rest = match tail.trim_ascii_start() {
            [] => return found,
            [b';', next @ ..] => next,
            _ => return None,
        };
    }
}

/// Reads the value of a parameter: the address that it is, if it is one, and what comes after the value.
/// `None` when the value is a broken string.
fn parameter(value: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let [b'"', inside @ ..] = value else {
        let (value, tail) = value.split_at_checked(memchr(b';', value).unwrap_or(value.len()))?;
        return memchr(b'"', value).is_none().then(|| (node(value.trim_ascii_end()), tail));
    };
    // The longest address with a port that is worth reading is shorter than this.
    let mut text = [0; 64];
    let mut length = 0;
    let mut rest = inside;
    loop {
        let byte;
        (byte, rest) = match rest {
            [b'"', tail @ ..] => return Some((text.get(..length).and_then(node), tail)),
            // A backslash goes before the byte that counts.
            [b'\\', byte, tail @ ..] | [byte, tail @ ..] => (*byte, tail),
            [] => return None,
        };
        if let Some(place) = text.get_mut(length) {
            *place = byte;
        }
        length += 1;
    }
}

/// The address in a node (RFC 7239, section 6), which is also what proxies write to `X-Forwarded-For`: an
/// address, in brackets or not, and perhaps a port.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (ip, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            let ip: std::net::Ipv6Addr = ip.parse().ok()?;
            (ip.into(), if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.parse::<IpAddr>() {
            Ok(ip) => (ip, None),
            Err(_) => {
                let (ip, port) = text.split_once(':')?;
                (ip.parse::<Ipv4Addr>().ok()?.into(), Some(port))
            }
        },
    };
    port.is_none_or(is_port).then(|| ip.to_canonical())
}

/// Whether this is a port or an obfuscated one: `80`, `_x`.
fn is_port(text: &str) -> bool {
    match text.as_bytes() {
        [b'_', name @ ..] => {
            !name.is_empty()
                && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        }
        digits => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn request(peer: Option<&str>, name: &HeaderName, lines: &[&str]) -> Request<()> {
        let mut request = Request::new(());
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddr(SocketAddr::new(peer.parse().unwrap(), 4711)));
        }
        for line in lines {
            request.headers_mut().append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        request
    }

    fn trusted(networks: &[&str]) -> Trusted {
        Trusted::networks(networks).unwrap()
    }

    fn ten() -> Trusted {
        trusted(&["10.0.0.0/8", "fd00::/8"])
    }

    #[track_caller]
    fn xff(trusted: Trusted, peer: Option<&str>, lines: &[&str], want: Option<&str>) {
        let request = request(peer, &X_FORWARDED_FOR, lines);
        let got = ClientAddr::x_forwarded_for(trusted).resolve((&request).into());
        assert_eq!(got, want.map(|ip| ip.parse().unwrap()), "{peer:?} {lines:?}");
    }

    #[track_caller]
    fn forwarded(lines: &[&str], want: &str) {
        let request = request(Some(PEER), &FORWARDED, lines);
        let got = ClientAddr::forwarded(ten()).resolve((&request).into());
        assert_eq!(got, Some(want.parse().unwrap()), "{lines:?}");
    }

    #[test]
    fn without_trusted_proxies_the_peer_is_the_client() {
        let request = request(Some(PEER), &X_FORWARDED_FOR, &["192.0.2.1"]);
        for client in [ClientAddr::peer(), ClientAddr::default(), ClientAddr::forwarded(ten())] {
            assert_eq!(client.resolve((&request).into()), Some(PEER.parse().unwrap()));
        }
        xff(trusted(&[]), Some(PEER), &["192.0.2.1"], Some(PEER));
        xff(ten(), Some(PEER), &[], Some(PEER));
        assert_eq!(ClientAddr::peer().resolve((&Request::new(())).into()), None);
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_wins() {
        xff(ten(), Some(PEER), &["192.0.2.1"], Some("192.0.2.1"));
        xff(ten(), Some(PEER), &["192.0.2.9, 192.0.2.1, 10.0.0.3,10.0.0.2"], Some("192.0.2.1"));
        xff(ten(), Some("fd00::1"), &["2001:db8::1, fd00::2"], Some("2001:db8::1"));
    }

    #[test]
    fn several_lines_are_one_list() {
        xff(ten(), Some(PEER), &["192.0.2.9, 192.0.2.1", "10.0.0.3", "10.0.0.2"], Some("192.0.2.1"));
        forwarded(&["for=192.0.2.9, for=192.0.2.1", "for=10.0.0.3"], "192.0.2.1");
    }

    #[test]
    fn from_an_untrusted_or_unknown_peer_the_header_is_ignored() {
        xff(ten(), Some("192.0.2.7"), &["192.0.2.1"], Some("192.0.2.7"));
        xff(ten(), None, &["192.0.2.1"], None);
        xff(trusted(&["0.0.0.0/0", "::/0"]), None, &["192.0.2.1"], None);
    }

    #[test]
    fn an_unparsable_entry_stops_the_walk_at_the_last_good_one() {
        for bad in [
            "unknown",
            "_hidden",
            "x",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.4/8",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:123456",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:",
            "fe80::1%eth0",
            "\"1.2.3.4\"",
            "é",
            "1.2.3.4 5.6.7.8",
            "\\",
            "\"",
            "for=1.2.3.4",
        ] {
            xff(ten(), Some(PEER), &[&format!("192.0.2.1, {bad}")], Some(PEER));
            xff(ten(), Some(PEER), &[&format!("192.0.2.1, {bad}, 10.0.0.3,10.0.0.2")], Some("10.0.0.3"));
            xff(ten(), Some(PEER), &[&format!("{bad}, 192.0.2.1")], Some("192.0.2.1"));
        }
    }

    #[test]
    fn the_leftmost_speaks_when_every_entry_is_trusted() {
        xff(ten(), Some(PEER), &["10.0.0.4, 10.0.0.3", "10.0.0.2"], Some("10.0.0.4"));
    }

    #[test]
    fn entries_may_have_ports_and_brackets() {
        for (entry, ip) in [
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1:_port", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
        ] {
            xff(ten(), Some(PEER), &[entry], Some(ip));
            forwarded(&[&format!("for=\"{entry}\"")], ip);
            forwarded(&[&format!("for={entry}")], ip);
        }
    }

    #[test]
    fn empty_entries_are_skipped() {
        xff(ten(), Some(PEER), &["192.0.2.1,, ,\t,", "", " , 10.0.0.2 ,"], Some("192.0.2.1"));
        xff(ten(), Some(PEER), &["", ",,"], Some(PEER));
        xff(Trusted::hops(2), Some(PEER), &["192.0.2.9, 192.0.2.1,, 10.0.0.2,"], Some("192.0.2.1"));
    }

    #[test]
    fn an_ipv4_mapped_address_is_ipv4() {
        xff(ten(), Some("::ffff:10.0.0.1"), &["::ffff:192.0.2.1, ::ffff:10.0.0.2"], Some("192.0.2.1"));
        xff(trusted(&[]), Some("::ffff:10.0.0.1"), &[], Some(PEER));
        xff(trusted(&["::ffff:10.0.0.0/104"]), Some(PEER), &["192.0.2.1"], Some("192.0.2.1"));
        xff(trusted(&["::ffff:10.0.0.1"]), Some(PEER), &["192.0.2.1"], Some("192.0.2.1"));
        xff(trusted(&["::/0"]), Some(PEER), &["192.0.2.1"], Some(PEER));
    }

    #[test]
    fn hops_are_counted_from_the_right_and_the_peer_is_the_first() {
        let lines = ["192.0.2.3", "192.0.2.2, 192.0.2.1"];
        for (hops, want) in [(0, PEER), (1, "192.0.2.1"), (2, "192.0.2.2"), (3, "192.0.2.3")] {
            xff(Trusted::hops(hops), Some(PEER), &lines, Some(want));
        }
        xff(Trusted::hops(1), None, &lines, Some("192.0.2.1"));
        xff(Trusted::hops(0), None, &lines, None);
    }

    #[test]
    fn with_fewer_entries_than_hops_the_leftmost_speaks() {
        xff(Trusted::hops(9), Some(PEER), &["192.0.2.2, 192.0.2.1"], Some("192.0.2.2"));
        xff(Trusted::hops(usize::MAX), Some(PEER), &[], Some(PEER));
        xff(Trusted::hops(3), Some(PEER), &["192.0.2.2, unknown, 192.0.2.1"], Some("192.0.2.1"));
    }

    #[test]
    fn the_parameter_for_is_found_by_any_case_among_others() {
        forwarded(&["for=192.0.2.1;proto=http;by=203.0.113.43"], "192.0.2.1");
        forwarded(&["proto=http;FOR=192.0.2.1"], "192.0.2.1");
        forwarded(&[r#"host="a;for=1.1.1.1, for=2.2.2.2";For="192.0.2.1:80""#], "192.0.2.1");
        forwarded(&[" ; proto = http ;; for = \"192.0.2.1\" ; "], "192.0.2.1");
        forwarded(&["for=192.0.2.1, for=10.0.0.3 , for=\"[fd00::2]:80\""], "192.0.2.1");
    }

    #[test]
    fn quoted_strings_are_unescaped() {
        forwarded(&[r#"for="\[2001:db8::1\]:80""#], "2001:db8::1");
        forwarded(&[r#"for=192.0.2.1;x="\",for=1.1.1.1;\\""#], "192.0.2.1");
        forwarded(&[r#"x="\\";for="192.0.2.1", x="\\\"";for=10.0.0.2"#], "192.0.2.1");
    }

    #[test]
    fn an_element_without_one_address_stops_the_walk() {
        for bad in [
            "proto=http",
            "for",
            "for=",
            "for=\"\"",
            "for=unknown",
            "for=_x",
            "for=\"_x:80\"",
            ";",
            "=1.2.3.4",
            "for=1.2.3.4;for=1.2.3.4",
            "for=1.2.3.4;proto",
            "for=1.2.3.4 x",
            "for=\"1.2.3.4\"x",
            "for=\"1.2.3.4",
            "for=1.2.3.4;x=a\"b\"",
            "1.2.3.4",
            "xfor=1.2.3.4",
            "for=\"1.2.3.4\\\"",
        ] {
            forwarded(&[&format!("for=192.0.2.1, {bad}, for=10.0.0.2")], "10.0.0.2");
            forwarded(&["for=192.0.2.1", bad], PEER);
        }
        let long = format!("for=\"1.2.3.4:_{}\"", "x".repeat(64));
        forwarded(&["for=192.0.2.1", &long], PEER);
    }

    #[test]
    fn what_a_client_leaves_open_does_not_swallow_what_a_proxy_appends() {
        for open in ["for=\"", "for=\"a, b", "\\", "x=\"\\\"", "\"\"\"", "for=\"1.1.1.1\\"] {
            forwarded(&[&format!("{open}, for=192.0.2.1")], "192.0.2.1");
            forwarded(&[&format!("{open}, for=\"192.0.2.1:80\";by=\"[::1]\"")], "192.0.2.1");
            forwarded(&[&format!("{open}, for=\"[2001:db8::1]\", for=10.0.0.2")], "2001:db8::1");
        }
    }

    #[test]
    fn the_peer_may_come_from_elsewhere() {
        let mut request = request(Some("192.0.2.7"), &X_FORWARDED_FOR, &["192.0.2.1"]);
        let nobody = ClientAddr::peer().with_peer(|_| None);
        assert_eq!(nobody.resolve((&request).into()), None);
        request.extensions_mut().insert(7_u8);
        let client = ClientAddr::x_forwarded_for(ten())
            .with_peer(|head| head.extensions.get().map(|last: &u8| [10, 0, 0, *last].into()));
        assert_eq!(client.resolve((&request).into()), Some("192.0.2.1".parse().unwrap()));
        assert!(format!("{client:?}").contains("Custom"));
    }

    #[cfg(feature = "axum")]
    #[test]
    fn connect_info_speaks_when_there_is_no_peer_addr() {
        use axum::extract::ConnectInfo;
        let mut request = request(None, &X_FORWARDED_FOR, &[]);
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 80))));
        assert_eq!(ClientAddr::peer().resolve((&request).into()), Some([192, 0, 2, 1].into()));
        request.extensions_mut().insert(PeerAddr(SocketAddr::from(([192, 0, 2, 2], 80))));
        assert_eq!(ClientAddr::peer().resolve((&request).into()), Some([192, 0, 2, 2].into()));
    }

    #[test]
    fn networks_are_cidrs_or_addresses() {
        let many: Vec<_> =
            (0..=255).flat_map(|i| [format!("10.{i}.0.0/17"), format!("2001:db8:{i:x}::/48")]).collect();
        let trusted =
            Trusted::networks(many.iter().chain(&["192.0.2.1".to_owned(), "192.0.2.0/30".to_owned()]))
                .unwrap();
        for (ip, want) in [
            ("10.7.127.255", true),
            ("10.7.128.0", false),
            ("2001:db8:ff::1", true),
            ("2001:db8:100::", false),
            ("192.0.2.3", true),
            ("192.0.2.4", false),
            ("0.0.0.0", false),
            ("::", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(trusted.trusts(Some(ip.parse().unwrap()), 0), want, "{ip}");
        }
        let all = Trusted::networks(["0.0.0.0/0", "::/0"]).unwrap();
        assert!(
            ["0.0.0.0", "255.255.255.255", "::", "ffff::"].iter().all(|ip| all.trusts(ip.parse().ok(), 0))
        );
    }

    #[test]
    fn a_bad_network_is_named_with_what_was_meant() {
        let message = |text: &str| {
            let error = Trusted::networks(["10.0.0.0/8", text, "x"]).unwrap_err();
            assert_eq!(error.text(), text);
            error.to_string()
        };
        assert_eq!(
            message("10.0.0.1/8"),
            "`10.0.0.1/8` has bits set behind its prefix, the network is `10.0.0.0/8`"
        );
        assert_eq!(
            message("fd00::1/8"),
            "`fd00::1/8` has bits set behind its prefix, the network is `fd00::/8`"
        );
        for text in
            ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "localhost", "10.0.0.0/8 ", "[::1]", "10.0.0.1:80"]
        {
            assert_eq!(
                message(text),
                format!("`{text}` is no address and no network, such as `192.0.2.1` or `10.0.0.0/8`")
            );
        }
    }

    #[test]
    fn a_parameter_has_a_name_and_a_port_a_digit_or_a_word() {
        assert_eq!(element(b"for=192.0.2.9;proto=http"), Some([192, 0, 2, 9].into()));
        assert_eq!(element(b"for=192.0.2.9;=http"), None);
        assert_eq!(element(b"=http;for=192.0.2.9"), None);
        for (text, is) in [
            ("80", true),
            ("_x", true),
            ("_.-_9", true),
            ("_", false),
            ("_!", false),
            ("", false),
            ("123456", false),
        ] {
            assert_eq!(is_port(text), is, "{text}");
        }
    }

    #[test]
    fn hostile_headers_cost_no_more_than_their_length() {
        let start = Instant::now();
        for part in [
            ",",
            "10.0.0.2,",
            "for=10.0.0.2,",
            "\"",
            "\\\"",
            "\\",
            "\",\"",
            ";",
            "for=\"10.0.0.2\",",
            "[",
            ":",
            "=",
        ] {
            let line = part.repeat((1 << 20) / part.len());
            for name in [X_FORWARDED_FOR, FORWARDED] {
                let request =
                    request(Some(PEER), &name, &[&line, &format!("for=\"{line}"), &format!("{line}\"")]);
                for client in [ClientAddr::x_forwarded_for(ten()), ClientAddr::forwarded(ten())] {
                    assert!(client.resolve((&request).into()).is_some());
                }
            }
        }
        // Milliseconds when linear, a quarter of an hour when not; and a busy machine is no mistake.
        assert!(start.elapsed() < Duration::from_secs(120));
    }

    proptest! {
        #[test]
        fn any_header_is_read(line in prop_oneof!["[for=10.2,;\"\\\\:\\[\\] ]{0,40}", "[ -~]{0,40}"], hops in 0..4_usize) {
            for name in [X_FORWARDED_FOR, FORWARDED] {
                let request = request(Some(PEER), &name, &[&line]);
                for trusted in [ten(), Trusted::hops(hops)] {
                    for client in [ClientAddr::x_forwarded_for(trusted.clone()), ClientAddr::forwarded(trusted)] {
                        prop_assert!(client.resolve((&request).into()).is_some());
                    }
                }
            }
        }

        #[test]
        fn well_formed_elements_are_found_from_the_right_as_from_the_left(
            elements in prop::collection::vec("(\\\\[\\\\\"a]|[a,; =]){0,6}", 1..5),
        ) {
            let elements: Vec<_> = elements.iter().map(|string| format!("for=\"{string}\"")).collect();
            let line = elements.join(", ");
            let found: Vec<_> = entries(line.as_bytes(), bare_comma).collect();
            prop_assert_eq!(found, elements.iter().rev().map(String::as_bytes).collect::<Vec<_>>());
        }

        #[test]
        fn what_stands_left_of_an_untrusted_address_never_matters(left in "[ -~\t]{0,40}") {
            xff(ten(), Some(PEER), &[&format!("{left}, 192.0.2.1, 10.0.0.2")], Some("192.0.2.1"));
            forwarded(&[&format!("{left}, for=\"192.0.2.1:80\", for=10.0.0.2;by=\"a\"")], "192.0.2.1");
        }
    }
}
