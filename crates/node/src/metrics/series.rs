//! A series that is written anew each time, and not kept in a registry.

use super::histogram::write_line;

/// Its name, its help, and its kind.
pub(super) struct Series {
    pub(super) name: &'static str,
    help: &'static str,
    kind: &'static str,
}

/// A series that only ever grows.
pub(super) const fn counter(name: &'static str, help: &'static str) -> Series {
    Series { name, help, kind: "counter" }
}

/// A series that goes up and down.
pub(super) const fn gauge(name: &'static str, help: &'static str) -> Series {
    Series { name, help, kind: "gauge" }
}

/// A series of how often something took how long.
pub(super) const fn histogram(name: &'static str, help: &'static str) -> Series {
    Series { name, help, kind: "histogram" }
}

/// Writes what goes before its values.
pub(super) fn head(text: &mut String, series: &Series) {
    let Series { name, help, kind } = series;
    write_line(text, format_args!("# HELP {name} {help}"));
    write_line(text, format_args!("# TYPE {name} {kind}"));
}
