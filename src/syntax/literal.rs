//! Literals read strictly, with a word about what is wrong.

use std::net::IpAddr;
use std::time::Duration;

use super::ast::{Arena, Literal, Rate};
use super::expect::shown;
use crate::diagnostic::{Code, Problem, Span};

/// Steps of a decimal: four places.
const PLACES: usize = 4;
/// The largest weight, so that sums and their floating-point images stay exact.
pub(crate) const LARGEST_WEIGHT: u64 = 1_000_000_000;

/// The units of time, from the largest, in milliseconds.
pub(crate) const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// The longest span of time.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Reads `"…"`, whose quotes are there: the grammar saw to that.
pub(super) fn string<'t>(token: &'t str, span: Span, arena: &'t Arena) -> Result<&'t str, Problem> {
    let inside = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    if !inside.contains('\\') {
        return Ok(inside);
    }
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let start = span.start + 1 + at;
        match chars.next() {
            Some((_, '"')) => out.push('"'),
            Some((_, '\\')) => out.push('\\'),
            Some((_, 'n')) => out.push('\n'),
            Some((_, 'r')) => out.push('\r'),
            Some((_, 't')) => out.push('\t'),
            Some((_, 'u')) => {
                let rest = chars.as_str();
                let digits = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(hex, _)| hex);
                let plain = digits
                    .filter(|hex| (1..=6).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit()));
                let c = plain.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
                let Some((c, hex)) = c.zip(digits) else {
                    return Err(Problem::new(
                        Code::BadLiteral,
                        Span::new(start, start + 2),
                        "`\\u` is not followed by a character in braces",
                    )
                    .label("write it as `\\u{e9}`, with 1 to 6 hexadecimal digits of a Unicode character"));
                };
                out.push(c);
                // The digits and both braces are ASCII.
                let _ = chars.nth(hex.len() + 1);
            }
            other => {
                let found = other.map_or(String::new(), |(_, c)| c.escape_debug().to_string());
                let length = 1 + other.map_or(0, |(_, c)| c.len_utf8());
                return Err(Problem::new(
                    Code::BadLiteral,
                    Span::new(start, start + length),
                    format!("unknown escape `\\{found}` in a string"),
                )
                .label("known are `\\\"`, `\\\\`, `\\n`, `\\r`, `\\t` and `\\u{…}`")
                .help("in a raw string, `r\"…\"`, a backslash is just a backslash: best for regular expressions"));
            }
        }
    }
    Ok(arena.alloc_str(&out))
}

/// What stands between the quotes of `r"…"` or `r#"…"#`.
pub(super) fn raw(token: &str) -> &str {
    let hashes = token.bytes().skip(1).take_while(|b| *b == b'#').count();
    token.get(hashes + 2..token.len().saturating_sub(hashes + 1)).unwrap_or_default()
}

/// Reads a token that starts with a digit or a minus, or has a colon in it: an int, a decimal, an address or a
/// network.
pub(super) fn number(token: &str, span: Span) -> Result<Literal<'static>, Problem> {
    let bad = |message: String| Problem::new(Code::BadLiteral, span, message);
    if let Some((address, prefix)) = token.split_once('/') {
        return network(address, prefix, span).map(Literal::Cidr);
    }
    let dots = token.bytes().filter(|b| *b == b'.').count();
    if token.contains(':') || dots == 3 {
        return address(token, span).map(Literal::Ip);
    }
    let digits = token.strip_prefix('-').unwrap_or(token);
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(bad(format!("{} has leading zeros", shown(token))).label("write it without"));
        }
        return token.parse().map(Literal::Int).map_err(|_| {
            bad(format!("{} is too large for an int", shown(token))).label(format!(
                "ints go from {} to {}",
                i64::MIN,
                i64::MAX
            ))
        });
    }
    if dots == 1 && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return decimal(token, span).map(Literal::Decimal);
    }
    if dots > 1 {
        return Err(bad(format!("{} is not a number", shown(token))).label("a version is written in quotes"));
    }
    Err(bad(format!("{} is not a number", shown(token)))
        .label("numbers are decimal digits, with no letters and no `_`")
        .help("text is written in quotes; a name starts with a letter or `_`"))
}

