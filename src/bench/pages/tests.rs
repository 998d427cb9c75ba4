use super::*;
use crate::bench::control::outcome::{Churn, Hold, Moment, Steps, Stun};
use crate::bench::outcome::Throughput;

fn latency() -> Latency {
    Latency { p50: 85.0, p90: 140.0, p99: 420.0, p999: 1_300.0, max: 2_100.0 }
}

fn bars() -> Vec<Bar> {
    [(64.0, 100), (80.0, 400), (100.0, 700), (125.0, 0), (156.0, 90), (2_100.0, 1)]
        .map(|(up_to_us, count)| Bar { up_to_us, count })
        .to_vec()
}

fn samples() -> Vec<Sample> {
    (1..=20u32)
        .map(|at| Sample {
            at: f64::from(at) / 4.0,
            sent_per_second: 10_000.0,
            received_per_second: 9_990.0,
            loss: 0.001,
            p50_us: 85.0,
            p99_us: 420.0,
            server_cpu_us: Some(1.5),
        })
        .collect()
}

fn rung(offered: f64, is_good: bool) -> Rung {
    Rung {
        offered_per_second: offered,
        received_per_second: offered,
        loss: if is_good { 0.0 } else { 0.07 },
        p99_us: 300.0,
        server_cpu_us: Some(1.0),
        is_good,
        generator_limited: false,
    }
}

fn throughput() -> Throughput {
    Throughput {
        version: 1,
        kind: "throughput",
        server: "turn:relay.example.org".to_owned(),
        transport: "udp".to_owned(),
        direction: "both",
        form: "channels",
        peers: "each",
        allocations: 100,
        payload: 1_200,
        burst: 8,
        flows: 200,
        max_loss: 0.005,
        sent: 50_000,
        received: 50_000,
        lost: 0,
        corrupt: 0,
        duplicate: 0,
        reordered: 0,
        misdelivered: 0,
        blocked: 0,
        seconds: 5.0,
        packets_per_second: 10_000.0,
        sent_per_second: 10_000.0,
        offered_per_second: 10_000.0,
        payload_bits_per_second: 96e6,
        latency_us: latency(),
        lateness_us: latency(),
        server_cpu_us_per_packet: Some(1.5),
        generator_limited: false,
        generator_limits: Vec::new(),
        generator_cpu: 0.3,
        setup_seconds: 0.2,
        latency_bars: bars(),
        samples: samples(),
        rungs: Vec::new(),
    }
}

fn stun() -> Stun {
    Stun {
        version: 1,
        kind: "stun",
        server: "stun:h".to_owned(),
        transport: "udp".to_owned(),
        clients: 16,
        sent: 1_000,
        received: 990,
        lost: 10,
        max_loss: 0.02,
        sent_per_second: 200.0,
        duplicate: 0,
        wrong: 0,
        foreign: 0,
        is_translated: false,
        seconds: 5.0,
        requests_per_second: 198.0,
        offered_per_second: 200.0,
        latency_us: latency(),
        lateness_us: latency(),
        server_cpu_us_per_request: None,
        generator_limited: false,
        generator_limits: Vec::new(),
        generator_cpu: 0.1,
        latency_bars: bars(),
        samples: samples(),
        rungs: Vec::new(),
    }
}

fn churn() -> Churn {
    Churn {
        version: 1,
        kind: "churn",
        server: "turn:h".to_owned(),
        transport: "udp".to_owned(),
        parallel: 16,
        peer: None,
        cycles: 5_000,
        failed: 0,
        failed_share: 0.0,
        failed_by_code: std::collections::BTreeMap::new(),
        failed_in_words: Vec::new(),
        unfinished: 0,
        standstill_seconds: 0.001,
        retransmissions: 2,
        seconds: 5.0,
        cycles_per_second: 1_000.0,
        offered_per_second: None,
        latency_us: latency(),
        steps_us: Steps::default(),
        server_cpu_us_per_cycle: Some(31.0),
        generator_limited: false,
        generator_limits: Vec::new(),
        generator_cpu: 0.5,
        latency_bars: bars(),
        samples: samples(),
    }
}

fn hold() -> Hold {
    Hold {
        version: 1,
        kind: "hold",
        server: "turn:h".to_owned(),
        transport: "udp".to_owned(),
        allocations: 1_000,
        lost: 0,
        unanswered: 0,
        refreshes: 40,
        seconds: 30.0,
        setup_seconds: 0.4,
        allocate_us: latency(),
        refresh_us: latency(),
        server_rss_before: Some(9_000_000),
        server_rss_after: Some(10_536_000),
        server_rss_per_allocation: Some(1_536.0),
        server_cpu: Some(0.01),
        moments: vec![
            Moment { at: 0.2, held: 500, server_rss: Some(9_500_000) },
            Moment { at: 0.4, held: 1_000, server_rss: Some(10_536_000) },
        ],
    }
}

