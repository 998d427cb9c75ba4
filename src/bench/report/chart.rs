//! Charts as inline SVG. What a pointer rests on tells its values by style alone.

use super::super::units::{Unit, digits};
use super::html::Html;
use super::scale::Scale;

/// The drawing in its own units; the page scales it.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 240.0;
/// Where the axes are.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 588.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 208.0;
/// The most columns that a pointer can rest on; more are thinner than a finger and make the page long.
const COLUMNS: usize = 120;

/// One line of a chart.
#[derive(Clone, Debug)]
pub(in super::super) struct Series {
    pub(in super::super) name: String,
    /// Places and values, in the order of places.
    pub(in super::super) points: Vec<(f64, f64)>,
}

/// How many values lie in a range.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Band {
    pub(in super::super) low: f64,
    pub(in super::super) high: f64,
    pub(in super::super) count: u64,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(in super::super) enum Plot {
    /// Lines over seconds.
    Time(Vec<Series>),
    /// Lines over rates that were tried, each with its dots.
    Rates(Vec<Series>),
    /// How often each latency came, over a logarithmic axis, with named values marked.
    Distribution { bands: Vec<Band>, marks: Vec<(String, f64)> },
    /// The value at each quantile, from 0 to below 1: far to the right is rare.
    Quantiles(Vec<(f64, f64)>),
}

/// A chart with its words.
#[derive(Clone, Debug)]
pub(in super::super) struct Chart {
    pub(in super::super) title: String,
    /// What to see in it.
    pub(in super::super) note: String,
    pub(in super::super) unit: Unit,
    pub(in super::super) plot: Plot,
}

impl Chart {
    pub(super) fn draw(&self, html: &mut Html) {
        html.element("figure", &[("class", "card")], |html| {
            html.element("figcaption", &[], |html| {
                html.line("h2", &[], &self.title);
                html.line("p", &[], &self.note);
                self.legend(html);
            });
            let size = format!("0 0 {WIDTH} {HEIGHT}");
            let shown = [("viewBox", size.as_str()), ("role", "img"), ("aria-label", self.title.as_str())];
            html.element("svg", &shown, |html| match &self.plot {
                Plot::Time(series) => self.draw_lines(html, series, |at| format!("{} s", digits(at)), false),
                Plot::Rates(series) => {
                    self.draw_lines(html, series, |at| format!("{}/s", Unit::Count.show(at)), true)
                }
                Plot::Distribution { bands, marks } => self.draw_distribution(html, bands, marks),
                Plot::Quantiles(points) => self.draw_quantiles(html, points),
            });
        });
    }

    fn legend(&self, html: &mut Html) {
        let (Plot::Time(series) | Plot::Rates(series)) = &self.plot else { return };
        if series.len() < 2 {
            return;
        }
        html.element("p", &[("class", "legend")], |html| {
            for (number, series) in series.iter().enumerate() {
                html.element("span", &[("class", &format!("key s{number}"))], |html| html.text(&series.name));
            }
        });
    }

    fn draw_lines(&self, html: &mut Html, series: &[Series], show: impl Fn(f64) -> String, dots: bool) {
        let all = || series.iter().flat_map(|series| &series.points);
        if all().next().is_none() {
            return nothing(html);
        }
        let highest = all().map(|point| point.1).fold(0.0, f64::max);
        let y = match self.unit {
            Unit::Bytes => Scale::binary_from_zero(highest, 4.0),
            _ => Scale::from_zero(highest, 4.0),
        };
        let x = Scale::until(all().map(|point| point.0).fold(0.0, f64::max), 6.0);
        self.axis_y(html, &y);
        axis_x(html, x.ticks.iter().map(|tick| (x.place(*tick), show(*tick))));
        for (number, series) in series.iter().enumerate() {
            let points = thinned(&series.points);
            let line: Vec<String> =
                points.iter().map(|point| pair(across(x.place(point.0)), up(y.place(point.1)))).collect();
            let line = line.join(" ");
            if let (0, Some(first), Some(last)) = (number, points.first(), points.last()) {
                let [from, to] = [first, last].map(|point| pair(across(x.place(point.0)), BOTTOM));
                html.empty("polygon", &[("class", "area s0"), ("points", &format!("{from} {line} {to}"))]);
            }
            html.empty("polyline", &[("class", &format!("line s{number}")), ("points", &line)]);
            // A line of one point is none.
            for point in points.iter().filter(|_| dots || points.len() < 3) {
                let class = format!("tried s{number}");
                let [x, y] =
                    [across(x.place(point.0)), up(y.place(point.1))].map(|place| format!("{place:.1}"));
                html.empty("circle", &[("class", &class), ("cx", &x), ("cy", &y), ("r", "3")]);
            }
        }
        let columns: Vec<Vec<(f64, f64)>> = series.iter().map(|series| thinned(&series.points)).collect();
        let Some(first) = columns.first() else { return };
        let half = (RIGHT - LEFT) / (2.0 * as_f64(first.len()));
        for (at, point) in first.iter().enumerate() {
            let place = across(x.place(point.0));
            let values: Vec<(usize, f64)> = columns
                .iter()
                .enumerate()
                .filter_map(|(number, points)| Some((number, points.get(at)?.1)))
                .collect();
            let words: Vec<String> = values.iter().map(|(_, value)| self.unit.show(*value)).collect();
            let told = format!("{}: {}", show(point.0), words.join(", "));
            hover(html, (place - half, place + half), place, &told, |html| {
                for (number, value) in &values {
                    dot(html, place, up(y.place(*value)), &format!("s{number}"));
                }
            });
        }
    }

