//! Every message that the author of a rule can get, as they see it.
//!
//! A message speaks to whoever wrote the rule: it names the place, shows the line, and says what to do. The
//! snapshots are the specification of that; a change to one is a change to the product.

#![allow(clippy::panic, reason = "helpers of tests")]

use insta::assert_snapshot;
use pointsman::schema::{List, Schema, StatementKind};
use pointsman::{BuildError, Condition, Diagnostics, Engine, Limits, Rules, Statements};

fn schema() -> Schema {
    Schema::new()
        .clusters(["gray", "prod"])
        .bool_field("is_staff", |_| None)
        .keyed_string_field("claim", |_, _| None)
        .list("beta", List::strings(["1"]))
}

/// The diagnostics of a rule set, errors or lints.
fn rules<'a>(rules: impl Into<Rules<'a>>) -> Diagnostics {
    within(rules, Limits::default())
}

fn within<'a>(rules: impl Into<Rules<'a>>, limits: Limits) -> Diagnostics {
    match Engine::builder().schema(schema()).limits(limits).build(rules) {
        Ok(engine) => engine.rules().lints().clone(),
        Err(BuildError::Rules(diagnostics)) => diagnostics,
        Err(other) => panic!("the schema is sound: {other}"),
    }
}

/// The diagnostics of a condition, errors or lints.
fn condition(text: &str) -> Diagnostics {
    match Condition::compile("", text, &schema(), &Limits::default()) {
        Ok(condition) => condition.lints().clone(),
        Err(BuildError::Rules(diagnostics)) => diagnostics,
        Err(other) => panic!("the schema is sound: {other}"),
    }
}

/// What is said of each condition.
fn said<'t>(conditions: impl IntoIterator<Item = &'t str>) -> String {
    conditions.into_iter().map(|text| answers(text, &condition(text))).collect()
}

/// What is said of each rule set.
fn said_of_rules<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    texts.into_iter().map(|text| answers(text, &rules(text))).collect()
}

/// A text, and for each of its problems a line: the message, and what stands at the caret.
fn answers(text: &str, problems: &Diagnostics) -> String {
    let mut out = format!("{text}\n");
    for problem in problems {
        out.push_str(&format!("    {}", problem.message()));
        problem.label().into_iter().for_each(|label| out.push_str(&format!(" | {label}")));
        out.push('\n');
    }
    out
}

