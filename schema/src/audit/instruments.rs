//! Instruments and their terms as an edge reads them in a venue's list: at its start, and whenever they change.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::message::{AuditError, check_edge, demand};
use crate::decimal::Decimal;
use crate::names::{MarketType, known_entries};
use crate::stream_id::StreamId;
use crate::validation::{EXCHANGE_NAME_ALLOWED, is_exchange_name};

/// Version of the message form that this crate writes and reads.
pub const INSTRUMENTS_VERSION: u32 = 1;

/// Begin of every encoded [`InstrumentListing`], which distinguishes it from the other messages on the same subject.
pub(super) const PREFIX: &[u8] = b"{\"instruments\":";

/// Longest name of an instrument, in bytes, as edges take them from adapters.
const NAME_BYTES: usize = 64;
/// Most decimal places of a price or quantity.
const SCALE_MAX: u8 = crate::decimal::SCALE_MAX;

/// Instruments of one exchange, as its list had them when an edge read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentListing {
    /// See [`INSTRUMENTS_VERSION`].
    #[serde(rename = "instruments")]
    pub version: u32,
    /// Name of the edge.
    pub edge: String,
    /// Exchange id.
    pub exchange: String,
    /// Time at which the list was read, nanoseconds since 1970 UTC.
    pub at: i64,
    /// Instruments that are new to this run of the edge, that have other terms than before, or that were reported long ago.
    #[serde(deserialize_with = "known_entries")]
    pub listed: Vec<InstrumentTerms>,
}

/// Identity and terms of an instrument. See `instrument` in the adapter contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentTerms {
    /// Normalized symbol.
    pub symbol: String,
    /// As the venue writes it.
    pub venue_symbol: String,
    /// Kind of the market.
    pub market_type: MarketType,
    /// Base asset.
    pub base: String,
    /// Quote asset.
    pub quote: String,
    /// Base units in a contract.
    #[serde(default, with = "decimal_text", skip_serializing_if = "Option::is_none")]
    pub contract_size: Option<Decimal>,
    /// Quote units in a contract: the contract is inverse.
    #[serde(default, with = "decimal_text", skip_serializing_if = "Option::is_none")]
    pub contract_value: Option<Decimal>,
    /// Decimal places of prices.
    pub price_scale: u8,
    /// Decimal places of quantities in base units.
    pub quantity_scale: u8,
    /// Step of prices.
    #[serde(default, with = "decimal_text", skip_serializing_if = "Option::is_none")]
    pub tick_size: Option<Decimal>,
    /// Step of quantities, in the unit in which the venue takes them.
    #[serde(default, with = "decimal_text", skip_serializing_if = "Option::is_none")]
    pub step_size: Option<Decimal>,
    /// The venue accepts orders.
    pub trading: bool,
}

/// Optional decimals in plain notation.
mod decimal_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::decimal::Decimal;

    #[expect(clippy::ref_option, reason = "serde asks for a reference to the field")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Decimal>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Decimal>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let read =
            |text: &str| Decimal::parse(text).map_err(|error| D::Error::custom(format!("{text:?}: {error}")));
        text.as_deref().map(read).transpose()
    }
}

impl InstrumentTerms {
    fn check(&self) -> Result<(), AuditError> {
        let Self { symbol, venue_symbol, base, quote, .. } = self;
        let is_symbol = !symbol.is_empty() && symbol.chars().all(StreamId::allows);
        demand(is_symbol, "symbol", &format!("{symbol:?}"), "a token of a subject")?;
        for (field, name) in
            [("symbol", symbol), ("venue_symbol", venue_symbol), ("base", base), ("quote", quote)]
        {
            let allowed = format!("at most {NAME_BYTES} bytes");
            demand(name.len() <= NAME_BYTES, field, &format!("{} bytes", name.len()), &allowed)?;
        }
        for (field, scale) in [("price_scale", self.price_scale), ("quantity_scale", self.quantity_scale)] {
            demand(scale <= SCALE_MAX, field, &scale, "0 to 18")?;
        }
        let sizes = [
            ("contract_size", self.contract_size),
            ("contract_value", self.contract_value),
            ("tick_size", self.tick_size),
            ("step_size", self.step_size),
        ];
        for (field, size) in sizes {
            let Some(size) = size else { continue };
            demand(size.mantissa > 0, field, &size, "above 0")?;
        }
        Ok(())
    }
}

