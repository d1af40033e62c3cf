//! A report as one page.

use std::fmt::Write as _;

use super::{Report, Table};
use crate::error::BenchError;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:920px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:.5em 0 1.5em}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}\
td:first-child,th:first-child{text-align:left}code{background:#f4f4f4;padding:.1em .3em}\
.broken{background:#fdd;padding:.5em 1em}svg{max-width:100%;height:auto}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

pub fn page(report: &Report) -> Result<String, BenchError> {
    let title = escaped(&report.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n\
         <p>{}<br><code>{}</code></p>\n",
        escaped(&report.began),
        escaped(&report.command)
    );
    for broken in &report.broken {
        let _ = writeln!(page, "<p class=\"broken\">Broken: {}</p>", escaped(broken));
    }
    for table in &report.tables {
        put_table(&mut page, table);
    }
    for chart in &report.charts {
        if let Some(svg) = chart.svg()? {
            let _ = writeln!(page, "<figure>{svg}</figure>");
        }
    }
    for note in &report.notes {
        let _ = writeln!(page, "<p>{}</p>", escaped(note));
    }
    page.push_str("<h2>The run</h2>\n<table>\n");
    for (name, value) in &report.facts {
        let (name, value) = (escaped(name), escaped(value));
        let _ = writeln!(page, "<tr><td>{name}</td><td>{value}</td></tr>");
    }
    page.push_str("</table>\n</body></html>\n");
    Ok(page)
}

fn put_table(page: &mut String, table: &Table) {
    let _ = writeln!(page, "<h2>{}</h2>\n<table>\n<tr>", escaped(&table.title));
    for column in &table.columns {
        let _ = write!(page, "<th>{}</th>", escaped(column));
    }
    page.push_str("</tr>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{}</td>", escaped(&cell.text()));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}
