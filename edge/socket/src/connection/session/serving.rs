//! A generation with an open socket: reads, writes and heartbeats.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use marketprism_adapter_host::contract::Heartbeat;
use marketprism_service::clock::now_ns;
use marketprism_service::error_text;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WebsocketError, Message};

use super::{Session, SessionEndCause, SessionEvent};
use crate::connection::open::Socket;
use crate::connection::send_queue::{OutgoingMessage, OutgoingText, Pacer, SendQueue};
use crate::counters::SocketCounter;
use crate::error::CloseReason;
use crate::event::{ReceivedFrame, SocketEvent};
use crate::limits::READS_IN_A_ROW;

enum ServingStep {
    Retire,
    Text(Option<OutgoingText>),
    Wake,
    Message(Option<Result<Message, WebsocketError>>),
}

pub(super) struct Serving {
    session: Session,
    socket: Socket,
    outbox: SendQueue,
    /// Interval and next time.
    heartbeat: Option<(Duration, Instant)>,
    idle_timeout: Duration,
    idle_check: Instant,
    /// Back-pressure by the pipeline is not the venue's silence.
    alive_since: Instant,
    wake: Pin<Box<Sleep>>,
    /// Time that the connection took to open, in several round trips.
    took: Duration,
    /// See [`ReceivedFrame::subscribed_at_ns`]. Set once the supervisor knows that every opening message was sent.
    subscribed_at_ns: Option<i64>,
    ready: bool,
    /// The venue's close frame.
    closing: Option<CloseReason>,
}

impl Serving {
    pub(super) fn new(session: Session, socket: Socket, took: Duration) -> Self {
        let plan = Arc::clone(&session.plan);
        let window = Duration::from_millis(u64::from(plan.messages_window_ms));
        let pacer = Pacer::new(plan.messages_max, window);
        let outbox = SendQueue::new(pacer, &plan.on_open, Arc::clone(&session.feed.counters));
        let idle_timeout = Duration::from_millis(u64::from(plan.idle_timeout_ms));
        let now = Instant::now();
        Self {
            session,
            socket,
            outbox,
            heartbeat: heartbeat_every(&plan.heartbeat).map(|every| (every, now + every)),
            idle_timeout,
            idle_check: now + idle_timeout,
            alive_since: now,
            wake: Box::pin(sleep_until(now)),
            took,
            subscribed_at_ns: None,
            ready: false,
            closing: None,
        }
    }

    pub(super) async fn run(&mut self) -> SessionEndCause {
        loop {
            self.set_wake();
            let step = tokio::select! {
                biased;
                () = self.session.retire.cancelled() => ServingStep::Retire,
                text = self.session.texts.recv() => ServingStep::Text(text),
                () = self.wake.as_mut() => ServingStep::Wake,
                message = self.socket.next() => ServingStep::Message(message),
            };
            let finished = match step {
                ServingStep::Retire | ServingStep::Text(None) => Some(SessionEndCause::Retired),
                ServingStep::Text(Some(text)) => {
                    self.outbox.push(text);
                    None
                }
                ServingStep::Wake => self.on_wake().await,
                ServingStep::Message(message) => self.on_messages(message).await,
            };
            if let Some(end) = finished {
                if let SessionEndCause::Retired = end {
                    self.close().await;
                }
                return end;
            }
        }
    }

    /// The idle deadline moves with every byte, so it is checked only when it comes.
    fn set_wake(&mut self) {
        let due = [self.heartbeat.map(|(_, at)| at), self.outbox.ready_at(Instant::now())];
        let next = due.into_iter().flatten().fold(self.idle_check, Ord::min);
        if self.wake.deadline() != next {
            self.wake.as_mut().reset(next);
        }
    }

