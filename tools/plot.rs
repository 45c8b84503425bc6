//! Plots as SVG: trade-offs between measures, and measures over time.

use kuva::backend::svg::SvgBackend;
use kuva::plot::LinePlot;
use kuva::plot::legend::LegendPosition;
use kuva::plot::scatter::ScatterPlot;
use kuva::render::figure::Figure;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use kuva::render::render::{Primitive, Scene, render_multiple};

use crate::failure;

/// Colours that people with any colour vision can tell apart (Okabe and Ito 2008, "Color universal
/// design"), without yellow, which is faint on white.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];
/// From little to much: five steps of viridis, which also order by lightness.
const SHADES: [&str; 5] = ["#440154", "#3b528b", "#21918c", "#5ec962", "#c8b900"];
const GREY: &str = "#777777";
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 460.0;
const PANEL: f64 = 220.0;
/// Room for the labels of a panel's vertical axis.
const LEFT: f64 = 70.0;

/// What is shown along an axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What is measured, such as `latency`.
    pub name: String,
    /// Its unit, such as `ms`, `MiB` or `%`; empty for a number without one.
    pub unit: String,
}

impl Axis {
    fn label(&self) -> String {
        if self.unit.is_empty() {
            text(&self.name)
        } else {
            text(&format!("{} ({})", self.name, self.unit))
        }
    }
}

/// A choice among others.
#[derive(Clone, Debug)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// Standard error of `y`, or 0.
    pub error: f64,
    /// The third measure, shown as colour; NaN if there is none.
    pub shade: f64,
    /// Shown beside the point; may be empty.
    pub name: String,
    /// Whether no other choice is better in all measures: such points are joined, others are pale.
    pub front: bool,
}

/// A trade-off between two measures, or three.
#[derive(Clone, Debug)]
pub struct Front {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// What the colours show, if they do.
    pub shade: Option<Axis>,
    pub points: Vec<Point>,
}

/// A measure over time.
#[derive(Clone, Debug)]
pub struct Line {
    /// Shown in the legend.
    pub name: String,
    /// Time and value, by time.
    pub points: Vec<(f64, f64)>,
    /// Whether it is a limit: dashed, and constant between its points.
    pub limit: bool,
}

/// Measures of the same unit.
#[derive(Clone, Debug)]
pub struct Panel {
    pub y: Axis,
    pub lines: Vec<Line>,
}

/// The trade-off as a plot: a point for each choice, and a line through those on the front.
pub fn front(front: &Front) -> String {
    let finite = |p: &&Point| p.x.is_finite() && p.y.is_finite();
    let mut points: Vec<&Point> = front.points.iter().filter(finite).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    let mut plots: Vec<Plot> = Vec::new();
    let joined = points.iter().filter(|p| p.front).map(|p| (p.x, p.y)).collect::<Vec<_>>();
    if joined.len() > 1 {
        plots
            .push(LinePlot::new().with_data(joined).with_color(GREY).with_stroke_width(1.2).into());
    }
    for group in groups(front.shade.as_ref(), &points) {
        for (on, size, opacity) in [(false, 3.0, 0.35), (true, 5.0, 1.0)] {
            let some = group.points.iter().filter(|p| p.front == on).copied().collect::<Vec<_>>();
            let label =
                group.label.as_ref().filter(|_| on || group.points.iter().all(|p| !p.front));
            if let Some(plot) = scatter(&some, &group.colour, size, opacity, label) {
                plots.push(plot);
            }
        }
    }
    let layout = Layout::auto_from_plots(&plots)
        .with_width(WIDTH)
        .with_height(HEIGHT)
        .with_title(text(&front.title))
        .with_x_label(front.x.label())
        .with_y_label(front.y.label());
    let layout = match &front.shade {
        Some(axis) => {
            let label = axis.label();
            let width = legend_width(&label);
            layout.with_legend_title(label).with_legend_width(width)
        }
        None => layout,
    };
    svg(render_multiple(plots, layout))
}

struct Group<'a> {
    colour: String,
    label: Option<String>,
    points: Vec<&'a Point>,
}

