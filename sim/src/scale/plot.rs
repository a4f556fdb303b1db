//! Sizes as a picture: an SVG of four plots over the number of nodes, a line for each number of regions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Row;

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 190.0;
const GAP: f64 = 60.0;

/// Readable on white and on black, and by those who do not see all colours; dashes tell them apart too.
const LINES: [(&str, &str); 5] =
    [("#0a7cc4", ""), ("#c8551b", "6 3"), ("#0f8a63", "2 3"), ("#a4489a", "9 3 2 3"), ("#8a7a12", "1 5")];

const STYLE: &str = "svg{color:#1b1f24;background:#fff}@media(prefers-color-scheme:dark){svg{color:#e3e6ea;background:#14171a}}\
                     text{font:12px system-ui,sans-serif;fill:currentColor}.t{font-weight:600}.a{stroke:currentColor;opacity:.35}";

/// What one of the plots shows of a row.
type Shown = fn(&Row) -> Option<f64>;

const PLOTS: [(&str, Shown); 4] = [
    ("Bytes a fact to each other region, beyond idle", |row| Some(row.to_each_other_region())),
    ("Idle: bytes/s a node, all sent", |row| {
        Some((row.between().idle_bytes + row.within().idle_bytes) / f64::from(row.size.nodes))
    }),
    ("ms until elsewhere, p99", |row| row.outcome.measured.lag.map(|(_, most)| most.as_secs_f64() * 1e3)),
    ("MiB a node, with what simulates it", Row::node_mib),
];

/// The picture.
#[must_use]
pub fn plot(rows: &[Row]) -> String {
    let (width, height) = (2.0 * (WIDTH + GAP) + 20.0, 2.0 * (HEIGHT + GAP) + 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\
         <title>What a cluster costs by its nodes and regions</title><style>{STYLE}</style>\n"
    );
    for (at, (title, shown)) in PLOTS.iter().enumerate() {
        let (left, top) = (GAP + (at % 2) as f64 * (WIDTH + GAP), 30.0 + (at / 2) as f64 * (HEIGHT + GAP));
        // Writing to a text does not fail, here and below.
        let _ = writeln!(svg, "<g transform=\"translate({left} {top})\"><text class=\"t\" y=\"-10\">{title}</text>");
        push_plot(&mut svg, rows, *shown);
        svg.push_str("</g>\n");
    }
    push_legend(&mut svg, rows, height - 14.0);
    svg.push_str("</svg>\n");
    svg
}

/// Where numbers are in a plot: nodes by their logarithm, values from zero.
struct Scale {
    least: f64,
    most: f64,
    top: f64,
}

impl Scale {
    fn x(&self, nodes: u8) -> f64 {
        let span = (self.most / self.least).ln();
        if span > 0.0 { (f64::from(nodes) / self.least).ln() / span * WIDTH } else { WIDTH / 2.0 }
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - value.max(0.0) / self.top)
    }
}

fn push_plot(svg: &mut String, rows: &[Row], shown: Shown) {
    let points: Vec<(&Row, f64)> = rows.iter().filter_map(|row| Some((row, shown(row)?))).collect();
    let nodes = || rows.iter().map(|row| f64::from(row.size.nodes));
    let scale = Scale {
        least: nodes().fold(f64::INFINITY, f64::min),
        most: nodes().fold(0.0, f64::max),
        top: rounded_up(points.iter().map(|(_, value)| *value).fold(0.0, f64::max)),
    };
    push_axes(svg, rows, &scale);
    for (region, (colour, dashes)) in regions(rows).into_iter().zip(LINES.into_iter().cycle()) {
        let of = points.iter().filter(|(row, _)| row.size.regions == region);
        let places: Vec<(f64, f64)> = of.map(|(row, value)| (scale.x(row.size.nodes), scale.y(*value))).collect();
        let line = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>"
        );
        for (x, y) in places {
            let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
    }
}

fn push_axes(svg: &mut String, rows: &[Row], scale: &Scale) {
    for part in 0..=4 {
        let value = scale.top * f64::from(part) / 4.0;
        let y = scale.y(value);
        let _ = writeln!(
            svg,
            "<line class=\"a\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            number(value)
        );
    }
    let nodes: BTreeMap<u8, f64> = rows.iter().map(|row| (row.size.nodes, scale.x(row.size.nodes))).collect();
    for (nodes, x) in nodes {
        let y = HEIGHT + 17.0;
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{nodes}</text>");
    }
}

fn push_legend(svg: &mut String, rows: &[Row], y: f64) {
    let mut x = GAP;
    for (region, (colour, dashes)) in regions(rows).into_iter().zip(LINES.into_iter().cycle()) {
        let (above, end, text) = (y - 4.0, x + 30.0, x + 36.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" x2=\"{end}\" y1=\"{above}\" y2=\"{above}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\
             <text x=\"{text}\" y=\"{y}\">{region} regions</text>"
        );
        x += 130.0;
    }
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">across: nodes</text>");
}

fn regions(rows: &[Row]) -> Vec<u8> {
    let mut regions: Vec<u8> = rows.iter().map(|row| row.size.regions).collect();
    regions.sort_unstable();
    regions.dedup();
    regions
}

/// The least of 1, 2, 4 and 8 times a power of ten that is no less.
fn rounded_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-3).log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0].into_iter().map(|times| times * power).find(|round| *round >= value).unwrap_or(value)
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}").trim_end_matches('0').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let rounded: Vec<f64> = [0.0, 0.7, 1.0, 3.0, 41.0, 900.0].map(rounded_up).to_vec();
        assert_eq!(rounded, [0.001, 0.8, 1.0, 4.0, 80.0, 1_000.0]);
        assert_eq!([number(0.25), number(1.5), number(40.0)], ["0.25", "1.5", "40"]);
    }
}
