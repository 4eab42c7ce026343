//! Connections, and listings of them that are complete or do not exist.

mod texts;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::error::{PollError, Reason};
use texts::{Interner, TextId, Texts};

/// Number of values that the vendor does not document, by field.
pub(crate) type UnknownValues = BTreeMap<&'static str, u64>;

/// Text of a JSON value, decoded lossily.
#[derive(Debug)]
pub struct LossyText<'a> {
    /// The text, with U+FFFD for everything that is not a character.
    pub text: Cow<'a, str>,
    /// Hash of the original text, if anything was replaced.
    pub replaced: Option<u32>,
}

impl<'a> LossyText<'a> {
    /// Returns the text of a fact, and counts it as unknown if anything was replaced.
    pub fn into_text(self, field: &'static str, unknown: &mut UnknownValues) -> Cow<'a, str> {
        if self.replaced.is_some() {
            *unknown.entry(field).or_default() += 1;
        }
        self.text
    }
}

/// One connection of a target, as the vendor lists it.
///
/// It holds no secret and no name of a person. A source creates it from owned text or from text of
/// the response. A [`Listing`] returns it as a [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Connection<T = Box<str>> {
    /// The `connection` label: the id (Zuora) or the name (ZIS).
    pub id: T,
    /// The `connection_type` label: a documented type of the system, or `other`.
    pub kind: &'static str,
    /// The `status` label; empty if the system has no statuses.
    pub status: &'static str,
    /// Facts that are labels of `saas_connection_info`.
    pub facts: Facts<T>,
    /// Expiry of the stored access token, if the vendor reports it.
    pub expiry: Option<Timestamp>,
    /// Whether a refresh token is stored; `None` if the type does not use one.
    pub renewable: Option<bool>,
    /// Grant of the OAuth client that obtains the token, if it is known.
    pub grant_type: Option<GrantType>,
    /// Time of creation, if the vendor reports it.
    pub created: Option<Timestamp>,
    /// Time of the last change, if the vendor reports it.
    pub updated: Option<Timestamp>,
}

/// A documented grant of OAuth 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant is the grant of that name")]
pub enum GrantType {
    AuthorizationCode,
    ClientCredentials,
}

impl GrantType {
    /// All grants.
    pub(crate) const ALL: [Self; 2] = [Self::AuthorizationCode, Self::ClientCredentials];

    /// Returns the value of the `grant_type` label, which is the name of the grant in OAuth 2.0.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// A connection that is borrowed from a [`Listing`].
pub type Row<'a> = Connection<&'a str>;

impl<T> Connection<T> {
    /// Converts all texts of the connection.
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
            grant_type: self.grant_type,
            created: self.created,
            updated: self.updated,
        }
    }
}

impl<'a> Row<'a> {
    /// Returns what identifies the connection in the next listing.
    ///
    /// The name alone does not: no vendor promises that it is unique across types.
    #[must_use]
    pub fn identity(&self) -> (&'a str, &'static str) {
        (self.id, self.kind)
    }
}

/// Labels of `saas_connection_info`; empty where the system has no value.
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

/// All connections of one target from one poll.
///
/// Only [`ListingBuilder::finish`] creates it, after the last page. It stays in memory as long as
/// its target exists, so it is compact. Its rows, texts and text offsets are one memory block each,
/// and each text is stored once.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    connections: Box<[Connection<TextId>]>,
    texts: Texts,
    /// Number of pages in the vendor's listing.
    pub pages: u32,
    /// Number of rows that were dropped because a later row had the same identity.
    pub duplicates: u64,
    /// Number of values that the vendor does not document, by field.
    pub unknown: UnknownValues,
}

/// Maximum number of connections that are processed on the event loop.
///
/// Rendering a listing of this size takes about a third of a millisecond. A longer one is processed
/// on a worker thread, so that no scrape waits for it.
pub const LONG: usize = 20;

impl Listing {
    /// Returns the connections, ordered by identity.
    #[must_use]
    pub fn connections(&self) -> impl ExactSizeIterator<Item = Row<'_>> + Clone {
        self.connections.iter().map(|packed| self.row(packed))
    }

    /// Returns whether both have the same connections, if the vendor listed them in one order.
    pub(crate) fn has_same_rows(&self, other: &Self) -> bool {
        let mut rows = self.connections.iter().zip(&other.connections);
        self.connections.len() == other.connections.len()
            && self.texts == other.texts
            && rows.all(|(row, other)| same_row(row, other))
    }

    fn row(&self, packed: &Connection<TextId>) -> Row<'_> {
        packed.map(|text| self.texts.get(*text))
    }

    /// Returns the connection with this identity.
    #[must_use]
    pub fn find(&self, identity: (&str, &str)) -> Option<Row<'_>> {
        let identity_of = |packed: &Connection<TextId>| (self.texts.get(packed.id), packed.kind);
        let place = self
            .connections
            .binary_search_by(|packed| identity_of(packed).cmp(&identity));
        Some(self.row(&self.connections[place.ok()?]))
    }
}

/// Compares two rows of listings that have the same texts. Unlike `==`, it is fast for empty texts.
fn same_row(row: &Connection<TextId>, other: &Connection<TextId>) -> bool {
    let Connection {
        id,
        kind,
        status,
        facts,
        expiry,
        renewable,
        grant_type,
        created,
        updated,
    } = row;
    let dates = [expiry, created, updated] == [&other.expiry, &other.created, &other.updated];
    fast_eq(kind, other.kind)
        && fast_eq(status, other.status)
        && dates
        && (id, facts) == (&other.id, &other.facts)
        && (renewable, grant_type) == (&other.renewable, &other.grant_type)
}

