//! Promise: a benchmark that misses a goal fails, and one that compares revisions names what got worse.

use marketprism_tests::figures::{Goal, Report};
use marketprism_tests::pairs::{Pairs, Spread, Turn};
use marketprism_tests::printed::Printed;

#[test]
fn a_missed_goal_fails_the_run() {
    let mut report = Report::default();
    report.figure("plain", 1.0, "x");
    report.goal("fast", 10.0, "x", Goal::AtLeast(9.0));
    report.goal("small", 10.0, "x", Goal::AtMost(11.0));
    assert!(report.print("bench", &mut Vec::new()).unwrap());
    report.goal("slow", 10.0, "x", Goal::AtLeast(11.5));
    report.goal("large", 10.0, "x", Goal::AtMost(2.5));
    let mut out = Vec::new();
    assert!(!report.print("bench", &mut out).unwrap());
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("goal: at least 11.5, MISSED") && text.contains("goal: at most 2.5, MISSED"),
        "{text}"
    );
}

#[test]
fn printed_figures_are_read_back() {
    let mut report = Report::default();
    report.figure("a rate, 16 B", 76_600.0, "frames/s");
    report.goal("x".repeat(120), 2.5, "times", Goal::AtMost(2.0));
    let spread = Spread::of([1.0, 2.0, 3.0].into_iter()).unwrap();
    report.spread("a spread", spread, "us a row here", None);
    let mut out = Vec::new();
    report.print("bench", &mut out).unwrap();
    let read: Vec<Printed> = String::from_utf8(out).unwrap().lines().filter_map(Printed::parse).collect();
    let expected = [
        ("a rate, 16 B".to_owned(), 76_600.0, "frames/s", None),
        ("x".repeat(120), 2.5, "times", Some(false)),
        ("a spread".to_owned(), 2.0, "us a row here", None),
    ];
    let expected = expected.map(|(name, value, unit, is_least)| Printed {
        name,
        value,
        unit: unit.to_owned(),
        is_least,
    });
    assert_eq!(read, expected);
}

#[test]
fn only_what_most_pairs_say_is_worse() {
    let figure =
        |unit: &str, is_least| Printed { name: String::new(), value: 1.0, unit: unit.to_owned(), is_least };
    let judge = |figure: &Printed, ratios: &[f64]| {
        figure.is_worse(ratios, Spread::of(ratios.iter().copied()).unwrap())
    };
    assert!(judge(&figure("frames/s", None), &[0.9, 0.9, 0.92, 1.1]));
    assert!(!judge(&figure("frames/s", None), &[1.1, 1.2, 1.1, 0.9]), "a higher rate");
    assert!(!judge(&figure("frames/s", None), &[0.96, 0.97, 0.96, 0.97]), "within five percent");
    assert!(!judge(&figure("ns", None), &[1.3, 1.3, 0.9, 0.9]), "the pairs do not agree");
    assert!(judge(&figure("ns", None), &[1.3, 1.3, 1.2, 0.9]));
    assert!(judge(&figure("times", Some(true)), &[0.8, 0.8, 0.8, 0.8]));
    assert!(!judge(&figure("times", None), &[0.8, 2.0, 2.0, 2.0]), "no direction");
}

#[test]
fn pairs_compare_neighbours() {
    let turn = |wall: f64| Turn { wall, cpu: wall };
    let (mut load, mut order) = (1.0, Vec::new());
    let order = std::cell::RefCell::new(&mut order);
    let load = std::cell::RefCell::new(&mut load);
    // The machine gets slower from turn to turn, both sides with it.
    let side = |name: char, cost: f64| {
        order.borrow_mut().push(name);
        **load.borrow_mut() *= 1.01;
        Ok::<_, ()>(turn(cost * **load.borrow()))
    };
    let pairs = Pairs::take(4, || side('A', 2.0), || side('B', 1.0)).unwrap();
    assert_eq!(order.borrow().iter().collect::<String>(), "ABBAABBA");
    let times = pairs.times().unwrap();
    assert_eq!(times.count, 4);
    assert!((times.median - 2.0).abs() < 0.03, "{times:?}");
    assert!((pairs.cpu_times() - 2.0).abs() < 0.03, "{pairs:?}");
    assert!((pairs.rates().unwrap().median - 0.5).abs() < 0.01, "{pairs:?}");
}