fn shown(found: &dyn Shown) -> Page {
    found.page(&Circumstances::default())
}

fn titles(page: &Page) -> Vec<&str> {
    page.charts.iter().map(|chart| chart.title.as_str()).collect()
}

#[test]
fn every_kind_shows_its_figures_and_charts() {
    let page = shown(&throughput());
    let text = page.text();
    for word in ["all 50\u{202f}000 packets arrived", "10 k/s", "96 Mbit/s", "1.5 µs", "420 µs"] {
        assert!(text.replace('\u{a0}', " ").contains(word), "{word} in {text}");
    }
    assert_eq!(
        titles(&page),
        ["Rate", "Loss", "Latency over time", "Server's CPU per packet", "Latency", "Latency by percentile"]
    );
    assert!(shown(&churn()).text().contains("for each cycle"));
    assert!(titles(&shown(&churn())).contains(&"Server's CPU per cycle"));
    assert!(shown(&hold()).text().contains("1.5 KiB"));
    assert_eq!(titles(&shown(&hold())), ["Allocations", "Server's memory"]);
    assert!(shown(&stun()).text().contains("1 % of 1\u{202f}000 answers lost"));
}

#[test]
fn without_a_process_nothing_is_said_about_it() {
    let without: Vec<Sample> =
        samples().into_iter().map(|sample| Sample { server_cpu_us: None, ..sample }).collect();
    let page = shown(&Throughput { server_cpu_us_per_packet: None, samples: without, ..throughput() });
    assert!(!page.html().contains("Server's CPU") && !page.html().contains("Server&#39;s CPU"));
    let page = shown(&Hold {
        server_rss_before: None,
        server_rss_after: None,
        server_rss_per_allocation: None,
        server_cpu: None,
        moments: vec![Moment { at: 1.0, held: 1, server_rss: None }],
        ..hold()
    });
    assert_eq!(titles(&page), ["Allocations"]);
}

#[test]
fn verdicts_are_no_better_than_what_was_found() {
    let tone = |found: &dyn Shown| shown(found).verdict.0;
    assert_eq!(tone(&throughput()), Tone::Good);
    assert_eq!(tone(&Throughput { lost: 250, ..throughput() }), Tone::Good);
    assert_eq!(tone(&Throughput { lost: 251, ..throughput() }), Tone::Bad);
    assert_eq!(tone(&Throughput { lost: 251, max_loss: 0.1, ..throughput() }), Tone::Good);
    assert_eq!(tone(&Throughput { lost: 50_000, received: 0, ..throughput() }), Tone::Bad);
    assert_eq!(tone(&Throughput { corrupt: 1, ..throughput() }), Tone::Bad);
    assert_eq!(tone(&Throughput { misdelivered: 1, ..throughput() }), Tone::Bad);
    assert_eq!(tone(&Stun { wrong: 1, ..stun() }), Tone::Bad);
    assert_eq!(tone(&stun()), Tone::Good);
    assert_eq!(tone(&Stun { max_loss: 0.005, ..stun() }), Tone::Bad);
    assert_eq!(tone(&Churn { failed: 1, failed_share: 0.0002, ..churn() }), Tone::Warning);
    assert_eq!(tone(&Churn { failed: 50, failed_share: 0.01, ..churn() }), Tone::Bad);
    assert_eq!(tone(&Churn { standstill_seconds: 1.5, ..churn() }), Tone::Bad);
    assert_eq!(tone(&Churn { cycles: 0, ..churn() }), Tone::Bad);
    let few = shown(&Churn { cycles: 3, ..churn() }).verdict;
    assert!(few.0 == Tone::Bad && few.1.starts_with("3 cycles: too few"), "{}", few.1);
    assert_eq!(tone(&Churn { cycles: 4, ..churn() }), Tone::Good);
    assert_eq!(tone(&Hold { lost: 1, ..hold() }), Tone::Bad);
    assert_eq!(tone(&Hold { lost: 1, unanswered: 1, ..hold() }), Tone::Bad);
}

