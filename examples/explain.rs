//! Why a request goes where it goes; what the rules were compiled to; and what a mistake looks like.
//!
//! Run it with `cargo run --example explain`, or with `--features serde` to see the explanation as JSON too.

use std::error::Error;
use std::io::Write;

use http::Request;
use pointsman::{Engine, Rules};

const RULES: &str = r#"
list staff = ["7", "42"]

route testers:  header(x-canary) == "always"  => gray
route staff:    cookie(uid) in staff          => gray
shadow route next: path under "/checkout" && percent(cookie(uid)) < 50 => gray
route checkout: path under "/checkout"        => gray 5, prod 95 by cookie(uid)
default => prod
"#;

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut std::io::stdout())
}

pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().clusters(["gray", "prod"]).build(RULES)?;
    let request = Request::get("/checkout/pay").header("cookie", "theme=dark; uid=1001").body(())?;

    // Explaining does not count, and agrees with deciding.
    let explanation = engine.explain(&request);
    assert_eq!(explanation.cluster, engine.decide(&request).cluster());
    writeln!(out, "{explanation}")?;

    // It is a struct: take what you need.
    let seen = explanation.steps.iter().flat_map(|step| &step.looked_at).filter(|look| !look.seen.is_empty());
    for look in seen {
        writeln!(out, "looked at: {} -> {:?}", look.condition, look.seen)?;
    }

    #[cfg(feature = "serde")]
    writeln!(out, "\n{}", serde_json::to_string_pretty(&explanation)?)?;

    writeln!(out, "\nThe program:\n\n{}", engine.rules().disassemble())?;

    // All mistakes of a text are reported at once, and the old rules go on.
    let bad = Rules::named(
        "checkout.rules",
        "\
route staff: cookie(uid) in stuff => gray
route big:   header(content-length) > 1000 => gray
route slow:  path under \"/checkout => gray
default => prodd
",
    );
    if let Err(problems) = engine.replace(bad) {
        writeln!(out, "{problems}")?;
    }
    Ok(())
}