/// Points of like shade, from little to much.
fn groups<'a>(shade: Option<&Axis>, points: &[&'a Point]) -> Vec<Group<'a>> {
    let shades = points.iter().map(|p| p.shade).filter(|s| s.is_finite());
    let (low, high) =
        shades.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), s| (a.min(s), b.max(s)));
    if shade.is_none() || low > high {
        return vec![Group { colour: COLOURS[0].into(), label: None, points: points.to_vec() }];
    }
    let bins = if low == high { 1 } else { SHADES.len() };
    let step = (high - low) / bins as f64;
    let bin = |p: &Point| (((p.shade - low) / step) as usize).min(bins - 1);
    let mut all: Vec<Group> = (0..bins)
        .map(|i| {
            let (from, to) = (low + step * i as f64, low + step * (i + 1) as f64);
            let label =
                if bins == 1 { short(low) } else { format!("{} to {}", short(from), short(to)) };
            let points =
                points.iter().copied().filter(|p| p.shade.is_finite() && bin(p) == i).collect();
            Group { colour: SHADES[i].into(), label: Some(label), points }
        })
        .collect();
    let unknown = points.iter().copied().filter(|p| !p.shade.is_finite()).collect();
    all.push(Group { colour: GREY.into(), label: Some("unknown".into()), points: unknown });
    all.retain(|g| !g.points.is_empty());
    all
}

fn scatter(
    points: &[&Point],
    colour: &str,
    size: f64,
    opacity: f64,
    label: Option<&String>,
) -> Option<Plot> {
    if points.is_empty() {
        return None;
    }
    let mut plot = ScatterPlot::new()
        .with_data(points.iter().map(|p| (p.x, p.y)))
        .with_color(colour)
        .with_size(size)
        .with_marker_opacity(opacity);
    if points.iter().any(|p| p.error > 0.0) {
        let error = |p: &&Point| if p.error.is_finite() { p.error } else { 0.0 };
        plot = plot.with_y_err(points.iter().map(error));
    }
    if points.iter().any(|p| !p.name.is_empty()) {
        plot = plot.with_labels(points.iter().map(|p| text(&p.name))).with_repel_labels();
    }
    if let Some(label) = label {
        plot = plot.with_legend(label);
    }
    Some(plot.into())
}

/// Measures over time as a plot: one panel below the other, with one axis of time.
pub fn series(title: &str, x: &Axis, panels: &[Panel]) -> String {
    let last = panels.len().saturating_sub(1);
    let names = panels.iter().flat_map(|p| &p.lines).map(|l| legend_width(&l.name));
    let legend = names.fold(0.0, f64::max);
    let (mut plots, mut layouts) = (Vec::new(), Vec::new());
    for (i, panel) in panels.iter().enumerate() {
        let mut of: Vec<Plot> = Vec::new();
        let mut colours = COLOURS.iter().cycle();
        for line in &panel.lines {
            let points =
                line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            let plot = LinePlot::new().with_data(points).with_legend(text(&line.name));
            of.push(if line.limit {
                plot.with_color(GREY).with_dashed().with_step().with_stroke_width(1.5).into()
            } else {
                let colour = colours.next().copied().unwrap_or(GREY);
                plot.with_color(colour).with_stroke_width(1.5).into()
            });
        }
        let mut layout = Layout::auto_from_plots(&of)
            .with_y_label(panel.y.label())
            .with_legend_position(LegendPosition::OutsideRightTop)
            .with_legend_width(legend)
            // The same in all panels, so that equal times are below each other.
            .with_force_margins(LEFT, legend + 30.0);
        if i == last {
            layout = layout.with_x_label(x.label());
        }
        plots.push(of);
        layouts.push(layout);
    }
    let rows = panels.len().max(1);
    let figure = Figure::new(rows, 1)
        .with_title(text(title))
        .with_plots(plots)
        .with_layouts(layouts)
        .with_shared_x_all()
        .with_cell_size(WIDTH, PANEL);
    svg(figure.render())
}

/// The scene as a file that is the same for the same plot.
fn svg(mut scene: Scene) -> String {
    // The library numbers clipping paths over all plots of a process.
    let mut clips = 0;
    for element in &mut scene.elements {
        if let Primitive::ClipStart { id, .. } = element {
            let new = format!("clip-{clips}");
            for def in &mut scene.defs {
                *def = def.replace(&format!("\"{id}\""), &format!("\"{new}\""));
            }
            *id = new;
            clips += 1;
        }
    }
    SvgBackend::new().render_scene(&scene)
}

/// Width of a legend with this text, in the font of legends and with the room for marks.
fn legend_width(text: &str) -> f64 {
    text.chars().count() as f64 * 7.5 + 40.0
}

/// A text as the library takes it: `$` would begin a formula.
fn text(s: &str) -> String {
    failure::name(s).replace('$', "\\$")
}

