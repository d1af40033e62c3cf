//! A catalog as a table: one line per section of a performance.
//!
//! Lines with one `concert_id` make one concert, those with one
//! `performance_id` one performance. What a concert, its room or a performance
//! is made of needs to be said once; a later line leaves it empty or says the
//! same. Columns stand in any order, and one that nobody needs may be missing.

use std::collections::BTreeMap;
use std::fmt::Display;

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::sale::currency::Currency;

use super::file::{self, FileCatalog, FileConcert, FilePerformance, FileRoom, FileSection};
use super::{Catalog, SeedError};

const CONCERT: &[&str] = &[
    "concert_id",
    "concert_name",
    "description",
    "venue",
    "room_id",
    "room_name",
    "room_capacity",
    "room_rate_per_s",
    "room_opens_at",
    "room_draw",
    "room_claim_window_s",
    "room_pass_ttl_s",
];
const PERFORMANCE: &[&str] = &[
    "performance_id",
    "starts_at",
    "sale_opens_at",
    "sale_closes_at",
    "currency",
    "hold_ttl_s",
    "hold_total_max_s",
    "seats_per_user_max",
];
const SECTION: &[&str] = &["section", "price_minor", "rows", "seats_per_row"];

/// What lines say, by column; an empty cell says nothing.
#[derive(Debug, Default)]
struct Cells {
    /// The first of them, for whoever misses something.
    line: u64,
    values: BTreeMap<&'static str, Said>,
}

#[derive(Debug, Clone)]
struct Said {
    text: String,
    /// Where it was said first.
    line: u64,
}