impl InstrumentListing {
    /// Cuts the list, so that each message has at most `bytes_max` bytes. Each one is complete in itself.
    pub fn into_parts(self, bytes_max: usize) -> Result<Vec<Self>, AuditError> {
        let room = bytes_max.saturating_sub(self.edge.len() + self.exchange.len() + 256);
        let head = Self { listed: Vec::new(), ..self.clone() };
        let (mut parts, mut used): (Vec<Self>, usize) = (Vec::new(), room);
        for terms in self.listed {
            let bytes = serde_json::to_vec(&terms)?.len() + 1;
            if used.saturating_add(bytes) > room {
                parts.push(head.clone());
                used = 0;
            }
            used = used.saturating_add(bytes);
            if let Some(part) = parts.last_mut() {
                part.listed.push(terms);
            }
        }
        Ok(parts)
    }

    /// The message as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, AuditError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// The message id of the encoded form: the same for the same content.
    pub fn message_id(&self, encoded: &[u8]) -> String {
        format!("instruments-{}-{}-{:016x}", self.edge, self.at, xxh3_64(encoded))
    }

    pub(super) fn check(self) -> Result<Self, AuditError> {
        if self.version != INSTRUMENTS_VERSION {
            return Err(AuditError::Version { found: self.version });
        }
        check_edge(&self.edge)?;
        let exchange = &self.exchange;
        demand(is_exchange_name(exchange), "exchange", &format!("{exchange:?}"), EXCHANGE_NAME_ALLOWED)?;
        demand(self.at > 0, "at", &self.at, "a time after 1970")?;
        self.listed.iter().try_for_each(InstrumentTerms::check)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditPayload, decode_audit_payload};

    fn terms(number: usize) -> InstrumentTerms {
        InstrumentTerms {
            symbol: format!("A{number}-B"),
            venue_symbol: format!("A{number}B"),
            market_type: MarketType::Perpetual,
            base: format!("A{number}"),
            quote: "B".into(),
            contract_size: None,
            contract_value: Some(Decimal { mantissa: 10, scale: 0 }),
            price_scale: 1,
            quantity_scale: 12,
            tick_size: Some(Decimal { mantissa: 50, scale: 2 }),
            step_size: None,
            trading: true,
        }
    }

    fn listing(count: usize) -> InstrumentListing {
        let (edge, exchange) = ("e1".into(), "sim_perp".into());
        let listed = (0..count).map(terms).collect();
        InstrumentListing { version: INSTRUMENTS_VERSION, edge, exchange, at: 5, listed }
    }

    #[test]
    fn the_written_form_is_pinned_and_read_back() {
        let one = listing(1);
        let bytes = one.encode().unwrap();
        let text = r#"{"instruments":1,"edge":"e1","exchange":"sim_perp","at":5,"listed":[{"symbol":"A0-B","venue_symbol":"A0B","market_type":"perpetual","base":"A0","quote":"B","contract_value":"10","price_scale":1,"quantity_scale":12,"tick_size":"0.5","trading":true}]}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        let AuditPayload::Instruments(read) = decode_audit_payload(&bytes).unwrap() else { panic!("{text}") };
        assert_eq!(read.encode().unwrap(), bytes);
        for (from, to, expected) in [
            ("\"instruments\":1", "\"instruments\":2", "version 2"),
            ("\"A0-B\"", "\"A0.B\"", "symbol is \"A0.B\", allowed"),
            ("\"0.5\"", "\"-0.5\"", "tick_size is -0.5, allowed: above 0"),
            ("\"price_scale\":1", "\"price_scale\":19", "price_scale is 19, allowed"),
            ("sim_perp", "sim perp", "exchange is"),
        ] {
            let error = decode_audit_payload(text.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn parts_hold_every_instrument_once_and_none_is_too_long() {
        let whole = listing(2_000);
        let parts = whole.clone().into_parts(50_000).unwrap();
        assert!(parts.len() > 4 && parts.iter().all(|part| part.encode().unwrap().len() <= 50_000));
        assert_eq!(parts.into_iter().flat_map(|part| part.listed).collect::<Vec<_>>(), whole.listed);
        assert!(listing(0).into_parts(50_000).unwrap().is_empty());
    }
}
