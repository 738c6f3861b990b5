//! Any request against rules that touch every field: no panic, both evaluators agree, the canonical path is
//! idempotent.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use arbitrary::Arbitrary;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use libfuzzer_sys::fuzz_target;
use pointsman::schema::{ClientAddr, PeerAddr, Schema, Trusted, canonical_path};
use pointsman::{Engine, Moment};

const RULES: &str = include_str!("every_field.rules");

static ENGINES: LazyLock<[Engine; 3]> = LazyLock::new(|| {
    let networks = || Trusted::networks(["10.0.0.0/8", "::1"]).unwrap();
    [
        ClientAddr::x_forwarded_for(networks()),
        ClientAddr::forwarded(networks()),
        ClientAddr::x_forwarded_for(Trusted::hops(2)),
    ]
    .map(|client| {
        let schema = Schema::new().clusters(["gray", "prod", "prod_a", "prod_b"]).client_addr(client);
        Engine::builder().schema(schema).build(RULES).unwrap_or_else(|problems| panic!("{problems}"))
    })
});

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    method: u8,
    target: &'a str,
    headers: Vec<(Name, &'a [u8])>,
    peer: Option<IpAddr>,
    seconds: u32,
    chance: u64,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Name {
    Host,
    Cookie,
    Forwarded,
    ForwardedFor,
    Canary,
    AppVersion,
    Level,
}

impl From<Name> for HeaderName {
    fn from(name: Name) -> Self {
        match name {
            Name::Host => header::HOST,
            Name::Cookie => header::COOKIE,
            Name::Forwarded => header::FORWARDED,
            Name::ForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Name::Canary => HeaderName::from_static("x-canary"),
            Name::AppVersion => HeaderName::from_static("x-app-version"),
            Name::Level => HeaderName::from_static("x-level"),
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let canonical = canonical_path(input.target.as_bytes());
    assert_eq!(canonical_path(&canonical), canonical);

    let Ok(uri) = input.target.parse::<Uri>() else { return };
    let mut request = Request::new(());
    let methods = [Method::GET, Method::POST, Method::OPTIONS, Method::CONNECT];
    *request.method_mut() = methods[usize::from(input.method) % methods.len()].clone();
    *request.uri_mut() = uri;
    for (name, value) in input.headers.iter().take(200) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            request.headers_mut().append(HeaderName::from(*name), value);
        }
    }
    if let Some(ip) = input.peer {
        request.extensions_mut().insert(PeerAddr(SocketAddr::new(ip, 80)));
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(input.seconds.into());
    let moment = Moment { now, chance: input.chance };
    for engine in &*ENGINES {
        let decision = engine.decide_at(&request, moment);
        let explanation = engine.explain_at(&request, moment);
        assert_eq!(decision.cluster(), explanation.cluster, "{explanation}");
        assert_eq!(decision.rule(), explanation.rule.as_deref(), "{explanation}");
    }
});