impl Cells {
    fn of(columns: &[&'static str], record: &StringRecord) -> Self {
        let cells = columns
            .iter()
            .zip(record)
            .filter(|(_, cell)| !cell.is_empty());
        let line = record.position().map_or(0, csv::Position::line);
        let said = |cell: &str| Said {
            text: cell.to_owned(),
            line,
        };
        Self {
            line,
            values: cells.map(|(&column, cell)| (column, said(cell))).collect(),
        }
    }

    fn text(&self, column: &str) -> Option<&str> {
        self.values.get(column).map(|said| said.text.as_str())
    }

    fn own(&self, column: &str) -> Option<String> {
        self.text(column).map(str::to_owned)
    }

    fn maybe<T, E: Display>(
        &self,
        column: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, SeedError> {
        let Some(said) = self.values.get(column) else {
            return Ok(None);
        };
        let value = parse(&said.text);
        let value = value.map_err(|error| refuse(said.line, format!("{column}: {error}")))?;
        Ok(Some(value))
    }

    fn need<T, E: Display>(
        &self,
        column: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, SeedError> {
        let value = self.maybe(column, parse)?;
        value.ok_or_else(|| refuse(self.line, format!("{column} is empty")))
    }

    /// Takes what `later` says of these columns; never something else.
    fn merge(&mut self, later: &Self, columns: &[&'static str]) -> Result<(), SeedError> {
        for &column in columns {
            let Some(said) = later.values.get(column) else {
                continue;
            };
            let kept = self.values.entry(column).or_insert_with(|| said.clone());
            if kept.text != said.text {
                let why = format!("{column} is not what it was in line {}", kept.line);
                return Err(refuse(said.line, why));
            }
        }
        Ok(())
    }
}

fn refuse(line: u64, why: impl Display) -> SeedError {
    SeedError::Format(format!("line {line}: {why}"))
}

#[derive(Debug)]
struct Performance {
    cells: Cells,
    sections: Vec<FileSection>,
}

#[derive(Debug)]
struct Concert {
    cells: Cells,
    performances: Vec<Performance>,
}

/// # Errors
/// [`SeedError::Format`] with the line and the column.
pub fn parse_csv(text: &str) -> Result<Catalog, SeedError> {
    // Spreadsheets write one.
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let columns = columns(reader.headers().map_err(unreadable)?)?;
    let mut concerts: Vec<Concert> = Vec::new();
    for record in reader.records() {
        let cells = Cells::of(&columns, &record.map_err(unreadable)?);
        take_in(&mut concerts, &cells)?;
    }
    let of_concerts = || concerts.iter().map(|one| &one.cells);
    let performances = concerts.iter().flat_map(|one| &one.performances);
    refuse_repeats("room_id", of_concerts())?;
    refuse_repeats("performance_id", performances.map(|one| &one.cells))?;
    let concerts = concerts.into_iter().map(concert);
    file::catalog(FileCatalog {
        concerts: concerts.collect::<Result<_, _>>()?,
    })
}

/// No two concerts may say the same.
fn refuse_repeats<'a>(column: &str, all: impl Iterator<Item = &'a Cells>) -> Result<(), SeedError> {
    let mut lines = BTreeMap::new();
    for said in all.filter_map(|cells| cells.values.get(column)) {
        if let Some(first) = lines.insert(&said.text, said.line) {
            let why = format!(
                "{column} {} is another concert's in line {first}",
                said.text
            );
            return Err(refuse(said.line, why));
        }
    }
    Ok(())
}

fn columns(headers: &StringRecord) -> Result<Vec<&'static str>, SeedError> {
    let known = || [CONCERT, PERFORMANCE, SECTION].into_iter().flatten();
    let mut columns = Vec::new();
    for header in headers {
        let column = known().copied().find(|column| *column == header);
        let column = column.ok_or_else(|| {
            let known: Vec<_> = known().copied().collect();
            let known = known.join(", ");
            SeedError::Format(format!("no column is called {header:?}; there are {known}"))
        })?;
        if columns.contains(&column) {
            return Err(SeedError::Format(format!("column {column} stands twice")));
        }
        columns.push(column);
    }
    Ok(columns)
}

fn take_in(concerts: &mut Vec<Concert>, line: &Cells) -> Result<(), SeedError> {
    let new = |columns: &[&'static str]| {
        let mut cells = Cells {
            line: line.line,
            ..Cells::default()
        };
        cells.merge(line, columns).map(|()| cells)
    };
    let same = |cells: &Cells, column| cells.text(column) == line.text(column);
    line.need("concert_id", ResourceId::parse)?;
    line.need("performance_id", ResourceId::parse)?;
    let of_concert = |one: &Concert| same(&one.cells, "concert_id");
    let at = match concerts.iter().position(of_concert) {
        Some(at) => at,
        None => {
            concerts.push(Concert {
                cells: new(CONCERT)?,
                performances: Vec::new(),
            });
            concerts.len() - 1
        }
    };
    let concert = &mut concerts[at];
    concert.cells.merge(line, CONCERT)?;
    let performances = &mut concert.performances;
    let of_performance = |one: &Performance| same(&one.cells, "performance_id");
    let at = match performances.iter().position(of_performance) {
        Some(at) => at,
        None => {
            performances.push(Performance {
                cells: new(PERFORMANCE)?,
                sections: Vec::new(),
            });
            performances.len() - 1
        }
    };
    performances[at].cells.merge(line, PERFORMANCE)?;
    performances[at].sections.push(section(line)?);
    Ok(())
}

fn section(line: &Cells) -> Result<FileSection, SeedError> {
    Ok(FileSection {
        name: line.need("section", as_text)?,
        price_minor: line.need("price_minor", str::parse)?,
        rows: line.need("rows", str::parse)?,
        seats_per_row: line.need("seats_per_row", str::parse)?,
    })
}

fn concert(concert: Concert) -> Result<FileConcert, SeedError> {
    let cells = &concert.cells;
    let performances = concert.performances.into_iter().map(performance);
    Ok(FileConcert {
        id: cells.need("concert_id", ResourceId::parse)?,
        name: cells.need("concert_name", as_text)?,
        description: cells.own("description").unwrap_or_default(),
        venue: cells.own("venue").unwrap_or_default(),
        performances: performances.collect::<Result<_, _>>()?,
        room: room_of(cells)?,
    })
}

/// None only if nothing is said of one.
fn room_of(cells: &Cells) -> Result<Option<FileRoom>, SeedError> {
    if cells.text("room_id").is_some() {
        return room(cells).map(Some);
    }
    let mut said = cells.values.iter();
    match said.find(|(column, _)| column.starts_with("room_")) {
        Some((column, said)) => Err(refuse(said.line, format!("{column} without a room_id"))),
        None => Ok(None),
    }
}

fn performance(performance: Performance) -> Result<FilePerformance, SeedError> {
    let cells = &performance.cells;
    let hold_ttl_s = cells.maybe("hold_ttl_s", str::parse)?;
    let hold_total_max_s = cells.maybe("hold_total_max_s", str::parse)?;
    let seats_per_user_max = cells.maybe("seats_per_user_max", str::parse)?;
    Ok(FilePerformance {
        id: cells.need("performance_id", ResourceId::parse)?,
        starts_at: cells.need("starts_at", as_text)?,
        sale_opens_at: cells.need("sale_opens_at", as_text)?,
        sale_closes_at: cells.own("sale_closes_at"),
        currency: cells.need("currency", Currency::parse)?,
        hold_ttl_s: hold_ttl_s.unwrap_or_else(file::hold_ttl_s),
        hold_total_max_s: hold_total_max_s.unwrap_or_else(file::hold_total_max_s),
        seats_per_user_max: seats_per_user_max.unwrap_or_else(file::seats_per_user_max),
        sections: performance.sections,
    })
}

fn room(cells: &Cells) -> Result<FileRoom, SeedError> {
    Ok(FileRoom {
        id: cells.need("room_id", RoomId::parse)?,
        display_name: cells.own("room_name"),
        capacity: cells.need("room_capacity", str::parse)?,
        rate_per_s: cells.need("room_rate_per_s", str::parse)?,
        opens_at: cells.own("room_opens_at"),
        draw: cells.maybe("room_draw", str::parse)?.unwrap_or(false),
        claim_window_s: cells.maybe("room_claim_window_s", str::parse)?,
        pass_ttl_s: cells.maybe("room_pass_ttl_s", str::parse)?,
    })
}

fn as_text(text: &str) -> Result<String, SeedError> {
    Ok(text.to_owned())
}

fn unreadable(error: csv::Error) -> SeedError {
    SeedError::Format(error.to_string())
}
