//! The canonical text is a fixed point, loses no comment, and compiles exactly when the text does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::{Engine, Limits, format};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Printing must not push a text over a bound that the text itself keeps.
    let roomy = Limits { text_bytes: 1 << 24, ..Limits::default() };
    let limits = Limits { text_bytes: 1 << 16, ..roomy };
    let Ok(once) = format(text, &limits) else { return };
    let twice = format(&once, &roomy).unwrap_or_else(|problems| panic!("{once}\n{problems}"));
    assert_eq!(once, twice, "from {text:?}");

    let builds = |text: &str| {
        let builder = Engine::builder().clusters(["gray", "prod", "prod_a", "prod_b"]).limits(roomy);
        match builder.build(text) {
            Ok(engine) => Ok(engine.rules().disassemble()),
            Err(_) => Err(()),
        }
    };
    assert_eq!(builds(text), builds(&once), "{text:?} became {once:?}");
});
