//! Queue of events from the sockets of a feed to its pipeline, bounded in number and in bytes. A full queue makes the sockets wait;
//! nothing is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::event::SocketEvent;
use crate::limits::INPUTS_BEHIND;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputBounds {
    pub events: usize,
    /// Sum of the sizes of queued events. An event larger than all of it is queued alone.
    pub bytes: u32,
}

#[derive(Debug)]
struct QueuedEvent {
    event: SocketEvent,
    room: OwnedSemaphorePermit,
    /// As [`OldestInput::since`].
    queued: u64,
}

/// Age of the oldest event that is not processed.
#[derive(Debug)]
struct OldestInput {
    origin: Instant,
    /// Microseconds after `origin`, plus one; 0: everything is processed.
    since: AtomicU64,
}

impl OldestInput {
    /// An event comes now, which is the oldest one if all before are processed.
    fn comes(&self) -> u64 {
        let now = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        if self.since.load(Ordering::Relaxed) == 0 {
            let _older = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        now
    }

    fn age(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.origin.elapsed().saturating_sub(Duration::from_micros(since)))
    }
}

/// Bytes that may still be queued. Holding it does not keep the queue open.
#[derive(Debug, Clone)]
pub(crate) struct InputRoom {
    left: Arc<Semaphore>,
    bytes: u32,
    /// Senders that wait with an event that is older than what comes next.
    waiting: Arc<AtomicUsize>,
    oldest: Arc<OldestInput>,
}

/// Counted until the event is queued, also when the wait is given up.
struct WaitingSender<'a>(&'a AtomicUsize);

impl Drop for WaitingSender<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl InputRoom {
    pub(crate) fn queued_bytes(&self) -> usize {
        (self.bytes as usize).saturating_sub(self.left.available_permits())
    }

    /// Age of the oldest event that is not processed, if it is more than a moment.
    pub(crate) fn behind_for(&self) -> Option<Duration> {
        self.oldest.age().filter(|age| *age >= INPUTS_BEHIND)
    }

    fn cost(&self, event: &SocketEvent) -> u32 {
        u32::try_from(event.size()).unwrap_or(u32::MAX).min(self.bytes)
    }
}

pub fn input_queue(bounds: InputBounds) -> (InputSender, InputReceiver) {
    let (sender, receiver) = mpsc::channel(bounds.events.max(1));
    let bytes = bounds.bytes.max(1);
    let oldest = Arc::new(OldestInput { origin: Instant::now(), since: AtomicU64::default() });
    let left = Arc::new(Semaphore::new(bytes as usize));
    let room = InputRoom { left, bytes, waiting: Arc::default(), oldest };
    (InputSender { events: sender, room: room.clone() }, InputReceiver { events: receiver, room })
}

#[derive(Debug, Clone)]
pub struct InputSender {
    events: mpsc::Sender<QueuedEvent>,
    room: InputRoom,
}

#[derive(Debug)]
pub(crate) enum InputRefusal {
    Full(SocketEvent),
    Closed,
}

impl InputSender {
    /// Waits for room in the queue. An error means that the receiver is closed.
    pub async fn send(&self, event: SocketEvent) -> Result<(), mpsc::error::SendError<()>> {
        let closed = |_| mpsc::error::SendError(());
        self.room.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = WaitingSender(&self.room.waiting);
        let queued = self.room.oldest.comes();
        let left = Arc::clone(&self.room.left);
        let room =
            left.acquire_many_owned(self.room.cost(&event)).await.map_err(|_| mpsc::error::SendError(()))?;
        self.events.send(QueuedEvent { event, room, queued }).await.map_err(closed)
    }