/// A number with three significant digits.
fn short(x: f64) -> String {
    let digits = if x == 0.0 { 0 } else { (2 - x.abs().log10().floor() as i32).clamp(0, 9) };
    format!("{x:.*}", digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(name: &str, unit: &str) -> Axis {
        Axis { name: name.into(), unit: unit.into() }
    }

    fn point(x: f64, y: f64, shade: f64, name: &str) -> Point {
        Point { x, y, error: 0.5, shade, name: name.into(), front: name != "c" }
    }

    /// The text of each text element, if all elements are closed in order.
    fn texts(svg: &str) -> Vec<String> {
        let (mut open, mut all) = (Vec::new(), Vec::new());
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').unwrap();
            let name = tag.split([' ', '/']).find(|s| !s.is_empty()).unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') && !tag.starts_with('!') {
                open.push(name);
            }
            if open.last() == Some(&"text") && !tag.starts_with('/') {
                all.push(text.to_owned());
            }
        }
        assert!(open.is_empty());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        for used in svg.split("url(#").skip(1).filter_map(|s| s.split_once(')')) {
            assert!(svg.contains(&format!("id=\"{}\"", used.0)), "{svg}");
        }
        all
    }

    #[test]
    fn a_front_has_its_points() {
        let points = vec![
            point(4.0, 1.0, 6.0, "a & $b$"),
            point(2.0, 8.0, 1.0, "<small>"),
            point(5.0, 9.0, f64::NAN, "c"),
            point(f64::INFINITY, 1.0, 1.0, "left out"),
        ];
        let plot = Front {
            title: "blocks".into(),
            x: axis("latency", "ms"),
            y: axis("accuracy lost", "%"),
            shade: Some(axis("peak memory", "MiB")),
            points,
        };
        let svg = front(&plot);
        let all = texts(&svg);
        let labels = [
            "blocks",
            "latency (ms)",
            "accuracy lost (%)",
            "peak memory (MiB)",
            "a &amp; $b$",
            "unknown",
        ];
        for label in
            labels.into_iter().chain(["&lt;small&gt;", "c", "1.00 to 2.00", "5.00 to 6.00"])
        {
            assert!(all.iter().any(|t| t == label), "{label} is not in {all:?}");
        }
        assert!(!svg.contains("left out"));
        // Three points, and a mark in the legend for each of three groups.
        assert_eq!(svg.matches("<circle").count(), 6);
        assert_eq!(svg, front(&plot));
        // Without colours, or without points.
        let plain = front(&Front { shade: None, ..plot.clone() });
        assert_eq!(plain.matches("<circle").count(), 3);
        texts(&front(&Front { points: Vec::new(), ..plot }));
    }

    #[test]
    fn panels_share_the_axis_of_time() {
        let line = |name: &str, limit, values: [f64; 3]| Line {
            name: name.into(),
            points: [0.0, 5.0, 10.0].into_iter().zip(values).collect(),
            limit,
        };
        let panels = [
            Panel {
                y: axis("latency", "ms"),
                lines: vec![
                    line("chosen", false, [8.0, 9.0, 8.5]),
                    line("fixed model", false, [9.0, 15.0, f64::NAN]),
                    line("limit", true, [10.0; 3]),
                ],
            },
            Panel { y: axis("memory", "MiB"), lines: vec![line("arena", false, [4.0, 3.0, 3.0])] },
            Panel { y: axis("accuracy", "%"), lines: vec![line("chosen", false, [91.0; 3])] },
        ];
        let svg = series("under load", &axis("time", "s"), &panels);
        let all = texts(&svg);
        for label in
            ["under load", "time (s)", "latency (ms)", "accuracy (%)", "fixed model", "limit"]
        {
            assert!(all.iter().any(|t| t == label), "{label} is not in {all:?}");
        }
        assert_eq!(all.iter().filter(|t| *t == "time (s)").count(), 1);
        assert_eq!(svg.matches("<path").count(), 5);
        // All panels begin and end at the same place.
        let clips: Vec<&str> = svg
            .split("<clipPath")
            .skip(1)
            .map(|clip| clip.split_once("<rect").unwrap().1.split_once(" height").unwrap().0)
            .collect();
        assert_eq!(clips.len(), 3);
        assert!(clips.iter().all(|clip| *clip == clips[0]), "{clips:?}");
        assert_eq!(svg, series("under load", &axis("time", "s"), &panels));
        texts(&series("nothing", &axis("time", "s"), &[]));
    }
}
