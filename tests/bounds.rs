//! Every bound of the language reference: what goes to it is compiled, what goes one past it is refused with its name
//! or its number, at the place, and the rules before go on. The defaults are held by `docs.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use http::Request;
use pointsman::schema::Schema;
use pointsman::{Condition, Engine, Limits};

/// What is said of a text within bounds: nothing, or the messages.
fn says(limits: Limits, text: &str) -> Result<(), String> {
    let engine =
        Engine::builder().clusters(["gray", "prod", "next"]).limits(limits).build("default => prod").unwrap();
    let said = engine.replace(text).map(drop).map_err(|problems| problems.to_string());
    if said.is_err() {
        let request = Request::new(());
        assert_eq!((engine.decide(&request).cluster(), engine.rules().revision()), ("prod", 1));
    }
    said
}

/// The text that goes to the bound is compiled, the one that goes past it is refused with these words.
#[track_caller]
fn goes_to(limits: Limits, fits: &str, over: &str, words: &str) {
    assert_eq!(says(limits, fits), Ok(()));
    let error = says(limits, over).unwrap_err();
    assert!(error.contains(words), "{error}");
    assert!(error.contains(" --> rules:"), "it has a place: {error}");
}

/// The least setting of a bound with which a text is compiled.
fn least(most: usize, text: &str, with: impl Fn(usize) -> Limits) -> usize {
    let (mut refused, mut taken) = (0, most);
    assert_eq!(says(with(taken), text), Ok(()));
    while refused + 1 < taken {
        let middle = refused.midpoint(taken);
        match says(with(middle), text) {
            Ok(()) => taken = middle,
            Err(_) => refused = middle,
        }
    }
    taken
}

#[test]
fn text_bytes() {
    let limits = Limits { text_bytes: 40, ..Limits::default() };
    let text = |bytes: usize| format!("{:x<bytes$}", "default => gray #");
    goes_to(limits, &text(40), &text(41), "the text has 41 bytes, 40 are allowed");
    // Bytes and not characters.
    assert!(says(limits, &text(39).replace('x', "é")).is_err());
    // A condition that stands alone has the same bound.
    let condition = |bytes: usize| format!("{:<bytes$}", "true");
    assert!(Condition::compile("", &condition(40), &Schema::new(), &limits).is_ok());
    assert!(Condition::compile("", &condition(41), &Schema::new(), &limits).is_err());
}

#[test]
fn depth() {
    for (limit, most) in [(5, 5), (Limits::MAX_DEPTH, Limits::MAX_DEPTH), (usize::MAX, Limits::MAX_DEPTH)] {
        let limits = Limits { depth: limit, ..Limits::default() };
        for (open, inner, close, levels) in
            [("(", "host == \"a\"", ")", 1), ("!(", "host == \"a\"", ")", 2), ("lower(", "host", ")", 1)]
        {
            let text = |nested: usize| {
                let condition = format!("{}{inner}{}", open.repeat(nested), close.repeat(nested));
                let condition = if inner == "host" { condition + " == \"a\"" } else { condition };
                format!("route r: {condition} => gray\ndefault => prod")
            };
            let fits = most / levels;
            goes_to(limits, &text(fits), &text(fits + 1), &format!("nested deeper than {most}"));
        }
        // Clusters in a row, in whatever order, and by whichever way is longest.
        for other in ["", " 1 else gray, prod 1 by ip"] {
            let row = |clusters: usize, from_the_last: bool| {
                let cluster = |at: usize| match at {
                    1 => "cluster c1 = gray\n".to_owned(),
                    _ => format!("cluster c{at} = c{}{other}\n", at - 1),
                };
                let mut row: Vec<String> = (1..=clusters).map(cluster).collect();
                if from_the_last {
                    row.reverse();
                }
                format!("{}default => c{clusters}", row.concat())
            };
            for from_the_last in [false, true] {
                let (fits, over) = (row(most, from_the_last), row(most + 1, from_the_last));
                goes_to(limits, &fits, &over, &format!("clusters are nested deeper than {most}"));
            }
        }
    }
}

