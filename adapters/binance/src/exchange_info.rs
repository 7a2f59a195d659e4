//! Reading `exchangeInfo`, which can be 20 MB: one symbol at a time, nothing kept that is not asked for.

use marketprism_adapter_sdk::{Cursor, Scan, decimal};
use std::borrow::Cow;

/// What `exchangeInfo` says of one symbol. Fields that the venue left out are absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed<'a> {
    pub(crate) symbol: Cow<'a, str>,
    pub(crate) base: Cow<'a, str>,
    pub(crate) quote: Cow<'a, str>,
    pub(crate) status: Cow<'a, str>,
    /// Futures only.
    pub(crate) contract_type: Option<Cow<'a, str>>,
    /// Futures only, milliseconds.
    pub(crate) delivery_date: Option<i64>,
    /// Decimal places of the tick and step sizes.
    pub(crate) tick_places: Option<u8>,
    pub(crate) step_places: Option<u8>,
    /// Decimal places that the venue states apart from the steps.
    pub(crate) price_precision: Option<u8>,
    pub(crate) quantity_precision: Option<u8>,
}

/// Calls `each` for every symbol of the answer.
pub(crate) fn each_symbol<'a>(body: &'a [u8], mut each: impl FnMut(Listed<'a>)) -> Scan<()> {
    let mut cursor = Cursor::new(body);
    let mut found = false;
    let mut first = true;
    cursor.expect(b'{', "`{` of exchangeInfo")?;
    while cursor.more(b'}', &mut first)? {
        if cursor.key_text()? == "symbols" {
            found = true;
            let mut first = true;
            cursor.expect(b'[', "an array of symbols")?;
            while cursor.more(b']', &mut first)? {
                each(listed(&mut cursor)?);
            }
        } else {
            cursor.skip()?;
        }
    }
    cursor.end()?;
    if found { Ok(()) } else { cursor.fault("`symbols` in exchangeInfo") }
}

fn listed<'a>(cursor: &mut Cursor<'a>) -> Scan<Listed<'a>> {
    let mut listed = Listed::default();
    let mut first = true;
    cursor.expect(b'{', "a symbol object")?;
    while cursor.more(b'}', &mut first)? {
        match &*cursor.key_text()? {
            "symbol" => listed.symbol = cursor.text("`symbol`")?,
            "baseAsset" => listed.base = cursor.text("`baseAsset`")?,
            "quoteAsset" => listed.quote = cursor.text("`quoteAsset`")?,
            "status" | "contractStatus" => listed.status = cursor.text("`status`")?,
            "contractType" => listed.contract_type = Some(cursor.text("`contractType`")?),
            "deliveryDate" => listed.delivery_date = Some(cursor.integer("`deliveryDate`")?),
            // Spot states the precision of its assets, futures that of price and quantity; where both stand,
            // the latter counts.
            "pricePrecision" => listed.price_precision = Some(places(cursor)?),
            "quantityPrecision" => listed.quantity_precision = Some(places(cursor)?),
            "quotePrecision" | "quoteAssetPrecision" => {
                listed.price_precision = listed.price_precision.or(Some(places(cursor)?))
            }
            "baseAssetPrecision" => {
                listed.quantity_precision = listed.quantity_precision.or(Some(places(cursor)?))
            }
            "filters" => filters(cursor, &mut listed)?,
            _ => cursor.skip()?,
        }
    }
    Ok(listed)
}

fn places(cursor: &mut Cursor<'_>) -> Scan<u8> {
    let value = cursor.unsigned("a number of decimal places")?;
    match u8::try_from(value) {
        Ok(places) if places <= decimal::SCALE_MAX => Ok(places),
        _ => cursor.fault("at most 18 decimal places"),
    }
}

fn filters<'a>(cursor: &mut Cursor<'a>, listed: &mut Listed<'a>) -> Scan<()> {
    let mut first = true;
    cursor.expect(b'[', "an array of filters")?;
    while cursor.more(b']', &mut first)? {
        let (mut kind, mut tick, mut step) = (Cow::Borrowed(""), None, None);
        let mut first = true;
        cursor.expect(b'{', "a filter object")?;
        while cursor.more(b'}', &mut first)? {
            match &*cursor.key_text()? {
                "filterType" => kind = cursor.text("`filterType`")?,
                "tickSize" => tick = step_places(cursor)?,
                "stepSize" => step = step_places(cursor)?,
                _ => cursor.skip()?,
            }
        }
        match &*kind {
            "PRICE_FILTER" => listed.tick_places = tick,
            "LOT_SIZE" => listed.step_places = step,
            _ => {}
        }
    }
    Ok(())
}

fn step_places(cursor: &mut Cursor<'_>) -> Scan<Option<u8>> {
    let start = *cursor;
    let text = cursor.text("a step size in quotes")?;
    decimal::places_of_step(text.as_bytes())
        .or_else(|_| start.fault("a step size of at most 18 decimal places"))
}
