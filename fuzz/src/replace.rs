use pointsman::Engine;

use super::{common, parts, small, wire};

/// A sequence of texts, good and bad: the last good one always runs, and whatever ran counted.
///
/// The first part is a request, the others are rule texts.
pub fn replace(data: &[u8]) {
    let parts = parts(data);
    let Some((request, texts)) = parts.split_first() else { return };
    let Some((request, moment)) = wire::request(request) else { return };
    let build = |text: &str| Engine::builder().schema(common::schema()).limits(small()).build(text);

    let engine = build("default => prod").unwrap_or_else(|problems| panic!("{problems}"));
    let (mut revision, mut decided) = (1, 0);
    for text in texts {
        let Ok(text) = std::str::from_utf8(text) else { continue };
        let before = engine.rules();
        // What the text would do on its own.
        match (engine.replace(text), build(text)) {
            (Ok(rules), Ok(alone)) => {
                revision += 1;
                assert_eq!(rules.revision(), revision);
                assert_eq!(rules.text(), text);
                assert_eq!(rules.disassemble(), alone.rules().disassemble());
                assert_eq!(
                    common::decide(&engine, &request, moment),
                    common::decide(&alone, &request, moment),
                    "{text}"
                );
            }
            (Err(_), Err(_)) => {
                assert!(std::sync::Arc::ptr_eq(&before, &engine.rules()), "{text}");
                common::decide(&engine, &request, moment);
            }
            (here, alone) => panic!("{text}\nhere: {here:?}\nalone: {:?}", alone.map(drop)),
        }
        decided += 1;
        assert_eq!(engine.rules().revision(), revision);
        assert_eq!(engine.counters().decisions, decided);
    }
}