#[test]
fn statements() {
    let limits = Limits { statements: 10, ..Limits::default() };
    let text = |count: usize| {
        let routes: String = (3..count).map(|i| format!("route r{i}: host in l => c\n")).collect();
        format!("list l = [\"a\"]\ncluster c = gray\n{routes}default => prod")
    };
    goes_to(limits, &text(10), &text(11), "more than 10 statements");
}

#[test]
fn list_members() {
    let limits = Limits { list_members: 10, ..Limits::default() };
    let members = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let named = |count| format!("list l = [{}]\nroute r: port in l => gray\ndefault => prod", members(count));
    goes_to(limits, &named(10), &named(11), "a list of more than 10 members");
    let inline = |count| format!("route r: port in [{}] => gray\ndefault => prod", members(count));
    goes_to(limits, &inline(10), &inline(11), "a list of more than 10 members");
}

#[test]
fn targets() {
    let limits = Limits { targets: 2, ..Limits::default() };
    for start in ["default =>", "cluster c =", "route r: true =>"] {
        let end = if start == "default =>" { "" } else { "\ndefault => prod" };
        let (two, three) = ("gray 1, prod 1", "gray 1, prod 1, next 1");
        goes_to(
            limits,
            &format!("{start} {two}{end}"),
            &format!("{start} {three}{end}"),
            "3 clusters in one outcome, 2 are allowed",
        );
    }
}

#[test]
fn regex_bytes() {
    let text = "route r: host matches \"[a-z]{20}\" => gray\ndefault => prod";
    let with = |regex_bytes| Limits { regex_bytes, ..Limits::default() };
    let least = least(Limits::default().regex_bytes, text, with);
    assert!((500..50_000).contains(&least), "{least}");
    goes_to(with(least), text, &text.replace("{20}", "{21}"), &format!("more than {least} bytes"));
    // What takes more than it says would be no bound: a larger one is refused with the default.
    assert!(
        says(Limits::default(), &text.replace("[a-z]{20}", "\\\\pL{500}"))
            .unwrap_err()
            .contains("more than 1048576 bytes")
    );
}

#[test]
fn program_bytes() {
    let route = |i: usize| format!("route r{i}: host == \"{i}\" && port in [{i}, 7] => gray\n");
    let text = |count: usize| (10..10 + count).map(route).collect::<String>() + "default => prod";
    let with = |program_bytes| Limits { program_bytes, ..Limits::default() };
    let least = least(Limits::default().program_bytes, &text(50), with);
    // Some hundred bytes a route.
    assert!((50 * 100..50 * 2_000).contains(&least), "{least}");
    goes_to(with(least), &text(50), &text(51), &format!("{least} are allowed"));
    // Regular expressions are in it, and refused before all of them are made.
    let expressions: Vec<_> = (0..50).map(|i| format!("host matches \"{i}\\\\pL\"")).collect();
    let expressions = format!("route r: {} => gray\ndefault => prod", expressions.join(" || "));
    let error = says(with(100_000), &expressions).unwrap_err();
    assert!(error.contains("the regular expressions up to here take more than 100000 bytes"), "{error}");
}

#[test]
fn diagnostics() {
    let limits = Limits { diagnostics: 3, ..Limits::default() };
    let named = |count: usize| {
        let routes: String = (0..count).map(|i| format!("route r{i}: hots == \"a\" => gray\n")).collect();
        routes + "default => prod"
    };
    let kept = |text: &str| says(limits, text).unwrap_err();
    let three = kept(&named(3));
    assert_eq!(three.matches("error: unknown field `hots`").count(), 3);
    assert!(!three.contains("more"), "{three}");
    let five = kept(&named(5));
    assert_eq!(five.matches("error: unknown field `hots`").count(), 3);
    assert!(five.ends_with("and 2 more"), "{five}");
}
