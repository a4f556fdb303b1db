//! What a cluster costs by its size.

use tempfile::TempDir;

use super::{simulate, text};

/// The rows of the tables, as numbers; what is no number is none.
fn rows(told: &str) -> Vec<Vec<f64>> {
    let cells =
        |line: &str| line.split('|').filter_map(|cell| cell.trim().trim_end_matches(" ms").parse().ok()).collect();
    told.lines().map(cells).filter(|row: &Vec<f64>| row.len() > 2).collect()
}

/// Facts cross into a region once, however many nodes are there.
#[test]
fn bytes_over_a_boundary_grow_with_regions_and_not_with_nodes() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("scale.svg");
    let svg = file.to_str().expect("its name is a text");
    let output = simulate(&["scale", "--nodes", "3,6", "--regions", "3", "--seconds", "2", "--svg", svg]);
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    let rows = rows(&told);
    let sizes: Vec<(f64, f64)> = rows.iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(sizes, [(3.0, 3.0), (6.0, 3.0), (3.0, 3.0), (6.0, 3.0)], "{told}");
    let [_, _, three, six] = rows.as_slice() else { panic!("{told}") };
    let (of_three, of_six) = (three[2], six[2]);
    assert!(of_three > 20.0 && of_six > 20.0, "{told}");
    assert!(of_six <= 1.5 * of_three, "{told}");
    let picture = std::fs::read_to_string(&file).expect("it was written");
    assert_eq!(picture.matches("<circle").count(), 8, "{picture}");
}
