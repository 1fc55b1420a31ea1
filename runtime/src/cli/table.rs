//! A plain table of text: columns as wide as what they hold, two blanks between.

/// Lays out rows under their head; each row has as many cells as the head.
pub(super) fn layout(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        assert_eq!(row.len(), head.len(), "a row with other columns than the head");
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(head.iter().copied(), &widths);
    for row in rows {
        text += &line(row.iter().map(String::as_str), &widths);
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let padded: Vec<String> = cells.zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", padded.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_they_hold() {
        let rows = vec![vec!["node1".to_owned(), "master".to_owned()], vec!["n".to_owned(), "-".to_owned()]];
        assert_eq!(layout(&["NODE", "ROLE"], &rows), "NODE   ROLE\nnode1  master\nn      -\n");
    }
}
