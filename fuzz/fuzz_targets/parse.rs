//! Any bytes as a rule text and as a condition: no panic, and the bounds hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::schema::Schema;
use pointsman::{Condition, Engine, Limits};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Small bounds, so that going past them is tried as well.
    let limits = Limits { text_bytes: 1 << 16, regex_bytes: 1 << 14, diagnostics: 20, ..Limits::default() };
    let schema = Schema::new().clusters(["gray", "prod", "prod_a", "prod_b"]);
    match Engine::builder().schema(schema.clone()).limits(limits).build(text) {
        Ok(engine) => drop(engine.rules().lints().to_string()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
    match Condition::compile("salt", text, &schema, &limits) {
        Ok(condition) => drop(condition.lints().to_string()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
