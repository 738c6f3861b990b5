//! Requests as text, so that a fuzzer can change one anywhere and seeds can be read.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use pointsman::Moment;
use pointsman::schema::PeerAddr;

/// A request and its moment from lines: `METHOD TARGET`, then `name: value` for a header and `@peer`, `@now` (seconds) and
/// `@chance` for what is not sent. Lines that cannot be are left out; without a target that can be, there is no request.
pub fn request(data: &[u8]) -> Option<(Request<()>, Moment)> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&first[..space]).ok()?;
    *request.uri_mut() = Uri::try_from(&first[space + 1..]).ok()?;
    let mut moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };
    for line in lines {
        let text = std::str::from_utf8(line).unwrap_or("");
        if let Some(peer) = text.strip_prefix("@peer ") {
            if let Ok(ip) = peer.parse::<IpAddr>() {
                request.extensions_mut().insert(PeerAddr(SocketAddr::new(ip, 80)));
            }
        } else if let Some(now) = text.strip_prefix("@now ") {
            // As far as a signed 64-bit clock goes on every platform; a `u32` is the year 2106.
            moment.now += Duration::from_secs(now.parse::<u32>().unwrap_or(0).into());
        } else if let Some(chance) = text.strip_prefix("@chance ") {
            moment.chance = chance.parse().unwrap_or(0);
        } else if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                // The map panics beyond 32,768 entries.
                if request.headers().len() < 1000 {
                    request.headers_mut().append(name, value);
                }
            }
        }
    }
    Some((request, moment))
}