/// Reads a decimal with up to four places into steps of 0.0001.
pub(super) fn decimal(token: &str, span: Span) -> Result<u64, Problem> {
    let bad = |message: String| Problem::new(Code::BadLiteral, span, message);
    if token.starts_with('-') {
        return Err(
            bad(format!("{} is negative", shown(token))).label("percentages and weights are 0 or more")
        );
    }
    let (whole, places) = token.split_once('.').unwrap_or((token, ""));
    if whole.len() > 1 && whole.starts_with('0') {
        return Err(bad(format!("{} has leading zeros", shown(token))).label("write it without"));
    }
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(places) || whole.is_empty() || (token.contains('.') && places.is_empty()) {
        return Err(
            bad(format!("{} is not a decimal number", shown(token))).label("write it as `5` or `0.25`")
        );
    }
    if places.len() > PLACES {
        return Err(bad(format!("{} has more than four decimal places", shown(token)))
            .label("steps of 0.0001 are the finest there are"));
    }
    format!("{whole}{places:0<PLACES$}")
        .parse()
        .map_err(|_| bad(format!("{} is too large", shown(token))).label("percentages go to 100"))
}

/// Reads a weight into steps of 0.0001.
pub(crate) fn weight(token: &str, span: Span) -> Result<u64, Problem> {
    let steps = decimal(token, span)?;
    if steps > LARGEST_WEIGHT * 10_000 {
        return Err(Problem::new(Code::BadSplit, span, format!("the weight {} is too large", shown(token)))
            .label("weights go to 1000000000 and are relative to their sum"));
    }
    Ok(steps)
}

/// Reads a span of time: `500ms`, `30s`, `10m`, `2h` or `7d`.
pub(super) fn duration(token: &str, span: Span) -> Result<Duration, Problem> {
    let digits = token.bytes().take_while(u8::is_ascii_digit).count();
    let (amount, unit) = token.split_at_checked(digits).unwrap_or((token, ""));
    let bad = |message: String| Problem::new(Code::BadLiteral, span, message);
    let Some(millis) = millis(unit).filter(|_| !amount.is_empty()) else {
        return Err(bad(format!("{} is not a span of time", shown(token)))
            .label("write it as `500ms`, `30s`, `10m`, `2h` or `7d`"));
    };
    if amount.len() > 1 && amount.starts_with('0') {
        return Err(bad(format!("{} has leading zeros", shown(token))).label("write it without"));
    }
    let whole = amount.parse().ok().and_then(|amount: u64| amount.checked_mul(millis));
    match whole.map(Duration::from_millis).filter(|time| *time <= LONGEST) {
        Some(time) => Ok(time),
        None => Err(bad(format!("{} is too long", shown(token))).label("at most `366d`")),
    }
}

/// Reads a rate: `100/s`, or `100/10s`.
pub(super) fn rate(token: &str, span: Span) -> Result<Rate, Problem> {
    let Some((count, per)) = token.split_once('/') else {
        return Err(Problem::new(Code::BadLiteral, span, format!("{} is not a rate", shown(token)))
            .label("write it as `100/s`, `6000/m` or `100/10s`"));
    };
    let per_start = span.start + count.len() + 1;
    let count = amount(count, Span::new(span.start, span.start + count.len()))?;
    let per = match millis(per) {
        Some(unit) => Duration::from_millis(unit),
        None => duration(per, Span::new(per_start, span.end))?,
    };
    if per.is_zero() {
        return Err(Problem::new(Code::BadLiteral, span, "a rate over no time").label("as in `100/s`"));
    }
    Ok(Rate { count, per })
}

/// Reads a number of things: 1 or more.
pub(super) fn amount(token: &str, span: Span) -> Result<u32, Problem> {
    let plain = token.bytes().all(|b| b.is_ascii_digit()) && !token.starts_with('0');
    match token.parse() {
        Ok(amount) if plain => Ok(amount),
        _ => Err(Problem::new(Code::BadLiteral, span, format!("{} is not a number of things", shown(token)))
            .label(format!("whole numbers from 1 to {}, without leading zeros", u32::MAX))),
    }
}

/// Reads the status of a refusal.
pub(super) fn status(token: &str, span: Span) -> Result<u16, Problem> {
    match token.parse() {
        Ok(status @ 400..=599) if token.len() == 3 => Ok(status),
        _ => {
            Err(Problem::new(Code::BadLiteral, span, format!("{} is not a status that denies", shown(token)))
                .label("from 400 to 599, as in `403`"))
        }
    }
}

fn millis(unit: &str) -> Option<u64> {
    UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis)
}

