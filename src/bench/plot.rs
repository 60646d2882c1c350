//! The pictures of a benchmark: its rounds as SVG, and the percentiles of a latency as text.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, Circle, IntoDrawingArea, IntoFont, LineSeries, PathElement, RED, SVGBackend,
    SeriesLabelPosition, WHITE,
};

use super::Report;

const SIZE: (u32, u32) = (800, 400);

/// Writes `{bench}.svg`: the limit and ours, round by round.
pub(super) fn write(report: &Report, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("{}.svg", report.bench));
    draw(report, &path).map_err(|error| anyhow::anyhow!("cannot draw {}: {error}", path.display()))
}

fn draw(report: &Report, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let of = |value: fn(&super::report::Run) -> f64| report.runs.iter().map(value).zip(1_u32..).map(|(y, x)| (x, y));
    let highest = report.runs.iter().map(|run| run.limit.max(run.ours)).fold(1.0, f64::max);
    let rounds = u32::try_from(report.runs.len())?;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("{}: ratio {:.2}, aim {:.2}", report.bench, report.ratio, report.aim);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20).into_font())
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(80)
        .build_cartesian_2d(1..rounds.max(2), 0.0..highest * 1.3)?; // room for the legend above the lines
    let mut mesh = chart.configure_mesh();
    mesh.max_light_lines(1).y_label_formatter(&|value| format!("{value:.0}"));
    mesh.x_desc("round").y_desc(report.spec.unit).draw()?;
    let series =
        [("limit", RED, of(|run| run.limit).collect::<Vec<_>>()), ("ours", BLUE, of(|run| run.ours).collect())];
    for (label, colour, points) in series {
        let line = chart.draw_series(LineSeries::new(points.clone(), &colour))?;
        line.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, colour)))?;
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperRight).background_style(WHITE).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

/// Microseconds, up to a minute.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("the bounds are well-formed")
}

pub(super) fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
}

/// Writes `{bench}.hist.txt`: value and share of all, one percentile a line.
pub(super) fn write_histogram(bench: &str, series: &[(&str, &Histogram<u64>)], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut text = String::from("series\tquantile\tmicroseconds\tcount\n");
    for (name, histogram) in series {
        for point in histogram.iter_quantiles(2) {
            writeln!(
                text,
                "{name}\t{:.6}\t{}\t{}",
                point.quantile_iterated_to(),
                point.value_iterated_to(),
                point.count_since_last_iteration()
            )?;
        }
    }
    let path = folder.join(format!("{bench}.hist.txt"));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