#[test]
fn cycles_that_failed_are_told_by_their_reason() {
    let failed_by_code = [("437".to_owned(), 40), ("silence".to_owned(), 10)].into();
    let failed_in_words = vec!["refuses: wait".to_owned(), "is silent: look".to_owned()];
    let found = Churn {
        failed: 50,
        failed_share: 0.0099,
        failed_by_code,
        failed_in_words,
        unfinished: 10,
        ..churn()
    };
    let text = shown(&found).html();
    for word in [
        "refused with 437",
        "no answer",
        "(0.792 %)",
        "40 (0.792 %) of the cycles were given up: refuses: wait.",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn memory_that_did_not_grow_gives_no_figure() {
    let found = Hold { server_rss_after: Some(9_000_000), server_rss_per_allocation: None, ..hold() };
    let text = shown(&found).text();
    assert!(text.contains("Start the server afresh") && !text.contains("for each allocation"), "{text}");
    assert!(!shown(&hold()).text().contains("afresh"));
}

#[test]
fn one_is_not_all() {
    let text = |sent| shown(&Stun { lost: 0, sent, received: sent, ..stun() }).verdict.1;
    assert_eq!([text(1), text(2)], ["the only answer came back", "all 2 answers came back"]);
}

#[test]
fn more_loss_than_allowed_is_said_in_words() {
    let page = shown(&Throughput { lost: 40_000, received: 10_000, ..throughput() });
    let text = page.text().replace('\u{a0}', " ");
    assert!(text.contains("80 % of 50\u{202f}000 packets lost, more than the 0.5 % of --max-loss"), "{text}");
    let limited = Throughput { lost: 40_000, generator_limited: true, ..throughput() };
    assert!(shown(&limited).text().contains("WARNING: 80 % of"), "not hidden by the other finding");
}

#[test]
fn what_was_sent_stands_beside_what_was_asked_for() {
    let found = Throughput { sent_per_second: 73_000.0, offered_per_second: 1e8, ..throughput() };
    let text = shown(&found).text().replace('\u{a0}', " ");
    assert!(text.contains("73 k/s sent, 100 M/s offered"), "{text}");
    let few = Throughput { sent: 64, received: 64, ..throughput() };
    assert!(shown(&few).text().contains("Only 8 of 200 flows have sent anything"), "{}", shown(&few).text());
    assert!(shown(&throughput()).warnings.is_empty());
}

#[test]
fn without_a_server_nothing_is_said_of_one() {
    let found = Throughput { server: "direct".to_owned(), generator_limited: true, ..throughput() };
    let page = shown(&Throughput { server_cpu_us_per_packet: None, ..found });
    let text = page.text();
    assert!(
        text.contains("one way, without a server") && text.contains("WARNING: Generator limited"),
        "{text}"
    );
    assert!(!text.contains("through the server") && !text.contains("not by the server"), "{text}");
    assert!(shown(&throughput()).text().contains("through the server, one way"));
}

#[test]
fn a_generator_at_its_end_is_said_loudly() {
    let reasons = vec!["its thread used 99 % of a core".to_owned()];
    let limited: [&dyn Shown; 3] = [
        &Throughput { generator_limited: true, generator_limits: reasons.clone(), ..throughput() },
        &Stun { generator_limited: true, generator_limits: reasons.clone(), ..stun() },
        &Churn { generator_limited: true, generator_limits: reasons, ..churn() },
    ];
    for found in limited {
        let page = shown(found);
        assert_eq!(page.verdict.0, Tone::Warning);
        assert!(page.text().contains("WARNING: Generator limited") && page.text().contains("99 %"));
        assert!(page.html().contains("class=\"warning\""));
    }
}

#[test]
fn a_search_shows_all_rates_in_their_order() {
    let rungs = vec![rung(2e5, true), rung(8e5, false), rung(4e5, true)];
    let page = shown(&Throughput { packets_per_second: 4e5, rungs, ..throughput() });
    assert_eq!(page.verdict, (Tone::Good, "carries 400 k/s".to_owned()));
    let Some(Chart { plot: Plot::Rates(series), .. }) =
        page.charts.iter().find(|chart| chart.title == "Loss at each rate")
    else {
        panic!("{:?}", titles(&page));
    };
    assert_eq!(series[0].points, [(2e5, 0.0), (4e5, 0.0), (8e5, 7.000000000000001)]);
}

#[test]
fn quantiles_end_before_all() {
    let points = quantiles(&bars());
    assert_eq!(points.first(), Some(&(0.0, 64.0 / 1.25)));
    assert!(points.last().is_some_and(|(quantile, value)| *quantile < 1.0 && *value == 2_100.0));
    assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
    assert!(quantiles(&[]).is_empty() && bands(&[]).is_empty());
}
