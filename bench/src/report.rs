//! What a measurement found, written three ways: as text, as JSON, and as one
//! HTML page with charts that needs nothing beside it.
//!
//!     let mut report = Report::new("streams");
//!     report.fact("seed", 7);
//!     report.table(Table::new("cost", ["", "us per message"]).row(["ours".into(), 2.4.into()]));
//!     report.chart(Chart::lines("receipts", "ms", "%").series("ours", points));
//!     report.finish(&options.report)?;
//!
//! A figure is what was measured; a promise that did not hold is a `broken`
//! line, and whoever measures ends with an error then.

mod chart;
mod html;
mod machine;

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::BenchError;
use crate::spread::Spread;

pub use chart::Chart;

/// Where reports go; flattened into a command's options.
#[derive(clap::Args, Clone, Default)]
pub struct ReportOptions {
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write an HTML page with charts
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// A figure or a word of a table.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Cell {
    Text(String),
    Count(u64),
    Figure(f64),
    /// The middle of several rounds, and the ends.
    Rounds {
        low: f64,
        median: f64,
        high: f64,
    },
    Unknown,
}

impl Cell {
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Figure(figure) => digits(*figure),
            Self::Rounds { low, median, high } => {
                format!(
                    "{} ({} to {})",
                    digits(*median),
                    digits(*low),
                    digits(*high)
                )
            }
            Self::Unknown => "-".to_owned(),
        }
    }
}

/// Three digits that count, and no exponent.
fn digits(figure: f64) -> String {
    match figure.abs() {
        size if !size.is_finite() => "-".to_owned(),
        size if size >= 100.0 || size == 0.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 1.0 => format!("{figure:.2}"),
        size if size >= 0.1 => format!("{figure:.3}"),
        _ => format!("{figure:.4}"),
    }
}

impl From<f64> for Cell {
    fn from(figure: f64) -> Self {
        Self::Figure(figure)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Spread> for Cell {
    fn from(Spread { low, median, high }: Spread) -> Self {
        Self::Rounds { low, median, high }
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(known: Option<T>) -> Self {
        known.map_or(Self::Unknown, Into::into)
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Table {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new<'a>(title: &str, columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.into_iter().map(ToOwned::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    #[must_use]
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.rows.push(cells.into_iter().collect());
        self
    }

    fn text(&self) -> String {
        let texts: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(Cell::text).collect())
            .collect();
        let width = |nth: usize| {
            let cells = texts.iter().filter_map(|row| row.get(nth));
            let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            longest.max(self.columns[nth].chars().count())
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        let mut line = |cells: &[String]| {
            let _ = write!(text, "  ");
            for (nth, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let _ = match nth {
                    0 => write!(text, "{cell:<width$}"),
                    _ => write!(text, "   {cell:>width$}"),
                };
            }
            text.push('\n');
        };
        line(&self.columns);
        texts.iter().for_each(|row| line(row));
        text
    }
}

/// A measurement's whole account.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub title: String,
    /// The command line.
    pub command: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// The machine, and what the run was given.
    pub facts: Vec<(String, String)>,
    pub tables: Vec<Table>,
    pub charts: Vec<Chart>,
    /// What has to be known to read the figures.
    pub notes: Vec<String>,
    /// Promises that did not hold.
    pub broken: Vec<String>,
}

impl Report {
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            began: machine::now(),
            facts: machine::facts(),
            tables: Vec::new(),
            charts: Vec::new(),
            notes: Vec::new(),
            broken: Vec::new(),
        }
    }

    pub fn fact(&mut self, name: &str, value: impl std::fmt::Display) {
        self.facts.push((name.to_owned(), value.to_string()));
    }

    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    pub fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// A promise, and whether it held.
    pub fn promise(&mut self, held: bool, broken: impl FnOnce() -> String) {
        if !held {
            self.broken.push(broken());
        }
    }

    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for (name, value) in &self.facts {
            let _ = writeln!(text, "  {name}: {value}");
        }
        for table in &self.tables {
            let _ = write!(text, "\n{}", table.text());
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        for broken in &self.broken {
            let _ = writeln!(text, "\nBROKEN: {broken}");
        }
        text
    }

    /// Writes what was asked for; again as more is found.
    pub fn write(&self, options: &ReportOptions) -> Result<(), BenchError> {
        if let Some(path) = &options.json {
            let json = serde_json::to_vec_pretty(self).map_err(BenchError::failed)?;
            std::fs::write(path, json)?;
        }
        if let Some(path) = &options.report {
            std::fs::write(path, html::page(self)?)?;
        }
        Ok(())
    }

    /// Prints it, writes what was asked for, and fails if a promise is broken.
    pub fn finish(&self, options: &ReportOptions) -> Result<(), BenchError> {
        print!("{}", self.text());
        self.write(options)?;
        match self.broken.len() {
            0 => Ok(()),
            count => Err(BenchError::Failed(format!("{count} promises are broken"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        let mut report = Report::new("streams <of> people");
        report.fact("seed", 7);
        let table = Table::new("cost", ["", "us"])
            .row(["ours".into(), 2.444.into()])
            .row(["floor".into(), Spread::of([0.1, 0.12, 0.5]).into()])
            .row(["unknown".into(), None::<f64>.into()]);
        report.table(table);
        let points = (0..50).map(|x| (f64::from(x), f64::from(x * x))).collect();
        report.chart(Chart::lines("receipts & more", "ms", "%").series("ours", points));
        report.chart(
            Chart::bars("cost", "us")
                .bar("ours", 2.4)
                .bar("floor", 0.12),
        );
        report.chart(Chart::lines("nothing", "ms", "%"));
        report
    }

    #[test]
    fn a_table_is_aligned_and_says_spreads() {
        let text = sample().text();
        assert!(
            text.contains("  ours                        2.44\n"),
            "{text}"
        );
        assert!(
            text.contains("  floor     0.120 (0.100 to 0.500)\n"),
            "{text}"
        );
        assert!(
            text.contains("  unknown                        -\n"),
            "{text}"
        );
    }

    #[test]
    fn a_page_has_its_charts_inside_and_no_loose_text() {
        let page = html::page(&sample()).expect("a page");
        assert_eq!(page.matches("<svg").count(), 2, "none of nothing");
        assert!(page.contains("streams &lt;of&gt; people"));
        assert!(!page.contains("http://") || page.contains("xmlns"));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn figures_stay_numbers_in_json() {
        let json = serde_json::to_value(sample()).expect("json");
        assert_eq!(json["tables"][0]["rows"][0][1], 2.444);
        assert_eq!(json["tables"][0]["rows"][1][1]["median"], 0.12);
        assert_eq!(json["tables"][0]["rows"][2][1], serde_json::Value::Null);
        assert_eq!(json["charts"][1]["series"][0]["points"][0][1], 2.4);
    }

    #[test]
    fn a_broken_promise_is_an_error() {
        let (mut report, options) = (sample(), ReportOptions::default());
        report.promise(true, || "no".to_owned());
        assert!(report.finish(&options).is_ok());
        report.promise(false, || "3 streams missed it".to_owned());
        assert!(report.finish(&options).is_err());
        assert!(report.text().contains("BROKEN: 3 streams missed it"));
    }
}