    async fn on_wake(&mut self) -> Option<SessionEndCause> {
        let now = Instant::now();
        if now >= self.idle_check {
            let alive = self.socket.get_ref().last_byte().max(self.alive_since);
            self.idle_check = alive + self.idle_timeout;
            if now >= self.idle_check {
                return Some(SessionEndCause::Closed(
                    self.closing.take().unwrap_or(CloseReason::Idle(self.idle_timeout)),
                ));
            }
        }
        if let Some((every, at)) = self.heartbeat
            && now >= at
        {
            self.heartbeat = Some((every, now + every));
            self.outbox.push_heartbeat(match &self.session.plan.heartbeat {
                Heartbeat::Text(text) => OutgoingMessage::Text(OutgoingText::new(text.send.clone(), true)),
                _ => OutgoingMessage::PingFrame,
            });
        }
        match self.outbox.take(now) {
            Some(outgoing) => self.send(outgoing).await.err().map(SessionEndCause::Closed),
            None => None,
        }
    }

    pub(super) async fn report_subscribed(&mut self) -> Result<(), CloseReason> {
        if self.subscribed_at_ns.is_some() || !self.outbox.opening_sent() {
            return Ok(());
        }
        // Streams of the address alone need no answer.
        let answer = if self.session.plan.on_open.is_empty() { Duration::ZERO } else { self.took };
        let answer_ns = i64::try_from(answer.as_nanos()).unwrap_or(i64::MAX);
        self.subscribed_at_ns = Some(now_ns().saturating_add(answer_ns));
        let event = (self.session.generation, SessionEvent::Subscribed);
        self.session.events.send(event).await.map_err(|_| CloseReason::Stopped)
    }