#[test]
fn single_equals() {
    assert_snapshot!(condition(r#"host = "a""#), @r#"
    error: expected an operator, found `=`
     --> condition:1:6
      |
    1 | host = "a"
      |      ^ equality is written `==`
    "#);
}

#[test]
fn single_quotes() {
    assert_snapshot!(condition("host == 'a'"), @r#"
    error: expected a field, a function, a literal or `(`, found `'`
     --> condition:1:9
      |
    1 | host == 'a'
      |         ^ strings stand in double quotes
    "#);
}

#[test]
fn single_ampersand() {
    assert_snapshot!(condition("is_staff & is_staff"), @r#"
    error: expected an operator, found `&`
     --> condition:1:10
      |
    1 | is_staff & is_staff
      |          ^ and is written `&&`
    "#);
}

#[test]
fn single_bar() {
    assert_snapshot!(condition("is_staff | is_staff"), @r#"
    error: expected an operator, found `|`
     --> condition:1:10
      |
    1 | is_staff | is_staff
      |          ^ or is written `||`
    "#);
}

#[test]
fn tilde_for_matches() {
    assert_snapshot!(condition(r#"path ~ "^/a""#), @r#"
    error: expected an operator, found `~`
     --> condition:1:6
      |
    1 | path ~ "^/a"
      |      ^ a regular expression is asked with `matches`, and refused with `!(… matches …)`
    "#);
}

#[test]
fn perl_match() {
    assert_snapshot!(condition(r#"path =~ "^/a""#), @r#"
    error: expected an operator, found `=~`
     --> condition:1:6
      |
    1 | path =~ "^/a"
      |      ^^ a regular expression is asked with `matches`
    "#);
}

#[test]
fn less_greater() {
    assert_snapshot!(condition(r#"host <> "a""#), @r#"
    error: expected a field, a function, a literal or `(`, found `>`
     --> condition:1:7
      |
    1 | host <> "a"
      |       ^ inequality is written `!=`
    "#);
}

#[test]
fn chained_comparison() {
    assert_snapshot!(condition("1 < port < 1024"), @r#"
    error: `<` follows a comparison
     --> condition:1:10
      |
    1 | 1 < port < 1024
      |          ^ comparisons do not chain; join them with `&&`
    "#);
}

#[test]
fn not_inside_comparison() {
    assert_snapshot!(condition(r#"host == !"a""#), @r#"
    error: `!` stands inside a comparison
     --> condition:1:9
      |
    1 | host == !"a"
      |         ^ negate the whole comparison: `!(a == b)`, or `a != b`
    "#);
}

#[test]
fn missing_right_side() {
    assert_snapshot!(condition("host =="), @r#"
    error: expected a field, a function, a literal or `(`, found the end of the text
     --> condition:1:8
      |
    1 | host ==
      |        ^ the text ends too early
    "#);
}

#[test]
fn missing_left_side() {
    assert_snapshot!(condition("in beta"), @r#"
    error: expected a field, a function, a literal or `(`, found `in`
     --> condition:1:1
      |
    1 | in beta
      | ^^ the operator has nothing on its left side
    "#);
}

#[test]
fn missing_parenthesis() {
    assert_snapshot!(condition(r#"(host == "a""#), @r#"
    error: expected an operator or `)`, found the end of the text
     --> condition:1:13
      |
    1 | (host == "a"
      |             ^ a parenthesis is not closed
    "#);
}

#[test]
fn too_many_parentheses() {
    assert_snapshot!(condition(r#"host == "a")"#), @r#"
    error: expected an operator, found `)`
     --> condition:1:12
      |
    1 | host == "a")
      |            ^ no parenthesis is open here
    "#);
}

#[test]
fn unclosed_raw_string() {
    assert_snapshot!(condition(r##"host == r"a"##), @r#"
    error: a raw string has no closing `"` on its line
     --> condition:1:9
      |
    1 | host == r"a
      |         ^ it starts here
    "#);
    assert_snapshot!(condition(r###"host matches r##"a"# && path == "/""###), @r###"
    error: a raw string has no closing `"##` on its line
     --> condition:1:14
      |
    1 | host matches r##"a"# && path == "/"
      |              ^ it starts here
    "###);
    assert_snapshot!(rules("route a: true => gray by ip salt r#\"x\ndefault => prod"), @r##"
    error: a raw string has no closing `"#` on its line
     --> rules:1:34
      |
    1 | route a: true => gray by ip salt r#"x
      |                                  ^ it starts here
    "##);
    assert_snapshot!(rules("route r\"a\": true => gray\ndefault => prod"), @r#"
    error: expected a name, found a raw string
     --> rules:1:7
      |
    1 | route r"a": true => gray
      |       ^
    "#);
}

#[test]
fn unclosed_string() {
    assert_snapshot!(condition(r#"host == "a"#), @r#"
    error: a string has no closing quote on its line
     --> condition:1:9
      |
    1 | host == "a
      |         ^ it starts here; a quote within a string is written `\"`
    "#);
}

#[test]
fn unclosed_list() {
    assert_snapshot!(condition(r#"host in ["a", "b""#), @r#"
    error: expected `,`, `]` or `..`, found the end of the text
     --> condition:1:18
      |
    1 | host in ["a", "b"
      |                  ^ a bracket is not closed
    "#);
}

#[test]
fn two_commas() {
    assert_snapshot!(condition(r#"host in ["a",, "b"]"#), @r#"
    error: expected a literal or `]`, found `,`
     --> condition:1:14
      |
    1 | host in ["a",, "b"]
      |              ^
    "#);
}

#[test]
fn braces() {
    assert_snapshot!(condition(r#"host in {"a"}"#), @r#"
    error: expected a field, a function, a literal or `(`, found `{`
     --> condition:1:9
      |
    1 | host in {"a"}
      |         ^ there are no braces; a list stands in `[ ]`, a condition in `( )`
    "#);
}

#[test]
fn arithmetic() {
    assert_snapshot!(condition("port + 1 == 2"), @r#"
    error: expected an operator, found `+`
     --> condition:1:6
      |
    1 | port + 1 == 2
      |      ^ there is no arithmetic but `%`
    "#);
}

#[test]
fn misspelt_operator() {
    assert_snapshot!(condition(r#"path startswith "/a""#), @r#"
    error: expected an operator, found `startswith`
     --> condition:1:6
      |
    1 | path startswith "/a"
      |      ^^^^^^^^^^ did you mean `starts_with`?
    "#);
}

#[test]
fn unknown_escape() {
    assert_snapshot!(condition(r#"path matches "^/\d+$""#), @r#"
    error: unknown escape `\d` in a string
     --> condition:1:17
      |
    1 | path matches "^/\d+$"
      |                 ^^ known are `\"`, `\\`, `\n`, `\r`, `\t` and `\u{…}`
      = help: in a raw string, `r"…"`, a backslash is just a backslash: best for regular expressions
    "#);
}

#[test]
fn bad_unicode_escape() {
    assert_snapshot!(condition(r#"host == "\u{110000}""#), @r#"
    error: `\u` is not followed by a character in braces
     --> condition:1:10
      |
    1 | host == "\u{110000}"
      |          ^^ write it as `\u{e9}`, with 1 to 6 hexadecimal digits of a Unicode character
    "#);
}

#[test]
fn nul_byte() {
    assert_snapshot!(condition("host\0 == \"a\""), @r#"
    error: expected an operator, found `\0`
     --> condition:1:5
      |
    1 | host  == "a"
      |     ^ this is a NUL byte; delete it
    "#);
}

#[test]
fn no_break_space() {
    assert_snapshot!(condition("host\u{a0}== \"a\""), @r#"
    error: expected an operator, found `\u{a0}`
     --> condition:1:5
      |
    1 | host == "a"
      |     ^ this is a no-break space; write a plain one
    "#);
}

#[test]
fn condition_as_value() {
    assert_snapshot!(condition(r#"(host == "a") == true"#), @r#"
    error: `host == "a"` is a condition, not a value
     --> condition:1:2
      |
    1 | (host == "a") == true
      |  ^^^^^^^^^^^ conditions are joined with `&&` and `||`, not compared
    "#);
}

#[test]
fn missing_condition() {
    assert_snapshot!(rules("route a: => gray\n\
             default => prod"), @r#"
    error: expected a field, a function, a literal or `(`, found `=>`
     --> rules:1:10
      |
    1 | route a: => gray
      |          ^^ a condition is missing; `true` is one
    "#);
}

#[test]
fn missing_colon() {
    assert_snapshot!(rules("route a host == \"x\" => gray\n\
             default => prod"), @r#"
    error: expected `:`, found `host`
     --> rules:1:9
      |
    1 | route a host == "x" => gray
      |         ^^^^ the name of a route is followed by `:`
    "#);
}

#[test]
fn missing_name() {
    assert_snapshot!(rules("route: host == \"x\" => gray\n\
             default => prod"), @r#"
    error: expected a name, found `:`
     --> rules:1:6
      |
    1 | route: host == "x" => gray
      |      ^ a route has a name: `route staff: …`
    "#);
}

#[test]
fn missing_arrow() {
    assert_snapshot!(rules("route a: host == \"x\" gray\n\
             default => prod"), @r#"
    error: expected an operator or `=>`, found `gray`
     --> rules:1:22
      |
    1 | route a: host == "x" gray
      |                      ^^^^ the outcome follows `=>`
    "#);
}

#[test]
fn thin_arrow() {
    assert_snapshot!(rules("route a: host == \"x\" -> gray\n\
             default => prod"), @r#"
    error: expected an operator or `=>`, found `->`
     --> rules:1:22
      |
    1 | route a: host == "x" -> gray
      |                      ^^ the outcome follows `=>`
    "#);
}

#[test]
fn reserved_name() {
    assert_snapshot!(rules("route in: host == \"x\" => gray\n\
             default => prod"), @r#"
    error: `in` is a reserved word
     --> rules:1:7
      |
    1 | route in: host == "x" => gray
      |       ^^ as a name it needs quotes: `"in"`
    "#);
}

#[test]
fn name_with_digit() {
    assert_snapshot!(rules("route 1st: host == \"x\" => gray\n\
             default => prod"), @r#"
    error: expected a name, found `1st`
     --> rules:1:7
      |
    1 | route 1st: host == "x" => gray
      |       ^^^ a name starts with a letter or `_`; any other can be quoted
    "#);
}

#[test]
fn unknown_statement() {
    assert_snapshot!(rules("rout a: host == \"x\" => gray\n\
             default => prod"), @r#"
    error: unknown statement `rout`
     --> rules:1:1
      |
    1 | rout a: host == "x" => gray
      | ^^^^ did you mean `route`?
    "#);
}

#[test]
fn stranger_statement() {
    assert_snapshot!(rules("when host == \"x\" => gray\n\
             default => prod"), @r#"
    error: unknown statement `when`
     --> rules:1:1
      |
    1 | when host == "x" => gray
      | ^^^^ a statement starts with a word such as `list`, `cluster`, `route`, `deny`, `paused` or `default`
    "#);
}

#[test]
fn gateway_statement() {
    assert_snapshot!(rules("deny bots: header(user-agent) contains \"Bot\" => 403\n\
             default => prod"), @r#"
    error: this application does not serve `deny` statements
     --> rules:1:6
      |
    1 | deny bots: header(user-agent) contains "Bot" => 403
      |      ^^^^ nobody would do what this says
      = help: in Rust: `Schema::gateway`, and a layer that does it
    "#);
}

#[test]
fn paused_default() {
    assert_snapshot!(rules("paused default => prod"), @r#"
    error: `default` cannot be paused
     --> rules:1:8
      |
    1 | paused default => prod
      |        ^^^^^^^ only rules can: a `route`, or a statement of the service gateway
    "#);
}

#[test]
fn paused_shadow() {
    assert_snapshot!(rules("paused shadow route a: host == \"x\" => gray\n\
             default => prod"), @r#"
    error: a rule is either paused or shadow
     --> rules:1:8
      |
    1 | paused shadow route a: host == "x" => gray
      |        ^^^^^^ delete one of the two
    "#);
}

#[test]
fn semicolon() {
    assert_snapshot!(rules("default => prod;"), @r#"
    error: expected `,`, a weight or `by`, found `;`
     --> rules:1:16
      |
    1 | default => prod;
      |                ^ statements need no `;` between them
    "#);
}

#[test]
fn condition_after_outcome() {
    assert_snapshot!(rules("route a: host == \"x\" => gray && is_staff\n\
             default => prod"), @r#"
    error: expected `,`, a weight or `by`, found `&&`
     --> rules:1:30
      |
    1 | route a: host == "x" => gray && is_staff
      |                              ^^ a condition stands before `=>`; after the outcome the next statement starts
    "#);
}

#[test]
fn list_with_colon() {
    assert_snapshot!(rules("list beta: [\"1\"]\n\
             default => prod"), @r#"
    error: expected `=`, found `:`
     --> rules:1:10
      |
    1 | list beta: ["1"]
      |          ^ the name is followed by `=`
    "#);
}

#[test]
fn several_mistakes_at_once() {
    assert_snapshot!(rules("route a: hots == \"x\" => gray\n\
             route b: path = \"/b\" => gray\n\
             route c: true => grey\n\
             default => prod"), @r#"
    error: unknown field `hots`
     --> rules:1:10
      |
    1 | route a: hots == "x" => gray
      |          ^^^^ did you mean `host`?

    error: expected an operator or `=>`, found `=`
     --> rules:2:15
      |
    2 | route b: path = "/b" => gray
      |               ^ equality is written `==`

    error: unknown cluster `grey`
     --> rules:3:18
      |
    3 | route c: true => grey
      |                  ^^^^ did you mean `gray`?
    "#);
}

#[test]
fn too_deep() {
    assert_snapshot!(condition(&format!("{}is_staff{}", "(".repeat(70), ")".repeat(70))), @r#"
    error: nested deeper than 32
     --> condition:1:33
      |
    1 | ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((is_staff))))))))))))))))))))))…
      |                                 ^ parentheses, brackets and `!` count
      = help: `a || b || c` needs no parentheses; the application can raise the limit `depth`
    "#);
}

#[test]
fn regex_too_large() {
    assert_snapshot!(condition(r#"path matches "(a{1000}){1000}""#), @r#"
    error: the regular expression takes more than 1048576 bytes once compiled
     --> condition:1:14
      |
    1 | path matches "(a{1000}){1000}"
      |              ^^^^^^^^^^^^^^^^^ fewer or smaller repetitions are needed
      = help: `(?-u)` makes classes such as `\w` small; the application can raise the limit `regex_bytes`
    "#);
}

#[test]
fn leading_zeros() {
    assert_snapshot!(condition("port == 0443"), @r#"
    error: `0443` has leading zeros
     --> condition:1:9
      |
    1 | port == 0443
      |         ^^^^ write it without
    "#);
}

#[test]
fn hex_int() {
    assert_snapshot!(condition("port == 0x1F"), @r#"
    error: `0x1F` is not a number
     --> condition:1:9
      |
    1 | port == 0x1F
      |         ^^^^ numbers are decimal digits, with no letters and no `_`
      = help: text is written in quotes; a name starts with a letter or `_`
    "#);
}

#[test]
fn underscores_in_int() {
    assert_snapshot!(condition("port == 1_000"), @r#"
    error: `1_000` is not a number
     --> condition:1:9
      |
    1 | port == 1_000
      |         ^^^^^ numbers are decimal digits, with no letters and no `_`
      = help: text is written in quotes; a name starts with a letter or `_`
    "#);
}

#[test]
fn int_overflow() {
    assert_snapshot!(condition("int(header(x)) == 9223372036854775808"), @r#"
    error: `9223372036854775808` is too large for an int
     --> condition:1:19
      |
    1 | int(header(x)) == 9223372036854775808
      |                   ^^^^^^^^^^^^^^^^^^^ ints go from -9223372036854775808 to 9223372036854775807
    "#);
}

#[test]
fn bare_version() {
    assert_snapshot!(condition("version(header(v)) >= 2.3.0"), @r#"
    error: `2.3.0` is not a number
     --> condition:1:23
      |
    1 | version(header(v)) >= 2.3.0
      |                       ^^^^^ a version is written in quotes
    "#);
}

#[test]
fn bare_short_version() {
    assert_snapshot!(condition("version(header(v)) >= 2.3"), @r#"
    error: `2.3` is a decimal, which only a percentage is compared with
     --> condition:1:23
      |
    1 | version(header(v)) >= 2.3
      |                       ^^^ a version is written in quotes
    "#);
}

#[test]
fn version_literal() {
    assert_snapshot!(condition(r#"version(header(v)) >= "2.x""#), @r#"
    error: `2.x` is not a version
     --> condition:1:23
      |
    1 | version(header(v)) >= "2.x"
      |                       ^^^^^ as in "2", "v2.3" or "2.3.0-rc.1"; numbers have no leading zeros
    "#);
}

#[test]
fn time_without_offset() {
    assert_snapshot!(condition(r#"now >= "2026-11-27T00:00:00""#), @r#"
    error: `2026-11-27T00:00:00` is not an instant
     --> condition:1:8
      |
    1 | now >= "2026-11-27T00:00:00"
      |        ^^^^^^^^^^^^^^^^^^^^^ add the offset from UTC, as `Z` or `+08:00`
    "#);
}

#[test]
fn time_literal() {
    assert_snapshot!(condition(r#"now >= "27 Nov 2026""#), @r#"
    error: `27 Nov 2026` is not an instant
     --> condition:1:8
      |
    1 | now >= "27 Nov 2026"
      |        ^^^^^^^^^^^^^ write it as RFC 3339 does: "2026-11-27T00:00:00+08:00"
    "#);
}

#[test]
fn bad_address() {
    assert_snapshot!(condition("ip == 10.0.0.256"), @r#"
    error: `10.0.0.256` is not an address
     --> condition:1:7
      |
    1 | ip == 10.0.0.256
      |       ^^^^^^^^^^ IPv4 has four numbers from 0 to 255, without leading zeros
    "#);
}

#[test]
fn bad_ipv6() {
    assert_snapshot!(condition("ip == 1::2::3"), @r#"
    error: `1::2::3` is not an address
     --> condition:1:7
      |
    1 | ip == 1::2::3
      |       ^^^^^^^ IPv6 has eight groups of up to four hexadecimal digits; `::` stands for zeros, once
    "#);
}

#[test]
fn what_is_no_address_is_told_how_the_family_it_looks_like_is_written() {
    assert_snapshot!(said([
        r#"ip == "10.0.0""#,
        r#"ip == "10.0.0.256""#,
        r#"ip == "1::2::3""#,
        r#"ip == "a.test""#,
        r#"ip in ["a.test", "10.0.0"]"#,
    ]), @r#"
    ip == "10.0.0"
        `10.0.0` is not an address | IPv4 has four numbers from 0 to 255, without leading zeros
    ip == "10.0.0.256"
        `10.0.0.256` is not an address | IPv4 has four numbers from 0 to 255, without leading zeros
    ip == "1::2::3"
        `1::2::3` is not an address | IPv6 has eight groups of up to four hexadecimal digits; `::` stands for zeros, once
    ip == "a.test"
        `a.test` is not an address | as in `10.0.0.1` or `2001:db8::1`; a name is asked with `host`
    ip in ["a.test", "10.0.0"]
        `a.test` is not an address | as in `10.0.0.1` or `2001:db8::1`; a name is asked with `host`
        `10.0.0` is not an address | IPv4 has four numbers from 0 to 255, without leading zeros
    "#);
}

#[test]
fn host_bits() {
    assert_snapshot!(condition("ip in [10.0.0.1/8]"), @r#"
    error: `10.0.0.1/8` has bits set after its prefix
     --> condition:1:8
      |
    1 | ip in [10.0.0.1/8]
      |        ^^^^^^^^^^ the network is `10.0.0.0/8`; the one address is `10.0.0.1`
    "#);
}

#[test]
fn bad_prefix() {
    assert_snapshot!(condition("ip in [10.0.0.0/33]"), @r#"
    error: `10.0.0.0/33` has no valid prefix length
     --> condition:1:8
      |
    1 | ip in [10.0.0.0/33]
      |        ^^^^^^^^^^^ after the `/` stands a number from 0 to 32
    "#);
}

#[test]
fn network_as_address() {
    assert_snapshot!(condition("ip == 10.0.0.0/8"), @r#"
    error: `10.0.0.0/8` is a network, not an address
     --> condition:1:7
      |
    1 | ip == 10.0.0.0/8
      |       ^^^^^^^^^^ ask `in [10.0.0.0/8]`
    "#);
}

#[test]
fn network_without_list() {
    assert_snapshot!(condition("ip in 10.0.0.0/8"), @r#"
    error: `in` needs a list on its right
     --> condition:1:7
      |
    1 | ip in 10.0.0.0/8
      |       ^^^^^^^^^^ one value is a list too: `[10.0.0.0/8]`
    "#);
}

#[test]
fn reversed_range() {
    assert_snapshot!(condition("port in [443..80]"), @r#"
    error: a range that ends before it starts
     --> condition:1:10
      |
    1 | port in [443..80]
      |          ^^^^^^^ the lower end comes first
    "#);
}

#[test]
fn range_over_families() {
    assert_snapshot!(condition("ip in [10.0.0.1..2001:db8::1]"), @r#"
    error: a range from IPv4 to IPv6
     --> condition:1:8
      |
    1 | ip in [10.0.0.1..2001:db8::1]
      |        ^^^^^^^^^^^^^^^^^^^^^ write one range for each family
    "#);
}

#[test]
fn range_of_strings() {
    assert_snapshot!(condition(r#"host in ["a".."b"]"#), @r#"
    error: a range of strings
     --> condition:1:10
      |
    1 | host in ["a".."b"]
      |          ^^^^^^^^ ranges are of ints, addresses, versions or instants
    "#);
}

#[test]
fn percent_too_fine() {
    assert_snapshot!(condition("percent(ip) < 0.00001"), @r#"
    error: `0.00001` has more than four decimal places
     --> condition:1:15
      |
    1 | percent(ip) < 0.00001
      |               ^^^^^^^ steps of 0.0001 are the finest there are
    "#);
}

#[test]
fn percent_too_large() {
    assert_snapshot!(condition("percent(ip) < 101"), @r#"
    error: `101` is not a percentage
     --> condition:1:15
      |
    1 | percent(ip) < 101
      |               ^^^ percentages go from 0 to 100
    "#);
}

#[test]
fn decimal_elsewhere() {
    assert_snapshot!(condition("port == 80.5"), @r#"
    error: `80.5` is a decimal, which only a percentage is compared with
     --> condition:1:9
      |
    1 | port == 80.5
      |         ^^^^ here stands an int
    "#);
}

#[test]
fn bad_regex() {
    assert_snapshot!(condition(r#"path matches "[""#), @r#"
    error: the regular expression cannot be read: unclosed character class
     --> condition:1:14
      |
    1 | path matches "["
      |              ^^^ the dialect is that of the Rust `regex` crate: no look-around, no back-references
    "#);
}

#[test]
fn look_around() {
    assert_snapshot!(condition(r#"path matches "(?!a)""#), @r#"
    error: the regular expression cannot be read: look-around, including look-ahead and look-behind, is not supported
     --> condition:1:14
      |
    1 | path matches "(?!a)"
      |              ^^^^^^^ the dialect is that of the Rust `regex` crate: no look-around, no back-references
    "#);
}

#[test]
fn unknown_field() {
    assert_snapshot!(condition(r#"hots == "a""#), @r#"
    error: unknown field `hots`
     --> condition:1:1
      |
    1 | hots == "a"
      | ^^^^ did you mean `host`?
    "#);
}

#[test]
fn unknown_field_stranger() {
    assert_snapshot!(condition(r#"region == "eu""#), @r#"
    error: unknown field `region`
     --> condition:1:1
      |
    1 | region == "eu"
      | ^^^^^^ a string stands in quotes; a header is `header(NAME)`, a cookie `cookie(NAME)`
    "#);
}

#[test]
fn unknown_function() {
    assert_snapshot!(condition(r#"lowercase(host) == "a""#), @r#"
    error: unknown field or function `lowercase`
     --> condition:1:1
      |
    1 | lowercase(host) == "a"
      | ^^^^^^^^^ functions are `lower`, `len`, `int`, `version`, `exists` and `percent`; fields with a name `header`, `cookie` and `query`
    "#);
}

#[test]
fn misspelt_function_of_call() {
    assert_snapshot!(condition(r#"lowr(header(x)) == "a""#), @r#"
    error: unknown function `lowr`
     --> condition:1:1
      |
    1 | lowr(header(x)) == "a"
      | ^^^^ did you mean `lower`?
    "#);
}

#[test]
fn header_without_argument() {
    assert_snapshot!(condition(r#"header == "x""#), @r#"
    error: `header` needs an argument
     --> condition:1:1
      |
    1 | header == "x"
      | ^^^^^^ as in `header(user-agent)`
    "#);
}

#[test]
fn argument_where_none() {
    assert_snapshot!(condition(r#"host(x) == "a""#), @r#"
    error: `host` takes no argument
     --> condition:1:6
      |
    1 | host(x) == "a"
      |      ^ write `host`
    "#);
}

#[test]
fn empty_argument() {
    assert_snapshot!(condition(r#"header() == "x""#), @r#"
    error: `header()` has no argument
     --> condition:1:1
      |
    1 | header() == "x"
      | ^^^^^^^^ name what is meant, as in `header(x-canary)`; a field without argument has no parentheses
    "#);
}

#[test]
fn bad_header_name() {
    assert_snapshot!(condition(r#"header("x y") == "a""#), @r#"
    error: `x y` is not a header name
     --> condition:1:8
      |
    1 | header("x y") == "a"
      |        ^^^^^ letters, digits and `!#$%&'*+-.^_`|~`, at least one
    "#);
}

#[test]
fn list_as_field() {
    assert_snapshot!(condition(r#"beta == "1""#), @r#"
    error: unknown field `beta`
     --> condition:1:1
      |
    1 | beta == "1"
      | ^^^^ it is a list: ask `… in beta`
    "#);
}

#[test]
fn unknown_list() {
    assert_snapshot!(condition("cookie(uid) in betta"), @r#"
    error: unknown list `betta`
     --> condition:1:16
      |
    1 | cookie(uid) in betta
      |                ^^^^^ did you mean `beta`?
    "#);
}

#[test]
fn field_as_list() {
    assert_snapshot!(condition("cookie(uid) in host"), @r#"
    error: unknown list `host`
     --> condition:1:16
      |
    1 | cookie(uid) in host
      |                ^^^^ it is a field; compare fields with `==`
    "#);
}

#[test]
fn function_as_field() {
    assert_snapshot!(condition(r#"version >= "2""#), @r#"
    error: unknown field `version`
     --> condition:1:1
      |
    1 | version >= "2"
      | ^^^^^^^ it is a function: `version(…)`
    "#);
}

#[test]
fn two_arguments() {
    assert_snapshot!(condition(r#"lower(host, path) == "a""#), @r#"
    error: `lower` takes one argument, found 2
     --> condition:1:1
      |
    1 | lower(host, path) == "a"
      | ^^^^^^^^^^^^^^^^^ as in `lower(cookie(uid))`
    "#);
}

#[test]
fn percent_salt() {
    assert_snapshot!(condition("percent(ip, host) < 5"), @r#"
    error: the salt is not a string literal
     --> condition:1:13
      |
    1 | percent(ip, host) < 5
      |             ^^^^ as in `percent(cookie(uid), "checkout")`
    "#);
}

#[test]
fn unknown_cluster() {
    assert_snapshot!(rules("default => prodd"), @r#"
    error: unknown cluster `prodd`
     --> rules:1:12
      |
    1 | default => prodd
      |            ^^^^^ did you mean `prod`?
    "#);
}

#[test]
fn unknown_cluster_stranger() {
    assert_snapshot!(rules("default => eu-west"), @r#"
    error: unknown cluster `eu-west`
     --> rules:1:12
      |
    1 | default => eu-west
      |            ^^^^^^^ known: `gray`, `prod`
    "#);
}

#[test]
fn duplicate_route() {
    assert_snapshot!(rules("route a: is_staff => gray\n\
             route a: true => prod\n\
             default => prod"), @r#"
    error: a second route `a`
     --> rules:2:7
      |
    2 | route a: true => prod
      |       ^ choose another name
      = note: the first stands at 1:7
    "#);
}

#[test]
fn duplicate_list() {
    assert_snapshot!(rules("list a = [1]\n\
             list a = [2]\n\
             route r: port in a => gray\n\
             default => prod"), @r#"
    error: a second list `a`
     --> rules:2:6
      |
    2 | list a = [2]
      |      ^ choose another name
      = note: the first stands at 1:6
    "#);
}

#[test]
fn cluster_is_declared() {
    assert_snapshot!(rules("cluster gray = prod\n\
             default => gray"), @r#"
    error: the application declares a cluster `gray`
     --> rules:1:9
      |
    1 | cluster gray = prod
      |         ^^^^ a cluster made of others needs a name of its own
    "#);
}

#[test]
fn list_is_supplied() {
    assert_snapshot!(rules("list beta = [\"1\"]\n\
             route a: cookie(uid) in beta => gray\n\
             default => prod"), @r#"
    error: the application supplies a list `beta`
     --> rules:1:6
      |
    1 | list beta = ["1"]
      |      ^^^^ choose another name
    "#);
}

#[test]
fn no_default() {
    assert_snapshot!(rules("route a: is_staff => gray"), @r#"
    error: there is no `default`
     --> rules:1:26
      |
    1 | route a: is_staff => gray
      |                          ^ add `default => CLUSTER`: where requests go that no route takes
    "#);
}

#[test]
fn two_defaults() {
    assert_snapshot!(rules("default => prod\n\
             default => gray"), @r#"
    error: a second `default`
     --> rules:2:1
      |
    2 | default => gray
      | ^^^^^^^ there is one, and it decides when no route does
      = note: the first stands at 1:1
    "#);
}

#[test]
fn string_against_int() {
    assert_snapshot!(condition("header(x) == 5"), @r#"
    error: expected a string, found an int
     --> condition:1:14
      |
    1 | header(x) == 5
      |              ^ write `"5"`, or `int(header(x))` on the other side
    "#);
}

#[test]
fn string_ordered() {
    assert_snapshot!(condition(r#"header(x-app-version) >= "2.3""#), @r#"
    error: `>=` does not compare strings
     --> condition:1:23
      |
    1 | header(x-app-version) >= "2.3"
      |                       ^^ say as what: `int(header(x-app-version))` or `version(header(x-app-version))`
    "#);
}

#[test]
fn address_ordered() {
    assert_snapshot!(condition("ip < 10.0.0.1"), @r#"
    error: `<` does not compare ips
     --> condition:1:4
      |
    1 | ip < 10.0.0.1
      |    ^ ask `in` with a network or a range
    "#);
}

#[test]
fn int_of_address() {
    assert_snapshot!(condition("int(ip) == 1"), @r#"
    error: `int` takes a string, this is an ip
     --> condition:1:5
      |
    1 | int(ip) == 1
      |     ^^
    "#);
}

#[test]
fn int_of_int() {
    assert_snapshot!(condition("int(port) == 1"), @r#"
    error: `int` takes a string, this is an int
     --> condition:1:5
      |
    1 | int(port) == 1
      |     ^^^^ it is one already; delete `int`
    "#);
}

#[test]
fn two_types() {
    assert_snapshot!(condition("header(x) == port"), @r#"
    error: a string is compared with an int
     --> condition:1:1
      |
    1 | header(x) == port
      | ^^^^^^^^^^^^^^^^^ read the string as an int: `int(…)`
    "#);
}

#[test]
fn a_literal_of_another_type_is_answered_with_the_one_that_fits() {
    assert_snapshot!(said([
        r#"port == "80""#,
        r#"port == "a""#,
        "port == true",
        "port == 10.0.0.1",
        "port == 80.5",
        "host == 5",
        "host == true",
        "host == 10.0.0.1",
        "host == 10.0.0.0/8",
        "host == 1.5",
        "is_staff == 1",
        r#"is_staff == "true""#,
        "now > 5",
        "now > true",
        r#"now > "2026-11-27""#,
        r#"now > "2026-11-27T00:00:00""#,
        "version(host) >= 2",
        "version(host) >= 2.3",
        "version(host) >= true",
        r#"version(host) >= "2.x""#,
        "ip == 5",
        r#"ip == "10.0.0.0/8""#,
        r#"ip == "10.0.0.1/8""#,
        "ip == 10.0.0.0/8",
        r#"percent(ip) < "5""#,
        "percent(ip) < -1",
        "percent(ip) < 101",
        "percent(ip) < 100.0001",
        "percent(ip) < -0.5",
        r#""80" == port"#,
        "host in [1]",
        r#"port in ["a"]"#,
        r#"ip in ["10.0.0.1/8"]"#,
        r#"ip in ["10.0.0.0/33"]"#,
        "port in [9..8]",
        r#"version(host) in ["3".."2"]"#,
        r#"now in ["2026-02-01T00:00:00Z".."2026-01-01T00:00:00Z"]"#,
        "ip in [10.0.0.2..10.0.0.1]",
        "ip in [10.0.0.1..::1]",
        "ip in [::1..10.0.0.1]",
        "ip in [10.0.0.0/8..10.0.0.1]",
        r#"host in ["a".."b"]"#,
    ]), @r#"
    port == "80"
        expected an int, found a string | as an int it is `80`
    port == "a"
        expected an int, found a string | an int stands here
    port == true
        expected an int, found a bool | an int stands here
    port == 10.0.0.1
        expected an int, found an ip | an int stands here
    port == 80.5
        `80.5` is a decimal, which only a percentage is compared with | here stands an int
    host == 5
        expected a string, found an int | write `"5"`, or `int(host)` on the other side
    host == true
        expected a string, found a bool | write `"true"`
    host == 10.0.0.1
        expected a string, found an ip | write `"10.0.0.1"`
    host == 10.0.0.0/8
        expected a string, found an ip | as a string it is `"10.0.0.0/8"`
    host == 1.5
        `1.5` is a decimal, which only a percentage is compared with | here stands a string
    is_staff == 1
        expected a bool, found an int | a bool is compared with `true` or `false`, or stands alone
    is_staff == "true"
        expected a bool, found a string | a bool is compared with `true` or `false`, or stands alone
    now > 5
        expected a time, found an int | write it as RFC 3339 does: "2026-11-27T00:00:00+08:00"
    now > true
        expected a time, found a bool | write it as RFC 3339 does: "2026-11-27T00:00:00+08:00"
    now > "2026-11-27"
        `2026-11-27` is not an instant | write it as RFC 3339 does: "2026-11-27T00:00:00+08:00"
    now > "2026-11-27T00:00:00"
        `2026-11-27T00:00:00` is not an instant | add the offset from UTC, as `Z` or `+08:00`
    version(host) >= 2
        expected a version, found an int | as a version it is `"2"`
    version(host) >= 2.3
        `2.3` is a decimal, which only a percentage is compared with | a version is written in quotes
    version(host) >= true
        expected a version, found a bool | a version stands here
    version(host) >= "2.x"
        `2.x` is not a version | as in "2", "v2.3" or "2.3.0-rc.1"; numbers have no leading zeros
    ip == 5
        expected an ip, found an int | an ip stands here
    ip == "10.0.0.0/8"
        `10.0.0.0/8` is a network, not an address | ask `in [10.0.0.0/8]`
    ip == "10.0.0.1/8"
        `10.0.0.1/8` has bits set after its prefix | the network is `10.0.0.0/8`; the one address is `10.0.0.1`
    ip == 10.0.0.0/8
        `10.0.0.0/8` is a network, not an address | ask `in [10.0.0.0/8]`
    percent(ip) < "5"
        expected a percentage, found a string | a percentage stands here
    percent(ip) < -1
        `-1` is not a percentage | percentages go from 0 to 100
    percent(ip) < 101
        `101` is not a percentage | percentages go from 0 to 100
    percent(ip) < 100.0001
        `100.0001` is not a percentage | percentages go from 0 to 100
    percent(ip) < -0.5
        `-0.5` is negative | percentages and weights are 0 or more
    "80" == port
        expected an int, found a string | as an int it is `80`
    host in [1]
        expected a string, found an int | as a string it is `"1"`
    port in ["a"]
        expected an int, found a string | an int stands here
    ip in ["10.0.0.1/8"]
        `10.0.0.1/8` has bits set after its prefix | the network is `10.0.0.0/8`; the one address is `10.0.0.1`
    ip in ["10.0.0.0/33"]
        `10.0.0.0/33` has no valid prefix length | after the `/` stands a number from 0 to 32
    port in [9..8]
        a range that ends before it starts | the lower end comes first
    version(host) in ["3".."2"]
        a range that ends before it starts | the lower end comes first
    now in ["2026-02-01T00:00:00Z".."2026-01-01T00:00:00Z"]
        a range that ends before it starts | the lower end comes first
    ip in [10.0.0.2..10.0.0.1]
        a range that ends before it starts | the lower end comes first
    ip in [10.0.0.1..::1]
        a range from IPv4 to IPv6 | write one range for each family
    ip in [::1..10.0.0.1]
        a range from IPv4 to IPv6 | write one range for each family
    ip in [10.0.0.0/8..10.0.0.1]
        `10.0.0.0/8` is a network, not an address | ask `in [10.0.0.0/8]`
    host in ["a".."b"]
        a range of strings | ranges are of ints, addresses, versions or instants
    "#);
}

#[test]
fn an_operator_says_what_it_takes() {
    assert_snapshot!(said([
        "host",
        "ip",
        "42",
        "1.5",
        r#""x""#,
        "10.0.0.1",
        "10.0.0.0/8",
        "percent(ip) in [1]",
        "percent(ip) not in beta",
        "is_staff in [true]",
        "is_staff < true",
        "ip < 10.0.0.1",
        r#"host < "a""#,
        r#""a" >= lower(host)"#,
        "path < host",
        "ip <= ip",
        "is_staff > is_staff",
        "host == port",
        "port != host",
        "host == version(path)",
        "version(path) == host",
        "version(path) == port",
        "ip == host",
        "1 == 1",
        r#""a" contains host"#,
        r#"port contains "8""#,
        r#"ip under "10""#,
        r#"ip starts_with "10.""#,
        r#"ip contains "10.""#,
        r#"ip ends_with ".1""#,
        r#"port starts_with "8""#,
        "path starts_with 5",
        "path under host",
        r#"raw_path under "/a""#,
        r#"lower(path) under "/a""#,
        r#"header(x) under "/a""#,
        "host % 3 == 1",
        "ip % 3 == 1",
        r#""5" % 3 == 1"#,
        r#""a" ?? "b" == "c""#,
        "host ?? port == 1",
        r#"host ?? port ?? ip == "a""#,
        r#"port ?? "a" == 1"#,
        r#"host ?? 5 == "a""#,
        r#""a" ?? host ?? port == "b""#,
    ]), @r#"
    host
        `host` is a string, not a condition | compare it, or ask `exists(…)`
    ip
        `ip` is an ip, not a condition | compare it, or ask `exists(…)`
    42
        `42` is an int, not a condition | a condition looks at the request
    1.5
        `1.5` is a percentage, not a condition | a condition looks at the request
    "x"
        `"x"` is a string, not a condition | a condition looks at the request
    10.0.0.1
        `10.0.0.1` is an ip, not a condition | a condition looks at the request
    10.0.0.0/8
        `10.0.0.0/8` is an ip, not a condition | a condition looks at the request
    percent(ip) in [1]
        a percentage is not asked with `in` | compare it with `<` and `>=`
    percent(ip) not in beta
        a percentage is not asked with `in` | compare it with `<` and `>=`
    is_staff in [true]
        a bool is not asked with `in` | it stands alone, or is compared with `true` or `false`
    is_staff < true
        `<` does not compare bools | it compares ints, versions, instants and percentages
    ip < 10.0.0.1
        `<` does not compare ips | ask `in` with a network or a range
    host < "a"
        `<` does not compare strings | say as what: `int(host)` or `version(host)`
    "a" >= lower(host)
        `>=` does not compare strings | say as what: `int(lower(host))` or `version(lower(host))`
    path < host
        `<` does not compare strings | say as what: `int(path)` or `version(path)`
    ip <= ip
        `<=` does not compare ips | ask `in` with a network or a range
    is_staff > is_staff
        `>` does not compare bools | it compares ints, versions, instants and percentages
    host == port
        a string is compared with an int | read the string as an int: `int(…)`
    port != host
        an int is compared with a string | read the string as an int: `int(…)`
    host == version(path)
        a string is compared with a version | read the string as a version: `version(…)`
    version(path) == host
        a version is compared with a string | read the string as a version: `version(…)`
    version(path) == port
        a version is compared with an int | both sides have one type
    ip == host
        an ip is compared with a string | both sides have one type
    1 == 1
        two literals are compared | one side is a field; a field has no quotes
    "a" contains host
        a literal stands before `contains` | the field stands on the left, the literal on the right
    port contains "8"
        `contains` asks a string, this is an int
    ip under "10"
        `under` asks a string, this is an ip | ask `in` with a network
    ip starts_with "10."
        `starts_with` asks a string, this is an ip | ask `in` with a network
    ip contains "10."
        `contains` asks a string, this is an ip
    ip ends_with ".1"
        `ends_with` asks a string, this is an ip
    port starts_with "8"
        `starts_with` asks a string, this is an int
    path starts_with 5
        `starts_with` needs a string literal on its right | as in `path starts_with "/api"`
    path under host
        `under` needs a string literal on its right | as in `path under "/api"`
    raw_path under "/a"
        `under` does not know the hierarchy of `raw_path` | ask `path`, which is canonical
    lower(path) under "/a"
        `under` does not know the hierarchy of `lower(path)` | it asks `path` and `host`; for other strings there is `starts_with`
    header(x) under "/a"
        `under` does not know the hierarchy of `header(x)` | it asks `path` and `host`; for other strings there is `starts_with`
    host % 3 == 1
        `%` needs an int, this is a string | read it as one: `int(host) % 3`
    ip % 3 == 1
        `%` needs an int, this is an ip
    "5" % 3 == 1
        a literal stands where a field should | a field has no quotes
    "a" ?? "b" == "c"
        `??` between literals only | the first one always wins
    host ?? port == 1
        `??` between a string and an int | its sides have one type, except in the key of a split or `percent`
    host ?? port ?? ip == "a"
        `??` between a string and an int | its sides have one type, except in the key of a split or `percent`
        `??` between a string and an ip | its sides have one type, except in the key of a split or `percent`
    port ?? "a" == 1
        expected an int, found a string | an int stands here
    host ?? 5 == "a"
        expected a string, found an int | as a string it is `"5"`
    "a" ?? host ?? port == "b"
        `??` between a string and an int | its sides have one type, except in the key of a split or `percent`
    "#);
}

#[test]
fn a_field_or_a_function_says_what_its_argument_is() {
    assert_snapshot!(said([
        r#"header == "x""#,
        r#"cookie == "x""#,
        r#"query == "x""#,
        r#"claim == "x""#,
        r#"host(x) == "x""#,
        "is_staff(x)",
        r#"header("a b") == "x""#,
        r#"header("") == "x""#,
        r#"cookie("a=b") == "x""#,
        r#"exists("x")"#,
        "exists(host, path)",
        r#"lower(host, path) == "x""#,
        r#"lower(port) == "x""#,
        r#"lower(ip) == "x""#,
        "len(port) == 1",
        "int(port) == 1",
        "int(ip) == 1",
        r#"int(version(host)) == 1"#,
        r#"version(version(host)) == "1""#,
        r#"version(port) == "1""#,
        "percent(ip, host) < 5",
        "percent(ip, 5) < 5",
        r#"percent(ip, "a", "b") < 5"#,
        r#"percent("a") < 5"#,
        r#"percent("a" ?? ip) < 5"#,
        "percent(percent(ip)) < 5",
        "percent(ip ?? percent(ip)) < 5",
        "percent(lower(5)) < 5",
    ]), @r#"
    header == "x"
        `header` needs an argument | as in `header(user-agent)`
    cookie == "x"
        `cookie` needs an argument | as in `cookie(uid)`
    query == "x"
        `query` needs an argument | as in `query(NAME)`
    claim == "x"
        `claim` needs an argument | as in `claim(NAME)`
    host(x) == "x"
        `host` takes no argument | write `host`
    is_staff(x)
        `is_staff` takes no argument | write `is_staff`
    header("a b") == "x"
        `a b` is not a header name | letters, digits and `!#$%&'*+-.^_`|~`, at least one
    header("") == "x"
        `` is not a header name | letters, digits and `!#$%&'*+-.^_`|~`, at least one
    cookie("a=b") == "x"
        `a=b` is not a cookie name | at least one character, neither `=` nor `;`, and no blanks around it
    exists("x")
        a literal stands where a field should | a field has no quotes
    exists(host, path)
        `exists` takes one argument, found 2 | as in `exists(cookie(uid))`
    lower(host, path) == "x"
        `lower` takes one argument, found 2 | as in `lower(cookie(uid))`
    lower(port) == "x"
        `lower` takes a string, this is an int
    lower(ip) == "x"
        `lower` takes a string, this is an ip
    len(port) == 1
        `len` takes a string, this is an int
    int(port) == 1
        `int` takes a string, this is an int | it is one already; delete `int`
    int(ip) == 1
        `int` takes a string, this is an ip
    int(version(host)) == 1
        `int` takes a string, this is a version
    version(version(host)) == "1"
        `version` takes a string, this is a version | it is one already; delete `version`
    version(port) == "1"
        `version` takes a string, this is an int
    percent(ip, host) < 5
        the salt is not a string literal | as in `percent(cookie(uid), "checkout")`
    percent(ip, 5) < 5
        the salt is not a string literal | as in `percent(cookie(uid), "checkout")`
    percent(ip, "a", "b") < 5
        `percent` takes a key and maybe a salt, found 3 arguments | as in `percent(cookie(uid) ?? ip) < 5`
    percent("a") < 5
        the key is the same for every request | a key comes from the request, as `cookie(uid)` does
    percent("a" ?? ip) < 5
        the key is the same for every request | a key comes from the request, as `cookie(uid)` does
    percent(percent(ip)) < 5
        a percentage is not a key | hash the key itself
    percent(ip ?? percent(ip)) < 5
        a percentage is not a key | hash the key itself
    percent(lower(5)) < 5
        `lower` takes a string, this is an int
    "#);
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest_that_fits() {
    assert_snapshot!(said([
        r#"hots == "x""#,
        r#"hots(x) == "x""#,
        r#"heder(x) == "x""#,
        r#"clam(x) == "x""#,
        r#"lowr(host) == "x""#,
        r#"lowr == "x""#,
        r#"lower == "x""#,
        r#"percent < 5"#,
        r#"region == "x""#,
        r#"region(x) == "x""#,
        r#"beta == "x""#,
        "host in betta",
        "host in path",
        "host in claim",
        "host in regions",
        r#"host in "beta""#,
        r#"host in "betta""#,
        r#"host in "a very long string that stands where a list should""#,
        "port in beta",
        "exists(host) in beta",
    ]), @r#"
    hots == "x"
        unknown field `hots` | did you mean `host`?
    hots(x) == "x"
        unknown field or function `hots` | did you mean `host`?
    heder(x) == "x"
        unknown field or function `heder` | did you mean `header`?
    clam(x) == "x"
        unknown field or function `clam` | did you mean `claim`?
    lowr(host) == "x"
        unknown field or function `lowr` | did you mean `lower`?
    lowr == "x"
        unknown field `lowr` | a string stands in quotes; a header is `header(NAME)`, a cookie `cookie(NAME)`
    lower == "x"
        unknown field `lower` | it is a function: `lower(…)`
    percent < 5
        unknown field `percent` | it is a function: `percent(…)`
    region == "x"
        unknown field `region` | a string stands in quotes; a header is `header(NAME)`, a cookie `cookie(NAME)`
    region(x) == "x"
        unknown field or function `region` | functions are `lower`, `len`, `int`, `version`, `exists` and `percent`; fields with a name `header`, `cookie` and `query`
    beta == "x"
        unknown field `beta` | it is a list: ask `… in beta`
    host in betta
        unknown list `betta` | did you mean `beta`?
    host in path
        unknown list `path` | it is a field; compare fields with `==`
    host in claim
        unknown list `claim` | it is a field; compare fields with `==`
    host in regions
        unknown list `regions` | known: `beta`
    host in "beta"
    host in "betta"
        `in` needs a list on its right | one value is a list too: `["betta"]`
    host in "a very long string that stands where a list should"
        `in` needs a list on its right | one value is a list too: `["a very long string that stands where a …]`
    port in beta
        `beta` is a list of strings, the left side is an int
    exists(host) in beta
        a bool is not asked with `in` | it stands alone, or is compared with `true` or `false`
    "#);
}

#[test]
fn what_a_field_is_called_elsewhere_is_known() {
    for (meant, names) in [
        ("ip", &["remote_addr", "client_ip", "remote_ip", "src_ip", "source_ip", "addr"][..]),
        ("host", &["hostname", "authority", "domain", "server_name", "http_host"]),
        ("path", &["url", "uri", "request_uri", "request_path"]),
        ("now", &["time", "date", "timestamp"]),
        ("raw_query", &["args", "params", "query_string"]),
        ("method", &["verb", "request_method"]),
    ] {
        for name in names {
            let found = said([format!("exists({name})").as_str()]);
            assert!(found.contains(&format!("did you mean `{meant}`?")), "{found}");
        }
    }
}

#[test]
fn two_literals() {
    assert_snapshot!(condition(r#""host" == "a""#), @r#"
    error: two literals are compared
     --> condition:1:1
      |
    1 | "host" == "a"
      | ^^^^^^^^^^^^^ one side is a field; a field has no quotes
    "#);
}

#[test]
fn literal_before_contains() {
    assert_snapshot!(condition(r#""abc" contains host"#), @r#"
    error: a literal stands before `contains`
     --> condition:1:1
      |
    1 | "abc" contains host
      | ^^^^^ the field stands on the left, the literal on the right
    "#);
}

#[test]
fn field_after_contains() {
    assert_snapshot!(condition("path contains host"), @r#"
    error: `contains` needs a string literal on its right
     --> condition:1:15
      |
    1 | path contains host
      |               ^^^^ as in `path contains "/api"`
    "#);
}

#[test]
fn starts_with_of_address() {
    assert_snapshot!(condition(r#"ip starts_with "10.""#), @r#"
    error: `starts_with` asks a string, this is an ip
     --> condition:1:1
      |
    1 | ip starts_with "10."
      | ^^ ask `in` with a network
    "#);
}

#[test]
fn under_of_header() {
    assert_snapshot!(condition(r#"header(x) under "/a""#), @r#"
    error: `under` does not know the hierarchy of `header(x)`
     --> condition:1:11
      |
    1 | header(x) under "/a"
      |           ^^^^^ it asks `path` and `host`; for other strings there is `starts_with`
    "#);
}

#[test]
fn under_of_raw_path() {
    assert_snapshot!(condition(r#"raw_path under "/a""#), @r#"
    error: `under` does not know the hierarchy of `raw_path`
     --> condition:1:10
      |
    1 | raw_path under "/a"
      |          ^^^^^ ask `path`, which is canonical
    "#);
}

#[test]
fn value_is_no_condition() {
    assert_snapshot!(condition("cookie(uid)"), @r#"
    error: `cookie(uid)` is a string, not a condition
     --> condition:1:1
      |
    1 | cookie(uid)
      | ^^^^^^^^^^^ compare it, or ask `exists(…)`
    "#);
}

#[test]
fn literal_is_no_condition() {
    assert_snapshot!(condition(r#""true""#), @r#"
    error: `"true"` is a string, not a condition
     --> condition:1:1
      |
    1 | "true"
      | ^^^^^^ a condition looks at the request
    "#);
}

#[test]
fn modulo_of_string() {
    assert_snapshot!(condition("cookie(uid) % 100 < 5"), @r#"
    error: `%` needs an int, this is a string
     --> condition:1:1
      |
    1 | cookie(uid) % 100 < 5
      | ^^^^^^^^^^^ read it as one: `int(cookie(uid)) % 100`
    "#);
}

#[test]
fn modulo_by_zero() {
    assert_snapshot!(condition("int(cookie(uid)) % 0 < 5"), @r#"
    error: `%` needs a positive int on its right
     --> condition:1:20
      |
    1 | int(cookie(uid)) % 0 < 5
      |                    ^ as in `int(cookie(uid)) % 100`
    "#);
}

#[test]
fn coalesce_of_two_types() {
    assert_snapshot!(condition(r#"(cookie(uid) ?? ip) == "x""#), @r#"
    error: `??` between a string and an ip
     --> condition:1:17
      |
    1 | (cookie(uid) ?? ip) == "x"
      |                 ^^ its sides have one type, except in the key of a split or `percent`
    "#);
}

#[test]
fn bool_in_list() {
    assert_snapshot!(condition("is_staff in [true]"), @r#"
    error: a bool is not asked with `in`
     --> condition:1:1
      |
    1 | is_staff in [true]
      | ^^^^^^^^ it stands alone, or is compared with `true` or `false`
    "#);
}

#[test]
fn percent_in_list() {
    assert_snapshot!(condition("percent(ip) in [1, 2]"), @r#"
    error: a percentage is not asked with `in`
     --> condition:1:1
      |
    1 | percent(ip) in [1, 2]
      | ^^^^^^^^^^^ compare it with `<` and `>=`
    "#);
}

#[test]
fn ints_asked_by_string() {
    assert_snapshot!(rules("list l = [1, 2]\n\
             route a: cookie(uid) in l => gray\n\
             default => prod"), @r#"
    error: `l` is a list of ints, the left side is a string
     --> rules:2:25
      |
    2 | route a: cookie(uid) in l => gray
      |                         ^ read the left side as an int: `int(…)`
    "#);
}

#[test]
fn mixed_list() {
    assert_snapshot!(condition(r#"cookie(uid) in ["1", 2]"#), @r#"
    error: expected a string, found an int
     --> condition:1:22
      |
    1 | cookie(uid) in ["1", 2]
      |                      ^ as a string it is `"2"`
    "#);
}

#[test]
fn bool_compared_with_string() {
    assert_snapshot!(condition(r#"is_staff == "true""#), @r#"
    error: expected a bool, found a string
     --> condition:1:13
      |
    1 | is_staff == "true"
      |             ^^^^^^ a bool is compared with `true` or `false`, or stands alone
    "#);
}

#[test]
fn weight_on_the_only_cluster() {
    assert_snapshot!(rules("default => prod 5"), @r#"
    error: a weight on the only cluster
     --> rules:1:17
      |
    1 | default => prod 5
      |                 ^ delete it, or name the others and their weights
      = help: for a part of the requests, ask `percent(KEY) < 5` in the condition; the rest goes on to the next rule
    "#);
}

#[test]
fn missing_weight() {
    assert_snapshot!(rules("default => gray 5, prod by ip"), @r#"
    error: `prod` has no weight
     --> rules:1:20
      |
    1 | default => gray 5, prod by ip
      |                    ^^^^ one of several clusters has a weight, as in `gray 5, prod 95`
    "#);
}

#[test]
fn all_weights_zero() {
    assert_snapshot!(rules("default => gray 0, prod 0 by ip"), @r#"
    error: every weight is 0, so no cluster would get anything
     --> rules:1:12
      |
    1 | default => gray 0, prod 0 by ip
      |            ^^^^^^^^^^^^^^^^^^^^ give at least one cluster a weight above 0
    "#);
}

#[test]
fn negative_weight() {
    assert_snapshot!(rules("default => gray -5, prod 105 by ip"), @r#"
    error: `-5` is negative
     --> rules:1:17
      |
    1 | default => gray -5, prod 105 by ip
      |                 ^^ percentages and weights are 0 or more
    "#);
}

#[test]
fn weight_too_fine() {
    assert_snapshot!(rules("default => gray 0.00001, prod 1 by ip"), @r#"
    error: `0.00001` has more than four decimal places
     --> rules:1:17
      |
    1 | default => gray 0.00001, prod 1 by ip
      |                 ^^^^^^^ steps of 0.0001 are the finest there are
    "#);
}

#[test]
fn cluster_twice() {
    assert_snapshot!(rules("default => gray 5, gray 95 by ip"), @r#"
    error: `gray` stands twice
     --> rules:1:20
      |
    1 | default => gray 5, gray 95 by ip
      |                    ^^^^ give it one weight
      = note: the first stands at 1:12
    "#);
}

#[test]
fn by_with_one_cluster() {
    assert_snapshot!(rules("default => gray by ip"), @r#"
    error: `by` with a single cluster
     --> rules:1:20
      |
    1 | default => gray by ip
      |                    ^^ there is nothing to deal out; delete it
    "#);
}

#[test]
fn constant_key() {
    assert_snapshot!(rules(r#"default => gray 5, prod 95 by "uid""#), @r#"
    error: the key is the same for every request
     --> rules:1:31
      |
    1 | default => gray 5, prod 95 by "uid"
      |                               ^^^^^ a key comes from the request, as `cookie(uid)` does
    "#);
}

#[test]
fn cluster_in_itself() {
    assert_snapshot!(rules("cluster a = b 1, gray 1\n\
             cluster b = a 1, prod 1\n\
             default => a"), @r#"
    error: the cluster `b` contains itself
     --> rules:2:13
      |
    2 | cluster b = a 1, prod 1
      |             ^ in the end, every cluster is one that the application declares
    "#);
}

#[test]
fn never_matches_contradiction() {
    assert_snapshot!(condition(r#"host == "a" && host == "b""#), @r#"
    warning: this condition is never true
     --> condition:1:1
      |
    1 | host == "a" && host == "b"
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^ no request can satisfy it
    "#);
}

#[test]
fn never_matches_empty_list() {
    assert_snapshot!(condition("host in []"), @r#"
    warning: this condition is never true
     --> condition:1:1
      |
    1 | host in []
      | ^^^^^^^^^^ no request can satisfy it
    "#);
}

#[test]
fn never_matches_percent() {
    assert_snapshot!(condition("percent(ip) < 0"), @r#"
    warning: this condition is never true
     --> condition:1:1
      |
    1 | percent(ip) < 0
      | ^^^^^^^^^^^^^^^ no request can satisfy it
    "#);
}

#[test]
fn never_reached_equal() {
    assert_snapshot!(rules("route a: host == \"x\" => gray\n\
             route b: host == \"x\" => prod\n\
             default => prod"), @r#"
    warning: the route `b` is never reached
     --> rules:2:7
      |
    2 | route b: host == "x" => prod
      |       ^ `a` takes every request that it could
      = note: that route stands at 1:7
      = help: put the narrower route first
    "#);
}

#[test]
fn never_reached_true() {
    assert_snapshot!(rules("route a: true => gray\n\
             route b: host == \"x\" => prod\n\
             default => prod"), @r#"
    warning: the route `b` is never reached
     --> rules:2:7
      |
    2 | route b: host == "x" => prod
      |       ^ `a` takes every request that it could
      = note: that route stands at 1:7
      = help: put the narrower route first
    "#);
}

#[test]
fn never_reached_superset() {
    assert_snapshot!(rules("route a: cookie(uid) in [\"1\", \"2\", \"3\"] => gray\n\
             route b: cookie(uid) in [\"1\", \"3\"] => prod\n\
             default => prod"), @r#"
    warning: the route `b` is never reached
     --> rules:2:7
      |
    2 | route b: cookie(uid) in ["1", "3"] => prod
      |       ^ `a` takes every request that it could
      = note: that route stands at 1:7
      = help: put the narrower route first
    "#);
}

#[test]
fn a_literal_that_no_request_has_is_answered_with_what_to_write() {
    assert_snapshot!(said([
        "len(path) == -1",
        "int(header(n)) % 10 == 10",
        "port == 65536",
        "percent(ip) == 100",
        r#"lower(path) == "/A""#,
        r#"host == "A.test""#,
        r#"host == """#,
        r#"host == "a.test.""#,
        r#"host == "https://a.test""#,
        r#"host == "a.test/b""#,
        r#"host == "2001:db8::1""#,
        r#"host == "a.test:80""#,
        r#"host under ".a.test""#,
        r#"host under "A.test.""#,
        r#"path == "/a?b""#,
        r#"path == "/a#b""#,
        r#"path == """#,
        r#"path == "a""#,
        r#"path == "/%7ea""#,
        r#"path == "/a%2f""#,
        r#"path under "/a/../b/""#,
        r#"path starts_with "a""#,
        r#"path starts_with "/a//b""#,
        r#"path contains "/../""#,
        r#"path contains "/./""#,
        r#"path contains "%2f""#,
        r#"raw_path == "/a?b""#,
        r#"raw_query starts_with "?a""#,
        r#"method == "get""#,
        r#"method == "Patch""#,
        r#"scheme == "HTTPS""#,
        r#"cookie(a) == "b;c""#,
        r#"cookie(a) == " b ""#,
        r#"header(x) == "b\n""#,
    ]), @r#"
    len(path) == -1
        a length is never negative
    int(header(n)) % 10 == 10
        a remainder of 10 is never 10 | it goes from 0 to 9
    port == 65536
        a port is never 65536 | ports go from 0 to 65535
    percent(ip) == 100
        a percentage of a key is never 100 | it is below 100; ask `< 100`
    lower(path) == "/A"
        `lower(…)` has no upper-case letters | write "/a"
    host == "A.test"
        `host` has no upper-case letters | write "a.test"
    host == ""
        `host` is never empty text | ask `!exists(host)`
    host == "a.test."
        `host` has no dot at its end | write "a.test"
    host == "https://a.test"
        `host` is a name and nothing else | ask `scheme` and `path` as well
    host == "a.test/b"
        `host` is a name and nothing else | ask `scheme` and `path` as well
    host == "2001:db8::1"
        an IPv6 literal in `host` keeps its brackets | write "[2001:db8::1]"
    host == "a.test:80"
        `host` has no port | ask `port` as well
    host under ".a.test"
        a host name has no part before its first dot that is empty | `under` takes in the subdomains already: "a.test"
    host under "A.test."
        `host` has no upper-case letters | write "a.test"
    path == "/a?b"
        `path` ends before `?` and `#` | a parameter is `query(NAME)`
    path == "/a#b"
        `path` ends before `?` and `#` | a parameter is `query(NAME)`
    path == ""
        `path` is canonical and never this | write "/"
    path == "a"
        `path` is canonical and never this | write "/a"
    path == "/%7ea"
        `path` is canonical and never this | write "/~a"
    path == "/a%2f"
        `path` is canonical and never this | write "/a%2F"
    path under "/a/../b/"
        `path` is canonical and never this | write "/b"
    path starts_with "a"
        `path` starts with `/` | write "/a"
    path starts_with "/a//b"
        `path` is canonical: no two `/` follow each other | `raw_path` is as received
    path contains "/../"
        `path` is canonical: it has no dot segments | `raw_path` is as received
    path contains "/./"
        `path` is canonical: it has no dot segments | `raw_path` is as received
    path contains "%2f"
        `path` is canonical: its escapes are upper case | as in "%2F"
    raw_path == "/a?b"
        `raw_path` ends before `?` | a parameter is `query(NAME)`
    raw_query starts_with "?a"
        `raw_query` starts behind `?`
    method == "get"
        methods are written in upper case | write "GET"
    method == "Patch"
        methods are written in upper case | write "PATCH"
    scheme == "HTTPS"
        a scheme is lower case | write "https"
    cookie(a) == "b;c"
        a cookie's value has no `;`
    cookie(a) == " b "
        a cookie's value has no white space around it, but in quotes | write "b"
    header(x) == "b\n"
        a header has no control characters
    "#);
}

// A client can send all of these, so nothing may follow from them: no other rule is out of reach.
#[test]
fn what_only_an_odd_client_sends_is_warned_of_and_proves_nothing() {
    for odd in [
        r#"method != "get""#,
        r#"scheme != "HTTP""#,
        r#"host != "a.example.""#,
        r#"!(host under ".example.com")"#,
        r#"!(cookie(a) == " x")"#,
        r#"!(raw_query starts_with "?")"#,
    ] {
        let text = format!("route a: {odd} => gray\nroute b: is_staff => gray\ndefault => prod");
        let found: Vec<_> = rules(&text).iter().map(|lint| lint.code().as_str()).collect();
        assert_eq!(found, ["never-equal"], "{odd}");
    }
    let odd = http::Request::builder()
        .method("get")
        .uri("/a??b")
        .header("host", "a.example..")
        .header("cookie", "a=\" x\"")
        .body(())
        .unwrap();
    for true_of_it in [
        r#"method == "get""#,
        r#"host == "a.example.""#,
        r#"cookie(a) == " x""#,
        r#"raw_query starts_with "?""#,
    ] {
        assert!(Condition::new(true_of_it).unwrap().matches(&odd), "{true_of_it}");
    }
}

// `/v2/` is under `/v2//`, and nothing below it is.
#[test]
fn an_end_that_means_nothing_makes_no_route_wider() {
    for (first, second) in [
        (r#"path under "/v2//""#, r#"path under "/v2/""#),
        (r#"host under "example.com..""#, r#"host under "example.com.""#),
    ] {
        let text = format!("route a: {first} => gray\nroute b: {second} => gray\ndefault => prod");
        assert!(rules(&text).iter().all(|lint| lint.code().as_str() != "never-reached"), "{first}");
    }
    let text = "route a: path under \"/v2\" => gray\nroute b: path under \"/v2/x/\" => gray\ndefault => prod";
    assert_eq!(rules(text).iter().filter(|lint| lint.code().as_str() == "never-reached").count(), 1);
}

/// `n` parts, joined.
fn row(n: usize, part: impl Fn(usize) -> String, with: &str) -> String {
    (0..n).map(part).collect::<Vec<_>>().join(with)
}

/// Whether the second of two routes is told that the first takes all it could.
fn covers(first: &str, second: &str) -> bool {
    let text = format!("route a: {first} => gray\nroute b: {second} => gray\ndefault => prod");
    rules(&text).iter().any(|lint| lint.code().as_str() == "never-reached")
}

#[test]
fn of_a_condition_64_parts_are_compared() {
    for n in [64, 65] {
        let below = |with| row(n, |i| format!("port < {}", 1000 + i), with);
        let even = |from: usize| row(n, |i| (from + 2 * i).to_string(), ", ");
        for (first, second) in [
            (r#"host starts_with "h""#.to_owned(), row(n, |i| format!("host == \"h{i}\""), " || ")),
            (below(" && "), "port == 5".to_owned()),
            (below(" || "), "port == 5".to_owned()),
            ("port < 5000".to_owned(), below(" && ")),
            ("port < 5000".to_owned(), format!("port in [{}]", even(0))),
            (
                format!("port in [{}]", row(n, |i| format!("{}..{}", 3 * i, 3 * i + 1), ", ")),
                "port in [1]".to_owned(),
            ),
            (format!("port not in [{}]", even(70_000)), "is_staff".to_owned()),
        ] {
            assert_eq!(covers(&first, &second), n == 64, "{n}: {first} / {second}");
        }
        for never in [
            format!("port == 5 && port in [{}]", even(10)),
            format!("{} && host == \"h0\"", row(n - 1, |i| format!("host != \"h{i}\""), " && ")),
        ] {
            let told = condition(&never).iter().any(|lint| lint.code().as_str() == "never-matches");
            assert_eq!(told, n == 64, "{n}: {never}");
        }
    }
    // Lists are held against each other whatever their length.
    let long = row(2000, |i| i.to_string(), ", ");
    assert!(covers(&format!("port in [{long}]"), &format!("port in [{long}, 1999..1999]")));
    let supplied = Schema::new().clusters(["gray"]).list("ports", List::int_ranges([0..=1999]));
    let text = format!("route a: port in ports => gray route b: port in [{long}] => gray default => gray");
    let told = Engine::builder().schema(supplied).build(text.as_str()).unwrap().rules().lints().to_string();
    assert!(told.contains("`b` is never reached"), "{told}");
}

#[test]
fn long_literals_are_searched_until_it_takes_too_long() {
    let parts = row(400, |i| format!("route r{i}: header(x) contains \"b{i}b\" => gray"), "\n");
    for (length, told) in [(1000, true), (200_000, false)] {
        let long = "a".repeat(length);
        let last =
            format!("route a: header(x) starts_with \"a\" => gray\nroute b: header(x) == \"{long}\" => gray");
        let text = format!("{parts}\n{last}\ndefault => prod");
        assert_eq!(!rules(&text).is_empty(), told, "{length}");
    }
}

#[test]
fn long_literals_are_matched_until_it_takes_too_long() {
    // Each byte of the literal keeps one more state alive.
    let wide = r#"header(x) matches "(?s-u:a.{9000}b)""#;
    for (length, told) in [(1000, true), (65_000, false)] {
        let long = "a".repeat(length);
        let last = "route a: is_staff => gray\nroute b: is_staff && port == 1000 => gray";
        let text = format!(
            "route w: {wide} => gray\nroute n: header(x) == \"{long}\" => gray\n{last}\ndefault => prod"
        );
        assert_eq!(!rules(&text).is_empty(), told, "{length}");
    }
}

#[test]
fn conditions_that_differ_at_their_end_are_compared_until_it_takes_too_long() {
    for (nots, told) in [(2, true), (30, false)] {
        let not = "!".repeat(nots);
        let parts = row(400, |i| format!("route r{i}: exists(path) && {not}(port == {i}) => gray"), "\n");
        let last = "route a: is_staff => gray\nroute b: is_staff && port == 1000 => gray";
        let text = format!("{parts}\n{last}\ndefault => prod");
        assert_eq!(!rules(&text).is_empty(), told, "{nots}");
    }
}

#[test]
fn a_list_is_checked_by_its_use_and_without_one() {
    assert_snapshot!(said_of_rules([
        "list l = [true] default => prod",
        "list l = [1.5] default => prod",
        "list l = [] default => prod",
        r#"list l = ["a", "a"] default => prod"#,
        r#"list l = ["a", 1] default => prod"#,
        r#"list l = [1, "a"] default => prod"#,
        r#"list l = ["a", "a", 1] default => prod"#,
        r#"list l = ["a", 10.0.0.1] default => prod"#,
        r#"route a: host in ["a", "a", 1] => gray default => prod"#,
        r#"list l = ["2".."1"] default => prod"#,
        "list l = [2..1] default => prod",
        "list l = [2..1, 4..3] list m = [6..5] default => prod",
        r#"list l = ["2".."1"] route a: version(host) in l => gray default => prod"#,
        r#"list l = ["a", "a"] route a: host in l => gray route b: path not in l => gray default => prod"#,
        r#"list l = ["2", "x"] route a: version(host) in l => gray default => prod"#,
        r#"list l = ["x"] route a: now in l => gray route b: ip in l => gray default => prod"#,
        r#"list l = ["1"] route a: port in l => gray route b: port in l => gray default => prod"#,
        "list l = [1] route a: host in l => gray route b: ip in l => gray default => prod",
        "list l = [] route a: host in l || port in l => gray default => prod",
        "list l = [10.0.0.0/8] route a: host in l => gray default => prod",
        r#"list l = ["a"] route a: l == "a" => gray default => prod"#,
        r#"list l = ["a"] route a: hots in l => gray default => prod"#,
        r#"list "my l" = ["a"] route a: host in "my l" => gray default => prod"#,
        r#"list "my l" = ["a"] route a: host in "my" => gray default => prod"#,
        r#"route a: host in r"beta" => gray route b: host in r"b" => gray default => prod"#,
        r##"list "my l" = ["a" route a: host in "my l" => gray default => prod"##,
        r#"list m = [a"] route a: host in m || host in n => gray default => prod"#,
        r#"list beta = ["a"] default => prod"#,
        r#"list l = ["a"] list l = ["b"] default => prod"#,
        r#"list l2 = ["a"] list l1 = ["b"] route a: host in regions => gray default => prod"#,
        "list a1 = [] list a2 = [] list a3 = [] list a4 = [] route a: host in regions => gray default => prod",
        "list a1 = [] list a2 = [] list a3 = [] list a4 = [] list a5 = [] route a: host in regions => gray default => prod",
    ]), @r#"
    list l = [true] default => prod
        a list of bools | lists hold strings, ints, addresses, versions or instants
    list l = [1.5] default => prod
        a list of percentages | lists hold strings, ints, addresses, versions or instants
    list l = [] default => prod
        no condition uses the list `l` | delete it, or ask it with `in`
    list l = ["a", "a"] default => prod
        no condition uses the list `l` | delete it, or ask it with `in`
        a member stands twice | delete one
    list l = ["a", 1] default => prod
        expected a string, found an int | as a string it is `"1"`
    list l = [1, "a"] default => prod
        expected an int, found a string | an int stands here
    list l = ["a", "a", 1] default => prod
        expected a string, found an int | as a string it is `"1"`
    list l = ["a", 10.0.0.1] default => prod
        `a` is not an address | as in `10.0.0.1` or `2001:db8::1`; a name is asked with `host`
    route a: host in ["a", "a", 1] => gray default => prod
        expected a string, found an int | as a string it is `"1"`
    list l = ["2".."1"] default => prod
        no condition uses the list `l` | delete it, or ask it with `in`
    list l = [2..1] default => prod
        a range that ends before it starts | the lower end comes first
    list l = [2..1, 4..3] list m = [6..5] default => prod
        a range that ends before it starts | the lower end comes first
        a range that ends before it starts | the lower end comes first
        a range that ends before it starts | the lower end comes first
    list l = ["2".."1"] route a: version(host) in l => gray default => prod
        a range that ends before it starts | the lower end comes first
    list l = ["a", "a"] route a: host in l => gray route b: path not in l => gray default => prod
        a member stands twice | delete one
    list l = ["2", "x"] route a: version(host) in l => gray default => prod
        `x` is not a version | as in "2", "v2.3" or "2.3.0-rc.1"; numbers have no leading zeros
    list l = ["x"] route a: now in l => gray route b: ip in l => gray default => prod
        `x` is not an instant | write it as RFC 3339 does: "2026-11-27T00:00:00+08:00"
        `x` is not an address | as in `10.0.0.1` or `2001:db8::1`; a name is asked with `host`
    list l = ["1"] route a: port in l => gray route b: port in l => gray default => prod
        `l` is a list of strings, the left side is an int
    list l = [1] route a: host in l => gray route b: ip in l => gray default => prod
        `l` is a list of ints, the left side is a string | read the left side as an int: `int(…)`
        `l` is a list of ints, the left side is an ip
    list l = [] route a: host in l || port in l => gray default => prod
        this condition is never true | no request can satisfy it
    list l = [10.0.0.0/8] route a: host in l => gray default => prod
        `l` is a list of ips, the left side is a string
    list l = ["a"] route a: l == "a" => gray default => prod
        unknown field `l` | it is a list: ask `… in l`
    list l = ["a"] route a: hots in l => gray default => prod
        unknown field `hots` | did you mean `host`?
    list "my l" = ["a"] route a: host in "my l" => gray default => prod
    list "my l" = ["a"] route a: host in "my" => gray default => prod
        `in` needs a list on its right | one value is a list too: `["my"]`
    route a: host in r"beta" => gray route b: host in r"b" => gray default => prod
        `in` needs a list on its right | one value is a list too: `[r"b"]`
    list "my l" = ["a" route a: host in "my l" => gray default => prod
        expected `,`, `]` or `..`, found `route`
    list m = [a"] route a: host in m || host in n => gray default => prod
        expected a literal or `]`, found `a`
    list beta = ["a"] default => prod
        the application supplies a list `beta` | choose another name
    list l = ["a"] list l = ["b"] default => prod
        a second list `l` | choose another name
    list l2 = ["a"] list l1 = ["b"] route a: host in regions => gray default => prod
        unknown list `regions` | known: `l1`, `l2`, `beta`
    list a1 = [] list a2 = [] list a3 = [] list a4 = [] route a: host in regions => gray default => prod
        unknown list `regions` | known: `a1`, `a2`, `a3`, `a4`, `beta`
    list a1 = [] list a2 = [] list a3 = [] list a4 = [] list a5 = [] route a: host in regions => gray default => prod
        unknown list `regions` | known: `a1`, `a2`, `a3`, `a4`, `a5` and others
    "#);
    assert!(Condition::new("host in regions").unwrap_err().to_string().contains("there are no lists"));
}

#[test]
fn a_list_of_the_application_says_what_to_read_the_left_side_as() {
    let schema =
        Schema::new().list("sizes", List::ints([1])).list("releases", List::versions(["2"]).unwrap());
    let texts = ["host in sizes", "host in releases", "port in releases", "version(host) in sizes"];
    let said = texts.map(|text| {
        let refused = Condition::compile("", text, &schema, &Limits::default()).unwrap_err();
        let BuildError::Rules(diagnostics) = refused else { panic!("{refused}") };
        answers(text, &diagnostics)
    });
    assert_snapshot!(said.concat(), @r#"
    host in sizes
        `sizes` is a list of ints, the left side is a string | read the left side as an int: `int(…)`
    host in releases
        `releases` is a list of versions, the left side is a string | read the left side as a version: `version(…)`
    port in releases
        `releases` is a list of versions, the left side is an int
    version(host) in sizes
        `sizes` is a list of ints, the left side is a version
    "#);
}

#[test]
fn an_outcome_says_what_it_lacks() {
    let many = |n: usize| row(n, |i| format!("c{i} 1000000000"), ", ");
    let declared = row(101, |i| format!("cluster c{i} = prod"), " ");
    assert_snapshot!(said_of_rules([
        "default => gray",
        "default => gray 1",
        "default => gray by ip",
        "default => gray 1 by ip",
        "default => gray, prod",
        "default => gray 1, prod",
        "default => gray 0, prod 0",
        "default => gray 0, prod 0.0001",
        "default => gray 1000000000, prod 1",
        "default => gray 1000000000.0001, prod 1",
        "default => gray 1, gray 1",
        "default => gray, gray",
        "default => grey 1, prd 2",
        "default => nowhere",
        "default => \"no where\"",
        "default => gray 1, prod 1 by ip",
        "default => gray 1, prod 1 by 5",
        "default => gray 1, prod 1 by 10.0.0.0/8 ?? ip",
        "default => gray 1, prod 1 by cookie(uid) ?? 5",
        "default => gray 1, prod 1 by cookie(uid) ?? ip",
        "default => gray 1, prod 1 by hots",
        "default => gray 1, prod 1 by percent(ip)",
        "default => gray 1, prod 1 by ip ?? percent(ip)",
        "default => gray 1, prod 1 by lower(\"A\")",
        "default => gray 1, prod 1 by len(cookie(uid)) % 5",
        "default => gray 1, prod 1 by is_staff ?? exists(host)",
        "cluster a = a default => a",
        "cluster a = b cluster b = a default => a",
        "cluster a = gray 1, b 1 cluster b = c cluster c = prod 1, a 1 default => prod",
        "cluster a = b 1, c 1 cluster b = d cluster c = d cluster d = gray default => a",
        "cluster a = a 1, b 1 cluster b = b 1, a 1 default => prod",
        "cluster a = nowhere cluster b = b default => a",
        "cluster a = 5 default => a",
        "cluster gray = prod default => gray",
        "cluster a = prod cluster a = gray default => a",
        "cluster a = prod cluster a = a default => a",
        "default => prod default => gray",
        "default => nowhere default => gray",
        "route a: true => gray",
        "route a: true => gray default => ",
        "route a: true => gray route a: false => gray default => prod",
        "cluster c1 = gray cluster c2 = prod default => c3",
    ]), @r#"
    default => gray
    default => gray 1
        a weight on the only cluster | delete it, or name the others and their weights
    default => gray by ip
        `by` with a single cluster | there is nothing to deal out; delete it
    default => gray 1 by ip
        a weight on the only cluster | delete it, or name the others and their weights
        `by` with a single cluster | there is nothing to deal out; delete it
    default => gray, prod
        `gray` has no weight | one of several clusters has a weight, as in `gray 5, prod 95`
        `prod` has no weight | one of several clusters has a weight, as in `gray 5, prod 95`
    default => gray 1, prod
        `prod` has no weight | one of several clusters has a weight, as in `gray 5, prod 95`
    default => gray 0, prod 0
        every weight is 0, so no cluster would get anything | give at least one cluster a weight above 0
    default => gray 0, prod 0.0001
    default => gray 1000000000, prod 1
    default => gray 1000000000.0001, prod 1
        the weight `1000000000.0001` is too large | weights go to 1000000000 and are relative to their sum
    default => gray 1, gray 1
        `gray` stands twice | give it one weight
    default => gray, gray
        `gray` has no weight | one of several clusters has a weight, as in `gray 5, prod 95`
        `gray` has no weight | one of several clusters has a weight, as in `gray 5, prod 95`
        `gray` stands twice | give it one weight
    default => grey 1, prd 2
        unknown cluster `grey` | did you mean `gray`?
        unknown cluster `prd` | did you mean `prod`?
    default => nowhere
        unknown cluster `nowhere` | known: `gray`, `prod`
    default => "no where"
        unknown cluster `no where` | known: `gray`, `prod`
    default => gray 1, prod 1 by ip
    default => gray 1, prod 1 by 5
        the key is the same for every request | a key comes from the request, as `cookie(uid)` does
    default => gray 1, prod 1 by 10.0.0.0/8 ?? ip
        `10.0.0.0/8` is a network, not an address | ask `in [10.0.0.0/8]`
    default => gray 1, prod 1 by cookie(uid) ?? 5
    default => gray 1, prod 1 by cookie(uid) ?? ip
    default => gray 1, prod 1 by hots
        unknown field `hots` | did you mean `host`?
    default => gray 1, prod 1 by percent(ip)
        a percentage is not a key | hash the key itself
    default => gray 1, prod 1 by ip ?? percent(ip)
        a percentage is not a key | hash the key itself
    default => gray 1, prod 1 by lower("A")
        the key is the same for every request | a key comes from the request, as `cookie(uid)` does
    default => gray 1, prod 1 by len(cookie(uid)) % 5
    default => gray 1, prod 1 by is_staff ?? exists(host)
    cluster a = a default => a
        the cluster `a` contains itself | in the end, every cluster is one that the application declares
    cluster a = b cluster b = a default => a
        the cluster `b` contains itself | in the end, every cluster is one that the application declares
    cluster a = gray 1, b 1 cluster b = c cluster c = prod 1, a 1 default => prod
        the cluster `c` contains itself | in the end, every cluster is one that the application declares
    cluster a = b 1, c 1 cluster b = d cluster c = d cluster d = gray default => a
    cluster a = a 1, b 1 cluster b = b 1, a 1 default => prod
        the cluster `a` contains itself | in the end, every cluster is one that the application declares
        the cluster `b` contains itself | in the end, every cluster is one that the application declares
        the cluster `b` contains itself | in the end, every cluster is one that the application declares
    cluster a = nowhere cluster b = b default => a
        unknown cluster `nowhere` | known: `gray`, `prod`
    cluster a = 5 default => a
        expected a name, found `5` | a name starts with a letter or `_`; any other can be quoted
    cluster gray = prod default => gray
        the application declares a cluster `gray` | a cluster made of others needs a name of its own
    cluster a = prod cluster a = gray default => a
        a second cluster `a` | choose another name
    cluster a = prod cluster a = a default => a
        a second cluster `a` | choose another name
    default => prod default => gray
        a second `default` | there is one, and it decides when no route does
    default => nowhere default => gray
        unknown cluster `nowhere` | known: `gray`, `prod`
        a second `default` | there is one, and it decides when no route does
    route a: true => gray
        there is no `default` | add `default => CLUSTER`: where requests go that no route takes
    route a: true => gray default => 
        expected a name, found the end of the text
    route a: true => gray route a: false => gray default => prod
        a second route `a` | choose another name
    cluster c1 = gray cluster c2 = prod default => c3
        unknown cluster `c3` | did you mean `c1`?
    "#);
    let sum = rules(format!("{declared} default => {}", many(101)));
    assert_snapshot!(answers("", &sum), @r#"

    the weights add up to more than 100000000000
    "#);
    assert!(rules(format!("{declared} default => {}", many(100))).is_empty());
    let nowhere = Engine::builder().build("default => gray").unwrap_err().to_string();
    assert!(nowhere.contains("the application declares no clusters"), "{nowhere}");
}

#[test]
fn an_outcome_may_have_as_many_clusters_as_the_limit_says() {
    let limits = Limits { targets: 2, ..Limits::default() };
    assert!(within("default => gray 1, prod 1", limits).is_empty());
    let three = "cluster a = prod default => gray 1, prod 1, a 1";
    assert_eq!(within(three, limits).iter().next().unwrap().code().as_str(), "too-large");
}

#[test]
fn unused_list() {
    assert_snapshot!(rules("list old = [\"1\"]\n\
             default => prod"), @r#"
    warning: no condition uses the list `old`
     --> rules:1:6
      |
    1 | list old = ["1"]
      |      ^^^ delete it, or ask it with `in`
    "#);
}

#[test]
fn duplicate_member() {
    assert_snapshot!(condition(r#"cookie(uid) in ["1", "2", "1"]"#), @r#"
    warning: a member stands twice
     --> condition:1:27
      |
    1 | cookie(uid) in ["1", "2", "1"]
      |                           ^^^ delete one
      = note: the first stands at 1:17
    "#);
}

#[test]
fn covered_member() {
    assert_snapshot!(condition("ip in [10.0.0.0/8, 10.1.0.0/16]"), @r#"
    warning: a member lies within another
     --> condition:1:20
      |
    1 | ip in [10.0.0.0/8, 10.1.0.0/16]
      |                    ^^^^^^^^^^^ delete it, or the wider one
      = note: the first stands at 1:8
    "#);
}

#[test]
fn upper_case_host() {
    assert_snapshot!(condition(r#"host == "Shop.example.com""#), @r#"
    warning: `host` has no upper-case letters
     --> condition:1:9
      |
    1 | host == "Shop.example.com"
      |         ^^^^^^^^^^^^^^^^^^ write "shop.example.com"
    "#);
}

#[test]
fn host_with_port() {
    assert_snapshot!(condition(r#"host == "shop.example.com:8080""#), @r#"
    warning: `host` has no port
     --> condition:1:9
      |
    1 | host == "shop.example.com:8080"
      |         ^^^^^^^^^^^^^^^^^^^^^^^ ask `port` as well
    "#);
}

#[test]
fn path_not_canonical() {
    assert_snapshot!(condition(r#"path == "/a/./b""#), @r#"
    warning: `path` is canonical and never this
     --> condition:1:9
      |
    1 | path == "/a/./b"
      |         ^^^^^^^^ write "/a/b"
    "#);
}

#[test]
fn path_with_query() {
    assert_snapshot!(condition(r#"path starts_with "/a?x=1""#), @r#"
    warning: `path` ends before `?` and `#`
     --> condition:1:18
      |
    1 | path starts_with "/a?x=1"
      |                  ^^^^^^^^ a parameter is `query(NAME)`
    "#);
}

#[test]
fn lower_case_method() {
    assert_snapshot!(condition(r#"method == "get""#), @r#"
    warning: methods are written in upper case
     --> condition:1:11
      |
    1 | method == "get"
      |           ^^^^^ write "GET"
    "#);
}

#[test]
fn lower_of_upper() {
    assert_snapshot!(condition(r#"lower(header(x)) == "ABC""#), @r#"
    warning: `lower(…)` has no upper-case letters
     --> condition:1:21
      |
    1 | lower(header(x)) == "ABC"
      |                     ^^^^^ write "abc"
    "#);
}

#[test]
fn leading_dot_under() {
    assert_snapshot!(condition(r#"host under ".example.com""#), @r#"
    warning: a host name has no part before its first dot that is empty
     --> condition:1:12
      |
    1 | host under ".example.com"
      |            ^^^^^^^^^^^^^^ `under` takes in the subdomains already: "example.com"
    "#);
}

#[test]
fn remainder_out_of_range() {
    assert_snapshot!(condition("int(cookie(uid)) % 100 == 100"), @r#"
    warning: a remainder of 100 is never 100
     --> condition:1:27
      |
    1 | int(cookie(uid)) % 100 == 100
      |                           ^^^ it goes from 0 to 99
    "#);
}

#[test]
fn no_key_after_by() {
    assert_snapshot!(rules("default => gray 5, prod 95 by"), @r#"
    error: expected a field, a function, a literal or `(`, found the end of the text
     --> rules:1:30
      |
    1 | default => gray 5, prod 95 by
      |                              ^ the text ends too early
    "#);
}

#[test]
fn triple_not_equal() {
    assert_snapshot!(condition(r#"host !== "a""#), @r#"
    error: expected a field, a function, a literal or `(`, found `=`
     --> condition:1:8
      |
    1 | host !== "a"
      |        ^ inequality is written `!=`
    "#);
}

#[test]
fn salt_without_a_string() {
    assert_snapshot!(rules("default => gray 5, prod 95 by ip salt x"), @r#"
    error: expected a literal, found `x`
     --> rules:1:39
      |
    1 | default => gray 5, prod 95 by ip salt x
      |                                       ^
    "#);
}

#[test]
fn nothing_behind_a_comma() {
    assert_snapshot!(rules("route a: is_staff => gray 5, prod 95,\ndefault => prod"), @r#"
    error: expected a name, found `default`
     --> rules:2:1
      |
    2 | default => prod
      | ^^^^^^^ nothing stands behind the `,`
    "#);
}

#[test]
fn a_key_that_is_always_a_literal() {
    assert_snapshot!(rules("default => gray 5, prod 95 by \"x\" ?? ip"), @r#"
    error: the key is the same for every request
     --> rules:1:31
      |
    1 | default => gray 5, prod 95 by "x" ?? ip
      |                               ^^^^^^^^^ a key comes from the request, as `cookie(uid)` does
    "#);
}

#[test]
fn bad_cookie_name() {
    assert_snapshot!(condition("cookie(\"a=b\") == \"1\""), @r#"
    error: `a=b` is not a cookie name
     --> condition:1:8
      |
    1 | cookie("a=b") == "1"
      |        ^^^^^ at least one character, neither `=` nor `;`, and no blanks around it
    "#);
}

#[test]
fn lower_case_escape() {
    assert_snapshot!(condition("path contains \"%2f\""), @r#"
    warning: `path` is canonical: its escapes are upper case
     --> condition:1:15
      |
    1 | path contains "%2f"
      |               ^^^^^ as in "%2F"
    "#);
}

#[test]
fn dot_segment_in_a_prefix() {
    assert_snapshot!(condition("path starts_with \"/a/../b\""), @r#"
    warning: `path` is canonical: it has no dot segments
     --> condition:1:18
      |
    1 | path starts_with "/a/../b"
      |                  ^^^^^^^^^ `raw_path` is as received
    "#);
}

#[test]
fn quoted_list_that_is_none() {
    assert_snapshot!(condition("cookie(uid) in \"1001\""), @r#"
    error: `in` needs a list on its right
     --> condition:1:16
      |
    1 | cookie(uid) in "1001"
      |                ^^^^^^ one value is a list too: `["1001"]`
    "#);
}

#[test]
fn slash_comment() {
    assert_snapshot!(rules("// shop\ndefault => prod"), @r#"
    error: expected a statement, found `/`
     --> rules:1:1
      |
    1 | // shop
      | ^ a comment starts with `#`
    "#);
}

#[test]
fn operator_as_function() {
    assert_snapshot!(condition("starts_with(path, \"/x\")"), @r#"
    error: `starts_with` stands between its operands
     --> condition:1:1
      |
    1 | starts_with(path, "/x")
      | ^^^^^^^^^^^ as in `path starts_with "/api"`
    "#);
}

#[test]
fn has_is_exists() {
    assert_snapshot!(condition("has(cookie(uid)) && int(path) > 1"), @r#"
    error: `has` is no function, and a field takes one name
     --> condition:1:5
      |
    1 | has(cookie(uid)) && int(path) > 1
      |     ^^^^^^^^^^^ functions are `lower`, `len`, `int`, `version`, `exists` and `percent`
      = help: whether there is a value asks `exists(…)`
    "#);
}

#[test]
fn percent_sign() {
    assert_snapshot!(condition("percent(ip) < 10% && is_staff"), @r#"
    error: expected a field, a function, a literal or `(`, found `&&`
     --> condition:1:19
      |
    1 | percent(ip) < 10% && is_staff
      |                   ^^ a percentage is written without `%`
    "#);
}

#[test]
fn percent_sign_in_weights() {
    assert_snapshot!(rules("default => gray 10%, prod 90% by ip"), @r#"
    error: expected `,` or `by`, found `%`
     --> rules:1:19
      |
    1 | default => gray 10%, prod 90% by ip
      |                   ^ weights are plain numbers, relative to their sum
    "#);
}

#[test]
fn round_list() {
    assert_snapshot!(condition("host in (\"a\", \"b\")"), @r#"
    error: expected an operator or `)`, found `,`
     --> condition:1:13
      |
    1 | host in ("a", "b")
      |             ^ a list stands in `[ ]`
    "#);
}

#[test]
fn list_without_brackets() {
    assert_snapshot!(rules("list l = \"1\"\ndefault => prod"), @r#"
    error: expected `[`, found `"`
     --> rules:1:10
      |
    1 | list l = "1"
      |          ^ the members of a list stand in `[ ]`
    "#);
}

#[test]
fn by_after_comma() {
    assert_snapshot!(rules("default => gray 5, prod 95, by ip"), @r#"
    error: `by` follows a comma
     --> rules:1:29
      |
    1 | default => gray 5, prod 95, by ip
      |                             ^^ no comma stands before it: `gray 5, prod 95 by cookie(uid)`

    error: unknown statement `ip`
     --> rules:1:32
      |
    1 | default => gray 5, prod 95, by ip
      |                                ^^ a statement starts with a word such as `list`, `cluster`, `route`, `deny`, `paused` or `default`
    "#);
}

#[test]
fn name_elsewhere() {
    assert_snapshot!(condition("remote_addr == 10.0.0.1"), @r#"
    error: unknown field `remote_addr`
     --> condition:1:1
      |
    1 | remote_addr == 10.0.0.1
      | ^^^^^^^^^^^ did you mean `ip`?
    "#);
}

#[test]
fn host_with_scheme() {
    assert_snapshot!(condition("host == \"http://a.com\""), @r#"
    warning: `host` is a name and nothing else
     --> condition:1:9
      |
    1 | host == "http://a.com"
      |         ^^^^^^^^^^^^^^ ask `scheme` and `path` as well
    "#);
}

#[test]
fn host_ipv6_without_brackets() {
    assert_snapshot!(condition("host == \"2001:db8::1\""), @r#"
    warning: an IPv6 literal in `host` keeps its brackets
     --> condition:1:9
      |
    1 | host == "2001:db8::1"
      |         ^^^^^^^^^^^^^ write "[2001:db8::1]"
    "#);
}

#[test]
fn path_equal_with_query() {
    assert_snapshot!(condition("path == \"/search?q=1\""), @r#"
    warning: `path` ends before `?` and `#`
     --> condition:1:9
      |
    1 | path == "/search?q=1"
      |         ^^^^^^^^^^^^^ a parameter is `query(NAME)`
    "#);
}

#[test]
fn mistake_before_a_default_on_its_line() {
    assert_snapshot!(rules("route a: host = \"x\" => gray default => prod"), @r#"
    error: expected an operator or `=>`, found `=`
     --> rules:1:15
      |
    1 | route a: host = "x" => gray default => prod
      |               ^ equality is written `==`
    "#);
}

#[test]
fn unquoted_foreign_name() {
    assert_snapshot!(rules("route 灰度: is_staff => gray\ndefault => prod"), @r#"
    error: expected a name, found `灰度`
     --> rules:1:7
      |
    1 | route 灰度: is_staff => gray
      |       ^^^^ any other name than letters, digits, `_` and `-` can be quoted
    "#);
}

#[test]
fn wide_characters_take_two_columns() {
    assert_snapshot!(rules("route \"灰度 1\": tru => \"灰度\"\ndefault => prod"), @r#"
    error: unknown field `tru`
     --> rules:1:15
      |
    1 | route "灰度 1": tru => "灰度"
      |                 ^^^ a string stands in quotes; a header is `header(NAME)`, a cookie `cookie(NAME)`

    error: unknown cluster `灰度`
     --> rules:1:22
      |
    1 | route "灰度 1": tru => "灰度"
      |                        ^^^^^^ known: `gray`, `prod`
    "#);
}

#[test]
fn a_long_literal_is_clipped() {
    let error = condition(&format!("port == {}", "9".repeat(100_000))).to_string();
    assert!(
        error.starts_with("error: `999") && error.contains("…") && error.len() < 2_000,
        "{}",
        error.len()
    );
}

#[test]
fn weights_without_comma() {
    assert_snapshot!(rules("default => gray 5 prod 95"), @r#"
    error: a weight on the only cluster
     --> rules:1:17
      |
    1 | default => gray 5 prod 95
      |                 ^ delete it, or name the others and their weights
      = help: for a part of the requests, ask `percent(KEY) < 5` in the condition; the rest goes on to the next rule

    error: unknown statement `prod`
     --> rules:1:19
      |
    1 | default => gray 5 prod 95
      |                   ^^^^ a statement starts with a word such as `list`, `cluster`, `route`, `deny`, `paused` or `default`
    "#);
}

#[test]
fn literal_after_exists() {
    assert_snapshot!(condition(r#"exists("a")"#), @r#"
    error: a literal stands where a field should
     --> condition:1:8
      |
    1 | exists("a")
      |        ^^^ a field has no quotes
    "#);
}

#[test]
fn unquoted_name_in_call() {
    assert_snapshot!(condition(r#"header(x.y) == "a""#), @r#"
    error: expected an operator, `,` or `)`, found `.`
     --> condition:1:9
      |
    1 | header(x.y) == "a"
      |         ^ a name with other characters than letters, digits, `_` and `-` stands in quotes
    "#);
}

// === bounds ===

#[test]
fn text_too_large() {
    let limits = Limits { text_bytes: 16, ..Limits::default() };
    assert_snapshot!(within("default => prod # a comment", limits), @r#"
    error: the text has 27 bytes, 16 are allowed
     --> rules:1:1
      |
    1 | default => prod # a comment
      | ^
      = help: move long lists into the application, or raise the limit `text_bytes`
    "#);
}

#[test]
fn too_many_statements() {
    let limits = Limits { statements: 2, ..Limits::default() };
    assert_snapshot!(within("route a: is_staff => gray\nroute b: !is_staff => gray\ndefault => prod", limits), @r#"
    error: more than 2 statements
     --> rules:3:1
      |
    3 | default => prod
      | ^
      = help: the application can raise the limit `statements`
    "#);
}

#[test]
fn too_many_members() {
    let limits = Limits { list_members: 2, ..Limits::default() };
    assert_snapshot!(within("route a: port in [1, 2, 3] => gray\ndefault => prod", limits), @r#"
    error: a list of more than 2 members
     --> rules:1:18
      |
    1 | route a: port in [1, 2, 3] => gray
      |                  ^^^^^^^^^
      = help: let the application supply the list, or raise the limit `list_members`
    "#);
}

#[test]
fn program_too_large() {
    let limits = Limits { program_bytes: 100, ..Limits::default() };
    let diagnostics = within("route a: path starts_with \"/a\" => gray\ndefault => prod", limits);
    // The estimate is the platform's.
    let message = diagnostics.iter().next().map(|d| d.message().to_owned()).unwrap_or_default();
    assert!(
        message.starts_with("the compiled rules take about ") && message.ends_with("bytes, 100 are allowed"),
        "{message}"
    );
}

#[test]
fn a_program_may_take_as_much_as_is_allowed() {
    let list = row(1000, |i| format!("\"{i}\""), ", ");
    let text = format!("route a: host in [{list}] => gray\ndefault => prod");
    let within = |bytes| within(text.as_str(), Limits { program_bytes: bytes, ..Limits::default() });
    let said = within(1).iter().next().map(|d| d.message().to_owned()).unwrap_or_default();
    let taken = said.split(' ').find_map(|word| word.parse::<usize>().ok()).unwrap_or_default();
    assert!(taken > 17_000, "the list counts as well: {said}");
    assert!(within(taken).is_empty());
    assert!(within(taken - 1).has_errors());
}

#[test]
fn regular_expressions_too_large_together() {
    let limits = Limits { program_bytes: 100, ..Limits::default() };
    let text =
        "route a: path matches \"^/a\" => gray\nroute b: path matches \"^/b\" => gray\ndefault => prod";
    assert_snapshot!(within(text, limits), @r#"
    error: the regular expressions up to here take more than 100 bytes once compiled
     --> rules:1:23
      |
    1 | route a: path matches "^/a" => gray
      |                       ^^^^^ those after it were not looked at
      = help: the application can raise the limit `program_bytes`
    "#);
}

#[test]
fn regular_expressions_may_take_as_much_as_is_allowed() {
    let said = |parts: &str, bytes| {
        let limits = Limits { program_bytes: bytes, ..Limits::default() };
        within(format!("route a: {parts} => gray\ndefault => prod"), limits).to_string()
    };
    let too_large = |parts: &str, bytes| said(parts, bytes).contains("the regular expressions up to here");
    let least = |parts: &str| {
        let (mut no, mut yes) = (0, 1 << 24);
        while yes - no > 1 {
            let middle = (no + yes) / 2;
            if too_large(parts, middle) { no = middle } else { yes = middle }
        }
        yes
    };
    let (one, two) = (r#"path matches "^/a""#, r#"path matches "^/a" || path matches "^/b""#);
    // The two are alike, so that one limit is twice the other only if both are allowed to be reached.
    assert_eq!(least(two), 2 * least(one));
    // And then it is the second that is told.
    assert!(too_large(two, least(one)));
    // A mistake is told once, wherever it is repeated.
    let twice = rules(r#"route a: path matches "(" || host matches "(" => gray default => prod"#);
    assert_eq!(twice.len(), 1);
}

#[test]
fn too_many_targets() {
    let limits = Limits { targets: 2, ..Limits::default() };
    let text = "cluster a = gray 1, prod 1\ncluster b = gray 1, prod 2\ndefault => a 1, b 1, gray 1 by ip";
    assert_snapshot!(within(text, limits), @r#"
    error: 3 clusters in one outcome, 2 are allowed
     --> rules:3:12
      |
    3 | default => a 1, b 1, gray 1 by ip
      |            ^^^^^^^^^^^^^^^^^^^^^^
      = help: the application can raise the limit `targets`
    "#);
}

#[test]
fn more_problems_than_are_kept() {
    let limits = Limits { diagnostics: 2, ..Limits::default() };
    assert_snapshot!(within("route a: aa => b\nroute c: dd => e\ndefault => prod", limits), @r#"
    error: unknown field `aa`
     --> rules:1:10
      |
    1 | route a: aa => b
      |          ^^ a string stands in quotes; a header is `header(NAME)`, a cookie `cookie(NAME)`

    error: unknown cluster `b`
     --> rules:1:16
      |
    1 | route a: aa => b
      |                ^ known: `gray`, `prod`

    and 2 more
    "#);
}

#[test]
fn an_error_is_kept_rather_than_a_lint() {
    let limits = Limits { diagnostics: 1, ..Limits::default() };
    let text = "route a: host == \"A\" => gray\nroute b: x => gray\ndefault => prod";
    assert_snapshot!(within(text, limits), @r#"
    error: unknown field `x`
     --> rules:2:10
      |
    2 | route b: x => gray
      |          ^ a string stands in quotes; a header is `header(NAME)`, a cookie `cookie(NAME)`

    and 1 more
    "#);
}

#[test]
fn a_long_line_is_shown_around_the_caret() {
    let text = format!("host in [{}] && hots == \"a\"", "\"abcdefgh\", ".repeat(100));
    let error = condition(&text).iter().find(|d| d.message().contains("hots")).map(ToString::to_string);
    assert_snapshot!(error.unwrap_or_default(), @r#"
    error: unknown field `hots`
     --> condition:1:1215
      |
    1 | …cdefgh", "abcdefgh", "abcdefgh", "abcdefgh", ] && hots == "a"
      |                                                    ^^^^ did you mean `host`?
    "#);
}

// === statements one by one ===

#[test]
fn a_statement_is_named_in_place_of_its_line() {
    let statements = Statements::new()
        .list("codes", "[1, 2, x]")
        .cluster("all", "gray 5, prod")
        .route("staff", "is_staff ||\n  hots == \"a\"", "grey")
        .route("staff", "port in codes", "gray")
        .default("prodd");
    assert_snapshot!(rules(statements), @r#"
    error: expected a literal or `]`, found `x`
     --> list codes, members:1:8
      |
    1 | [1, 2, x]
      |        ^

    error: `prod` has no weight
     --> cluster all, outcome:1:9
      |
    1 | gray 5, prod
      |         ^^^^ one of several clusters has a weight, as in `gray 5, prod 95`

    error: unknown field `hots`
     --> route staff, condition:2:3
      |
    2 |   hots == "a"
      |   ^^^^ did you mean `host`?

    error: unknown cluster `grey`
     --> route staff, outcome:1:1
      |
    1 | grey
      | ^^^^ did you mean `gray`?

    error: a second route `staff`
     --> route staff:1:7
      |
    1 | route staff:
      |       ^^^^^ choose another name
      = note: the first stands at 1:7

    error: unknown cluster `prodd`
     --> default, outcome:1:1
      |
    1 | prodd
      | ^^^^^ did you mean `prod`?
    "#);
}

#[test]
fn names_are_looked_up_once_every_piece_is_sound() {
    let statements = Statements::new()
        .route("staff", "is_staff ||\n  hots == \"a\"", "grey")
        .route("staff", "port in codes", "gray")
        .shadow_route("in", "true", "all");
    assert_snapshot!(rules(statements), @r#"
    error: unknown field `hots`
     --> route staff, condition:2:3
      |
    2 |   hots == "a"
      |   ^^^^ did you mean `host`?

    error: unknown cluster `grey`
     --> route staff, outcome:1:1
      |
    1 | grey
      | ^^^^ did you mean `gray`?

    error: a second route `staff`
     --> route staff:1:7
      |
    1 | route staff:
      |       ^^^^^ choose another name
      = note: the first stands at 1:7

    error: unknown list `codes`
     --> route staff, condition:1:9
      |
    1 | port in codes
      |         ^^^^^ known: `beta`

    error: unknown cluster `all`
     --> route in, outcome:1:1
      |
    1 | all
      | ^^^ known: `gray`, `prod`

    error: there is no `default`
     --> rules:1:1
      |
    1 |
      | ^ add `default => CLUSTER`: where requests go that no route takes
    "#);
}

#[test]
fn a_piece_cannot_bring_a_statement_of_its_own() {
    let statements = Statements::new()
        .route("a", "true => gray\nroute b: true", "gray")
        .route("c", "is_staff # fine", "gray # fine")
        .route("d", "is_staff", "gray\nroute e: true => gray")
        .default("prod");
    assert_snapshot!(rules(statements), @r#"
    error: expected an operator, found `=>`
     --> route a, condition:1:6
      |
    1 | true => gray
      |      ^^

    error: expected `,`, a weight or `by`, found `route`
     --> route d, outcome:2:1
      |
    2 | route e: true => gray
      | ^^^^^
    "#);
}

#[test]
fn the_last_statement_is_not_blamed_for_a_missing_default() {
    assert_snapshot!(rules(Statements::new().route("a", "is_staff", "gray")), @r#"
    error: there is no `default`
     --> rules:1:1
      |
    1 |
      | ^ add `default => CLUSTER`: where requests go that no route takes
    "#);
}

#[test]
fn a_name_cannot_speak_to_a_terminal() {
    let rule = "route \"a\\u{1b}[2J\\nb\": true => gray\n";
    assert_snapshot!(rules(format!("{rule}{rule}default => prod")), @r#"
    error: a second route `a\u{1b}[2J\nb`
     --> rules:2:7
      |
    2 | route "a\u{1b}[2J\nb": true => gray
      |       ^^^^^^^^^^^^^^^ choose another name
      = note: the first stands at 1:7
    "#);
    let piece = Statements::new().route("a\n\u{202e}b", "hots == \"x\"", "gray").default("prod");
    assert_snapshot!(rules(piece), @r#"
    error: unknown field `hots`
     --> route a\n\u{202e}b, condition:1:1
      |
    1 | hots == "x"
      | ^^^^ did you mean `host`?
    "#);
}

#[test]
fn a_text_can_have_a_name() {
    assert_snapshot!(rules(Rules::named("checkout.rules", "route staff: hots == \"a.example\" => gray\ndefault => prod")), @r#"
    error: unknown field `hots`
     --> checkout.rules:1:14
      |
    1 | route staff: hots == "a.example" => gray
      |              ^^^^ did you mean `host`?
    "#);
}

// === the service gateway ===

/// The same for an application that serves all kinds.
fn said_of_gateway<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let schema = schema().gateway(StatementKind::GATEWAY);
    let problems = |text: &str| match Engine::builder().schema(schema.clone()).build(text) {
        Ok(engine) => engine.rules().lints().clone(),
        Err(BuildError::Rules(diagnostics)) => diagnostics,
        Err(other) => panic!("the schema is sound: {other}"),
    };
    texts.into_iter().map(|text| answers(text, &problems(&format!("{text}\ndefault => prod")))).collect()
}

#[test]
fn gateway_quantities() {
    assert_snapshot!(said_of_gateway([
        "deny a: true => 200",
        "limit a: true => 100",
        "limit a: true => 0/s",
        "limit a: true => 100/0s",
        "limit a: true => 100/fortnight",
        "limit a: true => 100/s burst 0",
        "limit a: true => 100 /s",
        "limit a: true => 05/s",
        "cache a: true => 30",
        "cache a: true => 1.5s",
        "cache a: true => 030s",
        "cache a: true => 400d",
        "cache a: true => 99999999999999999999999d",
        "capture a: true => 50 for 0s",
        "count a: true => top 5000 by ip per 15s",
    ]), @r#"
    deny a: true => 200
        `200` is not a status that denies | from 400 to 599, as in `403`
    limit a: true => 100
        `100` is not a rate | write it as `100/s`, `6000/m` or `100/10s`
    limit a: true => 0/s
        `0` is not a count | whole numbers from 1 to 4294967295, without leading zeros
    limit a: true => 100/0s
        a rate over no time | as in `100/s`
    limit a: true => 100/fortnight
        `fortnight` is not a span of time | write it as `500ms`, `30s`, `10m`, `2h` or `7d`
    limit a: true => 100/s burst 0
        `0` is not a count | whole numbers from 1 to 4294967295, without leading zeros
    limit a: true => 100 /s
        expected `by` or `burst`, found `/` | there is no arithmetic but `%`
    limit a: true => 05/s
        `05` is not a count | whole numbers from 1 to 4294967295, without leading zeros
    cache a: true => 30
        `30` is not a span of time | write it as `500ms`, `30s`, `10m`, `2h` or `7d`
    cache a: true => 1.5s
        `1.5s` is not a span of time | write it as `500ms`, `30s`, `10m`, `2h` or `7d`
    cache a: true => 030s
        `030s` has leading zeros | write it without
    cache a: true => 400d
        `400d` is too long | at most `366d`
    cache a: true => 99999999999999999999999d
        `99999999999999999999999d` is too long | at most `366d`
    capture a: true => 50 for 0s
        a `capture` over no time | give it some, as in `15s`
    count a: true => top 5000 by ip per 15s
        a top of 5000 is too long | at most 1000
    "#);
}

#[test]
fn gateway_outcomes() {
    assert_snapshot!(said_of_gateway([
        "deny a: true =>",
        "deny a: true => gray",
        "deny a: true => 403 \"x\" gray",
        "limit a: true => 100/s by \"x\"",
        "limit a: true => 100/s per ip",
        "cache a: true => 30s stale",
        "cache a: true => 30s with privat",
        "cache a: true => 30s with private, private",
        "cache a: true => 30s with",
        "mirror a: true => grey",
        "mirror a: true => gray 5",
        "mirror a: true => gray with safe",
        "capture a: true => 50",
        "count a: true => top 20 per 15s",
        "count a: true => 20 by ip",
        "count a: true => top 20 by ip",
    ]), @r#"
    deny a: true =>
        expected a number, found `default` | as in `=> 403` or `=> 400 "x-uid must be a number"`
    deny a: true => gray
        expected a number, found `gray` | as in `=> 403` or `=> 400 "x-uid must be a number"`
    deny a: true => 403 "x" gray
        unknown statement `gray` | a statement starts with a word such as `list`, `cluster`, `route`, `deny`, `paused` or `default`
    limit a: true => 100/s by "x"
        the key is the same for every request | a key comes from the request, as `cookie(uid)` does
    limit a: true => 100/s per ip
        expected `by` or `burst`, found `per` | as in `=> 100/s burst 200 by cookie(uid) ?? ip`
    cache a: true => 30s stale
        expected a number, found `default` | as in `=> 30s stale 10s by host`
    cache a: true => 30s with privat
        a `cache` has no option `privat` | did you mean `private`?
    cache a: true => 30s with private, private
        `private` stands twice | once is enough
    cache a: true => 30s with
        expected an option, found `default` | as in `=> 30s stale 10s by host`
    mirror a: true => grey
        unknown cluster `grey` | did you mean `gray`?
    mirror a: true => gray 5
        expected `with`, found `5` | as in `=> shadow_cluster`
    mirror a: true => gray with safe
        a `mirror` has no option `safe` | known: `unsafe`
    capture a: true => 50
        expected `for`, found `default` | as in `=> 50 for 10m`
    count a: true => top 20 per 15s
        expected `by`, found `per` | as in `=> top 20 by ip per 15s`
    count a: true => 20 by ip
        expected `top`, found `20` | as in `=> top 20 by ip per 15s`
    count a: true => top 20 by ip
        expected an operator or `per`, found `default` | as in `=> top 20 by ip per 15s`
    "#);
}

#[test]
fn gateway_heads() {
    assert_snapshot!(said_of_gateway([
        "denny a: true => 403",
        "deny: true => 403",
        "paused deny : true => 403",
        "deny a: true => 403\ndeny a: true => 404",
        "deny a: header(x) == \"1\" && header(x) in [] => 403",
        "deny a: host == \"UPPER\" => 403",
    ]), @r#"
    denny a: true => 403
        unknown statement `denny` | did you mean `deny`?
    deny: true => 403
        expected a name, found `:` | a deny has a name: `deny staff: …`
    paused deny : true => 403
        expected a name, found `:` | a deny has a name: `deny staff: …`
    deny a: true => 403
    deny a: true => 404
        a second deny `a` | choose another name
    deny a: header(x) == "1" && header(x) in [] => 403
        this condition is never true | no request can satisfy it
    deny a: host == "UPPER" => 403
        `host` has no upper-case letters | write "upper"
    "#);
}

#[test]
fn fallbacks() {
    assert_snapshot!(said_of_gateway([
        "route a: true => gray else gray",
        "route a: true => gray else grey",
        "route a: true => gray else prod 5, prod 95",
        "route a: true => gray else",
        "cluster x = gray else y\ncluster y = prod else x",
    ]), @r#"
    route a: true => gray else gray
        `gray` stands in for itself | name another cluster, or none
    route a: true => gray else grey
        unknown cluster `grey` | did you mean `gray`?
    route a: true => gray else prod 5, prod 95
        expected `,` or `by`, found `5` | the weight stands before `else`, as in `gray 5 else prod`
    route a: true => gray else
        expected a name, found `default`
    cluster x = gray else y
    cluster y = prod else x
        the cluster `y` contains itself | in the end, every cluster is one that the application declares
    "#);
}
