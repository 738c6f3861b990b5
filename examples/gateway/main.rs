//! A gateway to run: a reverse proxy whose rules come from a file and are followed while it serves.
//!
//! ```text
//!  clients ─▶ serve ─▶ edge ─▶ stack ─▶ cluster ─▶ upstream ─▶ servers
//!             threads  refuse  rules    balance    pooled
//!             timers   tidy up          retry      connections
//!
//!  stack: CanonicalPath ─▶ TrafficSplit ─▶ analyse ─▶ capture ─▶ deny ─▶ limit ─▶ cache ─▶ mirror ─▶ Clusters
//! ```
//!
//! `cargo gateway` starts it with three small clusters of its own, and is short for `cargo run --example gateway --features
//! analyse,cache,capture,deny,file,health,limit,metrics,mirror,serde`; `--help` says what else there is. Each worker thread has a runtime, a listener and connections of its own, so that a request
//! stays on one thread from its first byte to its last.

mod admin;
mod args;
mod body;
mod client;
mod cluster;
mod connection;
mod demo;
mod edge;
mod fault;
mod headers;
mod patience;
mod serve;
mod stack;
mod tunnel;
mod upstream;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use pointsman::schema::{ClientAddr, Schema, StatementKind, Trusted};
use pointsman::source::{FileSource, Follower, Following};
use pointsman::{Engine, Rules};

use self::args::{Args, Command};
use self::serve::Gateway;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "to be read in a terminal")]
fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(Command::Run(args)) => args,
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("gateway: {error}; `--help` says what there is");
            return ExitCode::from(2);
        }
    };
    match run(*args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until a signal ends it. The first thread follows the rules and serves the operators, the others the clients.
#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "to be read in a terminal")]
async fn run(mut args: Args) -> Result<(), Box<dyn Error>> {
    let told = told_to_end()?;
    if args.clusters.is_empty() {
        args.clusters = demo::clusters().await?;
    }
    let (engine, following) = rules(&args).await?;
    let gateway = Arc::new(Gateway::start(&args, &engine)?);
    let admin = admin::Admin::new(&engine, following.as_ref(), gateway.clone())?;
    let admin_at = admin.serve(args.admin).await?;
    println!("gateway on http://{}\nadmin on http://{admin_at}/_pointsman/", gateway.addr());
    if args.is_demo() {
        println!("{}", demo::welcome(gateway.addr(), admin_at));
    }
    told.await;
    println!("no new connections; waiting for what is in flight");
    // Dropped here and not before: from now on the rules stay as they are.
    drop(following);
    let left = gateway.drain(args.grace).await;
    match left {
        0 => println!("done"),
        left => println!("cut off {left} connections after {:?}", args.grace),
    }
    Ok(())
}

/// The rules: followed from a file, or those of the demo.
async fn rules(args: &Args) -> Result<(Engine, Option<Following>), Box<dyn Error>> {
    let clusters = args.clusters.iter().map(|cluster| &*cluster.name);
    // Each kind of statement has its layer in the stack.
    let mut schema = Schema::new().clusters(clusters).gateway(StatementKind::GATEWAY);
    if !args.trust.is_empty() {
        schema = schema.client_addr(ClientAddr::x_forwarded_for(Trusted::networks(&args.trust)?));
    }
    let builder = Engine::builder().schema(schema);
    let Some(file) = &args.rules else {
        let rules = if args.is_demo() {
            demo::RULES.to_owned()
        } else {
            // Whoever names clusters and no rules means the first of them.
            args.clusters.first().map_or_else(String::new, |cluster| format!("default => {}", cluster.name))
        };
        return Ok((builder.build(Rules::named("built-in", &rules))?, None));
    };
    let mut follower = Follower::new(builder, FileSource::new(file));
    if let Some(kept) = &args.last_good {
        follower = follower.last_good(&**kept);
    }
    let (engine, following) = follower.start().await?;
    Ok((engine, Some(following)))
}

/// Listens for whoever wants the gateway to end, from now on; the future waits for them.
fn told_to_end() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
