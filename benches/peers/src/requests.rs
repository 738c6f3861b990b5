//! Requests as browsers send them: 15 headers, one of them a Cookie of 570 bytes. The same at every run.

use std::fmt::Write;

use http::{HeaderName, HeaderValue, Request, header};
use pointsman::schema::PeerAddr;

/// How many distinct requests a workload has.
pub(crate) const REQUESTS: usize = 256;

/// The header that workloads may set; `1` where they do not.
pub(crate) const TENANT: &str = "x-tenant";

/// What differs from one workload to the other. The rest is drawn.
pub(crate) struct Shape {
    pub(crate) host: String,
    /// Path and query.
    pub(crate) target: String,
    /// The cookie `uid`.
    pub(crate) uid: String,
    pub(crate) tenant: String,
}

/// splitmix64: small, and good enough to draw requests with.
pub(crate) struct Random(u64);

// === impl Shape ===

impl Shape {
    /// The `i`th request of a shop. Three of four go to `shop.example.com`, one of four to `/checkout/`.
    pub(crate) fn shop(i: usize, random: &mut Random) -> Self {
        let host = if i % 4 == 3 { "static.example.com" } else { "shop.example.com" };
        let place = ["checkout", "products", "account", "search"][i / 4 % 4];
        let item = random.below(100_000);
        Shape {
            host: host.to_owned(),
            target: format!("/{place}/item-{item}?page={}&sort=price&ref=mail", random.below(10)),
            uid: (10_000_000 + random.below(10_000_000)).to_string(),
            tenant: "1".to_owned(),
        }
    }

    /// The request, with everything else that a browser sends.
    pub(crate) fn request(&self, random: &mut Random) -> Request<()> {
        let Shape { host, target, uid, tenant } = self;
        let request = Request::get(target)
            .header("host", host)
            .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0")
            .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
            .header("accept-language", "en-GB,en;q=0.7,de;q=0.3")
            .header("accept-encoding", "gzip, deflate, br, zstd")
            .header("referer", format!("https://{host}/"))
            .header(TENANT, tenant)
            .header("cookie", cookie(uid, random))
            .header("x-request-id", format!("5f1c9a2e-77b0-4d0c-9f57-{:012}", random.below(1 << 39)))
            .header("x-forwarded-for", format!("198.51.100.{}", random.below(256)))
            .header("x-forwarded-proto", "https")
            .header("x-app-version", format!("2.{}.{}", random.below(9), random.below(9)))
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-mode", "navigate")
            .header("cache-control", "max-age=0")
            .extension(PeerAddr(([198, 51, 100, random.below(256) as u8], 40_000).into()))
            .body(())
            .expect("is a request");
        assert_eq!(request.headers().len(), 15);
        request
    }
}

/// 570 bytes for a `uid` of eight.
fn cookie(uid: &str, random: &mut Random) -> String {
    let mut text = |length: usize| -> String {
        (0..length).map(|_| char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[random.below(36)])).collect()
    };
    format!(
        "_ga=GA1.2.1837463529.17{}; _gid=GA1.2.998877{}; theme=dark; lang=en-GB; \
         consent=analytics%3D1%26ads%3D0%26ts%3D17600{}; cart={}; session=s%3A{}.{}; uid={uid}; ab_home=b; \
         ab_search=a; last_seen=17600{}; recently=1001%2C1002%2C1003%2C1004%2C1005%2C1006%2C1007; csrf={}; \
         tz=Europe%2FBerlin; campaign=autumn-{}; vid={}",
        text(8),
        text(4),
        text(5),
        text(62),
        text(20),
        text(38),
        text(5),
        text(32),
        text(1),
        text(32),
    )
}

