use super::super::units::Unit;
use super::*;

/// A page with every kind of chart, around `foreign`.
fn page(foreign: &str) -> Page {
    let wave = |height: f64| -> Vec<(f64, f64)> {
        (0..400u32).map(|at| (f64::from(at) / 20.0, height * (1.0 + f64::from(at % 7) / 20.0))).collect()
    };
    let bands = (0..60u32).map(|at| {
        let low = 20.0 * 1.1f64.powi(at.cast_signed());
        Band { low, high: low * 1.1, count: u64::from(at * (60 - at)) }
    });
    let quantiles = (0..60u32).map(|at| 1.0 - 0.8f64.powi(at.cast_signed()));
    Page {
        title: format!("throughput {foreign}"),
        target: foreign.to_owned(),
        date: foreign.to_owned(),
        verdict: (Tone::Warning, foreign.to_owned()),
        warnings: vec![foreign.to_owned()],
        tiles: vec![Tile { label: foreign.to_owned(), value: foreign.to_owned(), note: foreign.to_owned() }],
        charts: vec![
            Chart {
                title: foreign.to_owned(),
                note: foreign.to_owned(),
                unit: Unit::Count,
                plot: Plot::Time(vec![
                    Series { name: foreign.to_owned(), points: wave(300_000.0) },
                    Series { name: "received".to_owned(), points: wave(290_000.0) },
                ]),
            },
            Chart {
                title: "Latency".to_owned(),
                note: String::new(),
                unit: Unit::Micros,
                plot: Plot::Distribution {
                    bands: bands.collect(),
                    marks: vec![(foreign.to_owned(), 120.0), ("p99".to_owned(), 900.0)],
                },
            },
            Chart {
                title: "Latency".to_owned(),
                note: String::new(),
                unit: Unit::Micros,
                plot: Plot::Quantiles(quantiles.map(|at| (at, 30.0 / (1.0 - at * 0.99))).collect()),
            },
            Chart {
                title: "Loss".to_owned(),
                note: String::new(),
                unit: Unit::Percent,
                plot: Plot::Rates(vec![Series {
                    name: foreign.to_owned(),
                    points: vec![(1e5, 0.0), (2e5, 0.1), (4e5, 7.0)],
                }]),
            },
            Chart {
                title: "Empty".to_owned(),
                note: String::new(),
                unit: Unit::Percent,
                plot: Plot::Time(Vec::new()),
            },
        ],
        facts: vec![Facts {
            title: foreign.to_owned(),
            rows: vec![(foreign.to_owned(), foreign.to_owned())],
        }],
    }
}

/// Reads a document as strictly as XML: each element is closed in its order, each value quoted, each `&` begins a
/// known entity. Returns the names of all elements.
fn elements(html: &str) -> Vec<String> {
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap();
    let (mut open, mut all) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>') || open.last() == Some(&"style"), "{text}");
        entities(text);
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let quotes = attributes.split('"').collect::<Vec<_>>();
        assert_eq!(quotes.len() % 2, 1, "{tag}");
        for (number, part) in quotes.iter().enumerate() {
            match number % 2 {
                0 => assert!(part.is_empty() || part.trim_start().ends_with('='), "{tag}"),
                _ => entities(part),
            }
        }
        all.push(name.to_owned());
        if !is_empty {
            open.push(name);
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest:?}");
    all
}

fn entities(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(known.iter().any(|entity| text[at..].starts_with(entity)), "{text}");
    }
}

#[test]
fn a_report_is_well_formed_small_and_needs_nothing_else() {
    let html = page("turn:relay.example.org").html();
    let names = elements(&html);
    for wanted in ["title", "style", "h1", "svg", "polyline", "polygon", "rect", "circle", "table"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted}");
    }
    assert!(html.len() < 100_000, "{} bytes", html.len());
    for unwanted in ["<script", "<link", "<img", "http://", "https://", "url(", "@import", "NaN", "inf"] {
        assert!(!html.contains(unwanted), "{unwanted}");
    }
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("nothing was measured"));
}

#[test]
fn foreign_text_stays_text_wherever_it_stands() {
    let plain = elements(&page("x").html());
    for foreign in
        ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</title></style>&", "'\u{202e}\0"]
    {
        let html = page(foreign).html();
        assert_eq!(elements(&html), plain, "{foreign}");
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains('\u{202e}'));
    }
}

#[test]
fn the_text_is_aligned_and_obeyed_by_no_terminal() {
    let tile = |label: &str, value: &str, note: &str| Tile {
        label: label.to_owned(),
        value: value.to_owned(),
        note: note.to_owned(),
    };
    let page = Page {
        title: "stun".to_owned(),
        verdict: (Tone::Good, "all came back".to_owned()),
        warnings: vec!["slow".to_owned()],
        tiles: vec![tile("answered", "10 k/s", "of 10 k/s"), tile("p99", "93 µs", "")],
        ..page("turn:\u{1b}[2Jh")
    };
    assert_eq!(
        page.text(),
        "stun turn:[2Jh\nall came back\n\n  answered  10 k/s  of 10 k/s\n  p99        93 µs\n\nWARNING: slow\n"
    );
}

#[test]
fn peaks_are_not_thinned_away() {
    let mut points: Vec<(f64, f64)> = (0..10_000u32).map(|at| (f64::from(at), 1.0)).collect();
    points[7_777].1 = 9_000.0;
    let chart = Chart {
        title: String::new(),
        note: String::new(),
        unit: Unit::Count,
        plot: Plot::Time(vec![Series { name: String::new(), points }]),
    };
    let html = Page { charts: vec![chart], ..page("x") }.html();
    assert!(html.contains("7777 s: 9000"), "the peak is told");
}
