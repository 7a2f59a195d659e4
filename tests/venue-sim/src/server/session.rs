//! One WebSocket session.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::delivery::Counters;
use crate::delivery::Rolling;
use crate::delivery::{Connection, End, Out};
use crate::exchange::Exchange;
use crate::ledger::{LedgerEntry, TradeKind};
use crate::venue::{ControlAction, SessionView};

const BATCH_MAX: usize = 256;
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Period of the pings that show how far a client has read, with a backlog.
const CONFIRM_EVERY: Duration = Duration::from_millis(500);
const WRITE_WITHIN: Duration = Duration::from_secs(30);
const CONFIRM_PREFIX: &str = "read?";

type WsStream = WebSocketStream<TokioIo<Upgraded>>;

type Marks = HashMap<(usize, TradeKind), u64>;

#[derive(Debug, Clone, Copy)]
struct Heartbeat {
    every: Duration,
    next: Instant,
    is_answered: bool,
}

pub struct Session {
    exchange: Arc<Exchange>,
    connection: Arc<Connection>,
    opened: Instant,
    traffic: Instant,
    next_ping: Option<Instant>,
    next_confirm: Option<Instant>,
    heartbeat: Option<Heartbeat>,
    pong_due: Option<Instant>,
    answer_due: Option<Instant>,
    noticed: bool,
    messages: Rolling,
    requests: Option<Rolling>,
    newest: Marks,
    asked: VecDeque<(u64, Marks)>,
    pings: u64,
}

impl Session {
    pub fn new(exchange: Arc<Exchange>, connection: Arc<Connection>) -> Session {
        let now = Instant::now();
        let limits = exchange.limits;
        Session {
            opened: now,
            traffic: now,
            next_ping: limits.ping_every.map(|every| now + every),
            next_confirm: exchange.config.backlog.then(|| now + CONFIRM_EVERY),
            heartbeat: None,
            pong_due: None,
            answer_due: None,
            noticed: false,
            messages: Rolling::per_second(limits.messages_per_second),
            requests: limits.requests.map(Rolling::new),
            newest: Marks::new(),
            asked: VecDeque::new(),
            pings: 0,
            exchange,
            connection,
        }
    }

    /// Runs until either side ends it, then removes the connection from the exchange.
    pub async fn run(mut self, mut ws: WsStream, mut queue: mpsc::Receiver<Out>, stop: CancellationToken) {
        let connection = self.connection.clone();
        tokio::select! {
            () = connection.ended() => {}
            () = stop.cancelled() => { connection.end(End::Close(1001, "shutting down".into())); }
            () = self.serve(&mut ws, &mut queue) => {}
        }
        self.exchange.leave(connection.id);
        finish(&connection, ws).await;
    }

    async fn serve(&mut self, ws: &mut WsStream, queue: &mut mpsc::Receiver<Out>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        if let Some(greeting) = self.exchange.venue.greeting(self.connection.id)
            && !self.send(ws, Message::text(greeting)).await
        {
            return;
        }
        loop {
            let timer = self.next_timer();
            tokio::select! {
                biased;
                message = ws.next() => match message {
                    Some(Ok(message)) => if !self.received(ws, message).await { return },
                    _ => return,
                },
                () = tokio::time::sleep_until(timer) => if !self.tick(ws).await { return },
                _ = queue.recv_many(&mut batch, BATCH_MAX) => if !self.write(ws, &mut batch).await { return },
            }
        }
    }

    async fn write(&mut self, ws: &mut WsStream, batch: &mut Vec<Out>) -> bool {
        let combined = self.connection.combined.load(Ordering::Relaxed);
        let count = batch.len() as u64;
        let mut carried: Vec<LedgerEntry> = Vec::new();
        for out in batch.drain(..) {
            let message = match out {
                Out::Frame(frame) => {
                    carried.extend(&frame.carries);
                    let venue = &self.exchange.venue;
                    let text =
                        if combined { frame.wrapped(|s, raw| venue.wrap(s, raw)) } else { frame.raw() };
                    Message::Text(text.clone())
                }
                Out::Text(text) => Message::Text(text),
                Out::Binary(bytes) => Message::Binary(bytes),
            };
            if ws.feed(message).await.is_err() {
                return false;
            }
        }
        if !self.flush(ws).await {
            return false;
        }
        self.connection.frames_sent.fetch_add(count, Ordering::Relaxed);
        Counters::add(&self.exchange.counters.sent, count);
        for entry in &carried {
            if let LedgerEntry::Trade(key) = entry {
                let newest = self.newest.entry((key.symbol, key.kind)).or_default();
                *newest = (*newest).max(key.id);
            }
        }
        self.exchange.accepted(&carried);
        true
    }

