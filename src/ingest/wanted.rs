//! The columns of a table that are read.

use super::FieldNames;

/// The columns of a table that are read.
pub(super) enum Wanted<'a> {
    /// All readable columns.
    Everything,
    /// These columns.
    Columns(Vec<WantedColumn<'a>>),
}

impl<'a> Wanted<'a> {
    /// Returns the columns of all fields, and the kept columns.
    pub(super) fn of(fields: &'a FieldNames, keep: &'a [String]) -> Self {
        let parts = |(field, names): (&'static str, &'a str)| {
            std::iter::once(names).chain(names.split('+').map(str::trim).filter(move |part| *part != names)).map(
                move |name| WantedColumn {
                    name,
                    is_list: matches!(field, "choices" | "tests" | "test_imports") && name == names,
                    decides_nothing: matches!(field, "subject" | "category"),
                },
            )
        };
        let named = fields.names().into_iter().flat_map(parts);
        let kept = keep.iter().map(|name| WantedColumn { name, is_list: false, decides_nothing: false });
        Self::Columns(named.chain(kept).filter(|column| !column.name.is_empty()).collect())
    }

    fn any(&self, is_it: impl Fn(&WantedColumn<'a>) -> bool) -> bool {
        match self {
            Self::Everything => true,
            Self::Columns(columns) => columns.iter().any(is_it),
        }
    }

    /// Returns whether a column is wanted by its name.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.any(|column| column.name == name)
    }

    /// Returns whether a cell of a column may hold a list.
    pub(super) fn is_list(&self, name: &str) -> bool {
        self.any(|column| column.is_list && column.name == name)
    }

    /// Returns whether the path of a wanted column begins with a column.
    pub(super) fn reaches_into(&self, name: &str) -> bool {
        let begins = |path: &str| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        self.any(|column| begins(column.name))
    }
}

/// A column that is read: a name, or a path into nested objects if the name has dots and no column has this name.
pub(super) struct WantedColumn<'a> {
    pub(super) name: &'a str,
    /// Whether a text cell may contain a list.
    is_list: bool,
    /// Whether the column decides nothing, so that it is ignored if it has an unsupported type.
    pub(super) decides_nothing: bool,
}
