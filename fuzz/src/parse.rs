use pointsman::schema::Schema;
use pointsman::{Condition, Engine};

use super::small;

/// Any bytes as a rule text and as a condition: no panic, and the bounds hold.
pub fn parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let limits = small();
    let schema = Schema::new().clusters(["gray", "prod", "prod_a", "prod_b"]);
    match Engine::builder().schema(schema.clone()).limits(limits).build(text) {
        Ok(engine) => drop(engine.rules().lints().to_string()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
    match Condition::compile("salt", text, &schema, &limits) {
        Ok(condition) => drop(condition.lints().to_string()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}
