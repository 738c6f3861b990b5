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

mod access;
mod admin;
mod args;
mod body;
mod client;
mod cluster;
mod connection;
mod console;
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
use pointsman::{Engine, EngineBuilder, Rules};

use self::args::{Args, Command};
use self::console::Console;
use self::serve::Gateway;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "to be read in a terminal")]
fn main() -> ExitCode {
    let done = match args::parse(std::env::args().skip(1)) {
        Ok(Command::Run(args)) => run(*args),
        Ok(Command::Check(args)) => check(&args),
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("gateway: {error}; `--help` says what there is");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether the rules are sound, as the gateway would take them with the same clusters.
#[allow(clippy::print_stdout, reason = "to be read in a terminal")]
fn check(args: &Args) -> Result<(), Box<dyn Error>> {
    let rules = match &args.rules {
        Some(file) => {
            let text =
                std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Rules::named(file.display().to_string(), text)
        }
        None => Rules::named("built-in", built_in(args)),
    };
    match builder(args)?.build(rules) {
        Ok(engine) => println!("{}", console::sound(&engine.rules())),
        Err(error) => return Err(format!("the rules are not sound\n{error}{}", hint(args)).into()),
    }
    Ok(())
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
    let console = Console::new(&engine);
    let gateway = Arc::new(Gateway::start(&args, &engine)?);
    let admin = admin::Admin::new(&engine, following.as_ref(), gateway.clone())?;
    let admin_at = admin.serve(args.admin).await?;
    println!("gateway on http://{}\nadmin on http://{admin_at}/_pointsman/", gateway.addr());
    if args.is_demo() {
        println!("{}", demo::welcome(gateway.addr(), admin_at));
    }
    if let Some(following) = &following {
        tokio::spawn(console.follow(following.reader()));
    }
    tokio::spawn(console::watch(gateway.layers().health.clone()));
    told.await;
    console::say("no new connections; waiting for what is in flight");
    // Dropped here and not before: from now on the rules stay as they are.
    drop(following);
    let left = gateway.drain(args.grace).await;
    match left {
        0 => console::say("done"),
        left => console::say(&format!("cut off {left} connections after {:?}", args.grace)),
    }
    Ok(())
}

/// The rules: followed from a file, or those of the demo.
async fn rules(args: &Args) -> Result<(Engine, Option<Following>), Box<dyn Error>> {
    let builder = builder(args)?;
    let Some(file) = &args.rules else {
        return Ok((builder.build(Rules::named("built-in", built_in(args)))?, None));
    };
    let mut follower = Follower::new(builder, FileSource::new(file));
    if let Some(kept) = &args.last_good {
        follower = follower.last_good(&**kept);
    }
    match follower.start().await {
        Ok((engine, following)) => Ok((engine, Some(following))),
        Err(error) => Err(format!("{error}{}", hint(args)).into()),
    }
}

/// What rules may mention.
fn builder(args: &Args) -> Result<EngineBuilder, Box<dyn Error>> {
    // Each kind of statement has its layer in the stack.
    let mut schema = Schema::new().clusters(names(args)).gateway(StatementKind::GATEWAY);
    if !args.trust.is_empty() {
        schema = schema.client_addr(ClientAddr::x_forwarded_for(Trusted::networks(&args.trust)?));
    }
    Ok(Engine::builder().schema(schema))
}

fn names(args: &Args) -> Vec<&str> {
    if args.is_demo() {
        return demo::CLUSTERS.to_vec();
    }
    args.clusters.iter().map(|cluster| &*cluster.name).collect()
}

/// The rules where no file is named.
fn built_in(args: &Args) -> String {
    if args.is_demo() {
        return demo::RULES.to_owned();
    }
    // Whoever names clusters and no rules means the first of them.
    args.clusters.first().map_or_else(String::new, |cluster| format!("default => {}", cluster.name))
}

/// For whoever has rules and forgot to say for which clusters.
fn hint(args: &Args) -> String {
    if !args.is_demo() {
        return String::new();
    }
    let names = names(args).join("`, `");
    format!("\nthere is no --cluster, so the clusters are those of the demo: `{names}`")
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