    fn draw_distribution(&self, html: &mut Html, bands: &[Band], marks: &[(String, f64)]) {
        let (Some(first), Some(last)) = (bands.first(), bands.last()) else { return nothing(html) };
        let total: u64 = bands.iter().map(|band| band.count).sum();
        let share = |count: u64| 100.0 * as_f64(count) / as_f64(total.max(1));
        let x = Scale::logarithmic(first.low, last.high);
        let y = Scale::from_zero(bands.iter().map(|band| share(band.count)).fold(0.0, f64::max), 4.0);
        axis_lines(html, &y, |tick| Unit::Percent.show(tick));
        axis_x(html, x.ticks.iter().map(|tick| (x.place(*tick), self.unit.show(*tick))));
        for band in bands {
            let (from, to) = (across(x.place(band.low)), across(x.place(band.high)));
            let top = up(y.place(share(band.count)));
            let told = format!(
                "{} to {}: {}",
                self.unit.show(band.low),
                self.unit.show(band.high),
                Unit::Percent.show(share(band.count))
            );
            hover(html, (from, to), (from + to) / 2.0, &told, |html| {
                let width = (to - from - 1.0).max(0.5);
                html.empty(
                    "rect",
                    &[
                        ("class", "bar"),
                        ("x", &number(from)),
                        ("y", &number(top)),
                        ("width", &number(width)),
                        ("height", &number(BOTTOM - top)),
                    ],
                );
            });
        }
        let mut taken = [f64::NEG_INFINITY; 5];
        for (name, value) in marks {
            let place = across(x.place(*value));
            let text = format!("{name} {}", self.unit.show(*value));
            // In the first row in which its words do not run into those before.
            let wide = 6.2 * as_f64(text.chars().count());
            let is_right = place + wide > RIGHT;
            let from = if is_right { place - wide } else { place };
            let row = taken.iter().position(|end| *end < from).unwrap_or(taken.len() - 1);
            if let Some(end) = taken.get_mut(row) {
                *end = from + wide + 10.0;
            }
            let height = TOP + 3.0 + 13.0 * as_f64(row);
            let line = [number(place), number(TOP), number(BOTTOM)];
            let [x, top, bottom] = &line;
            html.empty("line", &[("class", "mark"), ("x1", x), ("x2", x), ("y1", top), ("y2", bottom)]);
            let anchor = if is_right { "end" } else { "start" };
            let shift = if is_right { -4.0 } else { 4.0 };
            label(html, "marked", place + shift, height, anchor, &text);
        }
    }

