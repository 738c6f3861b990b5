//! An absent key is absent, whatever was read after it. Found by the fuzz target `request`.

use http::Request;
use pointsman::{Condition, Engine};

#[test]
fn an_absent_key_is_no_other_fields_value() {
    let engine = Engine::builder()
        .clusters(["gray", "prod"])
        .build(
            r#"
            route split: !exists(cookie(uid)) && host == "a.test" => gray 1, prod 1 by cookie(uid)
            default => prod
            "#,
        )
        .unwrap();
    let request = Request::get("/").header("host", "a.test").body(()).unwrap();
    assert_eq!(engine.decide(&request).rule(), None);
    assert_eq!(engine.explain(&request).rule, None);

    let percent = r#"cookie(uid) != "1" && host == "a.test" && percent(cookie(uid)) < 100"#;
    assert!(!Condition::new(percent).unwrap().matches(&request));
}
