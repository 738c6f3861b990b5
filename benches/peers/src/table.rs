//! What was measured, as tables for a reader and as lines for a program.

use crate::engines::{KINDS, Sort};
use crate::measure::{Numbers, Row};

pub(crate) const CSV_HEAD: &str = "workload,engine,median_ns,min_ns,allocs,build_ns_a_rule,bytes_a_rule";

/// One line a row; a row without numbers has empty ones.
pub(crate) fn csv(row: &Row) -> String {
    let Row { workload, engine, numbers, .. } = row;
    match numbers {
        Some(Numbers { median_ns, min_ns, allocs, build_ns_a_rule, bytes_a_rule }) => {
            format!(
                "{workload},{engine},{median_ns:.1},{min_ns:.1},{allocs:.2},{build_ns_a_rule:.0},{bytes_a_rule:.0}"
            )
        }
        None => format!("{workload},{engine},,,,,"),
    }
}

/// Three tables in Markdown: time, allocations, building.
pub(crate) fn print(rows: &[Row]) {
    let engines: Vec<&str> = KINDS
        .iter()
        .map(|kind| kind.name)
        .filter(|name| rows.iter().any(|row| row.engine == *name))
        .collect();
    let mut workloads: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        if workloads.last().is_none_or(|(name, _)| *name != row.workload) {
            workloads.push((&row.workload, row.about));
        }
    }
    let numbers = |workload: &str, engine: &str| {
        rows.iter().find(|row| row.workload == workload && row.engine == engine).and_then(|row| row.numbers)
    };

    println!("\nA decision, in nanoseconds: the median, and the least in parentheses.\n");
    println!("| workload | {} | pointsman ÷ clever | best peer ÷ pointsman |", engines.join(" | "));
    println!("|---|{}", "---:|".repeat(engines.len() + 2));
    for (workload, about) in &workloads {
        let cells = engines.iter().map(|engine| match numbers(workload, engine) {
            Some(numbers) => format!("{} ({})", short(numbers.median_ns), short(numbers.min_ns)),
            None => "–".to_owned(),
        });
        let median = |engine: &str| numbers(workload, engine).map(|numbers| numbers.median_ns);
        let peers = KINDS.iter().filter(|kind| kind.sort == Sort::Peer).filter_map(|kind| median(kind.name));
        let best = peers.min_by(f64::total_cmp);
        let ratio =
            |a: Option<f64>, b: Option<f64>| a.zip(b).map_or("–".to_owned(), |(a, b)| quotient(a / b));
        println!(
            "| {workload}: {about} | {} | {} | {} |",
            cells.collect::<Vec<_>>().join(" | "),
            ratio(median("pointsman"), median("clever")),
            ratio(best, median("pointsman")),
        );
    }

    matrix("Allocations a decision.", &engines, &workloads, |workload, engine| {
        numbers(workload, engine).map(|numbers| format!("{:.1}", numbers.allocs).replace(".0", ""))
    });
    // Several cases are asked of what was built once.
    workloads.retain(|(name, _)| !name.ends_with("-miss"));
    matrix(
        "Building: nanoseconds and bytes a rule. The floors are given the rules as data, all others as text.",
        &engines,
        &workloads,
        |workload, engine| {
            let Numbers { build_ns_a_rule, bytes_a_rule, .. } = numbers(workload, engine)?;
            Some(format!("{}, {} B", short(build_ns_a_rule), short(bytes_a_rule)))
        },
    );
}

fn matrix(
    title: &str,
    engines: &[&str],
    workloads: &[(&str, &str)],
    cell: impl Fn(&str, &str) -> Option<String>,
) {
    println!("\n{title}\n");
    println!("| workload | {} |", engines.join(" | "));
    println!("|---|{}", "---:|".repeat(engines.len()));
    for (workload, _) in workloads {
        let cells: Vec<String> =
            engines.iter().map(|engine| cell(workload, engine).unwrap_or("–".to_owned())).collect();
        println!("| {workload} | {} |", cells.join(" | "));
    }
}

fn quotient(number: f64) -> String {
    if number < 9.995 { format!("{number:.2}") } else { short(number) }
}

/// Three digits, and commas.
fn short(number: f64) -> String {
    if number < 9.95 {
        return format!("{number:.1}");
    }
    let digits = (number.log10().floor() as i32 - 2).max(0);
    let scale = 10_f64.powi(digits);
    let plain = format!("{:.0}", (number / scale).round() * scale);
    let groups: Vec<&str> =
        plain.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
