//! Only the matcher: conditions over requests, without a rule set.
//!
//! Run it with `cargo run --example condition`.

use std::error::Error;
use std::io::Write;

use http::Request;
use pointsman::schema::{List, Schema};
use pointsman::{Condition, Limits};

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut std::io::stdout())
}

pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    // Compiled once, then asked as often as you like, from any thread.
    let new_app = Condition::new(r#"path under "/api" && version(header(x-app-version)) >= "2.3.0""#)?;

    for (path, version) in [("/api/cart", "2.10.0"), ("/api/cart", "v2.3"), ("/api/cart", "2.3.0-rc.1")] {
        let request = Request::get(path).header("x-app-version", version).body(())?;
        writeln!(out, "{path} of app {version}: {}", new_app.matches(&request))?;
    }
    // What is absent is never equal, above or below.
    writeln!(out, "without a version: {}", new_app.matches(&Request::get("/api/cart").body(())?))?;

    // The same with a list of your own. The name salts `percent`, so that each experiment deals anew.
    let schema = Schema::new().list("beta", List::strings(["1001", "1002"]));
    let trial = "cookie(uid) in beta || percent(cookie(uid)) < 10";
    let trial = Condition::compile("trial", trial, &schema, &Limits::default())?;
    let taken = |uid: &u32| {
        let request = Request::get("/").header("cookie", format!("uid={uid}")).body(());
        request.is_ok_and(|request| trial.matches(&request))
    };
    let count = (1..=1_000).filter(taken).count();
    writeln!(out, "{count} of the uids 1 to 1000 take part in: {}", trial.text())?;

    // A mistake is shown where it is.
    if let Err(problems) = Condition::new(r#"hots == "shop.example.com" && cookie(uid) > 5"#) {
        writeln!(out, "\n{problems}")?;
    }
    Ok(())
}