/// Reads an address; an IPv4-mapped one is IPv4.
pub(crate) fn address(text: &str, span: Span) -> Result<IpAddr, Problem> {
    text.parse::<IpAddr>().map(|ip| ip.to_canonical()).map_err(|_| {
        let problem = Problem::new(Code::BadLiteral, span, format!("{} is not an address", shown(text)));
        problem.label(if text.contains(':') {
            "IPv6 has eight groups of up to four hexadecimal digits; `::` stands for zeros, once"
        } else if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            "IPv4 has four numbers from 0 to 255, without leading zeros"
        } else {
            "as in `10.0.0.1` or `2001:db8::1`; a name is asked with `host`"
        })
    })
}

/// Reads a network in CIDR notation; an IPv4-mapped one is IPv4.
pub(crate) fn network(address: &str, prefix: &str, span: Span) -> Result<ipnet::IpNet, Problem> {
    let text = format!("{address}/{prefix}");
    let bad = |message: String| Problem::new(Code::BadLiteral, span, message);
    let ip: IpAddr = match address.parse() {
        Ok(ip) => ip,
        Err(_) => {
            return Err(bad(format!("{} is not a network", shown(&text)))
                .label("write it as `10.0.0.0/8` or `2001:db8::/32`"));
        }
    };
    let most: u8 = if ip.is_ipv4() { 32 } else { 128 };
    let plain = prefix == "0" || (!prefix.starts_with('0') && prefix.bytes().all(|b| b.is_ascii_digit()));
    let Some(length) = Some(prefix).filter(|_| plain).and_then(|p| p.parse().ok()).filter(|l| *l <= most)
    else {
        return Err(bad(format!("{} has no valid prefix length", shown(&text)))
            .label(format!("after the `/` stands a number from 0 to {most}")));
    };
    let (ip, length) = match ip.to_canonical() {
        IpAddr::V4(v4) if ip.is_ipv6() && length >= 96 => (IpAddr::V4(v4), length - 96),
        _ => (ip, length),
    };
    let net = ipnet::IpNet::new(ip, length).map_err(|_| bad(format!("{} is not a network", shown(&text))))?;
    if net.trunc() != net {
        return Err(bad(format!("{} has bits set after its prefix", shown(&text))).label(format!(
            "the network is `{}`; the one address is `{}`",
            net.trunc(),
            net.addr()
        )));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(token: &str) -> Span {
        Span::new(0, token.len())
    }

    #[test]
    fn strings_are_unescaped() {
        let read = |t: &str| string(t, at(t), &Arena::new()).map(str::to_owned).map_err(|p| p.message);
        assert_eq!(read(r#""a\"b\\c\n\r\t""#), Ok("a\"b\\c\n\r\t".into()));
        assert_eq!(read(r#""\u{e9}\u{1F600}x""#), Ok("é😀x".into()));
        for bad in [r#""\x""#, r#""\u{}""#, r#""\u{d800}""#, r#""\u{1234567}""#, r#""\u12""#, r#""\é""#] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(raw(r##"r#"a"b\n"#"##), "a\"b\\n");
        assert_eq!(raw(r#"r"""#), "");
    }

    #[test]
    fn numbers_are_read_strictly() {
        let read = |t: &str| number(t, at(t)).ok();
        assert_eq!(read("-9223372036854775808"), Some(Literal::Int(i64::MIN)));
        assert_eq!(read("9223372036854775808"), None);
        assert_eq!(read("0"), Some(Literal::Int(0)));
        assert_eq!(read("-0"), Some(Literal::Int(0)));
        assert_eq!(read("0.5"), Some(Literal::Decimal(5_000)));
        assert_eq!(read("12.3456"), Some(Literal::Decimal(123_456)));
        for bad in
            ["007", "0x1F", "1_000", "1.2.3", "5ms", "1.23456", "00.5", "-0.5", "1.2.3.4.5", "256.1.1.1"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_and_networks_are_read_strictly() {
        let read = |t: &str| number(t, at(t)).ok();
        assert_eq!(read("::ffff:10.0.0.1"), Some(Literal::Ip("10.0.0.1".parse().unwrap())));
        assert_eq!(read("::ffff:10.0.0.0/104"), Some(Literal::Cidr("10.0.0.0/8".parse().unwrap())));
        assert_eq!(read("::/0"), Some(Literal::Cidr("::/0".parse().unwrap())));
        for bad in
            ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/", "10.0/8", "1::2::3", "01.2.3.4", ":"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
