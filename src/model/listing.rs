//! Connections, and listings that are complete or do not exist.

mod texts;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::error::{PollError, Reason};
use texts::{Interner, Reorder, TextId, Texts};

/// Values that no document of the vendor's knows, counted by field.
pub type UnknownValues = BTreeMap<&'static str, u64>;

/// The text of a value.
#[derive(Debug)]
pub struct LossyText<'a> {
    /// With U+FFFD in place of whatever is no character.
    pub text: Cow<'a, str>,
    /// If there was any, a hash of what stood there.
    pub replaced: Option<u32>,
}

impl<'a> LossyText<'a> {
    /// What is shown of a fact; a text of which something was replaced is counted.
    pub fn shown(self, field: &'static str, unknown: &mut UnknownValues) -> Cow<'a, str> {
        if self.replaced.is_some() {
            *unknown.entry(field).or_default() += 1;
        }
        self.text
    }
}

/// One row that a target's listing returned. Holds no secret, and no person's name.
///
/// A source makes it of texts of its own, or of its answer's; a [`Listing`] shows it as a [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Connection<T = Box<str>> {
    /// The `connection` label: the id (Zuora) or the name (ZIS).
    pub id: T,
    /// The `connection_type` label, one of the system's own words or `other`.
    pub kind: &'static str,
    /// The `status` label; empty where the system has no statuses.
    pub status: &'static str,
    /// The facts that `saas_connection_info` shows.
    pub facts: Facts<T>,
    /// When the stored access token expires, where the vendor says so.
    pub expiry: Option<Timestamp>,
    /// Whether a refresh token is stored with it; only where that is a question.
    pub renewable: Option<bool>,
    /// When it was made, where the vendor says so.
    pub created: Option<Timestamp>,
    /// When it was changed last, where the vendor says so.
    pub updated: Option<Timestamp>,
}

/// A connection of a listing that is held.
pub type Row<'a> = Connection<&'a str>;

impl<T> Connection<T> {
    /// The same with each of its texts made into something else.
    fn map<'a, U>(&'a self, mut text: impl FnMut(&'a T) -> U) -> Connection<U> {
        let Facts {
            uuid,
            source_entity,
            source_entity_name,
            target_entity,
            target_entity_name,
            header_name,
            allowed_domain,
            permission_scope,
        } = &self.facts;
        Connection {
            id: text(&self.id),
            kind: self.kind,
            status: self.status,
            facts: Facts {
                uuid: text(uuid),
                source_entity: text(source_entity),
                source_entity_name: text(source_entity_name),
                target_entity: text(target_entity),
                target_entity_name: text(target_entity_name),
                header_name: text(header_name),
                allowed_domain: text(allowed_domain),
                permission_scope: text(permission_scope),
            },
            expiry: self.expiry,
            renewable: self.renewable,
            created: self.created,
            updated: self.updated,
        }
    }
}

impl<'a> Row<'a> {
    /// What makes it the same connection in the next listing: a name is not promised to be unique
    /// across types.
    #[must_use]
    pub fn identity(&self) -> (&'a str, &'static str) {
        (self.id, self.kind)
    }
}

/// Labels of `saas_connection_info`; what a system lacks stays empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is the label of the same name")]
pub struct Facts<T = Box<str>> {
    pub uuid: T,
    pub source_entity: T,
    pub source_entity_name: T,
    pub target_entity: T,
    pub target_entity_name: T,
    pub header_name: T,
    pub allowed_domain: T,
    pub permission_scope: T,
}

/// All connections of one target from one poll. Made only by [`ListingBuilder::finish`], after the last page.
///
/// It is held for as long as its target is known: two blocks of memory, in which each text stands once.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    connections: Box<[Connection<TextId>]>,
    texts: Texts,
    /// How many pages it took.
    pub pages: u32,
    /// Rows dropped because a later row had the same identity.
    pub duplicates: u64,
    /// Values of the vendor's that no document knows, counted by field.
    pub unknown: UnknownValues,
}

/// What is done with a listing of more connections takes long enough to be done beside the event loop.
pub const LONG: usize = 1000;

impl Listing {
    /// The connections, ordered by identity.
    #[must_use]
    pub fn connections(&self) -> impl ExactSizeIterator<Item = Row<'_>> + Clone {
        self.connections.iter().map(|packed| self.row(packed))
    }

    fn row(&self, packed: &Connection<TextId>) -> Row<'_> {
        packed.map(|text| self.texts.get(*text))
    }

    /// The connection with this identity.
    #[must_use]
    pub fn find(&self, identity: (&str, &str)) -> Option<Row<'_>> {
        let identity_of = |packed: &Connection<TextId>| (self.texts.get(packed.id), packed.kind);
        let place = self
            .connections
            .binary_search_by(|packed| identity_of(packed).cmp(&identity));
        Some(self.row(&self.connections[place.ok()?]))
    }
}

