//! Fields of your own: rules about the user that authentication found.
//!
//! Run it with `cargo run --example custom_fields`.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Router, http::StatusCode};
use http_body_util::BodyExt;
use pointsman::schema::Schema;
use pointsman::{Decision, Engine, TrafficSplitLayer};
use tower::ServiceExt;

/// What authentication leaves in the request's extensions.
#[derive(Clone)]
struct User {
    plan: &'static str,
    staff: bool,
    claims: HashMap<&'static str, &'static str>,
}

const RULES: &str = r#"
route staff:   is_staff                                            => gray
route trial:   plan == "pro" && claim(region) in ["eu", "uk"]      => gray
route ramp:    plan == "free" => gray 10, prod 90 by claim(sub)
default => prod
"#;

fn schema() -> Schema {
    Schema::new()
        .clusters(["gray", "prod"])
        .bool_field("is_staff", |request| request.extensions.get::<User>().map(|user| user.staff))
        .string_field("plan", |request| request.extensions.get::<User>().map(|user| user.plan))
        .keyed_string_field("claim", |request, name| {
            request.extensions.get::<User>()?.claims.get(name).copied()
        })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut std::io::stdout()).await
}

pub(crate) async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().schema(schema()).build(RULES)?;
    // The layer that is added last sees the request first: authenticate, then decide, then handle.
    let app = Router::new()
        .route("/", get(index))
        .layer(TrafficSplitLayer::new(engine))
        .layer(from_fn(authenticate));

    for token in ["ann", "bob", "cem", ""] {
        let request = Request::get("/").header("authorization", token).body(Body::empty())?;
        let response = app.clone().oneshot(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        writeln!(out, "{token:3} {status}: {}", String::from_utf8_lossy(&body))?;
    }
    Ok(())
}

async fn index(decision: Decision) -> String {
    format!("{} by {}", decision.cluster(), decision.rule().unwrap_or("default"))
}

/// Stands for whatever you have: a session, a JWT, a client certificate.
async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let user =
        |plan, staff, sub, region| User { plan, staff, claims: [("sub", sub), ("region", region)].into() };
    let user = match request.headers().get("authorization").map(|token| token.as_bytes()) {
        Some(b"ann") => user("free", true, "ann", "us"),
        Some(b"bob") => user("pro", false, "bob", "eu"),
        Some(b"cem") => user("free", false, "cem", "eu"),
        _ => return Err(StatusCode::UNAUTHORIZED),
    };
    request.extensions_mut().insert(user);
    Ok(next.run(request).await)
}
