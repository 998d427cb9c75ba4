//! What a run is told as: a few lines of text, or one page of HTML that needs nothing else, neither network nor script.
//!
//! [`Page`] says what is shown; [`Page::text`] and [`Page::html`] say how. The charts are drawn by `chart`, and `scale`
//! places their ticks.

mod chart;
mod html;
mod scale;

pub(super) use chart::{Band, Chart, Plot, Series};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use html::Html;

/// All there is of style.
const STYLE: &str = include_str!("style.css");

/// How a verdict is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warning,
    Bad,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A figure that matters.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) label: String,
    pub(super) value: String,
    /// What it is to be read beside; may be empty.
    pub(super) note: String,
}

/// Names and values.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) title: String,
    pub(super) rows: Vec<(String, String)>,
}

/// All that a report shows.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// What was done, such as `throughput`.
    pub(super) title: String,
    /// The server.
    pub(super) target: String,
    /// When, in UTC.
    pub(super) date: String,
    pub(super) verdict: (Tone, String),
    /// What limits the worth of the figures, loudly.
    pub(super) warnings: Vec<String>,
    pub(super) tiles: Vec<Tile>,
    pub(super) charts: Vec<Chart>,
    pub(super) facts: Vec<Facts>,
}

impl Page {
    /// Verdict, figures and warnings for a terminal.
    pub(super) fn text(&self) -> String {
        let (_, verdict) = &self.verdict;
        let mut text = format!("{} {}\n{}\n\n", self.title, self.target, verdict);
        let wide = |of: fn(&Tile) -> &str| {
            self.tiles.iter().map(|tile| of(tile).chars().count()).max().unwrap_or_default()
        };
        let (label, value) = (wide(|tile| &tile.label), wide(|tile| &tile.value));
        for tile in &self.tiles {
            let line = format!("  {:<label$}  {:>value$}  {}", tile.label, tile.value, tile.note);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nWARNING: {warning}\n"));
        }
        // Names of servers are foreign, and a terminal obeys what it is shown.
        text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
    }

    /// The page as HTML.
    pub(super) fn html(&self) -> String {
        let mut html = Html::default();
        html.own("<!DOCTYPE html>\n");
        html.element("html", &[("lang", "en")], |html| {
            html.element("head", &[], |html| self.head(html));
            html.own("\n");
            html.element("body", &[], |html| self.body(html));
        });
        html.own("\n");
        html.finish()
    }

    fn head(&self, html: &mut Html) {
        html.empty("meta", &[("charset", "utf-8")]);
        html.empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
        // Nothing is loaded and nothing runs, whatever should have slipped in.
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!("default-src 'none'; style-src 'sha256-{hash}'");
        html.empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]);
        html.line("title", &[], &format!("relais bench {} · {}", self.title, self.target));
        html.element("style", &[], |html| html.own(STYLE));
    }

    fn body(&self, html: &mut Html) {
        let (tone, verdict) = &self.verdict;
        html.element("header", &[], |html| {
            html.element("div", &[("class", "what")], |html| {
                html.element("h1", &[], |html| {
                    html.line("span", &[("class", "brand")], "relais bench ");
                    html.text(&self.title);
                });
                html.element("p", &[("class", "target")], |html| {
                    html.line("code", &[], &self.target);
                    html.text(&format!(" · {}", self.date));
                });
            });
            html.line("p", &[("class", &format!("verdict {}", tone.class()))], verdict);
        });
        html.own("\n");
        html.element("main", &[], |html| {
            for warning in &self.warnings {
                html.line("p", &[("class", "warning"), ("role", "note")], warning);
            }
            html.element("section", &[("class", "tiles"), ("aria-label", "Figures")], |html| {
                for tile in &self.tiles {
                    html.element("div", &[("class", "tile")], |html| {
                        html.line("div", &[("class", "label")], &tile.label);
                        html.line("div", &[("class", "value")], &tile.value);
                        html.line("div", &[("class", "note")], &tile.note);
                    });
                }
            });
            html.element("section", &[("class", "charts"), ("aria-label", "Charts")], |html| {
                for chart in &self.charts {
                    html.own("\n");
                    chart.draw(html);
                }
            });
            html.element("section", &[("class", "facts"), ("aria-label", "Settings")], |html| {
                for facts in &self.facts {
                    html.own("\n");
                    table(html, facts);
                }
            });
        });
        html.element("footer", &[], |html| {
            html.text(concat!("Made by relais ", env!("CARGO_PKG_VERSION"), ". "));
            html.text("Point at a chart to read its values.");
        });
    }
}

fn table(html: &mut Html, facts: &Facts) {
    html.element("div", &[("class", "card")], |html| {
        html.line("h2", &[], &facts.title);
        html.element("table", &[], |html| {
            for (name, value) in &facts.rows {
                html.element("tr", &[], |html| {
                    html.line("th", &[("scope", "row")], name);
                    html.line("td", &[], value);
                });
            }
        });
    });
}

#[cfg(test)]
mod tests;