/// The connections of two listings in the order of both, those with one identity together.
pub fn side_by_side<'a>(
    before: &'a Listing,
    now: &'a Listing,
) -> impl Iterator<Item = (Option<Row<'a>>, Option<Row<'a>>)> {
    let mut before = before.connections().peekable();
    let mut now = now.connections().peekable();
    std::iter::from_fn(move || {
        let order = match (before.peek(), now.peek()) {
            (Some(before), Some(now)) => before.identity().cmp(&now.identity()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let earlier = before.next_if(|_| order.is_le());
        Some((earlier, now.next_if(|_| order.is_ge())))
    })
}

/// A listing on the way: pages go in, and it ends complete or as an error.
#[derive(Debug)]
pub struct ListingBuilder {
    endpoint: &'static str,
    max_connections: usize,
    max_pages: u32,
    rows: Vec<Connection<TextId>>,
    /// Where the row of an identity is.
    places: HashMap<(TextId, &'static str), usize>,
    texts: Interner,
    /// By each name of which something was replaced, the hash of what stood there.
    replaced: HashMap<String, u32>,
    /// Rows of all pages, and rows and connections as of the end of the last one.
    taken: usize,
    earlier: (usize, usize),
    done: Listing,
}

impl ListingBuilder {
    /// Begins a listing of at most `max_connections`, on pages of at most `page_size` rows.
    ///
    /// The pages are capped at twice what full pages would need, and two: enough for a vendor whose
    /// pages are not full, and an end for one whose paging has none.
    #[must_use]
    pub fn new(endpoint: &'static str, max_connections: usize, page_size: usize) -> Self {
        let max_pages =
            u32::try_from(max_connections.div_ceil(page_size) * 2 + 2).unwrap_or(u32::MAX);
        Self {
            endpoint,
            max_connections,
            max_pages,
            rows: Vec::new(),
            places: HashMap::new(),
            texts: Interner::default(),
            replaced: HashMap::new(),
            taken: 0,
            earlier: (0, 0),
            done: Listing::default(),
        }
    }

    /// Takes one page, and says whether it brought a row that was not there before; as [`row`](Self::row) and
    /// [`end_page`](Self::end_page).
    pub fn add_page<T: AsRef<str>>(
        &mut self,
        rows: Vec<Connection<T>>,
        last: bool,
    ) -> Result<bool, PollError> {
        for row in rows {
            self.row(&row)?;
        }
        self.end_page(last)
    }

    /// Takes one row of a page. More rows than `max_connections`, on one page or on all without those that repeat others:
    /// `too_large`.
    pub fn row<T: AsRef<str>>(&mut self, row: &Connection<T>) -> Result<(), PollError> {
        // Cut before anything else is done with it, so that two rows with one label are one connection, and a
        // vendor's 100 kB name is not kept.
        let row = row.map(|text| self.texts.intern(&cut(text.as_ref())));
        self.taken += 1;
        match self.places.entry((row.id, row.kind)) {
            Entry::Occupied(earlier) => {
                self.rows[*earlier.get()] = row;
                self.done.duplicates += 1;
            }
            Entry::Vacant(new) => {
                new.insert(self.rows.len());
                self.rows.push(row);
            }
        }
        if self.rows.len().max(self.rows_on_page()) > self.max_connections {
            let detail = format!("more than {} connections", self.max_connections);
            return Err(PollError::new(Reason::TooLarge, self.endpoint, detail));
        }
        Ok(())
    }

    /// The call that it is made by.
    #[must_use]
    pub fn endpoint(&self) -> &'static str {
        self.endpoint
    }

    /// How many rows the page under way has so far.
    #[must_use]
    pub fn rows_on_page(&self) -> usize {
        self.taken - self.earlier.0
    }

    /// How many rows there were so far, on all pages.
    #[must_use]
    pub fn rows_taken(&self) -> usize {
        self.taken
    }

    /// Ends the page under way, and says whether it brought a row that was not there before.
    ///
    /// `last` is what the vendor says of the page. One that brings nothing new and is not the last is no
    /// progress: `pagination`.
    pub fn end_page(&mut self, last: bool) -> Result<bool, PollError> {
        self.done.pages += 1;
        let progress = self.rows.len() > self.earlier.1;
        self.earlier = (self.taken, self.rows.len());
        if !last && !progress {
            return Err(self.no_progress("brought nothing new, though more was announced"));
        }
        if !last && self.done.pages >= self.max_pages {
            return Err(self.no_progress("was not the last one, and we ask for no more"));
        }
        Ok(progress)
    }

    /// A row's name as it is shown. Two that differ only in what was replaced in them stay two; such a name is counted
    /// under this field.
    pub fn name<'a>(&mut self, field: &'static str, name: LossyText<'a>) -> Cow<'a, str> {
        let replaced = name.replaced;
        let text = name.shown(field, &mut self.done.unknown);
        let Some(hash) = replaced else {
            return text;
        };
        let first = *self.replaced.entry(cut(&text).into()).or_insert(hash);
        if first == hash {
            text
        } else {
            format!("{text}…{hash:08x}").into()
        }
    }

    /// What no document of the vendor's knows, as far as it was counted.
    pub fn unknown_values(&mut self) -> &mut UnknownValues {
        &mut self.done.unknown
    }

    /// The error of a paging that does not move: `what` follows "page N".
    #[must_use]
    pub fn no_progress(&self, what: &str) -> PollError {
        PollError::new(
            Reason::Pagination,
            self.endpoint,
            format!("page {} {what}", self.done.pages),
        )
    }

    /// Counts a value of the vendor's that no document knows.
    pub fn unknown(&mut self, field: &'static str) {
        *self.done.unknown.entry(field).or_default() += 1;
    }

    /// Ends the listing after its last page.
    #[must_use]
    pub fn finish(mut self) -> Listing {
        drop(self.places);
        let texts = self.texts.finish();
        let identity = |row: &Connection<TextId>| (texts.get(row.id), row.kind);
        self.rows
            .sort_unstable_by(|a, b| identity(a).cmp(&identity(b)));
        let mut in_order = Reorder::new(&texts);
        let rows = self.rows.iter();
        self.done.connections = rows
            .map(|row| row.map(|text| in_order.number(*text)))
            .collect();
        self.done.texts = in_order.finish();
        self.done
    }
}

/// Whether two texts are the same. Where many are empty it is faster than `==`: the C library's comparison reads even
/// nothing by a masked load, and one at an address that is none, as an empty text's, takes some processors a microsecond.
#[must_use]
pub fn fast_eq(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// The most bytes of a label's value.
const LONGEST_LABEL: usize = 256;

/// A text as a label: one that is too long is cut at a character's end and tells by a hash what it was.
#[must_use]
pub fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_LABEL {
        return Cow::Borrowed(text);
    }
    let end = format!("…{:08x}", crc32fast::hash(text.as_bytes()));
    let at = text.floor_char_boundary(LONGEST_LABEL - end.len());
    Cow::Owned(format!("{}{end}", &text[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character_and_two_stay_two() {
        let (a, b) = (
            format!("{}a", "é".repeat(200)),
            format!("{}b", "é".repeat(200)),
        );
        assert!(cut(&a).len() <= LONGEST_LABEL);
        assert_ne!(cut(&a), cut(&b));
        assert_eq!(cut(&"x".repeat(LONGEST_LABEL)), "x".repeat(LONGEST_LABEL));
    }

    fn row(id: &str, kind: &'static str, status: &'static str) -> Connection {
        Connection {
            id: id.into(),
            kind,
            status,
            ..Connection::default()
        }
    }

    #[test]
    fn the_later_of_two_rows_with_one_identity_wins_and_is_counted() {
        let mut builder = ListingBuilder::new("e", 10, 10);
        builder
            .add_page(
                vec![
                    row("a", "oauth", "old"),
                    row("a", "api_key", ""),
                    row("a", "oauth", "new"),
                ],
                true,
            )
            .unwrap();
        let listing = builder.finish();
        assert_eq!(listing.connections().len(), 2);
        assert_eq!(listing.duplicates, 1);
        assert_eq!(listing.find(("a", "oauth")).unwrap().status, "new");
    }

    #[test]
    fn a_page_that_brings_nothing_new_is_an_error_unless_it_is_the_last() {
        let mut builder = ListingBuilder::new("e", 10, 1);
        builder.add_page(vec![row("a", "x", "")], false).unwrap();
        assert_eq!(builder.add_page(vec![row("a", "x", "")], true), Ok(false));
        let error = builder
            .add_page(vec![row("a", "x", "")], false)
            .unwrap_err();
        assert_eq!(error.reason, Reason::Pagination);
    }

    #[test]
    fn too_many_rows_and_too_many_pages_end_it() {
        let mut builder = ListingBuilder::new("e", 1, 1);
        builder.add_page(vec![row("a", "x", "")], false).unwrap();
        assert_eq!(
            builder
                .add_page(vec![row("b", "x", "")], false)
                .unwrap_err()
                .reason,
            Reason::TooLarge
        );

        let mut builder = ListingBuilder::new("e", 8, 8);
        let reasons: Vec<_> = ["a", "b", "c", "d"]
            .map(|id| builder.add_page(vec![row(id, "x", "")], false))
            .into_iter()
            .collect();
        assert!(reasons[..3].iter().all(Result::is_ok));
        assert_eq!(reasons[3].as_ref().unwrap_err().reason, Reason::Pagination);
    }
}
