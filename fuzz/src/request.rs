use std::sync::LazyLock;

use pointsman::Engine;
use pointsman::schema::{ClientAddr, Schema, Trusted, canonical_path};

use super::{common, wire};

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

/// Any request against rules that touch every field: no panic, both evaluators agree, the canonical path is
/// idempotent, and a decision explains itself.
pub fn request(data: &[u8]) {
    let path = data.split(|byte| *byte == b'\n').next().unwrap_or(data);
    let canonical = canonical_path(path);
    assert_eq!(canonical_path(&canonical), canonical);

    let Some((request, moment)) = wire::request(data) else { return };
    for engine in &*ENGINES {
        common::decide(engine, &request, moment);
    }
}
