//! A TOML document, read key by key: what is asked for is known, all else is told.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::scenario::problem::Finder;
use crate::scenario::quantity::{self, DURATION, shown};

/// The keys that stand at the top of a file, and are easily written below a table by mistake.
const TOP: [&str; 4] = ["name", "lasting", "calm", "assert"];

/// A table, and what was asked of it.
pub(super) struct Reader<'a> {
    finder: &'a Finder<'a>,
    path: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

/// A value, and where it stands.
pub(super) struct Item<'a> {
    finder: &'a Finder<'a>,
    path: String,
    key: Range<usize>,
    span: Range<usize>,
    value: &'a DeValue<'a>,
}

impl<'a> Reader<'a> {
    /// Of a whole document.
    pub(super) fn new(finder: &'a Finder<'a>, document: &'a Spanned<DeTable<'a>>) -> Self {
        Self { finder, path: String::new(), span: 0..0, table: document.get_ref(), known: Vec::new() }
    }

    /// The value of a key, if it is there.
    pub(super) fn item(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(self.item_of(name, value))
    }

    /// The value of a key, which has to be there.
    pub(super) fn required(&mut self, key: &'static str) -> Option<Item<'a>> {
        let item = self.item(key);
        if item.is_none() {
            self.wrong(format!("`{key}` is missing"));
        }
        item
    }

    /// Whether a key is there. Says nothing of whether it is known.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// The table of a key.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Self> {
        self.item(key)?.table()
    }

