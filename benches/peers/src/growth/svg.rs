//! Points as two charts side by side, both axes logarithmic. Colours follow the reader's light or dark mode.

use std::fmt::Write;

use super::Point;
use crate::engines::KINDS;

/// The plot's place in a panel, and the panel's size.
const LEFT: f64 = 62.0;
const TOP: f64 = 44.0;
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 320.0;
/// To the right of a plot, where its lines are named.
const NAMES: f64 = 88.0;
const BELOW: f64 = 48.0;
const PANEL: f64 = LEFT + WIDTH + NAMES;

/// Light and dark, for the engines in their order.
const COLOURS: [(&str, &str); 9] = [
    ("#d1242f", "#ff7b72"),
    ("#1a7f37", "#3fb950"),
    ("#6e7781", "#8b949e"),
    ("#0969da", "#58a6ff"),
    ("#8250df", "#bc8cff"),
    ("#9a6700", "#d29922"),
    ("#bf3989", "#f778ba"),
    ("#1b7c83", "#39c5cf"),
    ("#953800", "#ffa657"),
];

const TITLES: [(&str, &str); 2] =
    [("W4", "N rules: host == … &amp;&amp; path starts_with …"), ("W5", "N rules: cookie(uid) in [3]")];

/// A panel's range, in decades.
struct Range {
    rules: (i32, i32),
    ns: (i32, i32),
}

pub(crate) fn draw(points: &[Point]) -> String {
    let range = Range {
        rules: decades(points.iter().map(|point| point.rules as f64)),
        ns: decades(points.iter().map(|point| point.min_ns)),
    };
    let width = PANEL * TITLES.len() as f64;
    let height = TOP + HEIGHT + BELOW;
    let mut svg = String::new();
    let mut put = |line: String| writeln!(svg, "{line}").expect("a string takes all");
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\" role=\"img\">"
    ));
    put("<title>Time of a decision by the number of rules</title>".to_owned());
    put(style());
    for (at, (workload, title)) in TITLES.iter().enumerate() {
        put(format!("<g transform=\"translate({} 0)\">", PANEL * at as f64));
        put(format!("<text class=\"t\" x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>"));
        axes(&range, &mut put);
        lines(points, workload, &range, &mut put);
        put("</g>".to_owned());
    }
    put("</svg>".to_owned());
    svg
}

fn style() -> String {
    let mut light = ".t{fill:#1f2328}.g{stroke:#d1d9e0}".to_owned();
    let mut dark = ".t{fill:#f0f6fc}.g{stroke:#3d444d}".to_owned();
    for (at, colours) in COLOURS.iter().enumerate() {
        let add = |style: &mut String, colour: &str| {
            write!(style, ".l{at}{{stroke:{colour}}}.n{at}{{fill:{colour}}}").expect("a string takes all");
        };
        add(&mut light, colours.0);
        add(&mut dark, colours.1);
    }
    format!("<style>{light}@media(prefers-color-scheme:dark){{{dark}}}</style>")
}

fn axes(range: &Range, put: &mut impl FnMut(String)) {
    let bottom = TOP + HEIGHT;
    for decade in range.rules.0..=range.rules.1 {
        let x = range.x(10_f64.powi(decade));
        put(format!("<path class=\"g\" d=\"M{x:.1} {TOP}V{bottom}\"/>"));
        let y = bottom + 18.0;
        put(format!(
            "<text class=\"t\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>",
            count(decade)
        ));
    }
    for decade in range.ns.0..=range.ns.1 {
        let y = range.y(10_f64.powi(decade));
        put(format!("<path class=\"g\" d=\"M{LEFT} {y:.1}h{WIDTH}\"/>"));
        let (x, y) = (LEFT - 8.0, y + 4.0);
        put(format!("<text class=\"t\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", time(decade)));
    }
    let (x, y) = (LEFT + WIDTH / 2.0, bottom + 38.0);
    put(format!("<text class=\"t\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">rules</text>"));
}

fn lines(points: &[Point], workload: &str, range: &Range, put: &mut impl FnMut(String)) {
    // Where a line ends, and whose it is.
    let mut names: Vec<(f64, usize)> = Vec::new();
    for (at, kind) in KINDS.iter().enumerate() {
        let mine: Vec<&Point> =
            points.iter().filter(|point| point.workload == workload && point.engine == kind.name).collect();
        let places: Vec<(f64, f64)> =
            mine.iter().map(|point| (range.x(point.rules as f64), range.y(point.min_ns))).collect();
        let Some((_, end)) = places.last() else { continue };
        names.push((*end, at));
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let width = if at == 0 { 3.0 } else { 1.6 };
        put(format!(
            "<path class=\"l{at}\" fill=\"none\" stroke-width=\"{width}\" d=\"M{}\"/>",
            path.join("L")
        ));
        for (x, y) in &places {
            put(format!("<circle class=\"n{at}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{width}\"/>"));
        }
    }
    // Names that would cover each other move down, and back up where that would leave the plot.
    const LINE: f64 = 14.0;
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    for at in 1..names.len() {
        names[at].0 = names[at].0.max(names[at - 1].0 + LINE);
    }
    let mut below = TOP + HEIGHT;
    for (y, _) in names.iter_mut().rev() {
        *y = y.min(below);
        below = *y - LINE;
    }
    for (y, at) in names {
        let (x, y) = (LEFT + WIDTH + 8.0, y + 4.0);
        let weight = if at == 0 { " font-weight=\"bold\"" } else { "" };
        put(format!("<text class=\"n{at}\" x=\"{x}\" y=\"{y:.1}\"{weight}>{}</text>", KINDS[at].name));
    }
}

// === impl Range ===

impl Range {
    fn x(&self, rules: f64) -> f64 {
        LEFT + WIDTH * share(rules, self.rules)
    }

    fn y(&self, ns: f64) -> f64 {
        TOP + HEIGHT * (1.0 - share(ns, self.ns))
    }
}

fn share(value: f64, (least, most): (i32, i32)) -> f64 {
    (value.log10() - f64::from(least)) / f64::from((most - least).max(1))
}

fn decades(values: impl Iterator<Item = f64> + Clone) -> (i32, i32) {
    let least = values.clone().fold(f64::INFINITY, f64::min).max(1.0);
    let most = values.fold(1.0, f64::max);
    (least.log10().floor() as i32, most.log10().ceil() as i32)
}

fn count(decade: i32) -> &'static str {
    ["1", "10", "100", "1,000", "10,000", "100,000", "1,000,000"].get(decade as usize).unwrap_or(&"")
}

fn time(decade: i32) -> &'static str {
    let names =
        ["1 ns", "10 ns", "100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"];
    names.get(decade as usize).unwrap_or(&"")
}
