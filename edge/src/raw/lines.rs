//! Lines of a recording, from the events of the sockets.

use std::collections::HashMap;

use bytes::Bytes;
use marketprism_adapter_host::SourceIndex;
use marketprism_schema::{Line, RecordingKind};
use marketprism_service::mask;
use marketprism_socket::SocketEvent;

/// A line whose data is not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLine {
    pub at_ns: i64,
    pub kind: RecordingKind,
    pub conn: Option<u32>,
    pub url: Option<String>,
    pub data: Option<Bytes>,
}

impl RawLine {
    /// Answer of a request that no pipeline made.
    pub fn answer(url: &str, body: &Bytes, at_ns: i64) -> Self {
        let (url, data) = (Some(url.to_owned()), Some(body.clone()));
        Self { at_ns, kind: RecordingKind::Rest, conn: None, url, data }
    }

    /// Bytes that count against the bound of a queue.
    pub fn size(&self) -> usize {
        const BOOKKEEPING: usize = 128;
        let url = self.url.as_ref().map_or(0, String::len);
        self.data.as_ref().map_or(0, Bytes::len).saturating_add(url).saturating_add(BOOKKEEPING)
    }

    /// `None`: its data is no text.
    pub fn line(&self) -> Option<Line<'_>> {
        let data = match &self.data {
            Some(data) => Some(std::str::from_utf8(data).ok()?.into()),
            None => None,
        };
        let url = self.url.as_deref().map(mask);
        Some(Line { at: self.at_ns, kind: self.kind, conn: self.conn, url, data })
    }
}

/// Numbers the connections of a pipeline, and gives answers their addresses.
#[derive(Debug, Default)]
pub struct FrameLines {
    /// Number of each open socket; every generation of a connection has its own.
    numbers: HashMap<(SourceIndex, u64), u32>,
    /// Address of a source's next answer: for time windows and further pages it is not that of the plan. Other sources' frames may come between.
    asked: HashMap<SourceIndex, String>,
}

impl FrameLines {
    /// `url_of`: address of a source that is no connection; `next`: number of a new connection.
    pub fn line(
        &mut self,
        event: &SocketEvent,
        url_of: impl Fn(SourceIndex) -> Option<String>,
        next: impl FnMut() -> u32,
    ) -> Option<RawLine> {
        match event {
            SocketEvent::Opened { source, generation, url, at_ns } => {
                let (conn, url) = (Some(self.number(*source, *generation, next)), Some(url.clone()));
                Some(RawLine { at_ns: *at_ns, kind: RecordingKind::WsOpen, conn, url, data: None })
            }
            SocketEvent::Sent { source, generation, text, at_ns } => {
                let (conn, data) = (Some(self.number(*source, *generation, next)), text.clone().into());
                Some(RawLine { at_ns: *at_ns, kind: RecordingKind::WsOut, conn, url: None, data: Some(data) })
            }
            SocketEvent::Frame(frame) => {
                let url = self.asked.remove(&frame.source).or_else(|| url_of(frame.source));
                let (kind, conn) = match url {
                    Some(_) => (RecordingKind::Rest, None),
                    None => {
                        let conn = self.number(frame.source, frame.generation, next);
                        (RecordingKind::WsIn, Some(conn))
                    }
                };
                let data = Some(frame.data.clone());
                Some(RawLine { at_ns: frame.received_at_ns, kind, conn, url, data })
            }
            SocketEvent::Requested { source, url, .. } => {
                self.asked.insert(*source, url.clone());
                None
            }
            SocketEvent::Closed { source, generation, .. } => {
                self.numbers.remove(&(*source, *generation));
                None
            }
            SocketEvent::Silent { .. } | SocketEvent::RequestFailed { .. } => None,
        }
    }

    fn number(&mut self, source: SourceIndex, generation: u64, next: impl FnMut() -> u32) -> u32 {
        *self.numbers.entry((source, generation)).or_insert_with(next)
    }
}

#[cfg(test)]
mod tests {
    use marketprism_socket::ReceivedFrame;

    use super::*;

    #[test]
    fn an_answer_has_the_address_that_was_asked_though_frames_of_other_sources_come_between() {
        let mut lines = FrameLines::default();
        let requested =
            |source: SourceIndex, url: &str| SocketEvent::Requested { source, url: url.into(), at_ns: 1 };
        let frame = |source| {
            let data = Bytes::from_static(b"{}");
            let subscribed_at_ns = Some(2);
            let frame = ReceivedFrame { source, generation: 0, received_at_ns: 2, subscribed_at_ns, data };
            SocketEvent::Frame(frame)
        };
        let [socket, first, second] = [0, 1, 2].map(SourceIndex::at);
        let url_of = |source: SourceIndex| (source != socket).then(|| "planned".to_owned());
        let events = [
            requested(first, "first?page=2"),
            requested(second, "second?page=2"),
            frame(socket),
            frame(first),
            frame(second),
            frame(first),
        ];
        let urls: Vec<Option<String>> =
            events.iter().filter_map(|event| lines.line(event, url_of, || 1)).map(|line| line.url).collect();
        let urls: Vec<Option<&str>> = urls.iter().map(Option::as_deref).collect();
        assert_eq!(urls, [None, Some("first?page=2"), Some("second?page=2"), Some("planned")]);
    }
}