    async fn send(&mut self, outgoing: OutgoingMessage) -> Result<(), CloseReason> {
        let (message, text) = match outgoing {
            OutgoingMessage::PingFrame => (Message::Ping(Bytes::new()), None),
            OutgoingMessage::Text(text) => (Message::Text(text.text.as_str().into()), Some(text)),
        };
        let limit = self.session.feed.options.write_timeout;
        let sending = async {
            // Pongs that wait to be written leave no room for the message.
            self.socket.flush().await?;
            self.socket.send(message).await
        };
        match timeout(limit, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.reason_of(&error)),
            Err(_) => return Err(CloseReason::WriteTimeout(limit)),
        }
        let Some(text) = text else { return Ok(()) };
        let feed = &self.session.feed;
        feed.counters.count(SocketCounter::TextsSent);
        if feed.options.report_sent {
            let (source, generation) = (self.session.source, self.session.generation);
            let sent = SocketEvent::Sent { source, generation, text: text.text, at_ns: now_ns() };
            let waited = feed.deliver(sent).await.map_err(|_| CloseReason::Stopped)?;
            self.waited(waited);
        }
        self.report_subscribed().await
    }

    /// Takes the messages at hand, a bounded number so that timers and texts get their turn.
    async fn on_messages(
        &mut self,
        first: Option<Result<Message, WebsocketError>>,
    ) -> Option<SessionEndCause> {
        let mut message = first;
        for _ in 0..READS_IN_A_ROW {
            if let Err(reason) = self.on_message(message).await {
                return Some(SessionEndCause::Closed(reason));
            }
            // Polling again also flushes the pong to a ping that was just read.
            match self.socket.next().now_or_never() {
                Some(next) => message = next,
                None => return self.write_timeout(),
            }
        }
        let ended = self.on_message(message).await.err().map(SessionEndCause::Closed);
        // One read from the network may hold thousands of messages: other feeds get their turn.
        yield_now().await;
        ended.or_else(|| self.write_timeout())
    }

    /// Pongs are written while reading, without a wait: a venue that reads none of them is noticed here.
    fn write_timeout(&self) -> Option<SessionEndCause> {
        let limit = self.session.feed.options.write_timeout;
        let is_blocked = self.closing.is_none() && self.socket.get_ref().blocked_for() >= limit;
        is_blocked.then_some(SessionEndCause::Closed(CloseReason::WriteTimeout(limit)))
    }

    /// An error ends the generation.
    async fn on_message(
        &mut self,
        message: Option<Result<Message, WebsocketError>>,
    ) -> Result<(), CloseReason> {
        let data = match message {
            None => return Err(self.closing.take().unwrap_or(CloseReason::Lost("end of stream".to_owned()))),
            Some(Err(error)) => return Err(self.reason_of(&error)),
            // Both share the bytes read.
            Some(Ok(Message::Text(text))) => Bytes::from(text),
            Some(Ok(Message::Binary(data))) => data,
            Some(Ok(Message::Ping(payload))) => {
                self.socket.get_mut().control_read(payload.len());
                self.session.feed.counters.count(SocketCounter::PingsAnswered);
                self.outbox.pong(Instant::now());
                return Ok(());
            }
            Some(Ok(Message::Close(frame))) => {
                self.venue_closes(frame);
                return Ok(());
            }
            Some(Ok(Message::Pong(payload))) => {
                self.socket.get_mut().control_read(payload.len());
                return Ok(());
            }
            Some(Ok(Message::Frame(_))) => return Ok(()),
        };
        let read = self.socket.get_mut().data_read();
        // A message shares the memory of everything read with it: among many pings that is far more than its own.
        let data = if read / 2 > data.len() { Bytes::copy_from_slice(&data) } else { data };
        let delivered = self.frame(data).await;
        self.socket.get_mut().release_slot();
        delivered
    }

    async fn frame(&mut self, data: Bytes) -> Result<(), CloseReason> {
        let session = &self.session;
        let received_at_ns = now_ns();
        let bytes = data.len();
        session.state.frame(bytes, received_at_ns);
        let (source, generation) = (session.source, session.generation);
        let subscribed_at_ns = self.subscribed_at_ns;
        let frame = ReceivedFrame { source, generation, received_at_ns, subscribed_at_ns, data };
        let input = SocketEvent::Frame(frame);
        let Ok(waited) = session.feed.deliver(input).await else {
            session.feed.counters.count(SocketCounter::DiscardedFrameStopping);
            return Err(CloseReason::Stopped);
        };
        session.feed.counters.count(SocketCounter::Frames);
        session.feed.counters.add(SocketCounter::FrameBytes, bytes as u64);
        if !self.ready && subscribed_at_ns.is_some() {
            self.ready = true;
            let sent = session.events.send((generation, SessionEvent::Ready)).await;
            sent.map_err(|_| CloseReason::Stopped)?;
        }
        self.waited(waited);
        Ok(())
    }

    fn waited(&mut self, waited: Duration) {
        if !waited.is_zero() {
            self.session.state.stalled(waited);
            self.alive_since = Instant::now();
        }
    }

    /// Reading on flushes our close frame; then the venue ends the stream.
    fn venue_closes(&mut self, frame: Option<CloseFrame>) {
        let (code, text) = match frame {
            Some(frame) => (u16::from(frame.code), frame.reason.to_string()),
            None => (u16::from(CloseCode::Status), String::new()),
        };
        self.closing = Some(CloseReason::Venue { code, text });
        // Bounds the wait for a venue that does not end the stream.
        self.idle_timeout = self.session.feed.options.close_timeout;
        self.idle_check = Instant::now() + self.idle_timeout;
    }

    fn reason_of(&mut self, error: &WebsocketError) -> CloseReason {
        if let Some(reason) = self.closing.take() {
            return reason;
        }
        match error {
            WebsocketError::Capacity(error) => CloseReason::TooLarge(error.to_string()),
            WebsocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                CloseReason::Lost("reset without closing handshake".to_owned())
            }
            WebsocketError::Protocol(error) => CloseReason::Protocol(error.to_string()),
            WebsocketError::Utf8(error) => CloseReason::Protocol(format!("text is not utf-8: {error}")),
            other => CloseReason::Lost(error_text(other)),
        }
    }

    /// Messages that the venue sent before it saw our close frame are delivered.
    async fn close(&mut self) {
        let deadline = Instant::now() + self.session.feed.options.close_timeout;
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let sent = timeout_at(deadline, self.socket.close(Some(frame))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
        // A timeout alone does not end while messages are at hand, as in a flood.
        while Instant::now() < deadline
            && let Ok(Some(Ok(message))) = timeout_at(deadline, self.socket.next()).await
        {
            if matches!(message, Message::Close(_)) || self.on_message(Some(Ok(message))).await.is_err() {
                return;
            }
        }
    }
}

fn heartbeat_every(heartbeat: &Heartbeat) -> Option<Duration> {
    let every = match heartbeat {
        Heartbeat::Passive => return None,
        Heartbeat::PingFrame(every) => *every,
        Heartbeat::Text(text) => text.every_ms,
    };
    Some(Duration::from_millis(u64::from(every)))
}
