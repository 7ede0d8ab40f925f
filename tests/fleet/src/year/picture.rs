//! A story as a picture: what was asked of the scarcest quotas over time, in SVG that is at home on light and on dark.
//!
//! Logarithmic, for quotas are ten a second and storms are thousands. No scripts, no fonts, no background.

use std::fmt::Write;

use super::meter::{Bin, Tally};
use super::quota::Api;
use super::scenario::{Plan, Story};

/// Draws it.
pub fn draw(plan: &Plan, story: &Story) -> String {
    let shown: Vec<Api> = PANELS.into_iter().filter(|api| story.tallies[*api as usize].asked > 0).collect();
    let height = TOP + shown.len() * (PANEL + GAP) + 18;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#888\">\n<title>{} devices: {}</title>\n<text x=\"{LEFT}\" y=\"16\" font-size=\"14\">{} devices: {}</text>\n",
        plan.devices,
        plan.scenario.tells(),
        group(plan.devices),
        plan.scenario.tells(),
    );
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"32\">requests a second: <tspan fill=\"{ASKED}\">granted, mean</tspan>, <tspan fill=\"{PEAK}\">asked, the most in one second</tspan>, <tspan fill=\"{QUOTA}\">quota</tspan></text>"
    );
    for (n, api) in shown.iter().enumerate() {
        let top = TOP + n * (PANEL + GAP);
        panel(&mut svg, top, *api, &story.tallies[*api as usize], story);
    }
    let hours = story.seconds / 3_600;
    let span = if hours > 240 { format!("{} days", hours / 24) } else { format!("{hours} hours") };
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{y}\">0</text><text x=\"{r}\" y=\"{y}\" text-anchor=\"end\">{span}</text>\n</svg>",
        y = height - 6,
        r = WIDTH - 10,
    );
    svg
}

fn panel(svg: &mut String, top: usize, api: Api, tally: &Tally, story: &Story) {
    let quota = story.fleet.quotas.rate(api);
    let columns = usize::try_from(story.seconds / story.bin_seconds).unwrap_or(1).max(1);
    let empty = Bin::default();
    let bins = || (0..columns).map(|n| tally.bins.get(n).unwrap_or(&empty));
    let highest = f64::from(u32::try_from(tally.peak()).unwrap_or(u32::MAX)).max(quota) * 1.3;
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let scale = Scale { top: top as f64, highest };
    #[expect(clippy::cast_precision_loss, reason = "requests of a bin")]
    let mean = |b: &Bin| (b.asked - b.throttled) as f64 / story.bin_seconds as f64;
    let (base, right) = (top + PANEL, WIDTH - 10);
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {base}{}V{base}Z\" fill=\"{ASKED}\" fill-opacity=\".55\"/>",
        line(columns, bins().map(mean), &scale, 'L')
    );
    let _ = writeln!(
        svg,
        "<path d=\"{}\" fill=\"none\" stroke=\"{PEAK}\"/>",
        line(columns, bins().map(|b| f64::from(b.peak)), &scale, 'M')
    );
    let at = scale.y(quota);
    let _ =
        writeln!(svg, "<path d=\"M{LEFT} {at:.0}H{right}\" stroke=\"{QUOTA}\" stroke-dasharray=\"5 4\"/>");
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {top}V{base}H{right}\" fill=\"none\" stroke=\"#888\" stroke-opacity=\".6\"/>"
    );
    let mut tick = 0.1;
    while tick < highest {
        let y = scale.y(tick);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\" font-size=\"10\">{tick}</text>",
            LEFT - 4,
            y + 3.0
        );
        tick = if tick < 1.0 { 1.0 } else { tick * 10.0 };
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\">{} (quota {quota}, peak {})</text>",
        LEFT + 6,
        top + 12,
        api.name(),
        tally.peak()
    );
}

struct Scale {
    top: f64,
    highest: f64,
}

impl Scale {
    /// Logarithmic from a thirtieth of a request a second.
    fn y(&self, value: f64) -> f64 {
        let part = (value.max(LOWEST) / LOWEST).ln() / (self.highest / LOWEST).ln();
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let panel = PANEL as f64;
        self.top + panel * (1.0 - part.clamp(0.0, 1.0))
    }
}

fn line(columns: usize, values: impl Iterator<Item = f64>, scale: &Scale, first: char) -> String {
    let mut path = String::new();
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let step = (WIDTH - 10 - LEFT) as f64 / columns as f64;
    for (n, value) in values.enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let x = LEFT as f64 + step * (n as f64 + 0.5);
        let command = if n == 0 { first } else { 'L' };
        let _ = write!(path, "{command}{x:.0} {:.0}", scale.y(value));
    }
    path
}

/// Digits in groups of three.
pub fn group(n: u32) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const PANELS: [Api; 5] = [Api::Connect, Api::Subscribe, Api::Csr, Api::Register, Api::DescribeCertificate];
const WIDTH: usize = 820;
const LEFT: usize = 44;
const TOP: usize = 44;
const PANEL: usize = 78;
const GAP: usize = 14;
const LOWEST: f64 = 1.0 / 30.0;
const ASKED: &str = "#3b82c4";
const PEAK: &str = "#d08b1f";
const QUOTA: &str = "#d0463b";