/// What a test of exactness needs and a browser seldom sends: no two of these are read in the same way. `host`, `path`,
/// `uid` and `tenant` are such that a rule on them matches. Only the first are such that code which takes the first
/// value of a field is right too.
pub(crate) fn odd(shape: &Shape) -> (Vec<Request<()>>, Vec<Request<()>>) {
    let mut random = Random::new(7);
    let plain = shape.request(&mut random);
    let with = |change: &dyn Fn(&mut Request<()>)| {
        let mut request = plain.clone();
        change(&mut request);
        request
    };
    let set = |request: &mut Request<()>, name: HeaderName, value: &str| {
        request.headers_mut().insert(name, HeaderValue::from_str(value).expect("is a value"));
    };
    let add = |request: &mut Request<()>, name: HeaderName, value: &str| {
        request.headers_mut().append(name, HeaderValue::from_str(value).expect("is a value"));
    };
    let (uid, tenant) = (&shape.uid, &shape.tenant);
    let tenant_name = HeaderName::from_static(TENANT);
    let path = plain.uri().path().to_owned();
    let one_value: Vec<Request<()>> = vec![
        with(&|request| set(request, header::HOST, &format!("{}:8443", shape.host.to_uppercase()))),
        with(&|request| {
            *request.uri_mut() =
                format!("https://{}:443{path}", shape.host.to_uppercase()).parse().expect("is a target");
            set(request, header::HOST, "elsewhere.example.com");
        }),
        with(&|request| set(request, header::HOST, &format!("{}.evil.example", shape.host))),
        with(&|request| set(request, header::HOST, &format!("x{}", shape.host))),
        with(&|request| {
            request.headers_mut().remove(header::HOST);
        }),
        with(&|request| {
            request.headers_mut().remove(header::COOKIE);
        }),
        with(&|request| {
            request.headers_mut().remove(TENANT);
        }),
        with(&|request| {
            set(request, header::COOKIE, "a=1; b=2");
            add(request, header::COOKIE, &format!("c=3; uid={uid}"));
        }),
        with(&|request| set(request, header::COOKIE, &format!("uid={uid}"))),
        with(&|request| set(request, header::COOKIE, &format!("a=1;uid={uid};b=2"))),
        with(&|request| {
            set(request, header::COOKIE, &format!("xuid={uid}; uidx={uid}; a=uid={uid}; uid=0{uid}"))
        }),
        with(&|request| set(request, header::COOKIE, &format!("xuid=1; uidx=2; a=uid; uid={uid}; uid2=3"))),
        with(&|request| set(request, header::COOKIE, "uid")),
        with(&|request| set(request, header::COOKIE, "uid=")),
        with(&|request| set(request, tenant_name.clone(), &format!("{tenant}0"))),
        with(&|request| *request.uri_mut() = path.parse().expect("is a target")),
        with(&|request| *request.uri_mut() = format!("/x{path}").parse().expect("is a target")),
        with(&|request| *request.uri_mut() = "/".parse().expect("is a target")),
        with(&|request| *request.uri_mut() = format!("{path}?preview=v1&x").parse().expect("is a target")),
        with(&|request| {
            *request.uri_mut() = format!("{path}?xpreview=v1&previe=1").parse().expect("is a target")
        }),
        with(&|request| {
            *request.uri_mut() = format!("{path}?a=preview=v1&preview=%761").parse().expect("is a target")
        }),
        with(&|request| *request.uri_mut() = format!("{path}?preview").parse().expect("is a target")),
        with(&|request| {
            *request.uri_mut() = format!("{path}?a=%2&%70review=v1").parse().expect("is a target")
        }),
    ];
    let many_values = vec![
        with(&|request| set(request, header::COOKIE, &format!("uid=0; a=1; uid={uid}"))),
        with(&|request| {
            set(request, header::COOKIE, "uid=0; a=1");
            add(request, header::COOKIE, &format!("uid={uid}"));
        }),
        with(&|request| set(request, header::COOKIE, &format!("a=1; \tuid = {uid} ;b"))),
        with(&|request| {
            set(request, tenant_name.clone(), "0");
            add(request, tenant_name.clone(), tenant);
        }),
        with(&|request| {
            *request.uri_mut() = format!("{path}?preview=0&preview=v1").parse().expect("is a target")
        }),
        with(&|request| {
            *request.uri_mut() = format!("{path}?preview=0&pr%65view=%76%31").parse().expect("is a target");
        }),
    ];
    (one_value, many_values)
}

/// A request with a Cookie of 64 KiB, and no `uid` in it.
pub(crate) fn long_cookie(random: &mut Random) -> Request<()> {
    let mut line = String::new();
    while line.len() < 64 << 10 {
        let name = ["session", "theme", "ab_test", "visited", "cart"][random.below(5)];
        let gap = if line.is_empty() { "" } else { "; " };
        write!(line, "{gap}{name}{}={:016x}", random.below(1_000), random.next())
            .expect("a string takes all");
    }
    line.truncate(64 << 10);
    let mut request = Shape::shop(0, random).request(random);
    request.headers_mut().insert(header::COOKIE, HeaderValue::from_str(&line).expect("is a value"));
    request
}

/// A request with 1,000 parameters, `preview=v1` the last of them.
pub(crate) fn long_query(random: &mut Random) -> Request<()> {
    let mut shape = Shape::shop(0, random);
    shape.target = "/search?".to_owned();
    for at in 1..1_000 {
        write!(shape.target, "p{at}={}&", random.below(10_000)).expect("a string takes all");
    }
    shape.target += "preview=v1";
    shape.request(random)
}

// === impl Random ===

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
