//! The same rules in several engines, side by side. `--help` says how; the README says what is compared, and how
//! fairly.

mod engines;
mod growth;
mod measure;
mod model;
mod requests;
mod table;
mod workloads;

use engines::{KINDS, Kind};
use measure::Settings;

const HELP: &str = "\
cargo run --release --manifest-path benches/peers/Cargo.toml -- [OPTIONS]

    (none)                            the whole table, in Markdown
    --csv                             one line a row
    --growth                          lines with the least time by the number of rules
    --svg FILE                        the same, drawn
    --only NAME                       workloads whose name starts so; may be given again
    --engine NAME                     only this engine; may be given again
    --quick                           short rounds: for a first look
    --callgrind WORKLOAD ENGINE TIMES decides that many requests in a function `measured`
    --list                            the names of workloads and engines";

#[derive(Default)]
struct Options {
    csv: bool,
    growth: bool,
    svg: Option<String>,
    only: Vec<String>,
    engines: Vec<String>,
    quick: bool,
    callgrind: Option<(String, String, usize)>,
}

fn main() {
    let options = options();
    if let Some((workload, engine, times)) = &options.callgrind {
        return callgrind(workload, engine, *times);
    }
    let wanted =
        |kind: &Kind| options.engines.is_empty() || options.engines.iter().any(|name| name == kind.name);
    let kinds: Vec<Kind> = KINDS.into_iter().filter(wanted).collect();
    let settings = if options.quick { Settings::quick() } else { Settings::full() };

    if options.growth || options.svg.is_some() {
        println!("{}", growth::CSV_HEAD);
        let points = growth::measure(&kinds, &settings, |point| println!("{}", point.csv()));
        if let Some(file) = options.svg {
            let written = std::fs::write(&file, growth::svg::draw(&points));
            written.unwrap_or_else(|error| measure::fail(&format!("cannot write `{file}`: {error}")));
        }
        return;
    }

    if options.csv {
        println!("{}", table::CSV_HEAD);
    }
    let mut rows = Vec::new();
    for spec in workloads::all() {
        if !options.only.is_empty() && !options.only.iter().any(|only| spec.name.starts_with(only)) {
            continue;
        }
        eprintln!("{}: {}", spec.name, spec.about);
        for row in measure::workload(&spec, &kinds, &settings) {
            if options.csv {
                println!("{}", table::csv(&row));
            }
            rows.push(row);
        }
    }
    if !options.csv {
        table::print(&rows);
    }
}

fn options() -> Options {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value =
            || words.next().unwrap_or_else(|| measure::fail(&format!("`{word}` lacks a value\n\n{HELP}")));
        match word.as_str() {
            "--csv" => options.csv = true,
            "--growth" => options.growth = true,
            "--svg" => options.svg = Some(value()),
            "--only" => options.only.push(value()),
            "--engine" => options.engines.push(value()),
            "--quick" => options.quick = true,
            "--callgrind" => {
                let (workload, engine, times) = (value(), value(), value());
                let times =
                    times.parse().unwrap_or_else(|_| measure::fail(&format!("`{times}` is no number")));
                options.callgrind = Some((workload, engine, times));
            }
            "--list" => {
                workloads::all().iter().for_each(|spec| println!("{:20} {}", spec.name, spec.about));
                KINDS.iter().for_each(|kind| println!("{}", kind.name));
                std::process::exit(0);
            }
            "--help" => {
                println!("{HELP}");
                std::process::exit(0);
            }
            _ => measure::fail(&format!("unknown option `{word}`\n\n{HELP}")),
        }
    }
    for name in &options.engines {
        if KINDS.iter().all(|kind| kind.name != *name) {
            measure::fail(&format!("unknown engine `{name}`"));
        }
    }
    options
}

fn callgrind(case: &str, engine: &str, times: usize) {
    // A case is named after its workload, some with a word behind it.
    let of_case =
        |name: &str| case.strip_prefix(name).is_some_and(|rest| ["", "-hit", "-miss"].contains(&rest));
    let spec = workloads::all().into_iter().find(|spec| of_case(&spec.name));
    let kind = KINDS.iter().find(|kind| kind.name == engine);
    match (spec, kind) {
        (Some(spec), Some(kind)) => measure::callgrind(&spec, case, kind, times),
        (None, _) => measure::fail(&format!("unknown workload `{case}`")),
        (_, None) => measure::fail(&format!("unknown engine `{engine}`")),
    }
}
