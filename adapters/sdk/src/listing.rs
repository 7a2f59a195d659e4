//! A venue's lists of instruments: a row that cannot be read is left out, and named.

use crate::cursor::{Cursor, ParseError, ParseResult};
use crate::feed::refusal;
use crate::log;
use crate::object::each_member;
use crate::types::{Decimal, Instrument, Refusal};
use crate::values::value_text;

/// Rows that are named in the log.
const NAMED_MAX: usize = 5;
/// Longest beginning of a row, and of the value in it, in bytes.
const ROW_BYTES: usize = 80;
const VALUE_BYTES: usize = 32;

/// Longest symbol, venue symbol, base and quote that an edge takes, in bytes.
const NAME_BYTES: usize = 64;

/// The instruments of the lists, and the rows that could not be read.
#[derive(Debug)]
pub struct Listing {
    /// Every instrument that is listed and served.
    pub instruments: Vec<Instrument>,
    left_out: Vec<String>,
    /// Rows with a name that no subject can hold.
    without_subject: Vec<String>,
    /// Rows that the venue lists before the instrument exists.
    placeholders: Vec<String>,
    name_key: &'static str,
}

impl Listing {
    /// An empty listing of rows that have their name under this key.
    pub fn new(name_key: &'static str) -> Listing {
        let (instruments, left_out, without_subject, placeholders) = Default::default();
        Listing { instruments, left_out, without_subject, placeholders, name_key }
    }

    /// Reads the row that comes next; `None` of `read` is a row that the adapter does not serve. A row that cannot be read is left out:
    /// venues list what nobody asked for, in forms that nobody documents.
    ///
    /// # Errors
    /// The row is not JSON.
    pub fn row<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        read: impl FnOnce(&mut Cursor<'a>) -> ParseResult<Option<Instrument>>,
    ) -> ParseResult<()> {
        let start = *cursor;
        match read(cursor) {
            Ok(Some(one)) if !is_usable(&one) => {
                let names = format!("`{}`, `{}`", shown_text(&one.symbol), shown_text(&one.venue_symbol));
                self.without_subject.push(format!(
                    "{names} (expected names of 1 to {NAME_BYTES} bytes, the first without blanks, `.`, `*` and `>`)"
                ));
            }
            Ok(found) => self.instruments.extend(found.map(with_positive_steps)),
            Err(error) => {
                *cursor = start;
                cursor.skip()?;
                let row = start.rest().get(..cursor.at() - start.at()).unwrap_or_default();
                self.left_out.push(reason(&name(row, self.name_key), row, start.at(), error));
            }
        }
        Ok(())
    }

    /// Counts a row of an instrument that does not exist yet, by its name.
    pub fn placeholder(&mut self, name: &str) {
        self.placeholders.push(shown_text(name));
    }

    /// Tells in the log how many rows were left out, with the first ones.
    pub(crate) fn log(&self) {
        let named = |rows: &[String]| rows.get(..NAMED_MAX).unwrap_or(rows).join("; ");
        if !self.left_out.is_empty() {
            let (count, named) = (self.left_out.len(), named(&self.left_out));
            log::warn(&format!("{count} listed instruments left out, since they cannot be read: {named}"));
        }
        // No warning: only the venue can change its names, and a feed that asks for one is refused with it.
        if !self.without_subject.is_empty() {
            let (count, named) = (self.without_subject.len(), named(&self.without_subject));
            log::info(&format!(
                "{count} listed instruments left out, since no subject can hold their names: {named}"
            ));
        }
        if !self.placeholders.is_empty() {
            let (count, named) = (self.placeholders.len(), named(&self.placeholders));
            log::debug(&format!("{count} listed rows ignored, placeholders of instruments to come: {named}"));
        }
    }

    /// Adds the rows that look like one of the feed's missing symbols to its refusal; without symbols, any row.
    pub(crate) fn explain(left_out: &[String], symbols: &[String], mut refusal: Refusal) -> Refusal {
        let plain = |text: &str| -> String {
            let letters = text.chars().filter(|letter| letter.is_ascii_alphanumeric());
            letters.map(|letter| letter.to_ascii_uppercase()).collect()
        };
        let is_missing = |symbol: &&String| refusal.value.split(", ").any(|missing| missing == *symbol);
        let missing: Vec<String> = symbols.iter().filter(is_missing).map(|symbol| plain(symbol)).collect();
        let is_asked = |row: &&String| missing.iter().any(|symbol| plain(row).contains(symbol.as_str()));
        if symbols.is_empty()
            && let Some(row) = left_out.first()
        {
            refusal = self::refusal("instruments", row, "a list with a row that can be read");
        } else if let Some(row) = left_out.iter().find(is_asked) {
            refusal.allowed.push_str(&format!("; listed, but not readable: {row}"));
        }
        refusal
    }