/// Merges two listings in order, and pairs the connections with the same identity.
pub(crate) fn side_by_side<'a>(
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

/// Builder of a listing: pages are added, and it ends complete or with an error.
#[derive(Debug)]
pub struct ListingBuilder {
    endpoint: &'static str,
    max_connections: usize,
    max_pages: u32,
    rows: Vec<Connection<TextId>>,
    /// Index in `rows` by identity.
    places: HashMap<(TextId, &'static str), usize>,
    texts: Interner,
    /// Hash of the first original text, by each name in which something was replaced.
    replaced: HashMap<String, u32>,
    /// Number of rows on all pages so far.
    taken: usize,
    /// Number of rows and of connections at the end of the last complete page.
    earlier: (usize, usize),
    done: Listing,
}

impl ListingBuilder {
    /// Creates a builder for at most `max_connections`, on pages of at most `page_size` rows.
    ///
    /// The number of pages is limited to twice the number of full pages, plus two. That is enough
    /// for a vendor whose pages are not full, and it ends paging that would never end.
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

    /// Adds one page, and returns whether it had a connection that was not there before.
    ///
    /// The errors are those of [`row`](Self::row) and [`end_page`](Self::end_page).
    pub(crate) fn add_page<T: AsRef<str>>(
        &mut self,
        rows: Vec<Connection<T>>,
        last: bool,
    ) -> Result<bool, PollError> {
        for row in rows {
            self.row(&row)?;
        }
        self.end_page(last)
    }

    /// Adds one row to the current page.
    ///
    /// Fails with `too_large` if the page has more rows than `max_connections`, or all pages have
    /// more distinct connections than that.
    pub fn row<T: AsRef<str>>(&mut self, row: &Connection<T>) -> Result<(), PollError> {
        // Truncated first, so that two rows with the same labels are one connection, and a 100 kB
        // name of a vendor is not stored.
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

    /// Returns the name of the listing's call, as in the `endpoint` label.
    #[must_use]
    pub fn endpoint(&self) -> &'static str {
        self.endpoint
    }

    /// Returns the number of rows on the current page so far.
    #[must_use]
    pub(crate) fn rows_on_page(&self) -> usize {
        self.taken - self.earlier.0
    }

    /// Returns the number of rows on all pages so far.
    #[must_use]
    pub(crate) fn rows_taken(&self) -> usize {
        self.taken
    }

    /// Ends the current page, and returns whether it had a connection that was not there before.
    ///
    /// `last` is whether the vendor says that this page is the last one. Fails with `pagination` if
    /// the page is not the last one and has nothing new, or reaches the maximum number of pages.
    pub(crate) fn end_page(&mut self, last: bool) -> Result<bool, PollError> {
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

    /// Returns a row's name as it is exported.
    ///
    /// Names that differ only in replaced characters stay different: later ones end with a hash. A
    /// name with replaced characters is counted under `field`.
    pub fn name<'a>(&mut self, field: &'static str, name: LossyText<'a>) -> Cow<'a, str> {
        let replaced = name.replaced;
        let text = name.into_text(field, &mut self.done.unknown);
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

    /// Returns the counts of values that the vendor does not document.
    pub(crate) fn unknown_values(&mut self) -> &mut UnknownValues {
        &mut self.done.unknown
    }

    /// Returns the error of paging without progress; `what` follows "page N".
    #[must_use]
    pub(crate) fn no_progress(&self, what: &str) -> PollError {
        PollError::new(
            Reason::Pagination,
            self.endpoint,
            format!("page {} {what}", self.done.pages),
        )
    }

    /// Counts a value that the vendor does not document.
    pub fn unknown(&mut self, field: &'static str) {
        *self.done.unknown.entry(field).or_default() += 1;
    }

    /// Completes the listing after its last page.
    #[must_use]
    pub fn finish(mut self) -> Listing {
        drop(self.places);
        let texts = self.texts.finish();
        let identity = |row: &Connection<TextId>| (texts.get(row.id), row.kind);
        self.rows
            .sort_unstable_by(|a, b| identity(a).cmp(&identity(b)));
        self.done.connections = self.rows.into();
        self.done.texts = texts;
        self.done
    }
}

/// Returns whether two texts are equal; faster than `==` if many are empty.
///
/// The C library compares even zero bytes with a masked load. The address of an empty text is
/// dangling, and a masked load from such an address takes a microsecond on some processors.
#[must_use]
pub(crate) fn fast_eq(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// Maximum length of a label value, in bytes.
const MAX_LABEL: usize = 256;

/// Returns a text as a label value.
///
/// A text that is too long is cut between two characters, and ends with a hash of the whole text.
#[must_use]
pub fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_LABEL {
        return Cow::Borrowed(text);
    }
    let end = format!("…{:08x}", crc32fast::hash(text.as_bytes()));
    let at = text.floor_char_boundary(MAX_LABEL - end.len());
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
        assert!(cut(&a).len() <= MAX_LABEL);
        assert_ne!(cut(&a), cut(&b));
        assert_eq!(cut(&"x".repeat(MAX_LABEL)), "x".repeat(MAX_LABEL));
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
