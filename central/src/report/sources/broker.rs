//! Streams, consumers and leases at the broker.

use async_nats::jetstream::consumer::Info as ConsumerInfo;
use async_nats::jetstream::stream::Info;
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;

use super::{Answer, Sources};
use crate::report::Time;
use crate::report::document::{BrokerConsumer, BrokerStream, LeaseState};

/// Most consumers listed of a stream.
const CONSUMERS_MAX: usize = 64;

pub async fn streams(sources: &Sources) -> Vec<(&'static str, Answer<BrokerStream>)> {
    let each = sources.config.streams.iter().map(|stream| async {
        let name = stream.settings.name;
        (name, sources.broker_answer(read(sources, name)).await)
    });
    join_all(each).await
}

async fn read(sources: &Sources, name: &str) -> anyhow::Result<BrokerStream> {
    let stream = sources.broker.jetstream.get_stream(name).await?;
    let mut listed = stream.consumers();
    let mut consumers = Vec::new();
    while let Some(consumer) = listed.try_next().await? {
        if consumers.len() < CONSUMERS_MAX {
            consumers.push(state_of(&consumer));
        }
    }
    consumers.sort_by(|a, b| a.consumer.cmp(&b.consumer));
    Ok(describe(stream.cached_info(), consumers))
}

fn state_of(info: &ConsumerInfo) -> BrokerConsumer {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    BrokerConsumer {
        consumer: info.name.clone(),
        pending: info.num_pending,
        ack_pending: count(info.num_ack_pending),
        redelivered: count(info.num_redelivered),
        waiting: count(info.num_waiting),
    }
}

fn describe(info: &Info, consumers: Vec<BrokerConsumer>) -> BrokerStream {
    let cluster = info.cluster.as_ref();
    let current = cluster.map_or(1, |cluster| {
        usize::from(cluster.leader.is_some())
            + cluster.replicas.iter().filter(|peer| peer.current && !peer.offline).count()
    });
    BrokerStream {
        stream: info.config.name.clone(),
        messages: info.state.messages,
        bytes: info.state.bytes,
        max_bytes: info.config.max_bytes,
        first_sequence: info.state.first_sequence,
        last_sequence: info.state.last_sequence,
        replicas: info.config.num_replicas,
        replicas_current: current,
        leader: cluster.and_then(|cluster| cluster.leader.clone()),
        consumers,
    }
}

pub async fn leases(sources: &Sources) -> Answer<Vec<LeaseState>> {
    let holders = sources.broker_answer(sources.leases.holders()).await?;
    let state = |holder: crate::lease::Holder| LeaseState {
        lease: holder.lease,
        holder: holder.holder,
        since: Time::some(holder.since_ns / 1_000_000),
        renewed: Time::some(holder.renewed_ns / 1_000_000),
    };
    let mut leases: Vec<LeaseState> = holders.into_iter().map(state).collect();
    leases.sort_by(|a, b| a.lease.cmp(&b.lease));
    Ok(leases)
}
