//! Tables for people. On a terminal as wide as that at most, with colours unless `NO_COLOR` is set; into a pipe or a file one line for
//! each row, without any.

use std::io::IsTerminal;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Color, ColumnConstraint, ContentArrangement, Table};

/// What is in one place of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

/// How a cell is to strike the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Like all others.
    Plain,
    /// It matters most.
    Strong,
    /// As it should be.
    Good,
    /// Deserves a look.
    Warning,
    /// Wrong.
    Bad,
}

/// What standard output can show.
#[derive(Clone, Copy, Debug)]
struct Screen {
    /// In columns; none where there is no limit.
    width: Option<u16>,
    colours: bool,
}

/// A narrower terminal folds lines itself: columns of two letters help nobody.
const WIDTH_MIN: u16 = 80;
/// Longer words are broken where a terminal is too narrow.
const WHOLE_MAX: usize = 24;
/// Blanks between two columns.
const GAP: u16 = 2;

impl Cell {
    /// A cell that strikes the eye.
    pub(super) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl PartialEq<&str> for Cell {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

/// Lays out rows under their head, for standard output; each row has as many cells as the head.
pub(super) fn layout(head: &[&str], rows: &[Vec<Cell>]) -> String {
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let colours = terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let width = width_of(&stdout);
    layout_for(Screen { width, colours }, head, rows)
}

/// A remark, for `to`: on a terminal its lines end between words.
pub(super) fn prose(remark: &str, to: &impl IsTerminal) -> String {
    prose_for(width_of(to), remark)
}

fn prose_for(width: Option<u16>, remark: &str) -> String {
    let Some(width) = width else { return remark.to_owned() };
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty().add_row([remark]);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    for column in table.column_iter_mut() {
        column.set_padding((0, 0));
    }
    table.trim_fmt()
}

/// How many columns it has; none where there is no limit.
fn width_of(to: &impl IsTerminal) -> Option<u16> {
    to.is_terminal().then(|| Table::new().width()).flatten().map(|width| width.max(WIDTH_MIN))
}

fn layout_for(screen: Screen, head: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty().set_header(head.iter().map(|name| heading(name)));
    for row in rows {
        assert_eq!(row.len(), head.len(), "a row with other columns than the head");
        table.add_row(row.iter().map(painted));
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if number + 1 < head.len() { GAP } else { 0 }));
        if is_one_word(rows.iter().filter_map(|row| row.get(number))) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if let Some(width) = screen.width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    if screen.colours {
        table.enforce_styling().style_text_only();
    }
    table.trim_fmt() + "\n"
}

/// Whether a column is to be kept whole: positions and ids are copied from there.
fn is_one_word<'a>(mut cells: impl Iterator<Item = &'a Cell>) -> bool {
    cells.all(|cell| !cell.text.contains(' ') && cell.text.chars().count() <= WHOLE_MAX)
}

fn heading(name: &str) -> comfy_table::Cell {
    comfy_table::Cell::new(name).add_attribute(Attribute::Bold)
}

fn painted(cell: &Cell) -> comfy_table::Cell {
    let painted = comfy_table::Cell::new(&cell.text);
    match cell.tone {
        Tone::Plain => painted,
        Tone::Strong => painted.add_attribute(Attribute::Bold),
        Tone::Good => painted.fg(Color::Green),
        Tone::Warning => painted.fg(Color::Yellow),
        Tone::Bad => painted.fg(Color::Red),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { width: None, colours: false };

    #[test]
    fn columns_are_as_wide_as_what_they_hold() {
        let rows = [vec!["node1".into(), "master".into()], vec!["n".into(), Cell::new("-", Tone::Bad)]];
        assert_eq!(layout_for(PIPE, &["NODE", "ROLE"], &rows), "NODE   ROLE\nnode1  master\nn      -\n");
    }

    #[test]
    fn a_terminal_is_never_too_narrow() {
        let why = "no: it is not connected, not caught up, or does not sync its promises, and nobody knows it";
        let rows = [vec!["node1".into(), "1000001:1010-0c0c3c3d".into(), "replica (syncing)".into(), why.into()]];
        let head = ["NODE", "POSITION", "ROLE", "MAY LEAD"];
        for width in [80, 60] {
            let text = layout_for(Screen { width: Some(width), ..PIPE }, &head, &rows);
            assert!(text.lines().all(|line| line.chars().count() <= width.into()), "{text}");
            assert!(text.contains("1000001:1010-0c0c3c3d"), "{text}");
        }
        assert_eq!(layout_for(PIPE, &head, &rows).lines().count(), 2, "one line for each row");
    }

    #[test]
    fn remarks_are_folded_between_words() {
        let remark = "no master: 1 of 3 voters are heard from, by this command or by a node that answers it, and 2 are needed\nStart n1";
        let folded = prose_for(Some(80), remark);
        let lines: Vec<&str> = folded.lines().collect();
        assert_eq!((lines.len(), lines[2]), (3, "Start n1"), "{folded}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{folded}");
        assert_eq!(format!("{} {}", lines[0].trim_end(), lines[1]), remark.lines().next().unwrap_or_default());
        assert_eq!(prose_for(None, remark), remark, "a pipe gets whole lines");
    }

    #[test]
    fn colours_take_no_room() {
        let rows =
            [vec![Cell::new("ready", Tone::Good), "x".into()], vec![Cell::new("gone", Tone::Bad), "y".into()]];
        let text = layout_for(Screen { width: Some(80), colours: true }, &["HEALTH", "B"], &rows);
        assert!(text.contains("\u{1b}[") && text.contains("ready"), "{text:?}");
        let bare = |text: &str| {
            let mut parts = text.split('\u{1b}');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |bare, part| bare + part.split_once('m').map_or("", |(_, rest)| rest))
        };
        assert_eq!(bare(&text), layout_for(PIPE, &["HEALTH", "B"], &rows));
    }
}