    async fn flush(&mut self, ws: &mut WsStream) -> bool {
        self.traffic = Instant::now();
        match timeout(WRITE_WITHIN, ws.flush()).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => false,
            Err(_) => {
                self.connection.end(End::Cut);
                false
            }
        }
    }

    async fn send(&mut self, ws: &mut WsStream, message: Message) -> bool {
        ws.feed(message).await.is_ok() && self.flush(ws).await
    }

    fn close(&self, code: u16, reason: &str) -> bool {
        self.connection.end(End::Close(code, reason.to_owned()));
        false
    }

    async fn received(&mut self, ws: &mut WsStream, message: Message) -> bool {
        self.traffic = Instant::now();
        let confirms = matches!(&message, Message::Pong(p) if p.starts_with(CONFIRM_PREFIX.as_bytes()));
        if !confirms
            && !matches!(message, Message::Close(_))
            && !self.messages.take(Instant::now().into_std())
        {
            Counters::add(&self.exchange.counters.too_many_messages, 1);
            return self.close(1008, "Too many requests");
        }
        match message {
            Message::Text(text) => self.control(ws, &text).await,
            // tungstenite queued the pong; it must be written.
            Message::Ping(_) => self.flush(ws).await,
            Message::Pong(payload) => {
                self.ponged(&payload);
                true
            }
            Message::Close(_) => {
                // Flush before the answer to the close frame.
                let _ = timeout(CLOSE_WITHIN, ws.flush()).await;
                false
            }
            Message::Binary(_) | Message::Frame(_) => self.close(1003, "binary messages are not supported"),
        }
    }

    async fn control(&mut self, ws: &mut WsStream, text: &Utf8Bytes) -> bool {
        let now = Instant::now();
        let exhausted = self.requests.as_mut().is_some_and(|requests| requests.is_full(now.into_std()));
        let control = self.connection.with_subscriptions(|subscriptions| {
            let view = SessionView {
                connection: self.connection.id,
                stream_exists: &|stream| self.exchange.has_stream(stream),
                exhausted,
                subscriptions,
                combined: self.connection.combined.load(Ordering::Relaxed),
                streams_max: self.exchange.limits.streams_max,
            };
            self.exchange.venue.on_message(text, view)
        });
        if let Some(requests) = self.requests.as_mut().filter(|_| control.counts) {
            requests.take(now.into_std());
        }
        match control.action {
            ControlAction::Nothing => {}
            ControlAction::Subscribe(names) => {
                self.exchange.subscribe(&self.connection, &names);
                self.beat_once_subscribed();
            }
            ControlAction::SubscribeFromNow(names) => {
                self.exchange.subscribe_from_now(&self.connection, &names);
                self.beat_once_subscribed();
            }
            ControlAction::Unsubscribe(names) => self.exchange.unsubscribe(&self.connection, &names),
            ControlAction::Combined(on) => self.connection.combined.store(on, Ordering::Relaxed),
            ControlAction::Heartbeat(asked) => {
                self.beat_at(asked, true);
                self.answer_due = None;
            }
            ControlAction::HeartbeatAnswered => self.answer_due = None,
        }
        for reply in control.texts {
            if !self.send(ws, Message::text(reply)).await {
                return false;
            }
        }
        true
    }

    fn beat_once_subscribed(&mut self) {
        if let (None, Some(every)) = (self.heartbeat, self.exchange.venue.beat_every()) {
            self.beat_at(every, false);
        }
    }

    fn beat_at(&mut self, usual: Duration, is_answered: bool) {
        let every = self.exchange.config.heartbeat_ms.map_or(usual, Duration::from_millis);
        self.heartbeat = Some(Heartbeat { every, next: Instant::now() + every, is_answered });
    }

    fn ponged(&mut self, payload: &[u8]) {
        let Some(number) = std::str::from_utf8(payload)
            .ok()
            .and_then(|text| text.strip_prefix(CONFIRM_PREFIX).unwrap_or(text).parse::<u64>().ok())
        else {
            return;
        };
        while let Some((asked, marks)) = self.asked.pop_front_if(|(asked, _)| *asked <= number) {
            if asked == number {
                self.pong_due = None;
                self.exchange.confirmed(&marks);
            }
        }
    }

    fn ends_by_age(&self) -> Option<Instant> {
        let by_age = self.exchange.limits.age_max.map(|age| self.opened + age);
        by_age.into_iter().chain(self.connection.retires_at()).min()
    }

    fn notice_at(&self) -> Option<Instant> {
        let before = self.exchange.config.shutdown_notice_ms.filter(|_| !self.noticed)?;
        Some(self.opened + self.exchange.limits.age_max?.saturating_sub(Duration::from_millis(before)))
    }

    fn idle_at(&self) -> Option<Instant> {
        self.exchange.limits.idle_within.map(|idle| self.traffic + idle)
    }

    fn next_timer(&self) -> Instant {
        let heartbeat = self.heartbeat.map(|heartbeat| heartbeat.next);
        let timers = [
            self.ends_by_age(),
            self.notice_at(),
            self.idle_at(),
            self.next_ping,
            self.next_confirm,
            self.pong_due,
            self.answer_due,
            heartbeat,
        ];
        // With nothing to wait for, any time will do.
        timers.into_iter().flatten().min().unwrap_or_else(|| self.opened + Duration::from_secs(86_400 * 365))
    }

    fn unanswered(&self, code: u16, reason: &str) -> bool {
        Counters::add(&self.exchange.counters.unanswered, 1);
        self.close(code, reason)
    }

    async fn tick(&mut self, ws: &mut WsStream) -> bool {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        let limits = self.exchange.limits;
        if is_due(self.ends_by_age()) {
            return self.close(1001, "connection reached its age limit");
        }
        if is_due(self.pong_due) {
            return self.unanswered(1008, "Pong timeout");
        }
        if is_due(self.answer_due) {
            return self.unanswered(1000, "heartbeat not answered");
        }
        if is_due(self.idle_at()) {
            return self.unanswered(4004, "No data received in time");
        }
        if is_due(self.notice_at()) {
            self.noticed = true;
            if !self.announce_shutdown(ws).await {
                return false;
            }
        }
        if let (true, Some(every)) = (is_due(self.next_ping), limits.ping_every) {
            self.next_ping = Some(now + every);
            self.pong_due.get_or_insert(now + limits.pong_within);
            return self.ping(ws, "").await;
        }
        if is_due(self.next_confirm) {
            self.next_confirm = Some(now + CONFIRM_EVERY);
            return self.ping(ws, CONFIRM_PREFIX).await;
        }
        match self.heartbeat.filter(|heartbeat| now >= heartbeat.next) {
            Some(heartbeat) => self.beat(ws, heartbeat, now).await,
            None => true,
        }
    }

    async fn beat(&mut self, ws: &mut WsStream, heartbeat: Heartbeat, now: Instant) -> bool {
        self.heartbeat = Some(Heartbeat { next: now + heartbeat.every, ..heartbeat });
        if heartbeat.is_answered {
            self.answer_due.get_or_insert(now + heartbeat.every.min(self.exchange.limits.pong_within));
        }
        for text in self.exchange.venue.heartbeat() {
            if !self.send(ws, Message::text(text)).await {
                return false;
            }
        }
        true
    }

    async fn ping(&mut self, ws: &mut WsStream, prefix: &str) -> bool {
        self.pings += 1;
        // The venue's payload is a time; a number that grows serves as well and identifies the answered ping.
        let number = u64::try_from(clock::now_ms()).unwrap_or(0) * 1000 + self.pings % 1000;
        // Unanswered questions are bounded: the oldest is forgotten, which only makes a backlog longer.
        if self.asked.len() >= 64 {
            self.asked.pop_front();
        }
        self.asked.push_back((number, self.newest.clone()));
        self.send(ws, Message::Ping(Bytes::from(format!("{prefix}{number}")))).await
    }

    async fn announce_shutdown(&mut self, ws: &mut WsStream) -> bool {
        let exchange = self.exchange.clone();
        let venue = &exchange.venue;
        let Some((stream, raw)) = venue.shutdown_notice(clock::now_ms()) else { return true };
        let text =
            if self.connection.combined.load(Ordering::Relaxed) { venue.wrap(stream, &raw) } else { raw };
        self.send(ws, Message::text(text)).await
    }
}

async fn finish(connection: &Connection, mut ws: WsStream) {
    match connection.ending() {
        Some(End::Close(code, reason)) => {
            let frame = CloseFrame { code: (*code).into(), reason: Utf8Bytes::from(reason.as_str()) };
            let goodbye = async {
                ws.close(Some(frame)).await.ok()?;
                while let Some(Ok(_)) = ws.next().await {}
                Some(())
            };
            let _ = timeout(CLOSE_WITHIN, goodbye).await;
        }
        Some(End::HalfCut) => {
            // Header of a 1000-byte text frame, then less than that.
            let part = b"\x81\x7e\x03\xe8{\"stream\":\"";
            let _ = timeout(CLOSE_WITHIN, ws.get_mut().write_all(part)).await;
            // The reset would discard the bytes if it overtook them.
            let _ = timeout(Duration::from_millis(50), ws.next()).await;
        }
        Some(End::Cut | End::Overflow) | None => {}
    }
}
