//! Charts, drawn as SVG by `plotters`.

use plotters::prelude::*;
use serde::Serialize;

use crate::error::BenchError;

const SIZE: (u32, u32) = (860, 380);
const COLORS: [RGBColor; 6] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0xff, 0x7f, 0x0e),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x55, 0x55, 0x55),
];
const BAR_WIDTH: f64 = 0.7;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Lines,
    Bars,
}

#[derive(Debug, Clone, Serialize)]
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    title: String,
    kind: Kind,
    x: String,
    y: String,
    series: Vec<Series>,
}

impl Chart {
    /// A line for each series.
    pub fn lines(title: &str, x: &str, y: &str) -> Self {
        Self {
            title: title.to_owned(),
            kind: Kind::Lines,
            x: x.to_owned(),
            y: y.to_owned(),
            series: Vec::new(),
        }
    }

    /// One figure each, side by side.
    pub fn bars(title: &str, y: &str) -> Self {
        Self {
            kind: Kind::Bars,
            ..Self::lines(title, "", y)
        }
    }

    #[must_use]
    pub fn series(mut self, name: &str, points: Vec<(f64, f64)>) -> Self {
        self.series.push(Series {
            name: name.to_owned(),
            points,
        });
        self
    }

    #[must_use]
    pub fn bar(self, name: &str, figure: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let nth = self.series.len() as f64;
        self.series(name, vec![(nth, figure)])
    }

    /// `None` where there is nothing to draw.
    pub fn svg(&self) -> Result<Option<String>, BenchError> {
        let Some((xs, ys)) = self.bounds() else {
            return Ok(None);
        };
        let mut svg = String::new();
        self.draw(&mut svg, xs, ys).map_err(BenchError::failed)?;
        Ok(Some(svg))
    }

    /// What has to be seen, a little more above, and zero.
    fn bounds(&self) -> Option<(std::ops::Range<f64>, std::ops::Range<f64>)> {
        let all = self.series.iter().flat_map(|series| &series.points);
        let finite = all.filter(|(x, y)| x.is_finite() && y.is_finite());
        let mut seen: Option<(f64, f64, f64, f64)> = None;
        for (x, y) in finite {
            let (left, right, low, high) = seen.unwrap_or((*x, *x, 0.0, 0.0));
            seen = Some((left.min(*x), right.max(*x), low.min(*y), high.max(*y)));
        }
        let (left, right, low, high) = seen?;
        let high = if high > low { high * 1.05 } else { low + 1.0 };
        Some(match self.kind {
            Kind::Lines if right > left => (left..right, low..high),
            Kind::Lines => (left - 0.5..left + 0.5, low..high),
            Kind::Bars => (-0.6..right + 0.6, low..high),
        })
    }

    fn draw(
        &self,
        svg: &mut String,
        xs: std::ops::Range<f64>,
        ys: std::ops::Range<f64>,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(&area);
        builder
            .margin(12)
            .caption(&self.title, ("sans-serif", 18))
            .x_label_area_size(38)
            .y_label_area_size(64);
        let mut chart = builder.build_cartesian_2d(xs, ys)?;
        let mut mesh = chart.configure_mesh();
        mesh.y_desc(&self.y).x_desc(&self.x).light_line_style(WHITE);
        if self.kind == Kind::Bars {
            mesh.disable_x_mesh().x_labels(0);
        }
        mesh.draw()?;
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            let color = *color;
            let points = series.points.iter().copied();
            let points = points.filter(|(x, y)| x.is_finite() && y.is_finite());
            let drawn = match self.kind {
                Kind::Lines => chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?,
                Kind::Bars => chart.draw_series(points.map(|(x, y)| {
                    let (left, right) = (x - BAR_WIDTH / 2.0, x + BAR_WIDTH / 2.0);
                    Rectangle::new([(left, 0.0), (right, y)], color.filled())
                }))?,
            };
            drawn.label(&series.name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 4), (x + 14, y + 4)], color.filled())
            });
        }
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.8)).border_style(BLACK);
        labels.draw()?;
        area.present()
    }
}