    pub(crate) fn try_send(&self, event: SocketEvent) -> Result<(), InputRefusal> {
        if self.events.is_closed() {
            return Err(InputRefusal::Closed);
        }
        let left = Arc::clone(&self.room.left);
        let Ok(room) = left.try_acquire_many_owned(self.room.cost(&event)) else {
            return Err(InputRefusal::Full(event));
        };
        let queued = self.room.oldest.comes();
        self.events.try_send(QueuedEvent { event, room, queued }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(queued) => InputRefusal::Full(queued.event),
            mpsc::error::TrySendError::Closed(_) => InputRefusal::Closed,
        })
    }

    pub(crate) async fn closed(&self) {
        self.events.closed().await;
    }

    pub(crate) fn is_full(&self) -> bool {
        // Whoever waits for bytes has taken those that are left.
        self.events.capacity() == 0 || self.room.left.available_permits() == 0
    }

    /// Whoever reads the queue has not processed what came more than a moment ago, or nobody reads it yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_full() || self.room.behind_for().is_some()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.room.queued_bytes()
    }

    pub(crate) fn gauge(&self) -> InputRoom {
        self.room.clone()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenInputs {
    /// Nothing is queued afterwards, and nobody waits with an event.
    All,
    /// More may be queued.
    Part,
    /// There is nothing left, and every sender is closed.
    End,
}

#[derive(Debug)]
pub struct InputReceiver {
    events: mpsc::Receiver<QueuedEvent>,
    room: InputRoom,
}

impl InputReceiver {
    /// Everything that was taken before is processed, and this is the next one.
    fn takes(&self, next: Option<&QueuedEvent>) {
        self.room.oldest.since.store(next.map_or(0, |next| next.queued), Ordering::Relaxed);
    }

    /// Whoever asks has processed what was taken before. `None` when there will be no more.
    pub async fn recv(&mut self) -> Option<SocketEvent> {
        if self.events.is_empty() {
            self.takes(None);
        }
        let next = self.events.recv().await;
        self.takes(next.as_ref());
        next.map(|queued| queued.event)
    }

    /// Whoever asks has processed what was taken before.
    pub fn try_recv(&mut self) -> Result<SocketEvent, TryRecvError> {
        let next = self.events.try_recv();
        self.takes(next.as_ref().ok());
        next.map(|queued| queued.event)
    }

    /// Adds queued events to `taken` until it has `events_max` of them, or `bytes_max` came with this call. Whoever asks with nothing in `taken` has
    /// processed what was taken before.
    pub fn take(&mut self, events_max: usize, bytes_max: usize, taken: &mut Vec<SocketEvent>) -> TakenInputs {
        // Before the queue is looked at: whoever stops waiting meanwhile has queued its event.
        let someone_waits = self.room.waiting.load(Ordering::Acquire) > 0;
        let mut bytes = 0;
        while taken.len() < events_max && bytes < bytes_max {
            let next = self.events.try_recv();
            if taken.is_empty() {
                self.takes(next.as_ref().ok());
            }
            match next {
                Ok(QueuedEvent { event, room, .. }) => {
                    bytes += room.num_permits();
                    taken.push(event);
                }
                Err(TryRecvError::Empty) if someone_waits => return TakenInputs::Part,
                Err(TryRecvError::Empty) => return TakenInputs::All,
                Err(TryRecvError::Disconnected) if taken.is_empty() => return TakenInputs::End,
                Err(TryRecvError::Disconnected) => return TakenInputs::All,
            }
        }
        TakenInputs::Part
    }

    /// No event is accepted from now on; those that are queued can still be taken.
    pub fn close(&mut self) {
        self.events.close();
        self.room.left.close();
    }
}

impl Drop for InputReceiver {
    /// Ends the waits for bytes, which the end of the channel does not.
    fn drop(&mut self) {
        self.room.left.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ReceivedFrame;

    fn frame(bytes: usize) -> SocketEvent {
        SocketEvent::Frame(ReceivedFrame {
            source: 0.into(),
            generation: 1,
            received_at_ns: 0,
            subscribed_at_ns: Some(0),
            data: vec![0; bytes].into(),
        })
    }

    #[tokio::test]
    async fn bytes_are_bounded_as_well_as_the_number_and_freed_when_an_event_is_taken() {
        let (sender, mut inputs) = input_queue(InputBounds { events: 100, bytes: 10_000 });
        sender.send(frame(4_000)).await.unwrap();
        sender.send(frame(4_000)).await.unwrap();
        assert!(matches!(sender.try_send(frame(4_000)), Err(InputRefusal::Full(_))));
        assert!(sender.queued_bytes() >= 8_000);
        let waiting = tokio::spawn({
            let sender = sender.clone();
            async move { sender.send(frame(1 << 20)).await }
        });
        while !sender.is_full() {
            tokio::task::yield_now().await;
        }
        let mut taken = Vec::new();
        assert_eq!(inputs.take(64, 1, &mut taken), TakenInputs::Part);
        assert_eq!(taken.len(), 1, "one frame has more than the bytes of a turn");
        assert!(!waiting.is_finished(), "an event above the bound is queued alone");
        let mut rest = Vec::new();
        assert_eq!(inputs.take(1, 1, &mut rest), TakenInputs::Part);
        assert_eq!(inputs.take(64, 1 << 30, &mut Vec::new()), TakenInputs::Part, "somebody waits");
        waiting.await.unwrap().unwrap();
        assert!(sender.is_full());
        assert!(inputs.recv().await.is_some());
        assert_eq!(inputs.take(64, 1, &mut Vec::new()), TakenInputs::All);
        drop(inputs);
        assert!(sender.send(frame(1)).await.is_err());
    }

    /// Nobody reads it while a reload waits; later one turn of its reader may hang.
    #[tokio::test(start_paused = true)]
    async fn a_queue_is_behind_while_what_came_a_moment_ago_is_not_processed() {
        let (sender, mut inputs) = input_queue(InputBounds { events: 100, bytes: 10_000 });
        tokio::time::advance(INPUTS_BEHIND * 2).await;
        assert!(!sender.is_behind(), "nothing has come");
        sender.send(frame(1)).await.unwrap();
        assert!(!sender.is_behind());
        tokio::time::advance(INPUTS_BEHIND).await;
        assert!(sender.is_behind(), "nobody reads");
        sender.send(frame(1)).await.unwrap();
        let mut taken = Vec::new();
        assert_eq!(inputs.take(1, 1 << 20, &mut taken), TakenInputs::Part);
        assert!(sender.is_behind(), "it is taken and not processed");
        taken.clear();
        assert_eq!(inputs.take(1, 1 << 20, &mut taken), TakenInputs::Part);
        assert!(!sender.is_behind(), "the second came just now");
        tokio::time::advance(INPUTS_BEHIND).await;
        assert!(sender.is_behind(), "the second hangs");
        taken.clear();
        assert_eq!(inputs.take(1, 1 << 20, &mut taken), TakenInputs::All);
        assert!(!sender.is_behind(), "all is processed");
    }

    #[tokio::test]
    async fn waiting_for_bytes_ends_when_the_receiver_is_closed() {
        let (sender, mut inputs) = input_queue(InputBounds { events: 100, bytes: 1_000 });
        sender.send(frame(5_000)).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send(frame(1)).await });
        tokio::task::yield_now().await;
        inputs.close();
        assert!(waiting.await.unwrap().is_err());
        assert!(inputs.try_recv().is_ok(), "what was queued can be taken");
        assert_eq!(inputs.take(1, 1, &mut Vec::new()), TakenInputs::End);
    }
}
