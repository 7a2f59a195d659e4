//! Rows of trades: `trades.{instrument}.{interval}`, and answers of the trades request.

use crate::adapter::Deribit;
use crate::contract::{Contract, fit};
use crate::liquidation::{Forced, Told};
use crate::numbers::{amount, member, micros, once, pass, text};
use marketprism_adapter_sdk::{
    Cursor, DataType, Decimal, Ignored, Output, Payload, Scan, Side, Trade, TradeId,
};

/// A trade as the venue writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// None: not one of the feed's.
    pub(crate) instrument: Option<(u32, Contract)>,
    /// Consecutive for an instrument, so that a hole is a lost trade.
    pub(crate) sequence: u64,
    pub(crate) time_us: i64,
    pub(crate) price: Decimal,
    pub(crate) amount: Decimal,
    /// Of the taker.
    pub(crate) side: Side,
    pub(crate) forced: Option<Forced>,
}

impl Deribit {
    /// Reads the data of a channel of trades.
    pub(crate) fn trades(&mut self, output: &mut Output, cursor: &mut Cursor<'_>) -> Scan<()> {
        let wanted = self.wants(DataType::Trade);
        let (mut empty, mut again, mut other_instrument, mut other_data_type) = (true, false, false, false);
        let mut first = true;
        cursor.expect(b'[', "an array of trades")?;
        while cursor.more(b']', &mut first)? {
            let row = self.row(cursor)?;
            empty = false;
            let Some((instrument, contract)) = row.instrument else {
                other_instrument = true;
                continue;
            };
            if wanted {
                output.event(Payload::Trade(Trade {
                    instrument,
                    time_us: row.time_us,
                    id: TradeId::Number(row.sequence),
                    price: fit(row.price, contract.price),
                    quantity: contract.base_quantity(cursor, row.amount, row.price)?,
                    side: row.side,
                }));
            }
            match self.liquidation(output, cursor, &row)? {
                Told::Nothing => other_data_type |= !wanted,
                Told::Again => again |= !wanted,
                Told::New => {}
            }
        }
        for (seen, reason) in [
            (empty, Ignored::Empty),
            (again, Ignored::Repeated),
            (other_instrument, Ignored::OtherInstrument),
            (other_data_type, Ignored::OtherDataType),
        ] {
            if seen {
                output.ignored(reason);
            }
        }
        Ok(())
    }

    /// Reads one trade.
    pub(crate) fn row(&self, cursor: &mut Cursor<'_>) -> Scan<Row> {
        let (mut named, mut sequence, mut time_us) = (None, None, None);
        let (mut price, mut size, mut side, mut forced) = (None, None, None, None);
        let mut first = true;
        cursor.expect(b'{', "a trade object")?;
        while cursor.more(b'}', &mut first)? {
            match &*member(cursor)? {
                b"instrument_name" => {
                    let name = text(cursor, "`instrument_name`")?;
                    once(&mut named, self.find(&name), cursor)?;
                }
                b"trade_seq" => once(&mut sequence, cursor.unsigned("`trade_seq`")?, cursor)?,
                b"timestamp" => once(&mut time_us, micros(cursor, "`timestamp`")?, cursor)?,
                b"price" => once(&mut price, amount(cursor, "`price` of at least 0")?, cursor)?,
                b"amount" => once(&mut size, amount(cursor, "`amount` of at least 0")?, cursor)?,
                b"direction" => once(&mut side, direction(cursor)?, cursor)?,
                b"liquidation" => once(&mut forced, Forced::read(cursor)?, cursor)?,
                _ => pass(cursor)?,
            }
        }
        let (Some(instrument), Some(sequence), Some(time_us)) = (named, sequence, time_us) else {
            return cursor.fault("`instrument_name`, `trade_seq` and `timestamp`");
        };
        let (Some(price), Some(amount), Some(side)) = (price, size, side) else {
            return cursor.fault("`price`, `amount` and `direction`");
        };
        Ok(Row { instrument, sequence, time_us, price, amount, side, forced: forced.flatten() })
    }
}

fn direction(cursor: &mut Cursor<'_>) -> Scan<Side> {
    let start = *cursor;
    match &*text(cursor, "`direction`")? {
        b"buy" => Ok(Side::Buy),
        b"sell" => Ok(Side::Sell),
        _ => start.fault("`buy` or `sell`"),
    }
}