    fn draw_quantiles(&self, html: &mut Html, points: &[(f64, f64)]) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return nothing(html) };
        let rarity = |quantile: f64| 1.0 / (1.0 - quantile).max(1e-7);
        let x = Scale::logarithmic(1.0, rarity(last.0).max(10.0));
        let y = Scale::logarithmic(first.1.max(1.0), last.1.max(10.0));
        self.axis_y(html, &y);
        let nines = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999];
        let shown = nines.into_iter().filter(|quantile| *quantile <= last.0 + 1e-9);
        axis_x(
            html,
            shown.map(|quantile| {
                let percent = format!("{:.4}", 100.0 * quantile);
                let percent = percent.trim_end_matches('0').trim_end_matches('.').to_owned();
                (x.place(rarity(quantile)), format!("{percent} %"))
            }),
        );
        let place = |point: &(f64, f64)| (across(x.place(rarity(point.0))), up(y.place(point.1)));
        let line: Vec<String> = points.iter().map(place).map(|(x, y)| pair(x, y)).collect();
        html.empty("polyline", &[("class", "line s0"), ("points", &line.join(" "))]);
        for (at, point) in points.iter().enumerate() {
            let (x, y) = place(point);
            let before = at.checked_sub(1).and_then(|at| points.get(at)).map_or(x - 4.0, |p| place(p).0);
            let after = points.get(at + 1).map_or(x + 4.0, |point| place(point).0);
            let told = format!("{:.4} %: {}", 100.0 * point.0, self.unit.show(point.1));
            hover(html, ((before + x) / 2.0, (x + after) / 2.0), x, &told, |html| dot(html, x, y, "s0"));
        }
    }

    fn axis_y(&self, html: &mut Html, scale: &Scale) {
        axis_lines(html, scale, |tick| self.unit.show(tick));
    }
}

fn axis_lines(html: &mut Html, scale: &Scale, show: impl Fn(f64) -> String) {
    let mut lowest = f64::INFINITY;
    for tick in &scale.ticks {
        let height = up(scale.place(*tick));
        let y = number(height);
        let ends = [number(LEFT), number(RIGHT)];
        let [from, to] = &ends;
        html.empty("line", &[("class", "grid"), ("x1", from), ("x2", to), ("y1", &y), ("y2", &y)]);
        // Of lines that stand close, not each is named.
        if lowest - height >= 14.0 {
            label(html, "tick", LEFT - 8.0, height + 4.0, "end", &show(*tick));
            lowest = height;
        }
    }
}

fn axis_x(html: &mut Html, ticks: impl Iterator<Item = (f64, String)>) {
    let mut end = f64::NEG_INFINITY;
    for (place, text) in ticks {
        let x = across(place);
        let half = 3.4 * as_f64(text.chars().count());
        if x - half > end {
            let anchor = if x + half > WIDTH { "end" } else { "middle" };
            label(html, "tick", x, BOTTOM + 18.0, anchor, &text);
            end = x + half + 6.0;
        }
    }
}

fn nothing(html: &mut Html) {
    label(html, "tick", WIDTH / 2.0, HEIGHT / 2.0, "middle", "nothing was measured");
}

/// A column that shows `inside` and tells `words` while the pointer rests on it.
fn hover(html: &mut Html, span: (f64, f64), at: f64, words: &str, inside: impl FnOnce(&mut Html)) {
    let (from, to) = (span.0.max(LEFT), span.1.min(RIGHT));
    html.element("g", &[("class", "spot")], |html| {
        html.empty(
            "rect",
            &[
                ("class", "column"),
                ("x", &number(from)),
                ("y", &number(TOP)),
                ("width", &number((to - from).max(0.1))),
                ("height", &number(BOTTOM - TOP)),
            ],
        );
        inside(html);
        let anchor = if at < LEFT + 90.0 {
            "start"
        } else if at > RIGHT - 90.0 {
            "end"
        } else {
            "middle"
        };
        label(html, "told", at, TOP - 8.0, anchor, words);
    });
}

fn dot(html: &mut Html, x: f64, y: f64, class: &str) {
    let class = format!("dot {class}");
    html.empty("circle", &[("class", &class), ("cx", &number(x)), ("cy", &number(y)), ("r", "3.5")]);
}

fn label(html: &mut Html, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let place = [("class", class), ("x", &number(x)), ("y", &number(y)), ("text-anchor", anchor)];
    html.line("text", &place, text);
}

/// At most [`COLUMNS`] points, each the worst of those that it stands for: a peak is not smoothed away.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let run = points.len().div_ceil(COLUMNS).max(1);
    let worst = |run: &[(f64, f64)]| run.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(run).filter_map(worst).collect()
}

fn across(place: f64) -> f64 {
    LEFT + place * (RIGHT - LEFT)
}

fn up(place: f64) -> f64 {
    BOTTOM - place * (BOTTOM - TOP)
}

fn pair(x: f64, y: f64) -> String {
    format!("{},{}", number(x), number(y))
}

fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "a drawing needs three digits")]
fn as_f64(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}