    /// The instruments, and the reasons of the rows that were left out.
    pub(crate) fn into_parts(self) -> (Vec<Instrument>, Vec<String>) {
        (self.instruments, [self.left_out, self.without_subject].concat())
    }
}

/// Venues write 0 for a step that they do not have.
fn with_positive_steps(one: Instrument) -> Instrument {
    let positive = |step: Option<Decimal>| step.filter(|step| step.mantissa > 0);
    Instrument { tick_size: positive(one.tick_size), step_size: positive(one.step_size), ..one }
}

/// False for names that no subject can hold: an edge would refuse all instruments for this one.
fn is_usable(instrument: &Instrument) -> bool {
    let separates = |c: char| c.is_whitespace() || matches!(c, '.' | '*' | '>');
    let Instrument { symbol, venue_symbol, base, quote, .. } = instrument;
    let printed = |name: &String| name.len() <= NAME_BYTES && !name.contains(char::is_control);
    [symbol, venue_symbol, base, quote].into_iter().all(printed)
        && !symbol.is_empty()
        && !symbol.contains(separates)
        && !venue_symbol.is_empty()
}

/// The row's name; its beginning where it has none.
fn name(row: &[u8], key: &str) -> String {
    let mut name = None;
    let _ = each_member(&mut Cursor::new(row), "a row", |cursor, member| {
        if member == key {
            name = Some(value_text(cursor)?)
        } else {
            cursor.skip()?
        }
        Ok(())
    });
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| shown(row, ROW_BYTES))
}

/// `row` begins at the offset `at`.
fn reason(name: &str, row: &[u8], at: usize, error: ParseError) -> String {
    let value = error.at.checked_sub(at).and_then(|place| row.get(place..)).unwrap_or_default();
    let end = value.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(value.len());
    let value = shown(value.get(..end).unwrap_or_default(), VALUE_BYTES);
    format!("{name} (found `{value}`, expected {})", error.expected)
}

fn shown_text(text: &str) -> String {
    shown(text.as_bytes(), ROW_BYTES)
}

fn shown(bytes: &[u8], most: usize) -> String {
    String::from_utf8_lossy(bytes.get(..most).unwrap_or(bytes)).replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Object, each_element};

    fn listing(text: &str) -> ParseResult<Listing> {
        let mut listing = Listing::new("name");
        each_element(&mut Cursor::new(text.as_bytes()), |cursor| {
            listing.row(cursor, |cursor| {
                Object::parse(cursor)?.read("tick", Cursor::decimal)?;
                Ok(None)
            })
        })?;
        Ok(listing)
    }

    #[test]
    fn a_name_that_no_subject_can_hold_costs_only_its_row() {
        let mut listing = Listing::new("name");
        let long = "X".repeat(65);
        for symbol in ["\u{5e01}\u{5b89}-USDT", "A.B-USDT", "A B-USDT", "A*-USDT", "", &long] {
            let instrument = Instrument {
                symbol: symbol.to_owned(),
                venue_symbol: "V".to_owned(),
                market_type: crate::types::MarketType::Spot,
                base: String::new(),
                quote: String::new(),
                contract_size: None,
                contract_value: None,
                price_scale: 0,
                quantity_scale: 0,
                tick_size: None,
                step_size: None,
                trading: true,
            };
            listing.row(&mut Cursor::new(b"{}"), |_| Ok(Some(instrument))).unwrap();
        }
        let (instruments, left_out) = listing.into_parts();
        assert_eq!((instruments.len(), left_out.len()), (1, 5), "{left_out:?}");
        assert!(left_out[0].starts_with("`A.B-USDT`, `V` (expected names"), "{}", left_out[0]);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named_with_its_value() {
        let rows = r#"[{"name":"AUSD","tick":"0.1"},{"name":"KAITOUSDT","tick":null},{"tock":1}]"#;
        let (_, left_out) = listing(rows).unwrap().into_parts();
        assert_eq!(
            left_out,
            ["KAITOUSDT (found `null`, expected tick)", "{\"tock\":1} (found `{\"tock\":1`, expected tick)"]
        );
        assert!(listing("[{\"tick\":null,]").is_err());
        let refused = |missing: &str| {
            let symbols = [missing.to_owned(), "A-USD".to_owned()];
            Listing::explain(&left_out, &symbols, refusal("symbols", missing, "listed")).allowed
        };
        assert!(refused("KAITO-USDT").ends_with("KAITOUSDT (found `null`, expected tick)"));
        assert_eq!(refused("BTC-USDT"), "listed");
        let nothing = Listing::explain(&left_out, &[], refusal("symbols", "[]", "one that trades"));
        assert_eq!((nothing.field.as_str(), nothing.value), ("instruments", left_out[0].clone()));
    }
}