    /// The tables of a key that is there any number of times.
    pub(super) fn tables(&mut self, key: &'static str, max: usize) -> Vec<Self> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let DeValue::Array(values) = item.value else {
            item.wrong(format!("must be tables, each under [[{}]]", item.path));
            return Vec::new();
        };
        if values.len() > max {
            item.wrong(format!("must be at most {max}, and is {}", values.len()));
            return Vec::new();
        }
        item.items().iter().filter_map(Item::table).collect()
    }

    /// The duration of a key, or what it is where nothing is said.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
        otherwise: Duration,
    ) -> Duration {
        self.item(key).and_then(|item| item.duration(bounds)).unwrap_or(otherwise)
    }

    /// All keys with their values, for tables whose keys are not ours. All become known.
    pub(super) fn all(&self) -> Vec<(&'a str, Item<'a>)> {
        self.table.iter().map(|(name, value)| (name.get_ref().as_ref(), self.item_of(name, value))).collect()
    }

    fn item_of(&self, name: &Spanned<DeString<'_>>, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        let path = self.path_of(name.get_ref());
        Item { finder: self.finder, path, key: name.span(), span: value.span(), value: value.get_ref() }
    }

    /// The table as a whole breaks a rule.
    pub(super) fn wrong(&self, rule: impl Into<String>) {
        self.finder.wrong(self.span.clone(), self.path.clone(), rule);
    }

    /// A key that was not asked for is an error.
    pub(super) fn finish(self) {
        for (name, _) in self.table.iter().filter(|(name, _)| !self.known.contains(&name.get_ref().as_ref())) {
            let rule = if !self.path.is_empty() && TOP.contains(&name.get_ref().as_ref()) {
                "stands at the top of the file, before the first table".to_owned()
            } else {
                format!("is no key here{}", hint(name.get_ref(), &self.known))
            };
            self.finder.wrong(name.span(), self.path_of(name.get_ref()), rule);
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> Item<'a> {
    /// The value breaks a rule.
    pub(super) fn wrong(&self, rule: impl Into<String>) {
        self.finder.wrong(self.span.clone(), self.path.clone(), rule);
    }

    /// The key itself breaks a rule.
    pub(super) fn wrong_key(&self, rule: impl Into<String>) {
        self.finder.wrong(self.key.clone(), self.path.clone(), rule);
    }

    /// A part of a text breaks a rule. The part is marked, if the text stands in the file as it is.
    pub(super) fn wrong_within(&self, text: &str, part: &Range<usize>, rule: impl Into<String>) {
        let inner = self.span.start + 1;
        let is_plain = self.finder.text().get(inner..self.span.end.saturating_sub(1)) == Some(text);
        let span = if is_plain { inner + part.start..inner + part.end } else { self.span.clone() };
        self.finder.wrong(span, self.path.clone(), rule);
    }

    fn as_table(&self) -> Option<&'a DeTable<'a>> {
        if let DeValue::Table(table) = self.value { Some(table) } else { None }
    }

    /// The value as a table.
    pub(super) fn table(&self) -> Option<Reader<'a>> {
        let table = self.as_table();
        if table.is_none() {
            self.wrong(format!("must be a table, and is {}", kind(self.value)));
        }
        let (path, span) = (self.path.clone(), self.span.clone());
        table.map(|table| Reader { finder: self.finder, path, span, table, known: Vec::new() })
    }

    /// The value as a text.
    pub(super) fn text(&self) -> Option<&'a str> {
        if let DeValue::String(text) = self.value {
            return Some(text);
        }
        self.wrong(format!("must be a text in quotes, and is {}", kind(self.value)));
        None
    }

    /// The value as it stands in a configuration file: a text, a whole number, or a truth.
    pub(super) fn plain(&self) -> Option<String> {
        match self.value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(_) => Some(self.integer()?.to_string()),
            DeValue::Boolean(truth) => Some(truth.to_string()),
            _ => {
                self.wrong(format!("must be a text, a whole number, true or false, and is {}", kind(self.value)));
                None
            }
        }
    }

    /// The values of a list.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        if matches!(self.value, DeValue::Array(_)) {
            return Some(self.items());
        }
        self.wrong(format!("must be a list, and is {}", kind(self.value)));
        None
    }

    /// The values of a list, or the one value that it is.
    pub(super) fn one_or_more(self) -> Vec<Self> {
        if matches!(self.value, DeValue::Array(_)) { self.items() } else { vec![self] }
    }

    fn items(&self) -> Vec<Self> {
        let DeValue::Array(values) = self.value else { return Vec::new() };
        let item = |value: &'a Spanned<DeValue<'a>>| Self {
            finder: self.finder,
            path: self.path.clone(),
            key: self.key.clone(),
            span: value.span(),
            value: value.get_ref(),
        };
        values.iter().map(item).collect()
    }

    /// The value as a duration.
    pub(super) fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let duration = if let DeValue::String(text) = self.value { quantity::duration(text) } else { None };
        if duration.is_none() {
            self.wrong(format!("must be {DURATION}"));
        }
        if duration.is_some_and(|duration| !bounds.contains(&duration)) {
            self.wrong(format!("must be from {} to {}", shown(*bounds.start()), shown(*bounds.end())));
        }
        duration
    }

    fn integer(&self) -> Option<i64> {
        let DeValue::Integer(number) = self.value else { return None };
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// The value as a whole number.
    pub(super) fn whole(&self, bounds: RangeInclusive<i64>) -> Option<i64> {
        let number = self.integer().filter(|number| bounds.contains(number));
        if number.is_none() {
            self.wrong(format!("must be a whole number from {} to {}", bounds.start(), bounds.end()));
        }
        number
    }

    /// The value as a number.
    pub(super) fn number(&self, bounds: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(_) => self.integer().map(|number| number as f64),
            _ => None,
        };
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            self.wrong(format!("must be a number from {} to {}", bounds.start(), bounds.end()));
        }
        number
    }

    /// The value as the name of one of these.
    pub(super) fn one_of<T: Copy>(&self, names: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            self.wrong(format!("must be one of {}{}", names.join(", "), hint(text, &names)));
        }
        found
    }
}

/// What somebody may have meant.
pub(super) fn hint(text: &str, names: &[&str]) -> String {
    let likeness = |name: &str| strsim::jaro_winkler(text, name);
    let nearest = names.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match nearest {
        Some(name) if likeness(name) > 0.8 => format!("; perhaps `{name}` is meant"),
        Some(_) if names.len() <= 12 => format!("; there are {}", names.join(", ")),
        _ => String::new(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
