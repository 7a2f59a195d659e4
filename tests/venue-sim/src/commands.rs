//! Commands to the running simulator.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock;
use crate::delivery::{Connection, End, close_of};
use crate::exchange::{Exchange, lock};
use crate::fault::{FaultAction, FaultError, FaultId, FaultSpec};
use crate::ledger::DataType;
use crate::market::{Event, SymbolMarket};
use crate::simulation::{Simulation, Unknown};

impl Simulation {
    /// Registers a fault; an immediate one has happened when this returns.
    pub fn fault(&self, spec: FaultSpec) -> Result<FaultId, FaultError> {
        if let Some(name) = spec.exchange.as_ref().filter(|name| self.exchange(name).is_none()) {
            return Err(FaultError::UnknownExchange(name.clone()));
        }
        if spec.action == FaultAction::RestartSequence {
            self.check_restart(&spec)?;
        }
        let (id, is_immediate) = self.faults.set(spec.clone())?;
        if is_immediate {
            let most = usize::try_from(spec.times()).unwrap_or(usize::MAX);
            let fired = match spec.action {
                FaultAction::Notice => self.announce_end(&spec, most),
                FaultAction::RestartSequence => self.restart_sequences(&spec),
                FaultAction::ListenerDown => {
                    self.listener.take_down(Duration::from_millis(spec.duration_ms.unwrap_or(0)));
                    1
                }
                _ => self.end_connections(&spec, most),
            };
            self.faults.add_fired(id, fired);
        }
        Ok(id)
    }

    fn chosen(&self, spec: &FaultSpec) -> Vec<(&Arc<Exchange>, Arc<Connection>)> {
        let mut chosen = Vec::new();
        for exchange in self.named(spec) {
            let streams =
                spec.symbol.as_ref().and_then(|s| exchange.find_symbol(s)).map(|l| l.streams.as_slice());
            let matching = lock(&exchange.hub).matching(spec, streams);
            chosen.extend(matching.into_iter().map(|connection| (exchange, connection)));
        }
        chosen
    }

    fn named(&self, spec: &FaultSpec) -> impl Iterator<Item = &Arc<Exchange>> {
        let named = |name: &str| spec.exchange.as_ref().is_none_or(|wanted| wanted == name);
        self.exchanges().iter().filter(move |e| named(e.venue().exchange()))
    }

    /// Sends the venue's notice that a connection will end; it ends after `delay_ms`.
    fn announce_end(&self, spec: &FaultSpec, most: usize) -> u64 {
        let after = Duration::from_millis(spec.delay_ms.unwrap_or(60_000));
        let tell = |(exchange, connection): &(&Arc<Exchange>, Arc<Connection>)| {
            let venue = exchange.venue();
            let Some((stream, raw)) = venue.shutdown_notice(clock::now_ms()) else { return false };
            let combined = connection.combined.load(Ordering::Relaxed);
            connection.retire(if combined { venue.wrap(stream, &raw) } else { raw }, after)
        };
        self.chosen(spec).iter().take(most).filter(|chosen| tell(chosen)).count() as u64
    }

    fn check_restart(&self, spec: &FaultSpec) -> Result<(), FaultError> {
        match self.named(spec).find(|exchange| !exchange.venue().profile().restarts_sequence) {
            Some(exchange) => Err(FaultError::Field {
                field: "exchange",
                got: exchange.venue().exchange().to_owned(),
                allowed: "an exchange whose update numbers may start anew",
            }),
            None => Ok(()),
        }
    }

    fn restart_sequences(&self, spec: &FaultSpec) -> u64 {
        let _generating = lock(&self.generating);
        let mut restarted = 0;
        for exchange in self.named(spec) {
            let wanted = |name: &str| spec.symbol.as_ref().is_none_or(|symbol| symbol == name);
            for listed in exchange.listed.iter().filter(|l| wanted(&l.instrument.symbol)) {
                let restart = |market: &mut SymbolMarket, events: &mut Vec<Event>| {
                    market.restart_sequence(clock::now_ms(), events)
                };
                restarted += u64::from(exchange.with_symbol(listed.index, restart) == Some(true));
            }
        }
        restarted
    }

    fn end_connections(&self, spec: &FaultSpec, most: usize) -> u64 {
        let end = |connection: &Arc<Connection>| {
            connection.end(match spec.action {
                FaultAction::Close => close_of(spec),
                FaultAction::HalfCut => End::HalfCut,
                _ => End::Cut,
            })
        };
        let alive = |(_, c): &&(&Arc<Exchange>, Arc<Connection>)| c.ending().is_none();
        self.chosen(spec).iter().filter(alive).take(most).filter(|(_, c)| end(c)).count() as u64
    }

    pub fn cut_all(&self) -> u64 {
        self.end_connections(&FaultSpec::new(FaultAction::Cut), usize::MAX)
    }

    /// Generates about this many frames of an exchange at once, paused or not.
    pub fn burst(&self, exchange: &str, frames: u64) {
        let _generating = lock(&self.generating);
        if let Some(exchange) = self.exchange(exchange) {
            exchange.generate(clock::now_ms(), frames, self.settings().trade_percent);
        }
    }

    /// Publishes events of a data type now, paused or not. Returns the number: 0 where the venue does not push that type for this
    /// instrument. `symbol`: the venue's symbol, or its name of a volatility index.
    pub fn push(
        &self,
        exchange: &str,
        symbol: &str,
        data_type: DataType,
        count: usize,
    ) -> Result<usize, Unknown> {
        let _generating = lock(&self.generating);
        if let (DataType::VolatilityIndex, Some(found)) = (data_type, self.exchange(exchange))
            && found.venue().profile().indices.contains(&symbol)
        {
            for n in 0..count {
                found.push_index(symbol, clock::now_ms() + i64::try_from(n).unwrap_or(0));
            }
            return Ok(count);
        }
        let (exchange, index) = self.find(exchange, symbol)?;
        Ok(exchange.push(index, data_type, count, clock::now_ms()))
    }

    /// Publishes a book update without changes, as some venues do for an unchanged book.
    pub fn push_still_book(&self, exchange: &str, symbol: &str) -> Result<(), Unknown> {
        let _generating = lock(&self.generating);
        let (exchange, index) = self.find(exchange, symbol)?;
        exchange.with_symbol(index, |market, events| market.still_book(clock::now_ms(), events));
        Ok(())
    }
}
