//! What the benches decide: requests as browsers send them, and rules as operators write them.

#![allow(dead_code, reason = "each bench uses a part")]

use std::fmt::Write;

use http::{HeaderMap, HeaderValue, Request};
use pointsman::Engine;
use pointsman::schema::{PeerAddr, Schema};

/// How many distinct requests there are.
pub(crate) const REQUESTS: usize = 256;

/// `host == … && path starts_with …`
pub(crate) const W1: &str = r#"
route one: host == "shop.example.com" && path starts_with "/checkout/" => gray
default => prod"#;

/// A cookie among ten.
pub(crate) const W2: &str = r#"
list beta = ["1001", "1004", "1010", "1017", "1026", "1031", "1049", "1100", "1120", "1203"]
route one: host == "shop.example.com" && cookie(uid) in beta => gray
default => prod"#;

/// Distinct requests with 15 headers, one of them a Cookie of about 600 bytes. Three of four go to
/// `shop.example.com`, one of four to `/checkout/`.
pub(crate) fn requests() -> Vec<Request<()>> {
    (0..REQUESTS).map(request).collect()
}

fn request(i: usize) -> Request<()> {
    let host = if i % 4 == 3 { "static.example.com" } else { "shop.example.com" };
    let place = ["checkout", "products", "account", "search"][i / 4 % 4];
    let cookie = format!(
        "_ga=GA1.2.1837463529.17{i:08}; _gid=GA1.2.998877{i:04}; theme=dark; lang=en-GB; \
         consent=analytics%3D1%26ads%3D0%26ts%3D17600{i:05}; cart=eyJpdGVtcyI6W3siaWQiOjQyLCJuIjoyfSx7ImlkIj\
         o3LCJuIjoxfV0sInYiOjN9; session=s%3AqL9w2hV0cJ3mB7xT{i:04}.Zk1Yp8R4nD6sF2gH5jK0lQ3wE7rT9yU1iO4pA6s\
         D8fG; uid={}; ab_home=b; ab_search=a; last_seen=17600{i:05}; recently=1001%2C1002%2C1003%2C1004%2C10\
         05%2C1006%2C1007; csrf=Tz8vN1bQ5cW9xE3rY7uI0oP2aS4dF6gH; tz=Europe%2FBerlin; campaign=autumn-{}; \
         vid=0f8e7d6c5b4a39281706f5e4d3c2b1a0{i:04}",
        1000 + i,
        i % 7,
    );
    let request = Request::get(format!("/{place}/item-{i}?page={}&sort=price&ref=mail", i % 9))
        .header("host", host)
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "en-GB,en;q=0.7,de;q=0.3")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("referer", format!("https://{host}/{place}"))
        .header("dnt", "1")
        .header("cookie", cookie)
        .header("x-request-id", format!("5f1c9a2e-77b0-4d0c-9f57-{i:012}"))
        .header("x-forwarded-for", format!("198.51.100.{i}"))
        .header("x-forwarded-proto", "https")
        .header("x-app-version", format!("2.{}.{}", i % 5, i % 3))
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-mode", "navigate")
        .header("cache-control", "max-age=0")
        .extension(PeerAddr(([198, 51, 100, i as u8], 40_000).into()))
        .body(())
        .expect("is a request");
    assert_eq!(request.headers().len(), 15);
    request
}

/// The same with one header in place of `dnt`, which rules can ask for.
pub(crate) fn with_header(requests: &[Request<()>], name: &'static str) -> Vec<Request<()>> {
    let mark = |request: &Request<()>| {
        let mut request = request.clone();
        let headers: &mut HeaderMap = request.headers_mut();
        headers.remove("dnt");
        headers.insert(name, HeaderValue::from_static("yes"));
        request
    };
    requests.iter().map(mark).collect()
}

/// `count` rules `host == … && path starts_with …`, of which the two in the middle are for requests.
pub(crate) fn tenants(count: usize) -> String {
    let host = |at| match at {
        _ if at == count / 2 => "shop.example.com".to_owned(),
        _ if at == count / 2 + 1 => "static.example.com".to_owned(),
        _ => format!("tenant-{at}.example.com"),
    };
    let rule =
        |at| format!("route r{at}: host == \"{}\" && path starts_with \"/checkout/\" => gray\n", host(at));
    (0..count).map(rule).collect::<String>() + "default => prod"
}

/// `count` rules of every kind. No request meets any, but for the first rule one with `x-first: yes`, and for
/// the last one with `x-last: yes`.
pub(crate) fn mixed(count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        let condition = match i {
            _ if count == 1 => r#"header(x-first) == "yes" || header(x-last) == "yes""#.to_owned(),
            0 => r#"header(x-first) == "yes""#.to_owned(),
            _ if i == count - 1 => r#"header(x-last) == "yes""#.to_owned(),
            _ => condition(i),
        };
        writeln!(text, "route r{i}: {condition} => gray").expect("a string takes all");
    }
    text + "default => prod\n"
}

fn condition(i: usize) -> String {
    match i % 10 {
        0 => format!(r#"cookie(uid) in ["u{i}1", "u{i}2", "u{i}3", "u{i}4", "u{i}5"]"#),
        1 => format!(r#"host == "h{i}.example.com" && path starts_with "/p{i}/""#),
        2 => format!(r#"version(header(x-app-version)) >= "9.{i}.0""#),
        3 => format!(r#"path under "/internal/{i}" && method == "POST""#),
        4 => format!("ip in [10.{}.{}.0/24, 2001:db8:{i:x}::/48]", i / 256, i % 256),
        5 => format!(r#"query(preview) == "v{i}""#),
        6 => format!(r#"header(user-agent) contains "Bot-{i}/""#),
        7 => format!(r#"path matches r"^/v{i}/items/[0-9]+$""#),
        8 => format!(r#"host under "team{i}.example.net" && !(path under "/health")"#),
        _ => format!(r#"cookie(plan) == "gold-{i}" && percent(cookie(uid), "trial-{i}") < 5"#),
    }
}

/// An engine with these rules.
pub(crate) fn engine(rules: &str) -> Engine {
    let schema = Schema::new().clusters(["gray", "prod"]);
    Engine::builder().schema(schema).build(rules).expect("the rules are sound")
}
